"""Who takes part in the measurement of a placement's arms: everybody decided for, once, in the arm they were in."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from service.decisions.enrol_decided import EnrolDecided
from service.decisions.impact_store import end_of_portion, first_decided, in_another_arm, not_enrolled, not_enrolled_of
from service.decisions.read_impact import read_impact
from service.decisions.rules import RuleBook
from service.experiments.define_experiment import get_experiments
from service.experiments.evaluate_flags import evaluate_flag, evaluate_flags
from service.experiments.experiment_store import find_experiment, find_exposures, save_experiment, standing_tests
from service.experiments.join_subjects import join_subjects
from service.experiments.record_outcomes import apply_outcomes, erase_subject, exported
from service.experiments.record_seen import SEEN
from service.storage.database import Database
from tests.fakes.decisions import NOON, settings
from tests.fakes.impact import HALF, Measured
from tests.fakes.learning import event_of
from tests.fakes.plans import plans_of, sqlite_at


def test_everybody_decided_for_is_enrolled_once_in_their_arm(database: Database) -> None:
    measured = Measured(database)
    arms = Counter(decision["arm"] for decision in measured.decide_for(60))
    measured.passes()
    measured.decide_for(60)  # again: their first decision counts
    measured.passes()
    assert measured.customers() == dict(arms)
    with database.read() as connection:
        first = find_exposures(connection, ["c0"])[0]
    assert first.at == NOON + timedelta(seconds=1)


def test_who_buys_before_the_chore_looks_is_enrolled_first(database: Database) -> None:
    measured = Measured(database)
    decision = measured.decide("c0")
    measured.happens("Order Completed", decision, revenue_cents=900)
    measured.passes()
    arm = next(one for one in measured.impact()["arms"] if one["customers"])
    assert (arm["arm"], arm["revenue_per_customer"], arm["buyers"]) == (decision["arm"], 9.0, 1.0)


def test_others_who_were_decided_for_before_a_buyer_are_enrolled_too(database: Database) -> None:
    measured = Measured(database)
    made = measured.decide_for(20)
    measured.happens("Order Completed", made[-1], revenue_cents=900)
    measured.passes()
    assert sum(measured.customers().values()) == 20


def test_an_order_before_the_first_decision_does_not_count(database: Database) -> None:
    measured = Measured(database)
    measured.happens("Order Completed", {"customer_id": "c0", "decision_id": None}, revenue_cents=900)
    measured.decide("c0")
    measured.passes()
    assert sum(arm["revenue_per_customer"] or 0 for arm in measured.impact()["arms"]) == 0


@pytest.mark.parametrize("event", ["Unsubscribed", "Email Unsubscribed", "SMS Unsubscribed"])
def test_who_leaves_counts_by_whatever_name_that_is_told(database: Database, event: str) -> None:
    measured = Measured(database)
    decision = measured.decide("c0")
    measured.happens(event, decision)
    measured.happens(event, decision)
    arm = next(one for one in measured.impact()["arms"] if one["customers"])
    assert (arm["unsubscribed"], arm["complained"]) == (1.0, 0.0)


def test_what_was_bought_before_is_taken_out_of_the_noise(database: Database) -> None:
    """As it was known at the first decision; who was unknown then changes nothing."""
    measured = Measured(database)
    asked: list[tuple[str, str, datetime]] = []

    def bought(customer_id: str, feature: str, at: datetime) -> float | None:
        asked.append((customer_id, feature, at))
        return None if customer_id == "c0" else float(customer_id[1:])

    measured.process(covariate=bought)
    made = measured.decide_for(30)
    measured.passes()
    assert asked[1] == ("c1", "revenue_cents_365d", NOON + timedelta(seconds=2))
    for number, decision in enumerate(made):
        measured.happens("Order Completed", decision, revenue_cents=10 * number + number % 3)
    assert measured.impact()["variance_reduction"] > 0.9


def test_what_comes_behind_the_window_does_not_count(database: Database) -> None:
    measured = Measured(database)
    decision = measured.decide("c0")
    measured.passes()
    measured.desk.clock.forward(days=27)
    measured.happens("Order Completed", decision, revenue_cents=900)
    measured.desk.clock.forward(days=1)
    measured.happens("Order Completed", decision, revenue_cents=5_000)
    assert next(one["revenue_per_customer"] for one in measured.impact()["arms"] if one["customers"]) == 9.0


def test_portions_go_on_where_they_stopped(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.decisions.enrol_decided.AT_ONCE", 7)
    measured = Measured(database)
    measured.decide_for(40)
    measured.passes()
    assert sum(measured.customers().values()) == 40


def test_another_process_goes_on(database: Database) -> None:
    """Also one that begins after decisions that nobody looked at."""
    measured = Measured(database)
    measured.decide_for(10)
    measured.passes()
    measured.decide_for(30)
    measured.process()
    measured.passes()
    assert sum(measured.customers().values()) == 30
    with database.read() as connection:
        assert len(standing_tests(connection)) == 1


def test_what_was_decided_before_it_was_measured_is_left_out(database: Database) -> None:
    """What these customers did is known no more."""
    measured = Measured(database)
    measured.decide_for(10)
    measured.process()
    measured.decide("late")
    measured.passes()
    assert sum(measured.customers().values()) == 1


@pytest.mark.parametrize("again", [False, True])
def test_a_clock_that_was_ahead_for_a_while_leaves_nobody_out(database: Database, again: bool) -> None:
    """Until it had come so far, who was decided for took part only by buying."""
    measured = Measured(database)
    measured.decide("c0")
    measured.passes()
    now = measured.desk.clock.time
    measured.desk.clock.time = now + timedelta(days=300)
    measured.passes()
    measured.desk.clock.time = now
    if again:
        measured.process()
    measured.decide_for(5)
    measured.passes()
    assert sum(measured.customers().values()) == 5


def test_decisions_that_waited_on_the_disk_are_looked_for(database: Database) -> None:
    measured = Measured(database)
    measured.decide("c0")
    measured.passes()
    came = [0]
    measured.process(brought_in=lambda: came[0])
    measured.passes()
    now, measured.desk.clock.time = measured.desk.clock.time, NOON + timedelta(seconds=5)
    measured.decide("spooled")  # is written with the time at which it was made
    measured.desk.clock.time = now
    measured.passes()
    assert sum(measured.customers().values()) == 1
    came[0] = 1
    measured.passes()
    assert sum(measured.customers().values()) == 2


def test_a_decision_as_of_another_time_exposes_nobody(database: Database) -> None:
    measured = Measured(database)
    measured.decide("c0")
    measured.passes()
    then = measured.desk.clock.now() - timedelta(hours=2)
    asked = measured.decide("c1", at=then)
    measured.happens("Order Completed", asked, revenue_cents=900)
    measured.decide("c2", at=measured.desk.clock.now() + timedelta(days=4))
    measured.desk.clock.forward(days=5)
    measured.passes()
    assert sum(measured.customers().values()) == 1


def test_a_dry_run_exposes_nobody(database: Database) -> None:
    measured = Measured(database)
    measured.decide("c0")
    measured.decide("c1", dry_run=True)
    measured.passes()
    assert sum(measured.customers().values()) == 1


def test_where_one_arm_has_all_there_is_nothing_to_measure(database: Database) -> None:
    measured = Measured(database, {**HALF, "model": 1.0, "holdout": 0.0})
    decision = measured.decide("c0")
    measured.happens("Order Completed", decision, revenue_cents=900)
    measured.passes()
    with database.read() as connection:
        assert read_impact(connection) == []


def test_other_shares_begin_anew(database: Database) -> None:
    """Who is in the model's arm by the new shares was in another by the old ones: nobody is mixed."""
    measured = Measured(database)
    before = measured.decide_for(40)
    measured.passes()
    measured.process({"model": 0.9, "random": 0.0, "business_as_usual": 0.0, "holdout": 0.1})
    after = measured.decide_for(40)
    measured.passes()
    assert measured.customers() == dict(Counter(decision["arm"] for decision in after))
    measured.happens("Order Completed", before[0], revenue_cents=900)  # counts for the new one alone
    with database.read() as connection:
        old, new = standing_tests(connection)
        told = read_impact(connection)
    assert (old.status, new.status) == ("stopped", "running")
    assert old.stopped_at == new.starts_at
    assert [one["stopped_at"] for one in told] == [None, old.stopped_at]
    assert [one["customers"] for one in told] == [40, 40]
    measured.process({"model": 1.0, "random": 0.0, "business_as_usual": 0.0, "holdout": 0.0})
    measured.decide_for(1)
    measured.passes()
    assert measured.impact()["stopped_at"] is not None


def test_another_seed_begins_anew(database: Database) -> None:
    """By it half of the customers are in another arm than the one in which they are counted."""
    measured = Measured(database)
    measured.decide_for(40)
    measured.passes()
    measured.process(HALF)
    measured.passes()
    with database.read() as connection:
        assert len(standing_tests(connection)) == 1
    measured.process(HALF, seed="another")
    after = measured.decide_for(40)
    measured.passes()
    assert measured.customers() == dict(Counter(decision["arm"] for decision in after))


def test_a_home_from_before_seeds_were_noted_goes_on(database: Database) -> None:
    measured = Measured(database)
    measured.decide_for(5)
    measured.passes()
    with database.write() as connection:
        row = dict(find_experiment(connection, "@arms:0:email.weekly") or {})
        save_experiment(connection, row | {"definition": row["definition"] | {"seed": None}})
    measured.process(HALF)
    measured.decide_for(9)
    measured.passes()
    assert sum(measured.customers().values()) == 9


def test_by_other_shares_what_is_taken_out_is_still_what_was_before_the_first_decision(database: Database) -> None:
    """What was bought since is the arms' doing: a year of it taken out would take out most of what they bring."""
    measured = Measured(database)

    def bought(customer_id: str, feature: str, at: datetime) -> float | None:
        return None if customer_id == "c0" else float((at - NOON).days)

    measured.process(covariate=bought)
    measured.decide_for(3)
    measured.passes()
    for model in (0.9, 0.8):
        measured.desk.clock.forward(days=100)
        shares = {"model": model, "random": 0.0, "business_as_usual": 0.0, "holdout": 1 - model}
        measured.process(shares, covariate=bought)
        measured.decide_for(4)
        measured.passes()
    with database.read() as connection:
        newest = standing_tests(connection)[-1]
        told = find_exposures(connection, ["c0", "c1", "c2", "c3"], [newest.id])
    assert {one.customer_id: one.covariate for one in told} == {"c0": None, "c1": 0.0, "c2": 0.0, "c3": 100.0}


def test_of_who_was_decided_for_before_it_was_measured_nothing_is_taken_out(database: Database) -> None:
    """As a home that was brought up to date; what they bought since is the arms' doing."""
    measured = Measured(database)
    measured.decide_for(2)
    measured.decide("c2", placement="web.home")
    measured.desk.clock.forward(days=100)
    measured.process(covariate=lambda customer_id, feature, at: 7.0)
    measured.decide_for(4)
    measured.passes()
    with database.read() as connection:
        told = find_exposures(connection, ["c0", "c1", "c2", "c3"])
    assert {one.customer_id: one.covariate for one in told} == {"c0": None, "c1": None, "c2": 7.0, "c3": 7.0}


def test_a_command_with_other_settings_changes_nothing(database: Database) -> None:
    """`opportune ingest` from another folder, say: what it applies counts, what is measured stays the service's."""
    measured = Measured(database)
    measured.decide_for(5)
    measured.passes()
    decision = measured.decide("c5")
    other = settings(arms={**HALF, "model": 1.0, "holdout": 0.0})
    lease, clock = measured.lease, measured.desk.clock
    measured.enrol = EnrolDecided(database, clock, lease, RuleBook(other), 14.0)
    measured.happens("Order Completed", decision, revenue_cents=900)
    with database.read() as connection:
        assert [test.status for test in standing_tests(connection)] == ["running"]
    assert sum(measured.customers().values()) == 6
    assert sum(arm["revenue_per_customer"] or 0 for arm in measured.impact()["arms"]) > 0


def test_the_same_shares_go_on(database: Database) -> None:
    measured = Measured(database)
    measured.decide_for(5)
    measured.passes()
    measured.process(HALF)
    measured.decide_for(9)
    measured.passes()
    assert sum(measured.customers().values()) == 9


def test_no_more_placements_than_so_many_are_measured(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers may make names up."""
    monkeypatch.setattr("service.decisions.enrol_decided.MOST", 3)
    measured = Measured(database)
    for number in range(6):
        measured.decide("c0", placement=f"made-up-{number}")
    measured.passes()
    with database.read() as connection:
        assert [one["placement"] for one in read_impact(connection)] == ["made-up-0", "made-up-1", "made-up-2"]


def test_a_test_of_arms_is_no_experiment_to_its_users(database: Database) -> None:
    """It is not listed, is no flag, and an event that names it exposes nobody."""
    measured = Measured(database)
    measured.decide("c0")
    measured.passes()
    with database.read() as connection:
        assert get_experiments(connection) == []
        name = standing_tests(connection)[0].id
    asked = b'{"context": {"targetingKey": "somebody"}}'
    assert evaluate_flags(database, asked, NOON).body == {"flags": []}
    assert evaluate_flag(database, name, asked, NOON).status == 404
    seen = event_of(SEEN, {"customer_id": "x", "decision_id": None}, measured.desk.clock.now())
    with database.write() as connection:
        apply_outcomes(connection, [{**seen, "properties": f'{{"experiment_id": "{name}"}}'}], NOON)
        assert find_exposures(connection, ["x"]) == []


def test_a_visitor_who_becomes_known_is_one_customer_and_an_erased_one_stays_in_the_sums(database: Database) -> None:
    measured = Measured(database)
    decision = measured.decide("visitor")
    measured.happens("Order Completed", decision, revenue_cents=900)
    with database.write() as connection:
        join_subjects(connection, "visitor", "anna")
        assert len(exported(connection, "anna")) == 1
        assert erase_subject(connection, "anna") == 1
        assert exported(connection, "anna") == []
    assert next(one["revenue_per_customer"] for one in measured.impact()["arms"] if one["customers"]) == 9.0


def test_who_comes_into_another_arm_counts_for_the_first_and_is_told(database: Database) -> None:
    """A visitor's arm hangs on the visitor's id, a customer's on theirs."""
    measured = Measured(database)
    visitors = {f"v{number}": measured.decide(f"v{number}")["arm"] for number in range(20)}
    measured.passes()
    with database.write() as connection:
        for number in range(20):
            join_subjects(connection, f"v{number}", f"c{number}")
    for number in range(10):
        measured.decide(f"new{number}")
    measured.passes()
    assert measured.impact()["crossovers"] == 0
    known = {f"v{number}": measured.decide(f"c{number}")["arm"] for number in range(12)}
    measured.passes()
    moved = sum(known[name] != visitors[name] for name in known)
    assert 0 < moved < 12
    assert (measured.impact()["crossovers"], measured.impact()["customers"]) == (moved, 30)
    measured.desk.clock.forward(days=28)
    measured.decide_for(20)  # what they do counts no more
    measured.passes()
    assert measured.impact()["crossovers"] == moved


def test_nothing_is_looked_through_as_a_whole(tmp_path: Path) -> None:
    """SQLite plans without figures: every question has its index."""
    database, tests = sqlite_at(tmp_path), {"email.weekly": "@arms:0:email.weekly"}
    with database.read() as connection:
        plans = [
            *plans_of(database, connection, lambda c: end_of_portion(c, NOON, NOON, 10)),
            *plans_of(database, connection, lambda c: not_enrolled(c, NOON, NOON, tests, ())),
            *plans_of(database, connection, lambda c: not_enrolled_of(c, ["a", "b"], NOON, tests, ())),
            *plans_of(database, connection, lambda c: first_decided(c, ["a", "b"])),
            *plans_of(database, connection, lambda c: in_another_arm(c, NOON, NOON, tests)),
        ]
    assert len(plans) > 5
    for table in ("decisions", "untold", "ledger", "experiment_exposures"):
        assert not [line for line in plans if line.startswith(f"SCAN {table}")]
