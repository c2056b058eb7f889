"""Training sets: as known at the cut, nothing later; without those who may not be profiled; the same again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from features.build import compute
from features.catalogue import FEATURE_NAMES
from features.event_log import EventLog
from features.forgotten import note_forgotten
from models import churn, lead, winback
from tests.fakes.shop_history import START, shop_history
from training import datasets
from training.consent_store import unprofiled
from training.datasets import covered_features, cut_dates, fingerprint, period, training_set
from training.purchases import COLUMNS

DAY = timedelta(days=1)
LATER = START + 1000 * DAY
HISTORY = shop_history(60, 260)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EventLog:
    made = EventLog(tmp_path_factory.mktemp("events"))
    made.append(HISTORY, "history")
    return made


def _made(log: EventLog, cuts: list[datetime], excluded: frozenset[str] = frozenset()) -> datasets.TrainingSet:
    covered = period(log, LATER)
    assert covered is not None
    return training_set(log, churn.DECLARATION, cuts, covered, excluded)


CUTS = [START + 112 * DAY, START + 168 * DAY]


def test_rows_are_the_population_with_its_features_as_of_the_cut(log: EventLog) -> None:
    made = _made(log, CUTS)
    assert made.frame["as_of"].unique().sort().to_list() == CUTS
    asked = made.frame.select("customer_id", "as_of")
    expected = compute(HISTORY, asked)
    assert made.frame.select(FEATURE_NAMES).equals(expected.select(FEATURE_NAMES))
    assert churn.DECLARATION.applies(made.frame).all()
    assert not asked.is_duplicated().any()


def _changed_by_the_future(log: EventLog, folder: Path) -> tuple[list[str], pl.DataFrame, pl.DataFrame]:
    """The columns that differ when all that happens after the cut is something else, and both sets."""
    cut = CUTS[1]
    changed = EventLog(folder)
    past, future = HISTORY.filter(pl.col("timestamp") < cut), HISTORY.filter(pl.col("timestamp") >= cut)
    spent = future.with_columns(revenue_cents=pl.lit(99_999_999, pl.Int64), event=pl.lit("Coupon Redeemed"))
    changed.append(pl.concat([past, spent]), "changed")
    before, after = _made(log, [cut]).frame, _made(changed, [cut]).frame
    known = ("customer_id", *COLUMNS, *FEATURE_NAMES)
    return [name for name in known if not before[name].equals(after[name])], before, after


def test_what_happens_after_the_cut_changes_no_feature(log: EventLog, tmp_path: Path) -> None:
    differ, before, after = _changed_by_the_future(log, tmp_path)
    assert differ == []
    assert before["label"].sum() < after["label"].sum() == after.height  # only labels look ahead


def test_a_planted_leak_is_found(log: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features as of ten days after the cut: the test above must see it."""

    def leaking(events: pl.DataFrame, cuts: pl.DataFrame) -> pl.DataFrame:
        later = compute(events, cuts.with_columns(pl.col("as_of") + 10 * DAY))
        return later.with_columns(pl.col("as_of") - 10 * DAY)

    monkeypatch.setattr(datasets, "compute", leaking)
    differ, _, _ = _changed_by_the_future(log, tmp_path)
    assert {"days_since_last_order", "orders_30d", "revenue_cents_30d"} <= set(differ)


def test_outcomes_that_had_not_arrived_yet_are_not_taken_for_none(tmp_path: Path) -> None:
    stop, as_of = START + 190 * DAY, START + 250 * DAY
    past, rest = HISTORY.filter(pl.col("timestamp") < stop), HISTORY.filter(pl.col("timestamp") >= stop)
    known, late = EventLog(tmp_path / "known"), EventLog(tmp_path / "late")
    known.append(past, "history")
    arrived = pl.lit(START + 255 * DAY, pl.Datetime("us", "UTC"))
    late.append(pl.concat([past, rest.with_columns(received_at=arrived)]), "history")
    covered, expected = period(late, as_of), period(known, as_of)
    assert covered is not None
    assert expected is not None
    assert (covered.first, covered.end) == (expected.first, expected.end)
    assert covered.late == rest.height


def test_customers_of_whom_nothing_had_arrived_yet_are_in_no_row(tmp_path: Path) -> None:
    log, cut = EventLog(tmp_path), START + 168 * DAY
    late = HISTORY.with_columns(
        received_at=pl.when(pl.col("customer_id") == pl.col("customer_id").min())
        .then(pl.lit(cut + DAY, pl.Datetime("us", "UTC")))
        .otherwise("received_at")
    )
    log.append(late, "history")
    covered = period(log, LATER)
    assert covered is not None
    everybody = replace(churn.DECLARATION, population=(), exclusions=())
    rows = training_set(log, everybody, [cut, cut + 14 * DAY], covered).frame
    first = HISTORY["customer_id"].min()
    assert rows.filter(pl.col("customer_id") == first)["as_of"].to_list() == [cut + 14 * DAY]


def test_what_arrived_late_was_not_known(tmp_path: Path) -> None:
    cut = CUTS[0]
    arrived = pl.when(pl.col("timestamp") < cut).then(pl.lit(cut + DAY)).otherwise("timestamp")
    late = HISTORY.with_columns(received_at=arrived.cast(pl.Datetime("us", "UTC")))
    log = EventLog(tmp_path)
    log.append(late, "late")
    assert _made(log, [cut]).frame.height == 0


def test_an_outcome_that_arrived_after_the_time_asked_about_is_none(tmp_path: Path) -> None:
    """Some customers shop where orders are told two months late: as of the same time a model learns the same, whenever
    it is trained."""
    cut, as_of = CUTS[1], CUTS[1] + 60 * DAY
    slow = pl.col("customer_id").str.ends_with("0") & (pl.col("timestamp") >= cut)
    told = HISTORY.with_columns(received_at=pl.when(slow).then(as_of + DAY).otherwise("received_at"))
    by_then, since = EventLog(tmp_path / "then"), EventLog(tmp_path / "since")
    by_then.append(HISTORY.filter(~slow), "history")
    since.append(told.cast(HISTORY.schema), "history")
    made = []
    for log in (by_then, since):
        covered = period(log, as_of)
        assert covered is not None
        assert covered.end > cut + 56 * DAY
        made.append(training_set(log, churn.DECLARATION, [cut], covered).frame)
    assert made[0].equals(made[1])
    assert made[0].filter(pl.col("customer_id").str.ends_with("0"))["label"].to_list() == [1] * 5


def test_the_moment_asked_about_is_not_known_yet(tmp_path: Path) -> None:
    """Neither what happens in it, nor customers of whom that is the first."""
    log, moment = EventLog(tmp_path), timedelta(microseconds=1)
    cut = START + 100 * DAY
    first = HISTORY.head(1)
    made = [first.with_columns(customer_id=pl.lit(name), message_id=pl.lit(name), timestamp=at, received_at=at)
            for name, at in (("before", cut - moment), ("then", cut))]  # fmt: skip
    log.append(pl.concat(one.cast(HISTORY.schema) for one in made), "two")
    covered = period(log, cut)
    assert covered is not None
    assert (covered.end, covered.late) == (cut, 1)
    everybody = replace(churn.DECLARATION, population=(), exclusions=())
    whole = replace(covered, end=cut + DAY, as_of=cut + DAY)
    assert training_set(log, everybody, [cut], whole).frame["customer_id"].to_list() == ["before"]


def test_who_may_not_be_profiled_is_left_out(log: EventLog, tmp_path: Path) -> None:
    everyone = _made(log, CUTS)
    names = everyone.frame["customer_id"].unique().sort().to_list()[:5]
    table = pl.DataFrame({"customer_id": ["c9999", *names], "profiling": [True] + [False] * 5})
    (tmp_path / "tables").mkdir()
    table.write_parquet(tmp_path / "tables" / "customers.parquet")
    excluded = unprofiled(tmp_path)
    assert excluded == frozenset(names)
    fewer = _made(log, CUTS, excluded)
    assert fewer.excluded == 5
    assert not set(names) & set(fewer.frame["customer_id"])
    assert unprofiled(tmp_path / "elsewhere") == frozenset()


def test_who_was_last_heard_of_when_visitors_may_have_been_forgotten_is_left_out(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.append(HISTORY, "history")
    everybody, gone = _made(log, CUTS), CUTS[0] - 20 * DAY
    note_forgotten(log.root, gone)
    made = _made(log, CUTS).frame
    ago = pl.duration(seconds=pl.col("days_since_last_event") * DAY.total_seconds())
    expected = everybody.frame.filter(pl.col("as_of") - ago >= gone)
    assert made.select("customer_id", "as_of").equals(expected.select("customer_id", "as_of"))
    assert 0 < made.height < everybody.frame.height


def test_the_same_data_makes_the_same_set_and_digest(log: EventLog) -> None:
    first, again = _made(log, CUTS), _made(log, CUTS)
    assert first.frame.equals(again.frame)
    assert fingerprint(first.frame) == fingerprint(again.frame)
    other = first.frame.with_columns(label=1 - pl.col("label"))
    assert fingerprint(other) != fingerprint(first.frame)
    told = datasets.describe(first)["digest"]
    assert datasets.describe(again)["digest"] == told
    assert first.purchases is not None
    sooner = first.purchases.with_columns(pl.col("last_order_after") / 2)  # BG/NBD learns of these
    assert datasets.describe(replace(first, purchases=sooner))["digest"] != told
    widened = replace(first, frame=first.frame.with_columns(member=~pl.col("member")))
    assert datasets.describe(widened)["digest"] != told


def test_rows_and_customers_have_a_limit(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    everyone = _made(log, CUTS)
    monkeypatch.setattr(datasets, "CUSTOMERS", 32)
    fewer = _made(log, CUTS)
    assert fewer.customers <= 32
    assert fewer.frame.height < everyone.frame.height
    monkeypatch.setattr(datasets, "ROWS", 16)
    assert _made(log, CUTS).frame.height <= 16


def test_events_of_the_future_are_counted_and_left_out(log: EventLog) -> None:
    covered = period(log, START + 100 * DAY)
    assert covered is not None
    assert covered.end <= START + 100 * DAY
    assert covered.late == HISTORY.filter(pl.col("timestamp") >= START + 100 * DAY).height
    assert period(log, START) is None


def test_a_trial_event_long_after_the_others_does_not_stretch_the_log(log: EventLog, tmp_path: Path) -> None:
    """A shop brings its history up to June and tries the API in November: nobody churned in between."""
    usual = period(log, LATER)
    assert usual is not None
    assert usual.strays == 0
    lone = HISTORY.tail(2).with_columns(
        message_id=pl.Series(["try-1", "try-2"]),
        timestamp=pl.lit(usual.end + 150 * DAY, pl.Datetime("us", "UTC")),
        received_at=pl.lit(usual.end + 150 * DAY, pl.Datetime("us", "UTC")),
    )
    tried = EventLog(tmp_path / "tried")
    tried.append(pl.concat([HISTORY, lone]), "all")
    found = period(tried, LATER)
    assert found is not None
    assert (found.first, found.end, found.strays) == (usual.first, usual.end, 2)
    soon = EventLog(tmp_path / "soon")
    soon.append(pl.concat([HISTORY, lone.with_columns(pl.col("timestamp", "received_at") - 130 * DAY)]), "all")
    again = period(soon, LATER)
    assert again is not None
    assert (again.end, again.strays) == (usual.end + 20 * DAY + timedelta(microseconds=1), 0)
    few = EventLog(tmp_path / "few")
    few.append(pl.concat([HISTORY.head(10), lone]), "all")
    small = period(few, LATER)
    assert small is not None
    assert (small.end, small.strays) == (usual.end + 150 * DAY + timedelta(microseconds=1), 0), "two of twelve are many"


def test_outcomes_of_days_that_were_not_collected_are_not_learnt_from(log: EventLog, tmp_path: Path) -> None:
    """The same shop some weeks later, when what comes by the API is no trial any more."""
    usual = period(log, LATER)
    assert usual is not None
    assert usual.holes == ()
    later = HISTORY.filter(pl.col("timestamp") < START + 100 * DAY).with_columns(
        pl.concat_str(pl.lit("later-"), "message_id").alias("message_id"),
        pl.col("timestamp", "received_at") + 420 * DAY,
    )
    both = EventLog(tmp_path / "both")
    both.append(pl.concat([HISTORY, later]), "all")
    found = period(both, LATER)
    assert found is not None
    ((start, end),) = found.holes
    assert (start, found.strays) == (usual.end - timedelta(microseconds=1), 0)
    assert end == later["timestamp"].min()
    horizon = 28 * DAY
    cuts = cut_dates(found, horizon)
    assert cuts == [cut for cut in cut_dates(replace(found, holes=()), horizon, most=99)
                    if cut + horizon <= start or cut >= end]  # fmt: skip
    assert cuts[0] < start < end < cuts[-1]


def test_where_all_is_billed_once_a_month_nothing_is_missing_between(tmp_path: Path) -> None:
    months = [START + round(30.4 * month) * DAY for month in range(24)]
    billed = pl.concat(
        HISTORY.head(5).with_columns(
            pl.format("{}-{}", "message_id", pl.lit(place)).alias("message_id"),
            pl.lit(at, pl.Datetime("us", "UTC")).alias("timestamp"),
            pl.lit(at, pl.Datetime("us", "UTC")).alias("received_at"),
        )
        for place, at in enumerate(months)
    )
    monthly = EventLog(tmp_path / "monthly")
    monthly.append(billed, "all")
    found = period(monthly, LATER)
    assert found is not None
    assert (found.holes, found.strays) == ((), 0)


def test_one_event_in_fifty_after_a_hole_is_no_stray(tmp_path: Path) -> None:
    hours = pl.lit(START + 400 * DAY, pl.Datetime("us", "UTC")) + pl.int_range(pl.len()) * timedelta(hours=1)
    after = HISTORY.head(HISTORY.height // 50).with_columns(
        pl.concat_str(pl.lit("later-"), "message_id").alias("message_id"), timestamp=hours, received_at=hours
    )
    log = EventLog(tmp_path)
    log.append(pl.concat([HISTORY, after]), "all")
    found = period(log, LATER)
    assert found is not None
    assert (found.strays, len(found.holes)) == (0, 1)
    assert found.end > after["timestamp"].max()  # type: ignore[operator]


def test_of_more_cuts_than_are_looked_at_the_newest_count() -> None:
    long = datasets.Period(START, START + 900 * DAY, LATER, 0)
    every = cut_dates(long, churn.DECLARATION.horizon, most=99)
    assert len(every) > datasets.CUTS
    assert cut_dates(long, churn.DECLARATION.horizon) == every[-datasets.CUTS :]


def test_cuts_are_matured_and_have_history(log: EventLog) -> None:
    covered = period(log, LATER)
    assert covered is not None
    for declaration in (lead.DECLARATION, churn.DECLARATION):
        cuts = cut_dates(covered, declaration.horizon)
        assert cuts
        assert cuts[-1] + declaration.horizon <= covered.end < cuts[-1] + declaration.horizon + datasets.STEP
        assert cuts[0] >= covered.first + datasets.LEAST_HISTORY
    short = datasets.Period(START, START + 30 * DAY, LATER, 0)
    assert cut_dates(short, churn.DECLARATION.horizon) == []


def test_counts_over_windows_longer_than_the_history_are_not_learnt_from() -> None:
    young = covered_features(FEATURE_NAMES, 90 * DAY)
    assert {"orders_90d", "average_order_cents_365d", "discount_share_365d", "days_since_last_order"} <= set(young)
    assert not {"orders_365d", "orders_total", "tenure_days", "order_trend_90_365"} & set(young)
    assert covered_features(FEATURE_NAMES, 400 * DAY) == FEATURE_NAMES
    assert "orders_90d" in covered_features(FEATURE_NAMES, 76 * DAY), "nearly full is enough"
    assert "orders_90d" not in covered_features(FEATURE_NAMES, 74 * DAY)


def test_a_wider_population_teaches_but_is_not_judged(log: EventLog) -> None:
    covered = period(log, LATER)
    assert covered is not None
    made = training_set(log, winback.DECLARATION, [START + 200 * DAY], covered)
    days = made.frame["days_since_last_order"]
    assert days.min() >= 14  # type: ignore[operator]
    assert (days >= 56).to_list() == made.members.tolist()
    assert 0 < made.members.sum() < made.frame.height


def test_outcomes_are_counted_once() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    frame = pl.DataFrame(
        {
            "customer_id": ["a", "a", "a", "b"],
            "as_of": [at, at + DAY, at + 2 * DAY, at],
            "member": [True, True, False, True],
            "label": [1, 1, 1, 0],
            "goal_at": [at + 5 * DAY, at + 5 * DAY, at + 9 * DAY, None],
        }
    )
    made = datasets.TrainingSet(frame, (), (at,), datasets.Period(at, at, at, 0), 2, 0)
    assert made.events_seen(happens=True) == 1
