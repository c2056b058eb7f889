"""Hours of those who told no zone count where their messages are planned: in the setting default_timezone."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from features import facts, plan
from features.build import hours
from features.catalogue import CATALOGUE
from features.default_zone import known_zone
from features.rows import OnlineFeatures
from service.settings import Settings
from tests.fakes.event_streams import frame
from tests.fakes.row_store import MemoryRows

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
SUMMER = datetime(2026, 7, 6, tzinfo=UTC)


def order(number: int, at: datetime, zone: str | None = None) -> dict[str, Any]:
    named = {"message_id": f"m{number}", "customer_id": "c", "type": "track", "event": "Order Completed"}
    said = {"revenue_cents": 100, "discount_cents": None, "products": None, "properties": "{}", "timezone": zone}
    return {**named, "timestamp": at, "received_at": at, **said}


ORDERS = [
    order(1, MONDAY.replace(hour=20)),  # 15:00 in New York
    order(2, SUMMER.replace(hour=20)),  # 16:00 in its summer
    order(3, SUMMER.replace(hour=21), "Asia/Tokyo"),  # Tuesday 06:00
]


@pytest.mark.parametrize("name", ["", "America", "../UTC", "Mars/Olympus", "a\0", "x" * 5_000, "x/" * 700 + "y"])
def test_a_name_that_no_zone_has_counts_as_not_said(name: str) -> None:
    assert known_zone(name) is None


@pytest.mark.parametrize("default", ["UTC", "America/New_York"])
def test_hours_without_a_zone_are_those_of_the_default(default: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "DEFAULT_ZONE", default)
    expected = [20, 20, 24 + 6] if default == "UTC" else [15, 16, 24 + 6]
    now = SUMMER + timedelta(days=1)
    online = OnlineFeatures(MemoryRows())
    online.apply(ORDERS[:2])
    online.apply(ORDERS[2:])
    row = online.read(["c"], now)[0]
    assert row is not None
    cuts = pl.DataFrame({"customer_id": ["c"], "as_of": [now]}).cast({"as_of": pl.Datetime("us", "UTC")})
    batch = hours(frame(ORDERS), cuts).filter(pl.col("kind") == "orders")
    assert row.order_hours.nonzero()[0].tolist() == sorted(set(expected)) == sorted(batch["hour"].to_list())


def test_rows_of_another_default_are_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    before = plan.Plan(CATALOGUE).signature
    monkeypatch.setattr(plan, "DEFAULT_ZONE", "America/New_York")
    assert plan.Plan(CATALOGUE).signature != before


@pytest.mark.parametrize(
    ("variable", "told"), [("Europe/Berlin", "Europe/Berlin"), ("", "UTC"), ("Mars/Olympus", "'Mars/Olympus'")]
)
def test_the_variable_reaches_every_process(variable: str, told: str) -> None:
    code = "from features.default_zone import DEFAULT_ZONE; print(DEFAULT_ZONE)"
    environment = {"PYTHONPATH": ":".join(sys.path), "OPPORTUNE_DEFAULT_TIMEZONE": variable}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert told in (ran.stdout if variable != "Mars/Olympus" else ran.stderr)


def test_settings_name_a_zone_that_there_is_and_hand_it_on() -> None:
    assert Settings(default_timezone="Asia/Tokyo").features_environment["OPPORTUNE_DEFAULT_TIMEZONE"] == "Asia/Tokyo"
    with pytest.raises(ValueError, match="no time zone 'Mars/Olympus'"):
        Settings(default_timezone="Mars/Olympus")
