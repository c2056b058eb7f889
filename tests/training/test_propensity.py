"""Training from events to a registered version: promoted, refused, or told what is missing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from features.event_log import EventLog
from features.tables import EVENTS
from models import churn, lead
from models.declaration import Declaration, Goal, Rule
from models.load import load, verify_golden
from tests.fakes.model_cases import propensity, propensity_rows
from tests.fakes.shop_history import START, shop_history
from training import datasets
from training.assemble import tiers
from training.learn import TooLittle, varying
from training.metrics import log_losses
from training.propensity import _judge, _notes, champion_gain, differs, gather, train_propensity
from training.tracking import Tracking, aliases, champion, promote
from training.train import Job, TrainResult

DAY = timedelta(days=1)


def _job(home: Path, events: pl.DataFrame, as_of: datetime = START + 1000 * DAY) -> Job:
    log = EventLog(home / "events")
    if events.height:
        log.append(events, "history")
    tracking = Tracking.at(f"sqlite:///{home / 'mlflow.db'}", home)
    return Job(home, log, tracking, as_of, lambda what, share: None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, TrainResult]:
    job = _job(tmp_path_factory.mktemp("home"), shop_history(350, 320))
    return job, train_propensity(churn.DECLARATION, job)


@pytest.mark.slow
class TestTrained:
    def test_a_better_model_is_promoted_with_its_figures(self, trained: tuple[Job, TrainResult]) -> None:
        job, result = trained
        assert (result.version, result.promoted) == ("1", True), result.verdict
        assert result.metrics["auc"] > result.rivals["recency"]["auc"] > 0.5
        assert set(result.rivals) == {"lightgbm", "logistic", "recency", "bg_nbd", "base_rate"}
        assert result.rivals["base_rate"]["auc"] == pytest.approx(0.5, abs=0.1)  # its promise moves between cuts alone
        assert aliases(job.tracking, "churn") == {"champion": "1"}
        low, high = result.intervals["bg_nbd"]["auc"]
        assert low < result.rivals["bg_nbd"]["auc"] < high
        assert len(result.calibration) == 10

    def test_the_run_holds_all_that_is_needed_to_judge_it(self, trained: tuple[Job, TrainResult]) -> None:
        job, result = trained
        client = job.tracking.client
        version = client.get_model_version("opportune-churn", "1")
        run = client.get_run(version.run_id)
        files = {file.path for file in client.list_artifacts(version.run_id)}
        plots = {Path(file.path).name for file in client.list_artifacts(version.run_id, "plots")}
        assert {"card.md", "features.txt", "judged.parquet"} <= files
        assert plots == {"calibration.png", "lift.png", "roc_pr.png", "importance.png", "effects.png"}
        assert run.info.status == "FINISHED"
        assert run.data.metrics["auc"] == pytest.approx(result.metrics["auc"])
        assert {"auc.low", "recency.auc", "fold.auc"} <= set(run.data.metrics)
        assert run.data.params["population"] == "orders_total >= 1 and days_since_last_order < 56"
        assert run.data.params["embargo_days"] == "56"
        (data,) = run.inputs.dataset_inputs
        assert data.dataset.digest == run.data.tags["opportune.data"]
        assert "rows" in json.loads(data.dataset.profile)
        assert len(client.get_metric_history(version.run_id, "fold.auc")) >= 2

    def test_the_card_says_for_whom_how_good_and_what_was_left_out(self, trained: tuple[Job, TrainResult]) -> None:
        job, result = trained
        card = job.tracking.client.get_model_version("opportune-churn", "1").description
        assert card.startswith("# opportune-churn: No order within 56 days")
        for part in ("## Who is scored", "days_since_last_order < 56", "| AUC |", result.verdict, "orders_365d",
                     "may not be profiled", "the same for everybody"):  # fmt: skip
            assert part in card

    def test_the_folder_is_served_as_it_was_trained(self, trained: tuple[Job, TrainResult]) -> None:
        job, _ = trained
        found = champion(job.tracking, "churn")
        assert found is not None
        version, folder = found
        model = load(folder, version)
        verify_golden(model, folder)
        twin = load(folder / "twin")
        assert twin.trained["labels_until"] < model.trained["labels_until"]
        assert "orders_365d" not in model.features

    def test_mlflow_loads_it_as_a_function(self, trained: tuple[Job, TrainResult]) -> None:
        import mlflow.pyfunc

        job, _ = trained
        version, folder = champion(job.tracking, "churn") or ("", Path())
        model = load(folder, version)
        source = job.tracking.client.get_model_version("opportune-churn", version).source
        function = mlflow.pyfunc.load_model(source)
        frame = pl.read_parquet(folder / "golden.parquet")
        np.testing.assert_allclose(function.predict(frame.select(model.columns).to_pandas()), frame["golden_expected"])
        assert function.metadata.signature.inputs.input_names() == list(model.columns)
        assert function.input_example is not None

    def test_training_again_on_the_same_data_changes_nothing_that_serves(
        self, trained: tuple[Job, TrainResult]
    ) -> None:
        job, first = trained
        again = train_propensity(churn.DECLARATION, job)
        assert (again.version, again.promoted) == ("2", False)
        assert "does not beat champion 1" in again.verdict
        assert again.metrics == first.metrics
        assert aliases(job.tracking, "churn") == {"champion": "1", "challenger": "2"}

    def test_a_worse_champion_is_replaced(self, trained: tuple[Job, TrainResult]) -> None:
        job, _ = trained
        poor = replace(churn.DECLARATION, features=("days_since_last_order", "preferred_order_hour"))
        worse = train_propensity(poor, job)
        assert worse.version is not None
        promote(job.tracking, "churn", worse.version)  # by hand, against the gate
        better = train_propensity(churn.DECLARATION, job)
        assert better.promoted, better.verdict
        assert f"beats champion {worse.version}" in better.verdict

    def test_a_champion_of_another_question_is_not_compared(self, trained: tuple[Job, TrainResult]) -> None:
        job, _ = trained
        before = aliases(job.tracking, "churn")["champion"]
        other = replace(churn.DECLARATION, horizon_days=28, goal=replace(churn.DECLARATION.goal, noun="leavers"))
        found = train_propensity(other, job)
        assert found.version is not None
        assert not found.promoted
        assert f"champion {before} answers another question (horizon_days 56, not 28)" in found.verdict
        assert "`opportune promote churn VERSION`" in found.verdict
        assert aliases(job.tracking, "churn") == {"champion": before, "challenger": found.version}


def test_a_champion_is_judged_on_what_it_has_not_learnt_from_and_its_twin_in_its_place(tmp_path: Path) -> None:
    """Outcomes of a cut at which its labels end, and later ones, are new to it."""
    model = propensity()
    twin = replace(model, mix=1.0, trained={"labels_until": "2025-12-01T00:00:00+00:00"})
    for one, folder in ((model, tmp_path), (twin, tmp_path / "twin")):
        folder.mkdir(exist_ok=True)
        one.save(folder)
    times = [datetime(2025, 11, 30, tzinfo=UTC), datetime(2025, 12, 1, tzinfo=UTC), datetime(2025, 12, 31, tzinfo=UTC),
             datetime(2026, 1, 1, tzinfo=UTC)]  # fmt: skip
    rows = propensity_rows(3, 4).with_columns(as_of=pl.Series(times, dtype=pl.Datetime("us", "UTC")))
    labels = np.array([1.0, 0.0, 1.0, 0.0])
    gains, reason = champion_gain(model.declaration, ("7", tmp_path), rows, labels)
    assert reason is None
    assert gains is not None
    expected = np.r_[np.nan, -log_losses(labels, twin.predict(rows))[1:3], -log_losses(labels, model.predict(rows))[3]]
    np.testing.assert_array_equal(gains, expected)
    assert champion_gain(model.declaration, ("7", tmp_path), rows[:1], labels[:1]) == (
        None, "champion 7 has learnt from all outcomes known so far; wait for newer ones",
    )  # fmt: skip


def test_what_differs_between_two_questions_is_named() -> None:
    goal, asked = churn.DECLARATION.goal, churn.DECLARATION
    for other, said in (
        (replace(asked, goal=replace(goal, event="redeemed")), "goal.event redeemed, not ordered"),
        (replace(asked, goal=replace(goal, where="revenue_cents > 5")), "goal.where revenue_cents > 5, not none"),
        (replace(asked, goal=replace(goal, happens=True)), "goal.happens true, not false"),
        (replace(asked, horizon_days=7, attribution_days=3.0), "horizon_days 7, not 56; attribution_days 3, not none"),
        (replace(asked, title="x", population=(), features=("orders_90d",), goal=replace(goal, noun="x")), ""),
    ):
        assert differs(asked, other) == said


def _refused(home: Path, events: pl.DataFrame, declaration: object = churn.DECLARATION, **more: datetime) -> str:
    job = _job(home, events, **more)
    result = train_propensity(declaration, job)  # type: ignore[arg-type]
    assert result.version is None
    assert not result.promoted
    assert not (home / "mlartifacts").exists()
    return result.verdict


def test_no_events_are_no_model(tmp_path: Path) -> None:
    assert "opportune ingest" in _refused(tmp_path, EVENTS.empty())


def test_too_short_a_time_is_said_in_days(tmp_path: Path) -> None:
    assert "more days are needed" in _refused(tmp_path, shop_history(30, 90))


def test_too_few_outcomes_are_counted(tmp_path: Path) -> None:
    verdict = _refused(tmp_path, shop_history(40, 260, redemption=0.1), lead.DECLARATION)
    assert "of 100 first redemptions in the 154 days that can be looked at" in verdict


def _seldom(every_days: float, days: int = 900, customers: int = 40) -> pl.DataFrame:
    """A shop that is looked at all the time, where now and then somebody upgrades."""
    views = [(f"c{who}", "Product Viewed", day) for who in range(customers) for day in range(who % 20, days, 20)]
    upgrades = [(f"c{n % customers}", "Plan Upgraded", n * every_days) for n in range(int(days / every_days))]
    rows = views + upgrades
    return EVENTS.conform(
        pl.DataFrame(
            {
                "message_id": [f"e{number}" for number in range(len(rows))],
                "type": "track",
                "event": [event for _, event, _ in rows],
                "customer_id": [who for who, _, _ in rows],
                "timestamp": [START + day * DAY for _, _, day in rows],
                "received_at": [START + day * DAY for _, _, day in rows],
                "properties": "{}",
            }
        )
    )


UPGRADE = Declaration(
    "upgrade",
    "upgrades",
    (Rule("tenure_days >= 0"),),
    Goal("Plan Upgraded", noun="upgrades"),
    14,
    "days_since_last_event",
)


def test_seldom_outcomes_are_looked_for_in_older_dates(tmp_path: Path) -> None:
    data = gather(UPGRADE, _job(tmp_path, _seldom(6)))
    assert len(data.cuts) > datasets.CUTS
    assert data.events_seen(happens=True) >= 100


def test_frequent_outcomes_are_looked_for_in_a_year(tmp_path: Path) -> None:
    assert len(gather(UPGRADE, _job(tmp_path, _seldom(2))).cuts) == datasets.CUTS


def test_the_wait_is_told_by_the_days_that_were_counted(tmp_path: Path) -> None:
    verdict = _refused(tmp_path, _seldom(12), UPGRADE)
    found = re.match(r"(\d+) of 100 upgrades in the (\d+) days that can be looked at, about (\d+) more days", verdict)
    assert found is not None, verdict
    seen, days, wait = map(int, found.groups())
    assert seen == pytest.approx(days / 12, abs=2)
    assert days + wait == pytest.approx(1200, abs=40)


def test_no_wait_is_told_where_waiting_never_helps(tmp_path: Path) -> None:
    verdict = _refused(tmp_path, _seldom(40), UPGRADE)
    assert "at this rate there are never enough in 1456 days, the most that are looked at" in verdict


def test_outcomes_among_drawn_rows_are_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "ROWS", 320)
    verdict = _refused(tmp_path, _seldom(6), UPGRADE)
    assert re.search(r"of 100 upgrades among \d+ rows drawn from \d+; a narrower population", verdict), verdict


def test_one_outcome_only_is_named(tmp_path: Path) -> None:
    events = shop_history(120, 260).filter(pl.col("event") != "Order Completed")
    all_leave = replace(churn.DECLARATION, population=(Rule("deliveries_total >= 1", ""),))
    assert "one outcome only" in _refused(tmp_path, events, all_leave)


def test_an_empty_population_is_named(tmp_path: Path) -> None:
    events = shop_history(40, 260).filter(pl.col("event") != "Order Completed")
    verdict = _refused(tmp_path, events)
    assert "nobody belongs to the population (orders_total >= 1" in verdict
    assert "; see 'opportune features --explain orders_total'" in verdict


def test_only_what_was_known_then_is_used(tmp_path: Path) -> None:
    assert "more days are needed" in _refused(tmp_path, shop_history(60, 300), as_of=START + 100 * DAY)


def test_constant_and_missing_columns_are_found() -> None:
    nan = float("nan")
    frame = pl.DataFrame({"same": [1.0, 1.0], "absent": [nan, nan], "some": [nan, 1.0], "differs": [1.0, 2.0]})
    assert varying(frame, frame.columns) == ("some", "differs")


def test_tiers_hold_their_shares_and_never_promise_more_below() -> None:
    random = np.random.default_rng(1)
    p = random.beta(1, 20, 5000)
    found = tiers(lead.DECLARATION, p, (random.random(5000) < p).astype(float))
    assert [tier.name for tier in found] == ["A", "B", "C", "D"]
    assert found[-1].least == 0
    assert (p >= found[0].least).mean() == pytest.approx(0.1, abs=0.01)
    expected = [tier.expected for tier in found]
    assert expected == sorted(expected, reverse=True)
    assert tiers(replace(lead.DECLARATION, tiers=()), p, p) == ()


@pytest.mark.parametrize(("buying", "told"), [(0, False), (1, True)])
def test_the_card_tells_what_bg_nbd_reads_though_the_rest_may_not(buying: int, told: bool) -> None:
    learnt: Any = SimpleNamespace(
        features=["orders_7d", "days_since_last_order"], dated=[], recipe=SimpleNamespace(buying=buying)
    )
    data: Any = SimpleNamespace(features=learnt.features, period=SimpleNamespace(late=0, strays=0))
    left_out, *more = _notes(churn.DECLARATION, learnt, data)
    assert "orders_total" in left_out
    assert bool(more) == told
    assert all("BG/NBD, a part of 25%, reads orders_total, orders_365d, order_days_365d" in note for note in more)


def test_no_model_serves_that_is_worse_than_one_promise_for_everybody() -> None:
    """The plain baseline may be worse than that, where things have changed; then nearly anything beats it."""
    n = 1000
    labels = np.arange(n) % 5 == 0
    test = pl.DataFrame({"customer_id": [f"c{number}" for number in range(n)], "label": labels.astype(np.int8)})
    fold = SimpleNamespace(baseline=np.full(n, 3.0), rivals={"base_rate": np.full(n, 0.2)})
    for promise, promoted in ((0.4, False), (np.where(labels, 0.6, 0.1), True)):
        learnt: Any = SimpleNamespace(predictions=np.broadcast_to(promise, n), judged=[fold], alone={})
        verdict = _judge(churn.DECLARATION, learnt, test, None)
        assert verdict.promote is promoted, verdict.text
        assert ("does not beat the share of before (base rate)" in verdict.text) is not promoted


def test_a_trait_that_tells_the_outcome_alone_waits_for_a_person(tmp_path: Path) -> None:
    """Once a version with it has been promoted by hand, those after it pass."""
    n = 1000
    labels = np.arange(n) % 5 == 0
    days = [datetime(2026, 6, 1, tzinfo=UTC)] * n
    test = propensity_rows(3, n).with_columns(
        customer_id=pl.format("c{}", pl.int_range(n)),
        label=pl.Series(labels.astype(np.int8)),
        as_of=pl.Series(days, dtype=pl.Datetime("us", "UTC")),
    )
    told = np.where(labels, 0.999, 0.001)
    fold = SimpleNamespace(baseline=np.zeros(n), rivals={"base_rate": np.full(n, 0.2)})
    learnt: Any = SimpleNamespace(predictions=told, judged=[fold], alone={"lead_score": 0.99})
    first = _judge(propensity().declaration, learnt, test, None)
    assert not first.promote
    assert first.text.startswith("not promoted: too good to be true: on later data the outcome is told alone by lead_")
    for tells_alone, promoted in (([], False), (["lead_score"], True)):
        trained = {"labels_until": "2026-05-01T00:00:00+00:00", "tells_alone": tells_alone}
        folder = tmp_path / str(promoted)
        folder.mkdir()
        replace(propensity(), trained=trained).save(folder)
        assert _judge(propensity().declaration, learnt, test, ("7", folder)).promote is promoted


def test_what_is_missing_names_the_days_that_do_not_count(tmp_path: Path) -> None:
    """Two times seventy days of events, and a year between them."""
    first, second = shop_history(60, 70), shop_history(60, 70)
    moved = second.with_columns(
        pl.format("{}-later", "message_id").alias("message_id"), pl.col("timestamp", "received_at") + 455 * DAY
    )
    with pytest.raises(TooLittle, match=r"more days are needed; without 20\d\d-.* to 20\d\d-.*, when nothing was coll"):
        gather(churn.DECLARATION, _job(tmp_path, pl.concat([first, moved])))
