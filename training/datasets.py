"""Point-in-time training sets: features as of each cut, labels after it, one bucket of customers at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from xxhash import xxh3_64_intdigest, xxh3_128

from features.build import compute
from features.catalogue import FEATURE_NAMES, feature
from features.declare import Feature
from features.event_log import EventLog
from features.forgotten import forgotten_before
from models.declaration import Declaration
from training.labels import goal_events, label
from training.purchases import COLUMNS, are_purchases, purchases_at
from training.splits import grid, matured

Progress = Callable[[str, float], None]

STEP = timedelta(days=14)
HISTORY = timedelta(days=90)  # what should lie before the first cut, so that windows up to a quarter are full there
LEAST_HISTORY = timedelta(days=28)
HOLE = timedelta(days=28)  # without any event of anybody: then nothing was collected, which is no lack of outcomes
USUAL = 3  # times as long as nine in ten spans between days with events: where all is billed once a month, that is none
STRAYS = 0.005  # the part of all events that may stand alone before or after the others
ENOUGH_CUTS = 8  # with fewer after a full HISTORY, earlier cuts are taken and long windows given up
LIFETIME = timedelta(days=365)  # from then on, features without a window do not grow with the log itself
SLACK = 1.2
GROWING = frozenset({"count", "sum", "days_since_first", "distinct", "active_days", "max", "min"})
CUTS = 26  # a year of cuts; older ones are left out, unless outcomes are too rare
MOST_CUTS = 4 * CUTS
ROWS = 120_000  # more are sampled: memory stays flat in customers and cuts
CUSTOMERS = 40_000
BUYERS = 8_000  # of whom BG/NBD is fitted


@dataclass(frozen=True, slots=True)
class Period:
    """What the event log covers, as known at `as_of`. `late` events happened or arrived later and are left out.

    `first` is where the events begin to be many: a lone early one does not make history. Nor do a few after a HOLE:
    these `strays` are left out, too. `holes` are those with more behind them, from the last event to the next.
    """

    first: datetime
    end: datetime
    as_of: datetime
    late: int
    strays: int = 0
    holes: tuple[tuple[datetime, datetime], ...] = ()


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """`features` are those to learn from. `frame`: customer_id, as_of, member, label, goal_at and every
    feature (a champion may use others), sorted by cut and customer.

    Rows that are no `member` of the population are only learnt from, never judged on. Where the goal is an order,
    `frame` has training.purchases.COLUMNS too, and `purchases` (as_of and these) holds them of a sample of everybody.
    """

    frame: pl.DataFrame
    features: tuple[str, ...]
    cuts: tuple[datetime, ...]
    period: Period
    customers: int
    excluded: int
    purchases: pl.DataFrame | None = None
    not_drawn: int = 0
    """Rows that there were beyond ROWS."""

    @property
    def labels(self) -> npt.NDArray[np.float64]:
        return self.frame["label"].cast(pl.Float64).to_numpy()

    @property
    def members(self) -> npt.NDArray[np.bool_]:
        return self.frame["member"].to_numpy()

    @property
    def times(self) -> npt.NDArray[np.datetime64]:
        return self.frame["as_of"].dt.replace_time_zone(None).to_numpy()

    def events_seen(self, happens: bool) -> int:
        """How many separate outcomes stand behind the positive labels; overlapping horizons count one only once.

        For a goal that is the lack of an event: how many separate customers.
        """
        positive = self.frame.filter((pl.col("label") == 1) & pl.col("member"))
        return positive.select("customer_id", *(["goal_at"] if happens else [])).n_unique()


def period(log: EventLog, as_of: datetime) -> Period | None:
    """What the log covers; None where it holds nothing up to `as_of`.

    It ends where what had arrived by then ends: a horizon beyond would take what came late for what did not happen.
    """
    past = (pl.col("timestamp") < as_of) & (pl.col("received_at") <= as_of)
    row = (
        log.scan()
        .select(first=pl.col("timestamp").filter(past).quantile(STRAYS, "lower"), late=(~past).sum())
        .collect()
        .row(0, named=True)
    )
    if row["first"] is None:
        return None
    at = pl.col("timestamp")
    days = log.scan().filter(past).group_by(day=at.dt.date()).agg(first=at.min(), last=at.max(), events=pl.len())
    holes, end, strays = _holes(days.sort("day").collect())
    return Period(row["first"], end + timedelta(microseconds=1), as_of, int(row["late"] or 0), strays, holes)


def _holes(days: pl.DataFrame) -> tuple[tuple[tuple[datetime, datetime], ...], datetime, int]:
    """Of `days` with events (first, last, events), oldest first: the holes between them, the last event that is no
    stray, and how many are."""
    found = days.select(
        before=pl.col("last").shift(1), after="first", behind=pl.col("events").reverse().cum_sum().reverse()
    )
    span = pl.col("after") - pl.col("before")
    usual = found.select(span.dt.total_seconds().quantile(0.9))["after"].item() or 0.0
    wide = found.filter(span > max(HOLE, USUAL * timedelta(seconds=usual)))
    holes, end, strays = [(one, two) for one, two, _ in wide.iter_rows()], days["last"][-1], 0
    most = STRAYS * float(days["events"].sum())
    for more in reversed(wide["behind"].to_list()):
        if more > most:
            break
        (end, _), strays = holes.pop(), more
    return tuple(holes), end, strays


def cut_dates(covered: Period, horizon: timedelta, most: int = CUTS) -> list[datetime]:
    """Matured cuts on the fixed grid, oldest first, the newest `most` of them: a year, where nothing else is asked.

    Whose horizon reaches into a hole is left out: what happened there is not known.
    """
    last = covered.end - horizon

    def whole(first: datetime) -> list[datetime]:
        every = matured(grid(first, last, STEP), horizon, covered.end)
        return [cut for cut in every if not any(cut < end and start < cut + horizon for start, end in covered.holes)]

    full = whole(covered.first + HISTORY)
    if len(full) - horizon // STEP >= ENOUGH_CUTS:
        return full[-most:]
    return whole(covered.first + LEAST_HISTORY)


def covered_features(names: Sequence[str], history: timedelta) -> tuple[str, ...]:
    """The features whose windows the log covered at the first cut, `history` after its beginning.

    A count over a longer window is cut short at every cut, by less and less: it would tell the cut's date, not the
    customer, and what is learnt at early cuts would not hold at later ones. Means and shares do not grow like that.
    """
    return tuple(name for name in names if _window(feature(name)) <= history * SLACK)


def _window(one: Feature) -> timedelta:
    """How much history it takes until a feature stops growing with the log."""
    if one.of is not None:
        above, below = (feature(part) for part in one.of)
        if above.window_days == below.window_days and above.aggregate in GROWING and below.aggregate in GROWING:
            return timedelta(0)
        return max(_window(above), _window(below))
    if one.aggregate not in GROWING:
        return timedelta(0)
    return LIFETIME if one.window_days is None else timedelta(days=one.window_days)


def known_since() -> pl.Expr:
    """Of a group of events: from when on one of them counts, once it has happened and is received (as in features)."""
    return pl.max_horizontal(pl.col("timestamp") + timedelta(microseconds=1), "received_at").min()


def segments(home: Path) -> pl.DataFrame:
    """Who is in which segment now: customer_id, segment; empty where nothing has been exported."""
    path = home / "tables" / "customers.parquet"
    if not path.exists():
        return pl.DataFrame(schema={"customer_id": pl.String, "segment": pl.String})
    return pl.read_parquet(path, columns=["customer_id", "segments"]).explode("segments").select(
        "customer_id", segment="segments"
    ).drop_nulls()  # fmt: skip


def training_set(
    log: EventLog,
    declaration: Declaration,
    cuts: Sequence[datetime],
    covered: Period,
    excluded: frozenset[str] = frozenset(),
    progress: Progress | None = None,
) -> TrainingSet:
    """Members of the declared population (and others that it learns from) at each of `cuts`, with features as of it
    and labels after it."""
    parts, bought, seen, left_out, rows = [], list[pl.DataFrame](), 0, 0, 0
    gone = forgotten_before(log.root)
    for bucket in range(log.buckets):
        events = log.scan(buckets=[bucket], before=covered.end).collect()
        events = events.filter(pl.col("received_at") <= covered.as_of)
        members, dropped = _customers(events, excluded, CUSTOMERS // log.buckets)
        part = _bucket(events, members, declaration, cuts, gone)
        parts.append(_sample(part, ROWS // log.buckets))
        if are_purchases(declaration):
            bought.append(_bought(events, members, declaration, cuts, BUYERS // log.buckets))
        seen, left_out, rows = seen + members.height, left_out + dropped, rows + part.height
        if progress:
            progress(f"{declaration.name}: features as of {len(cuts)} dates", (bucket + 1) / log.buckets)
    frame = pl.concat(parts).sort("as_of", "customer_id")
    features = covered_features(declaration.inputs, min(cuts) - covered.first)
    purchases = pl.concat(bought) if bought else None
    return TrainingSet(frame, features, tuple(cuts), covered, seen, left_out, purchases, rows - frame.height)


def fingerprint(*frames: pl.DataFrame) -> str:
    """A digest of the frames' column names and values (numbers, text and times), in their order of rows."""
    digest = xxh3_128()
    for column in (column for frame in frames for column in frame.iter_columns()):
        digest.update(f"{column.name}:{column.dtype}:{column.len()};".encode())
        plain = column.to_physical()
        values = plain.cast(pl.String).fill_null("\0").to_list() if plain.dtype == pl.String else None
        if values is not None:
            digest.update("\x1f".join(values).encode())
        else:
            digest.update(plain.cast(pl.Float64).fill_null(float("nan")).to_numpy().tobytes())
    return digest.hexdigest()


def describe(data: TrainingSet) -> dict[str, object]:
    """The training data in words and numbers, for the run's record."""
    cuts = [cut.astimezone(UTC).date().isoformat() for cut in data.cuts]
    learnt = data.frame.select("customer_id", "as_of", "member", "label", *data.features)
    bought = [] if data.purchases is None else [data.purchases, data.frame.select(COLUMNS)]
    return {
        "digest": fingerprint(learnt, *bought),
        "rows": data.frame.height,
        "rows_in_population": int(data.members.sum()),
        "positives_in_population": int(data.labels[data.members].sum()),
        "customers": data.frame["customer_id"].n_unique(),
        "without_the_right_to_profile": data.excluded,
        "cuts": f"{cuts[0]} to {cuts[-1]}, {len(cuts)}" if cuts else "none",
        "events_from": data.period.first.isoformat(),
        "events_until": data.period.end.isoformat(),
        "events_after_as_of": data.period.late,
        "events_after_a_hole": data.period.strays,
    }


def _customers(events: pl.DataFrame, excluded: frozenset[str], limit: int) -> tuple[pl.DataFrame, int]:
    """Who is in the log since when (customer_id, first), without the excluded; beyond `limit` a fixed sample."""
    everyone = events.group_by("customer_id").agg(first=known_since())
    allowed = everyone.filter(~pl.col("customer_id").is_in(list(excluded))).sort("customer_id")
    dropped = everyone.height - allowed.height
    if allowed.height > limit:
        order = np.argsort([xxh3_64_intdigest(f"train:{n}".encode()) for n in allowed["customer_id"]], kind="stable")
        allowed = allowed[np.sort(order[:limit])]
    return allowed, dropped


def _bucket(
    events: pl.DataFrame,
    members: pl.DataFrame,
    declaration: Declaration,
    cuts: Sequence[datetime],
    gone: datetime | None,
) -> pl.DataFrame:
    """Who was last heard of before `gone` is left out: of those only who came again are still there."""
    rows = _crossed(members, cuts)
    known = compute(events.join(members.select("customer_id"), on="customer_id", how="semi"), rows)
    if gone is not None:
        since = (pl.col("as_of") - pl.lit(gone)).dt.total_seconds() / 86_400
        known = known.filter(pl.col("days_since_last_event") <= since)
    member = pl.Series("member", declaration.applies(known), dtype=pl.Boolean)
    inside = known.with_columns(member).filter(member | pl.Series(declaration.teaches(known), dtype=pl.Boolean))
    happened = goal_events(events, declaration.goal, declaration.attribution_days)
    marked = label(inside.select("customer_id", "as_of", "member"), happened, declaration.goal, declaration.horizon)
    bought = [purchases_at(happened, marked)] if are_purchases(declaration) else []
    return pl.concat([marked, *bought, inside.select(FEATURE_NAMES)], how="horizontal")


def _crossed(members: pl.DataFrame, cuts: Sequence[datetime]) -> pl.DataFrame:
    """Customers (customer_id, first) at each of `cuts` as of which they were known."""
    dates = pl.DataFrame({"as_of": list(cuts)}, schema={"as_of": pl.Datetime("us", "UTC")})
    return members.join(dates, how="cross").filter(pl.col("first") <= pl.col("as_of")).select("customer_id", "as_of")


def _bought(
    events: pl.DataFrame, members: pl.DataFrame, declaration: Declaration, cuts: Sequence[datetime], limit: int
) -> pl.DataFrame:
    """as_of and COLUMNS of a sample of all customers who have ordered before."""
    few = members if members.height <= limit else members.sample(limit, seed=7)
    rows = _crossed(few, cuts)
    happened = goal_events(events.join(few.select("customer_id"), on="customer_id", how="semi"), declaration.goal)
    return pl.concat([rows.select("as_of"), purchases_at(happened, rows)], how="horizontal").drop_nulls()


def _sample(part: pl.DataFrame, limit: int) -> pl.DataFrame:
    return part if part.height <= limit else part.sample(limit, seed=7).sort("as_of", "customer_id")
