"""Odd events on the way through the log and the tables: said clearly or kept whole, never a wrong sum."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.build import compute, snapshot_folder
from features.event_log import EventLog
from features.snapshots import build_snapshots
from features.tables import EVENTS, MONEY_LIMIT, TableError
from tests.fakes.daily_orders import order
from tests.fakes.event_streams import START, frame

NOW = START + timedelta(days=1)
IDS = [
    "x" * 10_000,
    "ลูกค้า",
    "عميل",
    "客户",
    "🧾",
    "a/b=c\\d",
    "line\nbreak",
    "nul\0",
    "'; drop",
    " ",
    "é",
    "e\u0301",
    "bucket=07",
]


def table(log: EventLog, folder: Path, as_of: datetime = NOW) -> pl.DataFrame:
    build_snapshots(log, [as_of], folder)
    return pl.read_parquet(snapshot_folder(folder, as_of) / "*.parquet", hive_partitioning=False)


def as_of_now(*customers: str) -> pl.DataFrame:
    return pl.DataFrame({"customer_id": customers, "as_of": [NOW] * len(customers)}).cast(
        {"as_of": pl.Datetime("us", "UTC")}
    )


def test_a_hundred_thousand_events_of_one_customer_in_a_minute(tmp_path: Path) -> None:
    count = 100_000
    at = START + timedelta(hours=3)
    second = np.arange(count) * 60 // count
    events = pl.DataFrame(
        {
            "message_id": pl.int_range(count, eager=True).cast(pl.String),
            "type": pl.repeat("track", count, eager=True),
            "event": pl.repeat("Order Completed", count, eager=True),
            "customer_id": pl.repeat("c", count, eager=True),
            "timestamp": pl.Series([at]).dt.cast_time_unit("us").gather(np.zeros(count, np.uint32))
            + pl.Series(second * 1_000_000).cast(pl.Duration("us")),
            "revenue_cents": pl.repeat(MONEY_LIMIT, count, dtype=pl.Int64, eager=True),
            "properties": pl.repeat("{}", count, eager=True),
        }
    ).with_columns(received_at=pl.col("timestamp"))
    log = EventLog(tmp_path / "events", 2)
    log.append(EVENTS.conform(events), "a")
    log.append(EVENTS.conform(events), "again")
    told = table(log, tmp_path / "features").row(0, named=True)
    assert (told["orders_1d"], told["orders_total"]) == (count, count)
    assert told["revenue_cents_30d"] == MONEY_LIMIT * count
    assert told["average_order_cents_365d"] == MONEY_LIMIT
    assert told["days_since_last_order"] == (NOW - at - timedelta(seconds=59)) / timedelta(days=1)


def test_ids_of_any_length_and_script_stay_apart(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events")
    log.append(frame([order(n, one, START) for place, one in enumerate(IDS) for n in range(place + 1)]), "a")
    told = table(log, tmp_path / "features")
    assert dict(told.select("customer_id", "orders_total").iter_rows()) == {
        one: place + 1.0 for place, one in enumerate(IDS)
    }
    assert log.scan(customer_id=IDS[0]).collect().height == 1
    assert log.erase(IDS) == len(IDS) * (len(IDS) + 1) // 2


@pytest.mark.parametrize("amount", [math.nan, math.inf, -math.inf, 1e300])
def test_money_that_is_no_number_is_refused(tmp_path: Path, amount: float) -> None:
    events = frame([order(0, "c", START)]).with_columns(revenue_cents=pl.lit(amount))
    with pytest.raises(TableError, match="a type that does not fit"):
        EventLog(tmp_path).append(events, "a")
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize(
    "traits", ['{"age": NaN}', '{"age": Infinity}', '{"age": 1e999}', "not json", "[1]", '{"age": {}}']
)
def test_traits_that_say_no_number_leave_the_feature_unknown(traits: str) -> None:
    event = order(0, "c", START) | {"type": "identify", "event": None, "revenue_cents": None, "traits": traits}
    told = compute(frame([event]), as_of_now("c")).row(0, named=True)
    assert math.isnan(told["age_band"])


def test_money_given_back_and_times_of_other_centuries_add_up() -> None:
    events = [order(n, "c", time) | {"revenue_cents": cents} for n, (time, cents) in enumerate([
        (datetime(1900, 1, 1, tzinfo=UTC), 500), (START, -200), (START, MONEY_LIMIT), (START, -MONEY_LIMIT),
        (datetime(2200, 1, 1, tzinfo=UTC), 900),
    ])]  # fmt: skip
    told = compute(frame(events), as_of_now("c")).row(0, named=True)
    assert (told["orders_total"], told["orders_30d"], told["revenue_cents_30d"]) == (4.0, 3.0, -200.0)


def test_files_of_other_versions_are_read_together(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events", 1)
    for number, name in enumerate(["older", "newer", "today"]):
        log.append(frame([order(number, "c", START)]), name)
    older, newer = (next(p for p in log.files(0) if name in p.name) for name in ("older", "newer"))
    pl.read_parquet(older).drop("machine", "traits", "discount_cents", "context").write_parquet(older)
    pl.read_parquet(newer).with_columns(mood=pl.lit("good")).select(pl.all().reverse()).write_parquet(newer)
    told = table(log, tmp_path / "features")
    assert told.select("orders_total", "revenue_cents_30d").row(0) == (3.0, 303.0)
    assert log.scan().collect().schema == EVENTS.schema
    assert log.compact(0) == 3
    assert table(log, tmp_path / "features").equals(told)
    assert log.reassign({"c": "d"}) == 3


def test_a_column_of_another_type_is_refused_by_name(tmp_path: Path) -> None:
    events = frame([order(0, "c", START)])
    with pytest.raises(TableError, match="mood"):
        EventLog(tmp_path).append(events.with_columns(mood=pl.lit(1)), "a")
    with pytest.raises(TableError, match="a type that does not fit"):
        EventLog(tmp_path).append(events.with_columns(revenue_cents=pl.lit("ten euros")), "a")
