"""A randomized test as a table: from the decision log's random and holdout arms, or a user's own file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from features.build import compute
from features.catalogue import FEATURE_NAMES, feature
from features.event_log import EventLog, in_buckets
from features.vocabulary import VERBS
from models.declaration import Goal
from models.uplift import Input
from training.consent_store import unprofiled
from training.datasets import Period, period
from training.decision_log import asked_in_time
from training.labels import goal_events, label
from training.uplift_learners import Trial

KEYS = ("customer_id", "as_of")
TREATED, OUTCOME = "_treated", "_outcome"
UNORDERED = frozenset({"country", "area", "label"})
LEVELS = 20  # of a column of texts; rarer ones count as none of them
POSITIVES, POSITIVES_AN_ARM = 100, 20
_COMMAS = "; separate its values by commas, and write decimals with a point"
UTC_TIME = pl.Datetime("us", "UTC")


class TooFew(Exception):
    """There is not enough to learn from; the text says what is needed and how far it is."""


@dataclass(frozen=True)
class Study:
    """A test ready to learn from. `frame` has customer_id, TREATED, OUTCOME (0/1) and the inputs' columns.

    `of` says in words what was compared.
    """

    frame: pl.DataFrame
    inputs: tuple[Input, ...]
    of: str
    outcome: str
    horizon_days: float | None
    excluded: int = 0

    @property
    def trial(self) -> Trial:
        rows = np.column_stack([one.read(self.frame) for one in self.inputs])
        outcome, treated = (self.frame[name].cast(pl.Float64).to_numpy() for name in (OUTCOME, TREATED))
        codes = self.frame["customer_id"].rank("dense").cast(pl.Int64).to_numpy()
        return Trial(rows, outcome, treated, codes)


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a user's file says what. Texts name the two arms that are compared; other rows are left out."""

    treatment: str
    outcome: str
    treated: str | None = None
    control: str | None = None
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OfFile:
    """A test of one's own: its file, and which column of it is what."""

    path: Path
    columns: Columns


@dataclass(frozen=True, slots=True)
class OfLog:
    """The random and holdout arms of a placement: the event that counts, and how long after the first decision."""

    outcome: str = "ordered"
    horizon: timedelta = timedelta(days=14)


def from_log(home: Path, log: EventLog, placement: str, outcome: str, horizon: timedelta, as_of: datetime) -> Study:
    """Each customer's first decision at `placement` in the arms `random` (treated) and `holdout`, once matured.

    Only what was known before the first decision is untouched by a customer's arm, and the effect is that of being
    contacted by chance rather than never, over the horizon. So who had been in another arm (its share was changed) is
    left out, and who was decided for before both arms had anybody: they would all be in one. Decisions in which nothing
    could have been sent are left out, too. The outcome is a verb or the name of an event. Raises TooFew.
    """
    covered = period(log, as_of)
    path = home / "tables" / "decisions.parquet"
    if covered is None or not path.exists():
        raise TooFew("there are no decisions or no events yet; serve some with `opportune serve`")
    began = [pl.col("decided_at").filter(pl.col("arm") == arm).min() for arm in ("random", "holdout")]
    first = pl.col("decided_at", "arm").first().over("customer_id").name.prefix("first_")
    decided = (
        asked_in_time(pl.scan_parquet(path))
        .filter(pl.col("placement") == placement)
        .group_by("decision_id", "customer_id", "decided_at", "arm")
        .agg(could=pl.col("offer_id").is_not_null().any())
        .sort("decided_at", "decision_id")
        .with_columns(first, both=pl.max_horizontal(began))
        .filter(pl.col("arm").is_in(["random", "holdout"]), pl.col("could"))
        .filter(pl.col("arm") == pl.col("first_arm"), pl.col("first_decided_at") >= pl.col("both"))
        .unique("customer_id", keep="first", maintain_order=True)
        .filter(pl.col("decided_at") + horizon <= covered.end)
        .select("customer_id", as_of=pl.col("decided_at").cast(UTC_TIME), arm="arm")
        .collect()
    )
    if decided.is_empty():
        raise TooFew(
            f"no matured decision at {placement} in the arms random and holdout; give both a share in "
            f'[placements."{placement}".arms] and wait {horizon.days} days'
        )
    hidden = unprofiled(home)
    allowed = decided.filter(~pl.col("customer_id").is_in(list(hidden)))
    parts = [_measured(log, mine, outcome, horizon, covered) for mine in _by_bucket(allowed, log.buckets)]
    frame = pl.concat(parts).sort(KEYS).with_columns((pl.col("arm") == "random").cast(pl.Int8).alias(TREATED))
    said = f"contacted by chance against never, at {placement}"
    excluded = decided.height - allowed.height
    return _checked(Study(frame, _telling(frame), said, outcome, horizon / timedelta(days=1), excluded))


def from_file(path: Path, columns: Columns, home: Path, log: EventLog) -> Study:
    """A user's own test: a row a customer in Parquet or CSV, with treatment and outcome of 0 and 1 (or true, false).

    With the columns `customer_id` and `as_of` (when it was drawn who is treated) the features of the event log as of
    then are the inputs; otherwise all other columns are, except `columns.ignore`. They must have been known before the
    treatment. Raises ValueError naming what is wrong, TooFew.
    """
    try:
        frame = pl.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    except pl.exceptions.PolarsError as wrong:
        written = "" if path.suffix == ".parquet" else _COMMAS
        raise ValueError(f"{path} cannot be read: {str(wrong).splitlines()[0]}{written}") from wrong
    missing = [name for name in (columns.treatment, columns.outcome, *columns.ignore) if name not in frame.columns]
    if missing:
        hint = _COMMAS if frame.width == 1 else ""
        raise ValueError(f"{path} has no column {', '.join(missing)}; it has {', '.join(frame.columns)}{hint}")
    arms = _arms(frame, columns)
    known = frame.with_columns(arms.alias(TREATED), _flags(frame[columns.outcome]).alias(OUTCOME))
    known = known.filter(pl.col(TREATED).is_not_null())
    said = f"{columns.treated or columns.treatment} against {columns.control or 'the others'}, {path.name}"
    left_out = {columns.treatment, columns.outcome, *columns.ignore, TREATED, OUTCOME}
    if "customer_id" not in frame.columns:
        known = known.with_columns(customer_id=pl.int_range(pl.len()).cast(pl.String))
    excluded, before = 0, known.height
    known = known.with_columns(pl.col("customer_id").cast(pl.String))
    known = known.filter(~pl.col("customer_id").is_in(list(unprofiled(home))))
    excluded = before - known.height
    if set(KEYS) <= set(frame.columns):
        inputs_of = _featured(log, known)
        return _checked(Study(inputs_of, _telling(inputs_of), said, columns.outcome, None, excluded))
    inputs = tuple(one for name in frame.columns if name not in {*left_out, *KEYS} for one in _inputs(known[name]))
    return _checked(Study(known, inputs, said, columns.outcome, None, excluded))


def _read_csv(path: Path) -> pl.DataFrame:
    """Ids are texts: as the number 7, `007` would be somebody else, without features, and without a refusal."""
    return pl.read_csv(path, infer_schema_length=None, schema_overrides={"customer_id": pl.String})


def _telling(frame: pl.DataFrame) -> tuple[Input, ...]:
    """The catalogue's features that tell customers apart; codes without an order are left out."""
    ordered = [name for name in FEATURE_NAMES if feature(name).reading not in UNORDERED]
    kinds = frame.select(pl.col(ordered).fill_nan(None).n_unique()).row(0)
    return tuple(Input(name) for name, kind in zip(ordered, kinds, strict=True) if kind > 1)


def _by_bucket(rows: pl.DataFrame, buckets: int) -> list[pl.DataFrame]:
    """Rows by their customer's bucket of the log: memory holds one bucket's events at a time."""
    marked = in_buckets(rows, buckets).sort("_bucket", maintain_order=True)
    return [mine.drop("_bucket") for mine in marked.partition_by("_bucket", maintain_order=True)]


def _measured(log: EventLog, rows: pl.DataFrame, outcome: str, horizon: timedelta, covered: Period) -> pl.DataFrame:
    """Features as of each row, and the outcome within the horizon after it, as far as it had arrived."""
    told = log.scan(customer_ids=rows["customer_id"].to_list(), before=covered.end)
    events = told.filter(pl.col("received_at") <= covered.as_of).collect()
    known = compute(events, rows.select(KEYS)).select(FEATURE_NAMES)
    goal = Goal(outcome)
    marked = label(rows, goal_events(events, goal), goal, horizon)
    return pl.concat([marked.drop("goal_at").rename({"label": OUTCOME}), known], how="horizontal")


def _featured(log: EventLog, known: pl.DataFrame) -> pl.DataFrame:
    """A user's rows with the event log's features as of theirs."""
    rows = known.select("customer_id", _moments(known["as_of"]), TREATED, OUTCOME)
    parts = []
    for mine in _by_bucket(rows, log.buckets):
        events = log.scan(customer_ids=mine["customer_id"].unique().to_list()).collect()
        parts.append(pl.concat([mine, compute(events, mine.select(KEYS)).select(FEATURE_NAMES)], how="horizontal"))
    return pl.concat(parts).sort(KEYS)


def _moments(told: pl.Series) -> pl.Series:
    """A user's times; those without a zone are of UTC. Raises ValueError naming one that is none."""
    if told.dtype == pl.String:
        times = told.str.to_datetime(time_zone="UTC", time_unit="us", strict=False)
    elif isinstance(told.dtype, pl.Date | pl.Datetime):
        zoned = getattr(told.dtype, "time_zone", None) is not None
        times = told if zoned else told.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    else:
        times = pl.Series(told.name, [None] * len(told), dtype=UTC_TIME)
    if times.null_count():
        raise ValueError(f"as_of holds {told.filter(times.is_null())[0]!r}; write times such as 2026-11-01T00:00:00Z")
    return times.cast(UTC_TIME)


def _arms(frame: pl.DataFrame, columns: Columns) -> pl.Series:
    """1 treated, 0 control, null for rows of other arms."""
    column = frame[columns.treatment]
    if columns.treated is None and columns.control is None:
        return _flags(column)
    text = column.cast(pl.String)
    named = [one for one in (columns.treated, columns.control) if one is not None]
    unknown = [one for one in named if not (text == one).any()]
    if unknown:
        values = ", ".join(map(str, text.unique().drop_nulls().sort().to_list()[:10]))
        raise ValueError(f"{columns.treatment} never holds {unknown[0]!r}; it holds {values}")
    treated = text == columns.treated if columns.treated is not None else text != columns.control
    other = text == columns.control if columns.control is not None else text != columns.treated
    return pl.select(pl.when(treated).then(1).when(other).then(0)).to_series().cast(pl.Int8)


def _flags(column: pl.Series) -> pl.Series:
    if column.dtype == pl.Boolean and not column.null_count():
        return column.cast(pl.Int8)
    values = set(column.cast(pl.Float64, strict=False).unique().to_list())
    if not values <= {0.0, 1.0} or column.null_count():
        shown = ", ".join(map(str, column.unique().to_list()[:5]))
        raise ValueError(f"{column.name} holds {shown}; it must be 0 or 1 in every row (name arms with --treated)")
    return column.cast(pl.Float64).cast(pl.Int8)


def _inputs(column: pl.Series) -> Sequence[Input]:
    """A number as it is; texts as whether they are each of the most frequent; what is the same for all, not at all."""
    if column.n_unique() < 2:
        return ()
    if column.dtype.is_numeric() or column.dtype == pl.Boolean:
        return (Input(column.name),)
    if column.dtype != pl.String and not isinstance(column.dtype, pl.Categorical | pl.Enum):
        return ()
    counted = column.cast(pl.String).drop_nulls().value_counts().sort(["count", column.name], descending=[True, False])
    return tuple(Input(column.name, level) for level in counted[column.name].to_list()[:LEVELS])


def _checked(study: Study) -> Study:
    """Raises TooFew, or ValueError for an outcome that can never happen."""
    frame = study.frame
    found = (
        frame.group_by(TREATED).agg(rows=pl.len(), positives=pl.col(OUTCOME).sum()).rows_by_key(TREATED, unique=True)
    )
    if set(found) != {0, 1}:
        arm = "treated" if 1 not in found else "control"
        raise TooFew(f"nobody is in the {arm} arm ({study.of})")
    treated, control = (int(found[arm][1]) for arm in (1, 0))
    if treated + control < POSITIVES or min(treated, control) < POSITIVES_AN_ARM:
        known = study.outcome in VERBS or study.horizon_days is None
        hint = "" if known or treated + control else f"; is {study.outcome!r} the name of an event?"
        raise TooFew(
            f"{treated} and {control} outcomes ({study.outcome}) in the two arms; {POSITIVES} together and "
            f"{POSITIVES_AN_ARM} in each are needed{hint}"
        )
    others = frame.height - treated - control
    if others < POSITIVES:
        raise TooFew(
            f"one outcome only: {others} of {POSITIVES} customers without {study.outcome}, among {frame.height}"
        )
    if not study.inputs:
        raise ValueError(f"there is nothing to tell customers apart by ({study.of})")
    return study
