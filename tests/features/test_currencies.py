"""Money of several currencies is never added up as if it were one."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import facts, feature_set, numbers
from features.build import compute
from features.currencies import LIMIT, Currencies, in_units, minor_scale
from features.rows import OnlineFeatures
from models import offer_words
from service.experiments import words
from service.experiments.definition import Metric
from tests.fakes.event_streams import frame
from tests.fakes.row_store import MemoryRows

NOW = datetime(2026, 11, 1, tzinfo=UTC)
SHOP = Currencies("EUR", {"USD": Decimal("0.92"), "JPY": Decimal("0.006"), "KWD": Decimal("3.005")})


@pytest.mark.parametrize(
    ("amount", "code", "worth"),
    [
        (1000, None, 1000),
        (1000, "EUR", 1000),
        (1000, "USD", 920),
        (1000, "JPY", 600),  # yen have no hundredths
        (1000, "KWD", 301),  # dinars have thousandths: 3.005, half up
        (1000, "CHF", None),
        (None, "USD", None),
        (LIMIT, "KWD", 3005 * 10**9),
        (-75, "USD", -69),
    ],
)
def test_what_an_amount_is_worth(amount: int | None, code: str | None, worth: int | None) -> None:
    assert SHOP.in_home(amount, code) == worth
    both = pl.Series([amount], dtype=pl.Int64), pl.Series([code], dtype=pl.String)
    assert numbers.in_home(*both, SHOP).to_list() == [worth]


@settings(max_examples=50)
@given(
    amount=st.integers(0, LIMIT), rate=st.decimals("0.000001", 999_999, places=6), home=st.sampled_from(["JPY", "KWD"])
)
def test_an_amount_is_exact_to_half_a_minor_unit(amount: int, rate: Decimal, home: str) -> None:
    found = Currencies(home, {"USD": rate}).in_home(amount, "USD")
    exact = Decimal(amount) * rate * minor_scale(home) / 100
    assert found is None if exact > LIMIT + 1 else found is None or abs(found - exact) <= Decimal("0.5")


def order(number: int, cents: int | None, code: str | None, **more: Any) -> dict[str, Any]:
    at = NOW - timedelta(days=10 - number)
    named = {"message_id": f"m{number}", "type": "track", "event": "Order Completed", "customer_id": "c"}
    said = {"revenue_cents": cents, "currency": code, "discount_cents": None, "products": None, "properties": "{}"}
    return {**named, "timestamp": at, "received_at": at, **said, **more}


ORDERS = [
    order(1, 1000, "EUR"),
    order(2, 1000, "USD", discount_cents=100),
    order(3, 5000, "CHF", discount_cents=900),
    order(4, None, None),
    order(5, 3000, None),
    order(6, 2000, "CHF", products=[{"product_id": "p", "quantity": 2, "discount_cents": 10, "category": "tea"}]),
]


def test_sums_means_and_extremes_are_of_one_currency(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (facts, numbers):
        monkeypatch.setattr(module, "CURRENCIES", SHOP)
    online = OnlineFeatures(MemoryRows())
    online.apply(ORDERS)
    row = online.read(["c"], NOW)[0]
    assert row is not None
    told = compute(frame(ORDERS), pl.DataFrame({"customer_id": ["c"], "as_of": [NOW]})).row(0, named=True)
    for values in (told, row.values):
        assert values["orders_total"] == 6  # all are kept
        assert values["quantity_365d"] == 2
        assert values["revenue_cents_total"] == 1000 + 920 + 3000
        assert values["discount_cents_365d"] == 92
        assert values["smallest_order_cents_365d"] == 920  # an order without known money is no order of 0
        assert values["largest_order_cents_365d"] == 3000
        assert values["average_order_cents_365d"] == pytest.approx(4920 / 3)
        assert values["median_order_cents_365d"] == pytest.approx(1000, rel=0.1)


def test_settings_reach_every_process() -> None:
    code = "from features.currencies import CURRENCIES, Currencies; print(CURRENCIES == Currencies.from_environment(), "
    code += "CURRENCIES.in_home(100, 'USD'))"
    told = subprocess.run([sys.executable, "-c", code], env=SHOP.environment() | {"PYTHONPATH": ":".join(sys.path)},
                          capture_output=True, text=True, check=True, timeout=60)  # fmt: skip
    assert told.stdout.split() == ["True", "92"]
    assert repr(SHOP) == repr(Currencies("EUR", dict(reversed(SHOP.rates.items()))))


def test_settings_that_a_process_reads_itself_come_in_time() -> None:
    """The settings use this module before they set its variables."""
    code = "from service.settings import Settings; import os; os.environ.update(Settings(currency='EUR').money."
    code += "environment()); from features.currencies import CURRENCIES; print(CURRENCIES.home)"
    told = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)},
                          capture_output=True, text=True, check=True, timeout=60)  # fmt: skip
    assert told.stdout.split() == ["EUR"]


def test_amounts_are_told_in_units_of_their_currency(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [in_units(123456, code) for code in ("USD", "JPY", "KWD")]
    assert told == ["1,234.56", "123,456", "123.456"]
    for module in (feature_set, offer_words, words):
        monkeypatch.setattr(module, "CURRENCIES", Currencies("JPY"))
    assert f"{feature_set.spoken('saved_cents_90d', 3007.0)}" == "3,007"
    assert offer_words._worded("offer_price_cents", 480.0) == "480"
    earned = Metric("revenue", "Order Completed", "sum", "revenue_cents")
    assert words.money_or_number(earned, 5000.4) == "5,000"
