from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.events.normalize import Rules, normalize
from service.experiments.schemas import ExperimentIn
from service.journeys.definition import Split
from service.journeys.parse_definition import parse_journey
from service.offers.schemas import BulkOffer
from training.world import CHANNELS, Action, World
from training.world.__main__ import main
from training.world.journey import JOURNEY, experiment, journey
from training.world.messages import DELIVERED
from training.world.policies import POLICIES, Knowing, Random
from training.world.population import KINDS, draw
from training.world.response import funnel, hour_shapes
from training.world.trial import run, try_policy, value_of

WORLD = World(3, 60)
DAY = timedelta(days=1)
MORNING = WORLD.start + timedelta(hours=15)


def test_a_customer_is_the_same_in_a_world_of_any_size() -> None:
    few, many = draw(11, 5), draw(11, 50)
    assert np.array_equal(few.affinity, many.affinity[:5])
    assert np.array_equal(few.churn_day, many.churn_day[:5])


def test_the_same_seed_gives_the_same_events_and_another_seed_others() -> None:
    one, same, other = (World(seed, 20) for seed in (5, 5, 6))
    assert one.history(30) == same.history(30)
    assert one.daily_events(3) == same.daily_events(3) != other.daily_events(3)


def test_messages_are_unique_and_accepted_by_the_service() -> None:
    world = World(9, 30)
    sent = world.history() + world.daily_events(0)
    for customer in world.customers:
        sent += world.respond(Action(customer, "tea-30", "email", {"decision_id": f"d-{customer}"}), MORNING)
    ids = [message["messageId"] for message in sent]
    assert len(ids) == len(set(ids))
    now = world.start + 10 * DAY
    rows = [normalize(message, Rules(), now, imported=True) for message in sent]
    assert {row["channel"] for row in rows if row["event"] in DELIVERED.values()} == set(CHANNELS)
    assert all(row["timezone"] for row in rows if row["type"] == "identify")


def test_the_service_tells_machines_from_people_as_the_world_knows_them() -> None:
    world = World(4, 300)
    now = world.start + 10 * DAY
    seen: Counter[tuple[str, bool]] = Counter()
    for customer in world.customers:
        for message in world.respond(Action(customer, "wine-30", "email"), MORNING):
            if message["event"] in {"Email Opened", "Email Link Clicked"}:
                by_machine = not message["messageId"].endswith("-h")
                assert normalize(message, Rules(), now, imported=True)["machine"] is by_machine
                seen[message["event"], by_machine] += 1
    opens = {by_machine: seen["Email Opened", by_machine] for by_machine in (True, False)}
    assert 0.35 < opens[True] / 300 < 0.65
    assert opens[False] > 20
    assert seen["Email Link Clicked", True] % 3 == 0


@given(
    st.sampled_from(WORLD.customers),
    st.sampled_from([offer.offer_id for offer in WORLD.offers]),
    st.sampled_from(CHANNELS),
    st.integers(0, 167),
    st.integers(0, 30),
)
@settings(max_examples=60)
def test_probabilities_are_proper_and_fall_with_every_message(
    customer: str, offer: str, channel: str, hour: int, recent: int
) -> None:
    first = WORLD.true_probability(customer, offer, channel, hour, recent)
    next_one = WORLD.true_probability(customer, offer, channel, hour, recent + 1)
    assert 0 < next_one < first < 1
    opened, clicked, left = funnel(first, recent)
    assert first <= clicked <= opened <= 1
    assert 0 < left < 1


def test_the_best_action_waits_for_messages_to_be_forgotten() -> None:
    world = World(7, 40)
    customer = max(world.customers, key=lambda one: world.people.fatigue[world.index[one]])
    action = Action(customer, "tea-30", "push", {})
    for back in range(4):
        world.respond(action, MORNING - 6 * DAY - timedelta(hours=back))
    at_once, later = (world.best_action(customer, MORNING, hours) for hours in (6, 72))
    assert later.send_at is not None
    assert later.send_at > MORNING + timedelta(hours=21)
    assert later.expected_value > at_once.expected_value


def test_the_best_action_beats_every_other() -> None:
    world = World(3, 8)
    for customer in world.customers:
        best = world.best_action(customer, MORNING)
        for offer, channel, later in product(world.offers, CHANNELS, range(24)):
            at = MORNING + timedelta(hours=later)
            if world.local_hour(customer, at) % 24 in range(8, 21):
                action = Action(customer, offer.offer_id, channel)
                assert world.expected_value(action, at.replace(minute=0)) <= best.expected_value + 1e-9
        if best.offer_id and best.channel and best.send_at:
            chosen = Action(customer, best.offer_id, best.channel)
            assert world.expected_value(chosen, best.send_at) == pytest.approx(best.expected_value)


def test_conversions_come_as_often_as_the_true_probability_says() -> None:
    world = World(21, 1500)
    expected = variance = bought = 0.0
    for customer in world.customers:
        action = Action(customer, "coffee-30", "push")
        probability = world.probability_at(action, MORNING)
        expected += probability
        variance += probability * (1 - probability)
        bought += any(message["event"] == "Order Completed" for message in world.respond(action, MORNING))
    assert abs(bought - expected) < 4 * variance**0.5


def test_messages_tire_for_a_week() -> None:
    world = World(3, 5)
    action = Action(world.customers[0], "tea-10", "sms")
    before = world.probability_at(action, MORNING + 7 * DAY)
    world.respond(action, MORNING)
    world.respond(action, MORNING + timedelta(hours=1))
    assert world.recent_sends(action.customer_id, MORNING + DAY) == 2
    assert world.probability_at(action, MORNING + 7 * DAY) < before
    assert world.probability_at(action, MORNING + 14 * DAY) == pytest.approx(before)


def test_whoever_unsubscribed_never_buys_from_that_channel_again() -> None:
    world = World(2, 400)
    left = ""
    for number in range(40):
        at = MORNING + timedelta(minutes=number)
        for customer in world.customers:
            events = world.respond(Action(customer, "pasta-10", "email"), at)
            if any(event["event"] == "Unsubscribed" for event in events):
                left = customer
        if left:
            break
    assert left
    assert "email" not in world.subscribed(left)
    action = Action(left, "pasta-10", "email")
    assert world.probability_at(action, MORNING + 30 * DAY) == 0
    assert world.best_action(left, MORNING).channel != "email"
    people = [e for e in world.respond(action, MORNING + 30 * DAY) if e["messageId"].endswith("-h")]
    assert people == []


def test_the_delivery_can_be_left_to_the_sender() -> None:
    action = Action(WORLD.customers[0], "tea-10", "email", {"decision_id": "d1"})
    told = World(3, 1).respond(action, MORNING)
    untold = World(3, 1).respond(action, MORNING, delivered=False)
    assert [m for m in told if m["event"] != "Email Delivered"] == untold
    assert told[0]["properties"] == {"decision_id": "d1", "offer_id": "tea-10", "channel": "email"}


def test_days_are_local_also_when_clocks_change() -> None:
    world = World(7, 150, start=datetime(2026, 3, 25).date())
    for day in (3, 4, 5):
        date, messages = (world.start + day * DAY).date(), world.daily_events(day)
        assert messages
        for message in messages:
            at = datetime.fromisoformat(message["timestamp"])
            hours = (at - datetime(date.year, date.month, date.day, tzinfo=at.tzinfo)).total_seconds() / 3600
            assert -2 <= hours <= 31  # Berlin begins two hours before UTC's day, Chicago ends six after it


def test_the_lapsed_and_leads_order_nothing_until_they_are_won() -> None:
    world = World(5, 200)
    quiet = {c for c, kind in zip(world.customers, world.people.kind, strict=True) if KINDS[kind] != "active"}
    for day in range(20):
        orders = {m["userId"] for m in world.daily_events(day) if m.get("event") == "Order Completed"}
        assert not orders & quiet


def test_hours_differ_between_people_and_days() -> None:
    shapes = hour_shapes()
    assert shapes.shape == (4, 168)
    assert len({int(np.argmax(shape[:24])) for shape in shapes}) == 4


@pytest.mark.slow
def test_knowing_more_is_worth_more() -> None:
    values = {name: try_policy(name, days=8, customers=80).value for name in ("random", "favourite", "best-at-noon")}
    assert values["random"] < values["favourite"] < values["best-at-noon"]
    best = run(world := World(7, 80), "best", Knowing(world), 8)
    assert best.value > values["best-at-noon"]
    assert value_of(lambda _: Random(), days=8, customers=80) == pytest.approx(values["random"])
    assert try_policy("nothing", days=2, customers=5).value == 0
    assert set(POLICIES) >= {"random", "best"}


def test_the_command_prints_a_line_a_policy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--policy", "nothing", "--days", "2", "--customers", "12"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == ["random", "best", "nothing"]
    with pytest.raises(SystemExit):
        main(["--days", "0"])


def test_the_service_takes_its_offers() -> None:
    for offer in WORLD.offers:
        assert BulkOffer.model_validate(offer.contract()).offer_id == offer.offer_id


def test_the_service_takes_its_journey_and_experiment() -> None:
    definition, _ = parse_journey(journey(), JOURNEY)
    test = ExperimentIn.model_validate(experiment())
    split = definition.steps["test"]
    assert isinstance(split, Split)
    assert set(split.arms) == {variant.key for variant in test.variants}
