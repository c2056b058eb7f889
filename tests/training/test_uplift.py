"""Uplift from randomized tests with known effects: found where it is, denied where it is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest

from features.event_log import EventLog
from features.tables import DECISIONS
from models.load import load, verify_golden
from models.uplift import Input, Money
from service.events.frame import events_frame
from service.events.normalize import Rules, normalize
from tests.fakes.uplift_trials import trial
from training import tracking, uplift_judge
from training.uplift import NotRandomized, learn, train_uplift
from training.uplift_data import Columns, OfFile, Study, TooFew, from_file, from_log
from training.uplift_judge import apply, balance, choose
from training.uplift_learners import LEARNERS, ONE_RULE, Trial, divide
from training.uplift_report import NONE_USABLE

MONEY = Money(10.0, 0.5)


@pytest.fixture(autouse=True)
def one_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uplift_judge, "SPLITS", 1)


@pytest.mark.parametrize("name", [*LEARNERS, "one rule"])
def test_every_learner_finds_who_is_moved(name: str) -> None:
    learner = {**LEARNERS, "one rule": ONE_RULE}[name]
    told, asked = trial(4000, True), trial(2000, True, seed=2)
    found = apply(learner(told), asked.rows)
    moved = asked.rows[:, 0] > 0
    assert found[moved].mean() > found[~moved].mean() + 0.15
    assert found.mean() == pytest.approx(0.1, abs=0.05)


def test_pseudo_outcomes_estimate_the_effect_of_any_group() -> None:
    asked = trial(8000, True)
    moved = asked.rows[:, 0] > 0
    assert asked.pseudo_outcomes[moved].mean() == pytest.approx(0.3, abs=0.04)
    assert asked.pseudo_outcomes[~moved].mean() == pytest.approx(-0.1, abs=0.04)


def test_a_customers_rows_stay_in_one_fold_and_folds_are_alike() -> None:
    asked = replace(trial(3000, True), customers=np.arange(3000) // 3)
    folds = divide(asked, 5, 0)
    assert (folds.reshape(-1, 3) == folds[::3, None]).all()
    each = trial(3000, True)
    shares = [each.outcome[(divide(each, 5, 0) == fold) & (each.treated == 1)].mean() for fold in range(5)]
    assert max(shares) - min(shares) < 0.01


def test_differing_effects_are_found_and_told_in_money() -> None:
    model, judged, report, verdict = learn(_study(trial(2500, True)), "t", MONEY)
    assert judged.usable
    assert judged.qini.low > 0
    assert "persuadable" in verdict
    segments = {one["name"]: one for one in report["segments"]}
    assert sum(one["customers"] for one in segments.values()) == 2500
    assert segments["persuadable"]["observed"]["value"] == pytest.approx(0.3, abs=0.06)
    assert segments["do_not_disturb"]["observed"]["high"] < 0
    assert segments["do_not_disturb"]["worth"]["high"] < 0
    ways = report["policies"]
    assert ways["persuadables"]["value"] > ways["all"]["value"] > ways["by_response"]["value"] - 200
    assert ways["persuadables"]["value"] == pytest.approx(1250 * (0.3 * 10 - 0.5), rel=0.3)
    assert model.predict(pl.DataFrame({"a": [2.0, -2.0], "b": [0.0, 0.0], "c": [0.0, 0.0]})).tolist()[0] > 0.1
    orjson.dumps(report)


def test_the_same_effect_for_all_is_no_heterogeneity() -> None:
    _, judged, report, verdict = learn(_study(trial(2000, False, seed=2)), "t", MONEY)
    assert not judged.usable
    assert verdict.startswith(NONE_USABLE)
    assert "contacting all pays" in verdict
    assert report["segments"] == []


def test_the_plainest_of_learners_as_good_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = trial(2000, True)
    assert choose(trial(2000, False), 0) == next(iter(LEARNERS))
    blind = {"blind": lambda one: LEARNERS["two logistic models"](_blind(one)), **LEARNERS}
    monkeypatch.setattr(uplift_judge, "LEARNERS", blind)
    assert choose(asked, 0) != "blind"


def _blind(one: Trial) -> Trial:
    return replace(one, treated=np.random.default_rng(0).permutation(one.treated))


def test_treatment_that_was_not_random_is_refused() -> None:
    fair = trial(2000, True)
    assert balance(fair).random
    chosen = replace(
        fair, treated=(np.nan_to_num(fair.rows[:, 1]) + np.random.default_rng(1).normal(size=2000) > 0) * 1.0
    )
    assert not balance(chosen).random
    with pytest.raises(NotRandomized, match="--ignore"):
        learn(_study(chosen), "t", MONEY)


def _study(one: Trial) -> Study:
    columns: dict[str, Any] = {name: one.rows[:, place] for place, name in enumerate("abc")}
    frame = pl.DataFrame({"customer_id": one.customers.astype(str), **columns, "_treated": one.treated,
                          "_outcome": one.outcome})  # fmt: skip
    return Study(frame, tuple(map(Input, "abc")), "test", "ordered", None)


@pytest.fixture
def own_test(tmp_path: Path) -> Path:
    one = trial(2400, True)
    arms = np.where(one.treated == 1, "mail", "none")
    third = np.arange(2400) % 6 == 5
    frame = pl.DataFrame({
        "x": one.rows[:, 0], "y": one.rows[:, 1], "town": np.where(one.rows[:, 2] > 0, "A", "B"), "same": 1,
        "arm": np.where(third, "other", arms), "bought": one.outcome.astype(int), "spent": one.outcome * 9,
    })  # fmt: skip
    frame.write_csv(tmp_path / "own.csv")
    return tmp_path / "own.csv"


def test_a_users_own_test(own_test: Path, tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events")
    study = from_file(own_test, Columns("arm", "bought", "mail", "none", ("spent",)), tmp_path, log)
    assert study.frame.height == 2000
    assert {one.name for one in study.inputs} == {"x", "y", "town=A", "town=B"}
    for columns, message in (
        (Columns("arm", "bought", "post"), "never holds 'post'"),
        (Columns("arms", "bought"), "no column arms"),
        (Columns("arm", "bought"), "must be 0 or 1"),
        (Columns("arm", "spent", "mail"), "must be 0 or 1"),
    ):
        with pytest.raises(ValueError, match=message):
            from_file(own_test, columns, tmp_path, log)
    pl.read_csv(own_test).head(100).write_parquet(tmp_path / "few.parquet")
    with pytest.raises(TooFew, match="100 together"):
        from_file(tmp_path / "few.parquet", Columns("arm", "bought", "mail", "none"), tmp_path, log)
    pl.DataFrame({"arm": [1, 0], "bought": [True, None]}).write_parquet(tmp_path / "gap.parquet")
    with pytest.raises(ValueError, match=r"bought holds .* it must be 0 or 1 in every row"):
        from_file(tmp_path / "gap.parquet", Columns("arm", "bought"), tmp_path, log)


def test_ids_of_a_csv_are_texts_as_they_stand(own_test: Path, tmp_path: Path) -> None:
    """As a number, `0007` was nobody of whom it is known that they refused to be learnt from."""
    told = pl.read_csv(own_test).with_columns(customer_id=pl.format("0{}", pl.int_range(pl.len()) + 1000))
    told.write_csv(tmp_path / "ids.csv")
    (tmp_path / "tables").mkdir()
    refused = pl.DataFrame({"customer_id": ["01000", "01001", "1002"], "profiling": [False, True, False]})
    refused.write_parquet(tmp_path / "tables" / "customers.parquet")
    study = from_file(
        tmp_path / "ids.csv", Columns("arm", "bought", "mail", "none", ("spent",)), tmp_path, EventLog(tmp_path / "e")
    )
    assert study.excluded == 1
    assert "01001" in study.frame["customer_id"]
    assert "01000" not in study.frame["customer_id"]


def test_another_separator_than_a_comma_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("arm;bought;age\nmail;1;30\n")
    with pytest.raises(ValueError, match=r"has no column arm, bought; .* separate its values by commas"):
        from_file(tmp_path / "a.csv", Columns("arm", "bought"), tmp_path, EventLog(tmp_path / "events"))


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.csv", "arm;bought;spent\nmail;1;30,5\n"), ("empty.csv", ""), ("a.parquet", "arm,bought\n")],
    ids=["decimal commas", "empty", "no Parquet"],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=rf"{name} cannot be read: ") as refused:
        from_file(tmp_path / name, Columns("arm", "bought"), tmp_path, EventLog(tmp_path / "events"))
    assert ("separate its values by commas" in str(refused.value)) == name.endswith(".csv")


def test_a_test_in_which_everybody_did_it_tells_nothing(own_test: Path, tmp_path: Path) -> None:
    pl.read_csv(own_test).with_columns(bought=1).write_parquet(tmp_path / "all.parquet")
    with pytest.raises(TooFew, match="0 of 100 customers without bought, among 2000"):
        from_file(
            tmp_path / "all.parquet", Columns("arm", "bought", "mail", "none"), tmp_path, EventLog(tmp_path / "e")
        )


@pytest.mark.parametrize(
    ("told", "said"),
    [(["2026-01-01T00:00:00Z", "yesterday"], "'yesterday'"), ([None, None], "None"), ([1.5, 2.5], "1.5")],
)
def test_a_time_that_is_none_is_named(told: list[Any], said: str, tmp_path: Path) -> None:
    rows = {"arm": [1, 0], "bought": [1, 0], "customer_id": ["a", "b"], "as_of": told}
    pl.DataFrame(rows).write_parquet(tmp_path / "times.parquet")
    with pytest.raises(ValueError, match=f"as_of holds {said}; write times such as"):
        from_file(tmp_path / "times.parquet", Columns("arm", "bought"), tmp_path, EventLog(tmp_path / "events"))


def test_infinite_numbers_of_a_file_are_unknown(own_test: Path, tmp_path: Path) -> None:
    """One of them in a column, and a regression saw no difference between all the others."""
    columns, log = Columns("arm", "bought", "mail", "none", ("spent",)), EventLog(tmp_path / "events")
    told = pl.read_csv(own_test).with_row_index("row")
    found = []
    for wrong in (float("inf"), None):
        hurt = pl.when(pl.col("row") % 50 == 0).then(wrong).otherwise("x")
        told.with_columns(hurt.alias("x")).drop("row").write_parquet(tmp_path / "hurt.parquet")
        found.append(from_file(tmp_path / "hurt.parquet", columns, tmp_path, log).trial)
    np.testing.assert_array_equal(found[0].rows, found[1].rows)
    assert np.isfinite(found[0].before.scale).all()
    assert found[0].before.scale.max() < 10


@pytest.mark.slow
def test_training_reports_registers_and_promotes_only_what_is_usable(own_test: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    columns = Columns("arm", "bought", "mail", "none", ("spent",))
    result, told = train_uplift(tmp_path, uri, "own test", test=OfFile(own_test, columns), value=10, cost=0.5)
    assert (result.name, result.version, result.promoted) == ("uplift-own-test-2e6efb63", "1", True)
    written = orjson.loads((tmp_path / "reports" / "uplift" / "own-test-2e6efb63.json").read_bytes())
    assert written["qini"]["value"] == told["qini"]["value"]
    assert (tmp_path / "reports" / "uplift" / "own-test-2e6efb63.png").read_bytes().startswith(b"\x89PNG")
    found = tracking.champion(tracking.Tracking.at(uri, tmp_path), "uplift-own-test-2e6efb63")
    assert found is not None
    model = load(found[1], "1")
    verify_golden(model, found[1])
    assert not model.serves
    other = trial(2400, False, seed=2)
    arms = pl.Series(np.where(other.treated == 1, "mail", "none"))
    same = pl.DataFrame(other.rows, schema=["x", "y", "z"])
    same.with_columns(bought=other.outcome.astype(int), arm=arms, spent=1).write_csv(own_test)
    result, _ = train_uplift(tmp_path, uri, "own test", test=OfFile(own_test, columns), value=10, cost=0.5)
    assert (result.version, result.promoted) == ("2", False)
    assert "version 1, of an earlier test, stays champion" in result.verdict
    assert tracking.aliases(tracking.Tracking.at(uri, tmp_path), "uplift-own-test-2e6efb63")["champion"] == "1"


def _home(home: Path, customers: int) -> datetime:
    """Orders and decisions: those who had ordered before order again when contacted, the others never mind."""
    random = np.random.default_rng(3)
    start = datetime(2026, 3, 1, tzinfo=UTC)
    events: list[dict[str, Any]] = []
    decisions: list[dict[str, Any]] = []
    for number in range(customers):
        who, arm = f"c{number}", "random" if random.random() < 0.5 else "holdout"
        loyal = random.random() < 0.5
        days = [-9.5 - number % 7] * loyal + [-40.5]
        days += [3.0] * int(random.random() < 0.15 + 0.4 * (loyal and arm == "random")) + [40.0]
        events += [_order(f"{number}-{day}", who, start + timedelta(days=day)) for day in days]
        decisions += _decision(f"d{number}", who, start, arm)
        decisions += _decision(f"later{number}", who, start + timedelta(days=2), arm)
    rows = [normalize(message, Rules(), start + timedelta(days=60), imported=True) for message in events]
    EventLog(home / "events").append(events_frame(rows), "all")
    (home / "tables").mkdir()
    DECISIONS.validate(pl.DataFrame(decisions, schema=DECISIONS.schema)).write_parquet(
        home / "tables/decisions.parquet"
    )
    return start


def _order(name: str, who: str, at: datetime) -> dict[str, Any]:
    return {"type": "track", "event": "Order Completed", "userId": who, "messageId": name,
            "timestamp": at.isoformat(), "properties": {"revenue": 5, "order_id": name}}  # fmt: skip


def _decision(name: str, who: str, at: datetime, arm: str) -> list[dict[str, Any]]:
    head = {"decision_id": name, "customer_id": who, "decided_at": at, "placement": "weekly", "arm": arm,
            "policy": "default", "policy_version": "1", "probability": None, "expected_value": None, "send_at": None,
            "propensity": 0.5}  # fmt: skip
    sent = arm == "random"
    return [{**head, "offer_id": "o", "channel": "email", "rank": 1 if sent else None, "chosen": sent},
            {**head, "offer_id": None, "channel": None, "rank": None if sent else 1, "chosen": not sent}]  # fmt: skip


def test_the_decision_logs_random_and_holdout_arms_are_a_test(tmp_path: Path) -> None:
    start = _home(tmp_path, 1000)
    log = EventLog(tmp_path / "events")
    now = start + timedelta(days=60)
    study = from_log(tmp_path, log, "weekly", "ordered", timedelta(days=14), now)
    assert study.frame.height == 1000
    assert study.frame["as_of"].n_unique() == 1
    assert study.frame.filter(pl.col("_treated") == 1).height == pytest.approx(500, abs=60)
    assert {one.column for one in study.inputs} >= {"orders_30d", "days_since_last_order"}
    model, judged, _, _ = learn(study, "weekly", MONEY)
    assert judged.usable
    assert model.serves
    loyal = study.frame["orders_30d"] == 1
    found = model.predict(study.frame)
    assert found[loyal].mean() > found[~loyal].mean() + 0.2
    for placement, message in (
        ("a.b", r'no matured decision at a\.b .* \[placements\."a\.b"\.arms\]'),
        ("weekly", "name of an event"),
    ):
        with pytest.raises(TooFew, match=message):
            from_log(tmp_path, log, placement, "Ordred" if placement == "weekly" else "ordered", timedelta(14), now)
    result, told = train_uplift(tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}", "nowhere", as_of=now)
    assert (result.version, result.promoted, told["usable"]) == (None, False, False)


def test_only_customers_whose_arm_was_drawn_while_there_were_both_are_compared(tmp_path: Path) -> None:
    """The random arm was given a share ten days after the others: some came to it from the model's, most are new."""
    start = _home(tmp_path, 1000)
    path = tmp_path / "tables/decisions.parquet"
    before = list[dict[str, Any]]()
    for number in range(400):
        arm = "holdout" if number % 4 == 0 else "model"
        before += _decision(f"before{number}", f"c{number}", start - timedelta(days=10), arm)
    pl.concat([pl.read_parquet(path), pl.DataFrame(before, schema=DECISIONS.schema)]).write_parquet(path)
    study = from_log(tmp_path, EventLog(tmp_path / "events"), "weekly", "ordered", timedelta(14),
                     start + timedelta(days=60))  # fmt: skip
    assert set(study.frame["customer_id"]) == {f"c{number}" for number in range(400, 1000)}
    assert set(study.frame["as_of"]) == {start}


def test_what_had_not_arrived_as_of_then_is_no_outcome(tmp_path: Path) -> None:
    """As of the same time a test says the same, whenever it is asked: not what a file of orders brought since."""
    start = _home(tmp_path, 600)
    log, now = EventLog(tmp_path / "events"), start + timedelta(days=60)
    before = from_log(tmp_path, log, "weekly", "ordered", timedelta(days=14), now)
    late = [_order(f"late{number}", f"c{number}", start + timedelta(days=5)) for number in range(600)]
    rows = [normalize(message, Rules(), now + timedelta(days=1), imported=True) for message in late]
    told = events_frame(rows).with_columns(received_at=pl.lit(now + timedelta(days=1), pl.Datetime("us", "UTC")))
    log.append(told, "late")
    again = from_log(tmp_path, log, "weekly", "ordered", timedelta(days=14), now)
    assert again.frame["_outcome"].sum() == before.frame["_outcome"].sum() < 400


def test_only_matured_decisions_that_could_send_something_are_compared(tmp_path: Path) -> None:
    """The log ends forty days after the first decisions; the outcome takes fourteen."""
    start = _home(tmp_path, 600)
    path = tmp_path / "tables/decisions.parquet"
    more = _decision("old", "c-old", start + timedelta(days=26), "random")
    more += _decision("young", "c-young", start + timedelta(days=26, microseconds=2), "random")
    more += _decision("barred", "c-barred", start, "holdout")[1:]
    pl.concat([pl.read_parquet(path), pl.DataFrame(more, schema=DECISIONS.schema)]).write_parquet(path)
    now = start + timedelta(days=60)
    study = from_log(tmp_path, EventLog(tmp_path / "events"), "weekly", "ordered", timedelta(days=14), now)
    assert set(study.frame["customer_id"]) == {"c-old", *(f"c{number}" for number in range(600))}
