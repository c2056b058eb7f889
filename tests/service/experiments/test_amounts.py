from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import pytest

from features.currencies import Currencies
from service.experiments import amounts
from service.experiments.amounts import amount_of
from service.experiments.definition import Metric


@pytest.mark.parametrize(
    ("value", "currency", "given", "counted"),
    [
        ("revenue", None, 9.5, 9.5),
        ("revenue", "USD", 9.5, 9.5),
        ("revenue", "EUR", 10, 12.5),
        ("revenue", "GBP", 10, 0.0),  # no rate
        *(("revenue", code, wrong, 0.0) for code in (None, "EUR") for wrong in ("9.50", True, None, [1])),
        ("points", "EUR", 10, 10.0),  # no money
    ],
)
def test_a_property_counts_in_the_home_currency_if_it_is_a_number(
    value: str, currency: str | None, given: Any, counted: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amounts, "CURRENCIES", Currencies("USD", {"EUR": Decimal("1.25")}))
    event = {"currency": currency, "revenue_cents": None, "properties": orjson.dumps({value: given}).decode()}
    assert amount_of(event, Metric("m", "e", kind="sum", value=value)) == counted
