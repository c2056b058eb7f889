"""Feature tables: as of any times, for any customers, from the raw events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from features.catalogue import CATALOGUE
from features.computation import Computation, brought_together
from features.event_numbers import bounds_of, by_customers, in_order
from features.feature_set import FeatureSet
from features.finalize import Finalizer, Floats, Ints
from features.numbers import numbers_of
from features.plan import GRID_CHANNELS, VISITED, WEEK, Plan, plan_of
from features.prefix import Affinity, Sweep
from features.tables import UTC_TIME

HOUR_KINDS = {
    "ordered": "orders", VISITED.verbs[0]: "visits", "delivered": "sends", "clicked": "clicks", "opened": "opens",
}  # fmt: skip
Progress = Callable[[int, int], None]


def compute(events: pl.DataFrame, cuts: pl.DataFrame, features: FeatureSet = CATALOGUE) -> pl.DataFrame:
    """Features as of each cut.

    events: EVENTS-shaped (any order, repeats allowed). cuts: customer_id, as_of, any further columns, any number
    of cuts a customer. An event counts if it happened before as_of and was received by then. Returns the cuts'
    rows in their order plus one Float64 column a feature; NaN where there is nothing to know it from.
    """
    work, _ = brought_together(numbers_of(events, plan_of(features)), cuts, features)
    return cuts.drop(features.names, strict=False).with_columns(named(values_of(work), features))


def values_of(work: Computation) -> Floats:
    """(cuts, features)."""
    finalizer = Finalizer(work.plan)
    values: Floats = np.empty((len(work.cuts.as_of), len(work.plan.features.names)))
    for rows, sweep in work.sweeps():
        partials, affinities = sweep.partials()
        for _ in affinities:
            pass
        values[rows] = finalizer(partials)
    return values


def named(values: Floats, features: FeatureSet) -> list[pl.Series]:
    """The columns of a matrix as features."""
    return [pl.Series(name, np.ascontiguousarray(values[:, i])) for i, name in enumerate(features.names)]


def interest(events: pl.DataFrame, cuts: pl.DataFrame) -> pl.DataFrame:
    """Orders and views by product category as of each cut, long: customer_id, as_of, category, orders_90d, orders_365d,
    days_since_last, views_365d. Categories ordered in the last 730 days, and those only looked at in the last 365
    (days_since_last is NaN); sorted by the cuts' order, then category."""
    work, categories = brought_together(numbers_of(events, plan_of(CATALOGUE)), cuts, CATALOGUE)
    found = [_interest_rows(rows, a) for rows, sweep in work.sweeps() for a in sweep.affinities()]
    cut, key, orders, views, days = (np.concatenate(part) for part in zip(*found, strict=True)) if found else _nothing()
    order = np.lexsort((key, cut))
    frame = cuts.select(pl.col("customer_id").cast(pl.String), pl.col("as_of").cast(UTC_TIME))[cut[order]]
    return frame.with_columns(
        category=categories[key[order]],
        orders_90d=pl.Series(orders[order, 0].astype(np.float64)),
        orders_365d=pl.Series(orders[order, 1].astype(np.float64)),
        days_since_last=pl.Series(days[order]),
        views_365d=pl.Series(views[order].astype(np.float64)),
    )


def _interest_rows(rows: Ints, told: Affinity) -> tuple[Ints, Ints, Ints, Ints, Floats]:
    known = (told.days_since_last == told.days_since_last) | (told.views > 0)
    orders, views, days = told.orders[known], told.views[known], told.days_since_last[known]
    return rows[told.cut[known]], told.category[known], orders, views, days


def _nothing() -> tuple[Ints, Ints, Ints, Ints, Floats]:
    none = np.empty(0, dtype=np.int64)
    return none, none, np.empty((0, 2), dtype=np.int64), none, np.empty(0)


def hours(events: pl.DataFrame, cuts: pl.DataFrame) -> pl.DataFrame:
    """Local hours of the week as of each cut, long, over all time: customer_id, as_of, kind (`orders`, `visits`,
    `sends`, `clicks`, `opens`), channel (null for orders and visits), hour (0 is Monday 00), count (above 0;
    forgetting.py)."""
    work, _ = brought_together(numbers_of(events, plan_of(CATALOGUE)), cuts, CATALOGUE)
    pieces = [piece for rows, sweep in work.sweeps() for piece in _hour_pieces(rows, sweep, work.plan)]
    frame = cuts.select(pl.col("customer_id").cast(pl.String), pl.col("as_of").cast(UTC_TIME)).with_row_index("cut")
    schema = {"cut": pl.UInt32, "kind": pl.String, "channel": pl.String, "hour": pl.Int64, "count": pl.Float64}
    counts = pl.concat([pl.DataFrame(schema=schema), *pieces])
    return (
        counts.join(frame, on="cut")
        .sort("cut", "kind", "channel", "hour")
        .select("customer_id", "as_of", "kind", "channel", "hour", "count")
    )


def _hour_pieces(rows: Ints, sweep: Sweep, plan: Plan) -> Iterator[pl.DataFrame]:
    for group in plan.hours:
        if group.cells != WEEK:
            continue
        counts = sweep.week_counts(group)
        cut, hour = np.nonzero(counts)
        kind = HOUR_KINDS[group.events.verbs[0]]
        channel = None if group.channel is None else GRID_CHANNELS[group.channel]
        yield pl.DataFrame({"cut": rows[cut].astype(np.uint32), "hour": hour, "count": counts[cut, hour]}).select(
            "cut", pl.lit(kind).alias("kind"), pl.lit(channel, pl.String).alias("channel"), "hour", "count"
        )


def known_by(numbers: pl.DataFrame, time: int) -> pl.DataFrame:
    """The events received by a time."""
    return numbers if (numbers["known"] <= time).all() else numbers.filter(pl.col("known") <= time)


def ranges(parts: Sequence[pl.DataFrame], cuts: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """NUMBERS and cuts (sorted by customer) of a range of customers at a time: about what a cache holds."""
    parts = in_order(parts)
    bounds = bounds_of(parts)
    for numbers, asked in zip(by_customers(parts, bounds), by_customers([cuts], bounds), strict=True):
        if asked.height:
            yield numbers, asked


def snapshot_folder(out: Path, as_of: datetime) -> Path:
    """Where the table as of a time stands: `as_of=2026-10-01T00-00-00Z`."""
    return out / f"as_of={as_of.astimezone(UTC):%Y-%m-%dT%H-%M-%SZ}"
