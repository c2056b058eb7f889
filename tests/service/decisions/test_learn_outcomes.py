"""An order after a decision moves the next decision; what was decided comes back when it is replayed."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, update

from models.layered import LayeredModel, beginning
from models.offer_features import PAIR
from models.online_layer import OnlineLayer
from models.response import INPUTS
from service.customers.set_consents import set_consents
from service.decisions import learn_outcomes
from service.decisions.learn_outcomes import GATHER, HALF_LIFE, MEMORY, ForgetLessons, LearningModels, LearnOutcomes
from service.decisions.lessons_store import (
    CONVERTED,
    STAGES,
    UNTIED,
    UNTIED_WORTH,
    Reached,
    State,
    add_layer,
    due_lessons,
    forget_layers,
    give_back_lessons,
    lessons,
    newest_layer,
    newest_number,
    online_layers,
)
from service.decisions.policy import inverse_gap
from service.decisions.read_decision import erase_of
from service.decisions.schemas import DecisionIn
from service.errors import Unavailable
from service.storage.database import Database
from tests.fakes.decisions import Desk, damage, settings
from tests.fakes.learning import Learning, learning_desk


@pytest.fixture
def desk(database: Database) -> Desk:
    return learning_desk(database)


@pytest.fixture
def learning(desk: Desk) -> Learning:
    return Learning(desk)


def of_offer(learning: Learning, customer: str, offer: str) -> float:
    """P(convert) of the offer as it is scored now."""
    asked = DecisionIn(customer_id=customer, offers=[offer], channels=["email"], dry_run=True)
    drafts = learning.decider.draft([asked], learning.desk.clock.now())
    return float(drafts[0].probabilities[0])


def test_an_order_moves_the_next_decision(learning: Learning) -> None:
    before = of_offer(learning, "c1", "a")
    first = learning.decide("c1")
    assert first["models"]["next-offer"] == "7"
    sold = first["actions"][0]["offer_id"]
    earlier = {name: of_offer(learning, "c2", name) for name in ("a", "b")}
    learning.happens("Email Delivered", first, channel="email")
    learning.happens("Order Completed", first, revenue_cents=900)
    learning.learn()
    later = {name: of_offer(learning, "c2", name) for name in ("a", "b")}
    other = "b" if sold == "a" else "a"
    assert later[sold] > earlier[sold]
    assert later[sold] / earlier[sold] > later[other] / earlier[other] > 1.0  # the other offer learns too, but less
    assert of_offer(learning, "c1", "a") != before
    assert learning.decide("c2")["models"]["next-offer"] == "7+1"


def test_a_damaged_record_stops_no_learning_from_the_others(learning: Learning) -> None:
    before = of_offer(learning, "c2", "a")
    broken, sound = learning.decide("c1"), learning.decide("c3")
    damage(learning.desk.database, broken["decision_id"])
    for decision in (broken, sound):
        learning.happens("Order Completed", decision, revenue_cents=900)
    learning.learn()
    assert abs(of_offer(learning, "c2", "a") - before) > 1e-6


def test_nothing_is_learnt_of_those_who_may_not_be_profiled(learning: Learning) -> None:
    with learning.desk.database.write() as connection:
        now = learning.desk.clock.now()
        set_consents(connection, "c1", {}, False, now, "api")
    before = of_offer(learning, "c2", "a")
    learning.happens("Order Completed", learning.decide("c1"), revenue_cents=900)
    learning.learn()
    assert of_offer(learning, "c2", "a") == pytest.approx(before, abs=1e-12)
    learning.happens("Order Completed", learning.decide("c3"), revenue_cents=900)
    learning.learn()
    assert abs(of_offer(learning, "c2", "a") - before) > 1e-6


def test_silence_is_learnt_when_it_has_matured(learning: Learning) -> None:
    decided = [learning.decide(f"c{number}") for number in range(20)]
    before = of_offer(learning, "c30", "a")
    for decision in decided:
        for action in decision["actions"]:
            learning.happens("Email Delivered", decision, channel="email", offer_id=action["offer_id"])
    learning.learn()
    assert of_offer(learning, "c30", "a") == before
    found = [before]
    for after, _ in sorted(STAGES):
        learning.desk.clock.time = decided[0]["decided_at"] + after + GATHER + timedelta(seconds=1)
        learning.learn()
        found.append(of_offer(learning, "c30", "a"))
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == len(STAGES) + 1


def test_who_ordered_teaches_no_silence(learning: Learning) -> None:
    decision = learning.decide("c1")
    learning.happens("Email Delivered", decision, channel="email")
    learning.happens("Order Completed", decision, revenue_cents=900)
    learning.learn()
    raised = of_offer(learning, "c2", "a")
    learning.desk.clock.forward(days=10)
    learning.learn()
    assert 0.95 * raised < of_offer(learning, "c2", "a") < raised  # ten days on, the order counts a little less
    with learning.desk.database.read() as connection:
        state = newest_layer(connection)
        assert state is not None
        assert state.seen == pytest.approx(0.5 ** (timedelta(days=10) / HALF_LIFE))
        assert due_lessons(connection, learning.desk.clock.now(), 10) == []


def test_machines_and_repeats_teach_nothing(learning: Learning) -> None:
    decision = learning.decide("c1")
    learning.happens("Email Opened", decision, channel="email", machine=True)
    learning.happens("Email Link Clicked", decision, channel="email", machine=True)
    learning.learn()
    with learning.desk.database.read() as connection:
        assert newest_number(connection) is None
    learning.happens("Order Completed", decision, revenue_cents=900)
    learning.happens("Order Completed", decision, revenue_cents=900)
    learning.happens("Coupon Redeemed", decision)
    with learning.desk.database.read() as connection:
        assert len(due_lessons(connection, learning.desk.clock.now(), 10)) == 1


def test_a_replay_finds_the_state_that_decided(learning: Learning) -> None:
    for number in range(6):
        decision = learning.decide(f"c{number}")
        learning.happens("Email Delivered", decision, channel="email")
        learning.happens("Order Completed", decision, revenue_cents=100)
        learning.learn()
    wanted = learning.decide("c20")
    assert wanted["models"]["next-offer"] == "7+6"
    for number in range(6, 12):
        decision = learning.decide(f"c{number}")
        learning.happens("Email Delivered", decision, channel="email")
        learning.happens("Order Completed", decision, revenue_cents=100)
        learning.learn()
    assert learning.decide("c21")["models"]["next-offer"] == "7+12"
    replayed = learning.reader.replay(wanted["decision_id"])
    assert replayed["equal"], replayed["differences"]
    assert "probabilities" in replayed["decided_again"]
    earliest = LearningModels(learning.desk.served, learning.desk.database).at("next-offer", "7+1")
    assert isinstance(earliest, LayeredModel)
    assert learning.models.at("next-offer", "6+1") is learning.desk.served.models["next-offer"]


def test_exploring_calms_down_with_outcomes_and_replays(learning: Learning) -> None:
    learning.desk.settings = settings(exploration=20.0, calms_after=5.0, floor=0.01, caps=[])
    learning.decider = replace(learning.desk, served=learning.models).decider  # type: ignore[arg-type]
    first = learning.decide("c1")
    for number in range(10):
        learning.happens("Order Completed", learning.decide(f"c{number}"), revenue_cents=100)
    learning.learn()
    later = learning.decide("c1")
    told = learning.reader.read(later["decision_id"])
    assert learning.reader.read(first["decision_id"])["policy"]["learnt"] == 0.0
    assert told["policy"]["learnt"] == pytest.approx(10.0)
    weighed = [line for line in told["candidates"] if line["eligible"]]
    calm = inverse_gap([line["expected_value"] for line in weighed], 60.0, 0.01)
    assert [line["propensity"] for line in weighed] == calm
    for decision in (first, later):
        replayed = learning.reader.replay(decision["decision_id"])
        assert replayed["equal"], replayed["differences"]


def test_half_of_the_evidence_is_left_after_its_half_life(learning: Learning) -> None:
    for number in range(8):
        learning.happens("Order Completed", learning.decide(f"c{number}"), revenue_cents=100)
    learning.learn()
    learning.desk.clock.time += HALF_LIFE
    learning.happens("Order Completed", learning.decide("c9"), revenue_cents=100)
    learning.learn()
    assert learning.models.get("next-offer").learnt == pytest.approx(8 / 2 + 1)


def test_a_new_model_is_as_sure_as_its_rows_however_long_nothing_was_learnt_before(learning: Learning) -> None:
    random = np.random.default_rng(3)
    pairs, channels = random.normal(size=(500, len(PAIR))), random.random((500, len(INPUTS) - len(PAIR)))
    offers = [("a", "b")[n % 2] for n in range(500)]
    sure = beginning(pairs, channels, offers, np.full(500, 0.3), 1.0)
    learning.happens("Order Completed", learning.decide("c1"), revenue_cents=100)
    learning.learn()
    learning.desk.clock.time += 2 * HALF_LIFE
    former = learning.desk.served.models["next-offer"]
    learning.desk.served.models["next-offer"] = replace(former, version="8", layer=sure.to_bytes())
    learning.learn()
    with learning.desk.database.read() as connection:
        state = newest_layer(connection)
    assert state is not None
    assert state.posterior is not None
    assert np.array_equal(OnlineLayer.from_bytes(state.posterior).a, sure.a)


@pytest.mark.parametrize("at_once", [2, 200])
def test_another_model_learns_the_last_lessons_again(
    learning: Learning, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    calls = iter(range(100))

    def not_always(*asked: Any) -> Reached | None:
        if next(calls) == 3:
            raise Unavailable("away for a moment")
        return give_back_lessons(*asked)

    monkeypatch.setattr(learn_outcomes, "GIVEN_BACK_AT_ONCE", at_once)
    for number in range(5):
        decision = learning.decide(f"c{number}")
        learning.happens("Email Delivered", decision, channel="email")
        learning.happens("Order Completed", decision, revenue_cents=100)
    learning.learn()
    monkeypatch.setattr(learn_outcomes, "give_back_lessons", not_always)
    taught = of_offer(learning, "c30", "a")
    model = learning.desk.served.models["next-offer"]
    learning.desk.served.models["next-offer"] = replace(model, version="8")
    assert learning.models.get("next-offer").version == "8"  # never a layer that learnt on another model
    assert of_offer(learning, "c30", "a") < taught
    with suppress(Unavailable):
        learning.learn()
    learning.learn()
    assert learning.models.get("next-offer").version == "8+2"
    assert of_offer(learning, "c30", "a") == pytest.approx(taught, rel=1e-6)


def test_lessons_go_back_to_a_new_model_a_few_at_a_time(learning: Learning) -> None:
    desk = learning.desk
    since = desk.clock.now()
    for number in range(12):
        learning.happens("Order Completed", learning.decide(f"c{number}"), revenue_cents=100)
        desk.clock.time += timedelta(seconds=1)
        if number == 5:
            learnt_until = desk.clock.now()
    with desk.database.write() as connection:
        odd = lessons.c.customer_id.in_([f"c{number}" for number in range(1, 12, 2)])
        connection.execute(update(lessons).where(odd).values(taken=True))

    def taken() -> dict[str, bool]:
        with desk.database.read() as connection:
            return {row.customer_id: row.taken for row in connection.execute(select(lessons))}

    changes, reached = list[int](), [Reached(False, since - timedelta(seconds=1)), Reached(True, since)]
    while reached:
        before = taken()
        with desk.database.write() as connection:
            further = give_back_lessons(connection, reached[0], learnt_until, 2)
        changes.append(sum(before[name] != now for name, now in taken().items()))
        reached = [further, *reached[1:]] if further else reached[1:]
    assert taken() == {f"c{number}": number <= 5 for number in range(12)}
    assert (max(changes), sum(changes)) == (2, 6)


def test_an_order_that_nothing_ties_to_the_message_teaches_less(learning: Learning) -> None:
    customers = iter(f"c{number}" for number in range(10, 20))

    def taught(clicked: bool = False, **ordered: Any) -> float:
        """How much the layer has seen of an order of the offer's category after a delivery."""
        decision = learning.decide(next(customers))
        sold = decision["actions"][0]["offer_id"]
        line = {"product_id": "p", "category": {"a": "tea", "b": "shoes"}[sold], "quantity": 1}
        learning.happens("Email Delivered", decision, channel="email")
        if clicked:
            learning.happens("Email Link Clicked", decision, channel="email")
        told = {"decision_id": None, "revenue_cents": 900, "products": [line], **ordered}
        learning.happens("Order Completed", decision, **{**told, "offer_id": sold if "offer_id" in ordered else None})
        learning.learn()
        with learning.desk.database.read() as connection:
            state = newest_layer(connection)
        assert state is not None
        return state.seen

    seen = [0.0, taught(), taught(decision_id="of nobody"), taught(clicked=True), taught(offer_id=""),
            taught(decision_id=None)]  # fmt: skip
    assert np.diff(seen) == pytest.approx([UNTIED_WORTH, UNTIED_WORTH, 1.0, 1.0, UNTIED_WORTH])


def test_a_redemption_after_an_order_that_nothing_ties_teaches_whole(learning: Learning) -> None:
    decision = learning.decide("c3")
    category = {"a": "tea", "b": "shoes"}[decision["actions"][0]["offer_id"]]
    learning.happens("Email Delivered", decision, channel="email")
    line = {"product_id": "p", "category": category, "quantity": 1}
    learning.happens("Order Completed", decision, decision_id=None, revenue_cents=900, products=[line])
    learning.happens("Coupon Redeemed", decision)
    with learning.desk.database.read() as connection:
        due = due_lessons(connection, learning.desk.clock.now(), 10)
    assert sorted(row.stage for row in due) == [UNTIED, CONVERTED]


def test_a_model_that_learnt_from_many_showings_is_moved_less_by_one_outcome(learning: Learning) -> None:
    model = learning.desk.served.models["next-offer"]
    random = np.random.default_rng(1)
    pairs, channels = random.normal(size=(2000, len(PAIR))), np.zeros((2000, len(INPUTS) - len(PAIR)))
    sure, surer = (
        beginning(pairs, channels, ["a", "b"] * 1000, np.full(2000, 0.2), times).to_bytes() for times in (1.0, 3.0)
    )

    def moved(version: str, layer: bytes) -> float:
        learning.desk.served.models["next-offer"] = replace(model, version=version, layer=layer)
        before = of_offer(learning, "c2", "a")
        learning.learn()
        return of_offer(learning, "c2", "a") - before

    decision = learning.decide("c1")
    learning.happens("Email Delivered", decision, channel="email")
    learning.happens("Order Completed", decision, revenue_cents=900)
    freely, carefully, most = moved("7", b""), moved("8", sure), moved("9", surer)
    assert 0 < carefully < 0.5 * freely
    assert 0 < most < carefully
    with learning.desk.database.read() as connection:
        state = newest_layer(connection)
    assert state is not None
    assert state.seen == 1.0  # what the model learnt from is not counted as an outcome of decisions
    of_other_inputs = OnlineLayer.new(np.ones(3), np.ones(2)).to_bytes()
    assert moved("10", of_other_inputs) == pytest.approx(freely)


@pytest.mark.parametrize("another_before", [True, False])
def test_what_a_model_has_learnt_itself_is_not_learnt_on_top_of_it(learning: Learning, another_before: bool) -> None:
    model = learning.desk.served.models["next-offer"]
    random = np.random.default_rng(1)
    pairs, channels = random.normal(size=(2000, len(PAIR))), np.zeros((2000, len(INPUTS) - len(PAIR)))
    layer = beginning(pairs, channels, ["a", "b"] * 1000, np.full(2000, 0.2), 1.0).to_bytes()
    old = learning.decide("c1")
    learning.happens("Email Delivered", old, channel="email")
    learning.happens("Order Completed", old, revenue_cents=900)
    if another_before:
        learning.learn()
    learning.desk.clock.time = old["decided_at"] + timedelta(days=20)
    until = learning.desk.clock.now() - timedelta(days=1)  # decisions of more than 15 days ago are in the model
    new = learning.decide("c2")
    learning.happens("Email Delivered", new, channel="email")
    learning.happens("Order Completed", new, revenue_cents=900)
    known = {"until": until.isoformat()}
    learning.desk.served.models["next-offer"] = replace(model, version="8", layer=layer, trained=known)
    learning.learn()
    with learning.desk.database.read() as connection:
        state = newest_layer(connection)
    assert state is not None
    assert (state.model_version, state.seen) == ("8", 1.0)


def test_learning_is_the_same_in_every_run(learning: Learning) -> None:
    for number in range(12):
        decision = learning.decide(f"c{number}")
        learning.happens("Email Delivered", decision, channel="email")
        if number % 3 == 0:
            learning.happens("Order Completed", decision, revenue_cents=100)
    learning.desk.clock.forward(days=8)
    model = learning.desk.served.models["next-offer"]
    packed = []
    for version in ("8", "9"):
        learning.desk.served.models["next-offer"] = replace(model, version=version)
        learning.learn()
        with learning.desk.database.read() as connection:
            state = newest_layer(connection)
        assert state is not None
        packed.append(state.weights)
    assert packed[0] == packed[1]


def test_a_customer_who_is_erased_teaches_nothing_more(learning: Learning) -> None:
    decision = learning.decide("c1")
    learning.happens("Email Delivered", decision, channel="email")
    with learning.desk.database.write() as connection:
        erase_of(connection, ["c1"])
    learning.desk.clock.time += MEMORY
    with learning.desk.database.read() as connection:
        assert due_lessons(connection, learning.desk.clock.now(), 10) == []


def test_lessons_are_forgotten_while_no_ranker_serves(learning: Learning, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learn_outcomes, "FORGOTTEN_AT_ONCE", 2)
    forget = ForgetLessons(learning.desk.database, learning.desk.clock)
    taken, untaken = learning.decide("c1"), learning.decide("c2")
    learning.happens("Order Completed", taken, revenue_cents=900)
    learning.learn()
    learning.happens("Email Delivered", untaken, channel="email")
    learning.desk.served.models.clear()
    assert (learning.learn(), forget.run_pass(), sum(left(learning).values())) == (0, False, 2 * len(STAGES) + 1)
    learning.desk.clock.time += MEMORY
    new = learning.decide("c3")
    learning.happens("Email Delivered", new, channel="email")
    learning.desk.clock.time += timedelta(days=7, minutes=1)
    passes = 1
    while forget.run_pass():
        passes += 1
    assert passes > 2
    assert left(learning) == {new["decision_id"]: len(STAGES)}


def left(learning: Learning) -> dict[str, int]:
    """How many lessons there are of each decision."""
    with learning.desk.database.read() as connection:
        return dict(Counter(connection.execute(select(lessons.c.decision_id)).scalars()))


def test_probabilities_with_a_layer_are_the_models_moved_by_its_part(learning: Learning) -> None:
    decision = learning.decide("c1")
    learning.happens("Email Delivered", decision, channel="email")
    learning.happens("Order Completed", decision, revenue_cents=100)
    learning.learn()
    layered = learning.models.get("next-offer")
    plain = learning.desk.served.models["next-offer"]
    offers = [
        one.info
        for one in learning.decider.draft([DecisionIn(customer_id="c1")], learning.desk.clock.now())[0].case.offers
    ]
    rows = [*(learning.desk.rows.rows[f"c{number}"] for number in range(1, 18)), None]
    together = layered.weigh(rows, offers, ["email", "sms"])
    for place, one in enumerate(rows):
        alone = layered.score(one, offers, ["email", "sms"], learning.desk.clock.now())
        assert np.array_equal(alone, together.probabilities[place])
        assert (alone > plain.score(one, offers, ["email", "sms"], learning.desk.clock.now())).all()
    told = [reason.feature for reason in layered.reasons(rows[0], offers[0], "email", learning.desk.clock.now(), 30)]
    assert "recent_outcomes" in told


def test_silences_are_gathered_and_an_order_is_not_made_to_wait(learning: Learning) -> None:
    """Each state is kept for replays: of a message a second there were as many, and of thousands of offers each is
    hundreds of kB."""
    first, second = learning.decide("c1"), learning.decide("c2")
    learning.happens("Email Delivered", first, channel="email")
    learning.desk.clock.forward(seconds=61)
    assert learning.learn() == 0
    learning.happens("Email Delivered", second, channel="email")
    learning.happens("Order Completed", second, revenue_cents=900)
    learning.learn()
    with learning.desk.database.read() as connection:
        state = newest_layer(connection)
    assert state is not None
    assert (state.version, state.seen) == (1, pytest.approx(1.05))  # the order, and that minute's silence with it
    learning.desk.clock.forward(seconds=60)
    learning.learn()
    with learning.desk.database.read() as connection:
        assert newest_number(connection) == (1, "7")
    learning.desk.clock.forward(seconds=20)
    learning.learn()
    with learning.desk.database.read() as connection:
        assert newest_number(connection) == (2, "7")


def test_nobody_waits_to_write_while_it_is_found_out_what_lessons_teach(
    learning: Learning, monkeypatch: pytest.MonkeyPatch
) -> None:
    learning.happens("Order Completed", learning.decide("c1"), revenue_cents=900)
    found_out, wrote = learn_outcomes._lessons, list[bool]()

    def slowly(*args: Any) -> Any:
        def write() -> None:
            with learning.desk.database.write():
                wrote.append(True)

        other = threading.Thread(target=write, daemon=True)
        other.start()
        other.join(20)
        return found_out(*args)

    monkeypatch.setattr(learn_outcomes, "_lessons", slowly)
    learning.learn()
    assert wrote == [True]
    with learning.desk.database.read() as connection:
        assert newest_number(connection) == (1, "7")


def test_what_another_learnt_meanwhile_is_not_learnt_twice(learning: Learning, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that stood still while its lease ran out."""
    learning.happens("Order Completed", learning.decide("c1"), revenue_cents=900)
    monkeypatch.setattr(learn_outcomes, "take", lambda *_: True)
    other = LearnOutcomes(learning.desk.database, learning.desk.clock, learning.desk.served)
    found_out, others = learn_outcomes._lessons, [other]

    def slowly(*args: Any) -> Any:
        while others:
            others.pop().run_pass()
        return found_out(*args)

    monkeypatch.setattr(learn_outcomes, "_lessons", slowly)
    learning.learn()
    with learning.desk.database.read() as connection:
        state = newest_layer(connection)
    assert state is not None
    assert (state.version, state.seen) == (1, 1.0)


def test_states_are_kept_for_a_time_and_as_many_as_bytes_allow(database: Database) -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    with database.write() as connection:
        for number in range(1, 13):
            add_layer(connection, State(number, "7", start + timedelta(days=number), 1.0, bytes(100), bytes(900)))

    def kept(**how: Any) -> list[int]:
        with database.write() as connection:
            while forget_layers(connection, **{"before": start, "most_bytes": 10_000, "most": 2, **how}):
                pass
            return list(connection.execute(select(online_layers.c.version).order_by(online_layers.c.version)).scalars())

    assert kept() == list(range(1, 13))
    assert kept(before=start + timedelta(days=4)) == list(range(4, 13))
    assert kept(most_bytes=350) == [10, 11, 12]
    assert kept(most_bytes=1, before=start + timedelta(days=99)) == [12]
    with database.read() as connection:
        columns = select(online_layers.c.version).where(online_layers.c.posterior.is_not(None))
        assert connection.execute(columns).scalars().all() == [12]
