from __future__ import annotations

from dataclasses import replace
from math import fsum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from service.decisions.case import Case, Customer, Rules, Steer, Usage
from service.decisions.choose import Choice, choose
from service.decisions.rules import RuleBook
from service.offers.offer import Offer, offer_from_document
from service.offers.schemas import OfferIn
from tests.fakes.decisions import NOON, settings

RULES: Rules = RuleBook(settings(fatigue_cost=0.0)).rules("default")
CHANCES = [0.5, 0.4, 0.3, 0.2, 0.1]


def offer(number: int, **fields: Any) -> Offer:
    told = OfferIn.model_validate({"name": f"o{number}", "value": 10.0, "channels": ["web"], **fields})
    return offer_from_document(f"o{number}", 1, told.document())


def case(
    offers: list[Offer], steering: dict[Steer, tuple[int, ...]], arm: str = "model", seed: int = 0, **rules: Any
) -> Case:
    return Case(
        customer=Customer("c1"),
        placement="default",
        channels=("web",),
        offers=tuple(offers),
        at=NOON,
        arm=arm,
        seed=seed,
        top_k=rules.pop("top_k", 5),
        rules=replace(RULES, steering=tuple(steering), **rules),
        usage=Usage(),
        answers={},
        steered=tuple(steering.values()),
    )


def decide(made: Case, chances: list[float] | None = None) -> Choice:
    eligible = [(position, "web") for position in range(len(made.offers))]
    return choose(made, eligible, chances or CHANCES[: len(made.offers)])


def listed(chosen: Choice) -> list[str | None]:
    ranked = sorted((c.rank, c.offer_id) for c in chosen.candidates if c.rank is not None)
    return [offer_id for _, offer_id in ranked]


GREEDY: dict[str, Any] = {"exploration": 1e12, "floor": 0.0}
FIVE = [offer(n) for n in range(5)]


def test_without_rules_the_list_goes_by_value() -> None:
    assert listed(decide(case(FIVE, {}, **GREEDY))) == ["o0", "o1", "o2", "o3", "o4"]


def test_what_is_buried_is_seldom_drawn_however_unsure_its_worth_is() -> None:
    """By Thompson sampling, too: o0 would be drawn better than o1 every third time were its draws its own."""
    rules: dict[str, Any] = {"explore_by": "thompson", "floor": 0.001}
    chosen = decide(case(FIVE[:2], {Steer("b", "bury", ("o0",)): (0,)}, **rules), [0.5, 0.02])
    assert chosen.candidates[0].propensity < 0.05
    assert chosen.candidates[1].propensity > 0.9


def test_a_pin_takes_the_first_place_and_says_what_it_costs() -> None:
    chosen = decide(case(FIVE, {Steer("spring", "pin", ("o4",)): (4,)}, top_k=2))
    assert listed(chosen) == ["o4", "o0"]
    assert chosen.candidates[4].propensity == 1.0
    assert [(cost.name, cost.offers) for cost in chosen.costs] == [("spring", ("o4",))]
    assert chosen.costs[0].cost == pytest.approx((5 + 4) - (1 + 5))


def test_a_rule_costs_what_goes_out_or_is_shown() -> None:
    """Of a list by e-mail one message goes; on a page every place is seen."""
    mailed = [offer(n, channels=["email"]) for n in range(2)]
    pinned = {Steer("spring", "pin", ("o1",)): (1,)}
    made = replace(case(mailed, pinned, top_k=5), channels=("email",))
    assert choose(made, [(0, "email"), (1, "email")], [0.5, 0.1]).costs[0].cost == pytest.approx(5 - 1)
    assert decide(case(FIVE[:2], pinned, top_k=5), [0.5, 0.1]).costs[0].cost == pytest.approx(0.0)


def test_a_pin_to_another_place_leaves_the_draw_alone() -> None:
    chosen = decide(case(FIVE, {Steer("third", "pin", ("o4",), place=3): (4,)}, **GREEDY))
    assert listed(chosen) == ["o0", "o1", "o4", "o2", "o3"]


def test_two_pins_to_the_first_place_share_the_draw() -> None:
    chosen = decide(case(FIVE, {Steer("both", "pin", ("o3", "o4")): (3, 4)}))
    weights = [candidate.propensity for candidate in chosen.candidates]
    assert weights[:3] == [0, 0, 0]
    assert weights[3] > weights[4] > 0
    assert set(listed(chosen)[:2]) == {"o3", "o4"}


def test_pins_are_explored_as_the_settings_say() -> None:
    both = {Steer("both", "pin", ("o1", "o3", "o4")): (1, 3, 4)}

    def weights(explore_by: str, **more: Any) -> list[float]:
        rules = {"floor": 0.0, "pins_explored_alike": True, **more}
        chosen = decide(case(FIVE, both, explore_by=explore_by, **rules))
        return [candidate.propensity for candidate in chosen.candidates]

    assert weights("epsilon_greedy", epsilon=0.3) == pytest.approx([0, 0.8, 0, 0.1, 0.1, 0])
    drawn = weights("thompson", evidence=1e9)
    assert drawn == [0, 1, 0, 0, 0, 0]  # with so much evidence each draw is the mean
    assert sum(weights("thompson", evidence=20.0)) == pytest.approx(1)
    assert weights("squarecb") == weights("epsilon_greedy", pins_explored_alike=False)


def test_a_boost_lifts_gains_and_no_losses() -> None:
    boost = Steer("double", "boost", ("o2",), factor=2.0)
    assert listed(decide(case(FIVE, {boost: (2,)}, **GREEDY)))[0] == "o2"
    loss = [offer(0), offer(1), offer(2, cost=9.0)]
    assert "o2" not in listed(decide(case(loss, {boost: (2,)}, **GREEDY)))


def test_the_buried_come_last_but_before_nothing() -> None:
    bury = Steer("old", "bury", ("o0",))
    chosen = decide(case(FIVE, {bury: (0,)}, **GREEDY))
    assert listed(chosen) == ["o1", "o2", "o3", "o4", "o0"]
    assert listed(decide(case(FIVE[:1], {bury: (0,)}, **GREEDY))) == ["o0"]


def test_the_excluded_are_named_and_never_drawn_in_any_arm() -> None:
    bar = Steer("recall", "exclude", ("o0",))
    for arm in ("model", "random", "business_as_usual"):
        chosen = decide(case(FIVE, {bar: (0,)}, arm=arm))
        assert chosen.candidates[0].propensity == 0.0
        assert chosen.candidates[0].rank is None
        assert [(one.candidate, one.rule) for one in chosen.left_out] == [(0, "business_rule")]
    for pinned in ((0, 1), (0,)):  # an exclusion beats a pin
        chosen = decide(case(FIVE, {Steer("up", "pin", ("o0", "o1")): pinned, bar: (0,)}, **GREEDY))
        assert listed(chosen) == ["o1", "o2", "o3", "o4"]


def test_diversity_holds_back_the_third_of_a_kind() -> None:
    same = [offer(n, category="coffee" if n < 3 else "tea") for n in range(5)]
    chosen = decide(case(same, {}, most_per_category=2, top_k=4, **GREEDY))
    assert listed(chosen) == ["o0", "o1", "o3", "o4"]
    assert [(one.candidate, one.rule, one.detail) for one in chosen.left_out] == [
        (2, "diversity", "2 of 2 coffee offers in one answer")
    ]
    assert chosen.costs[0].cost == pytest.approx(3 - 1)
    tagged = [offer(n, tags=["sale"]) for n in range(3)]
    chosen = decide(case(tagged, {}, most_per_tag=1, **GREEDY))
    assert listed(chosen) == ["o0"]
    assert [(cost.name, cost.cost) for cost in chosen.costs] == [("diversity", pytest.approx(4 + 3))]


def test_one_offer_of_an_exclusion_group_in_an_answer() -> None:
    for arm in ("model", "random"):
        grouped = [offer(n, exclusion_group="big" if n < 3 else None) for n in range(5)]
        for seed in range(20):
            found = listed(decide(case(grouped, {}, arm=arm, seed=seed)))
            assert len({"o0", "o1", "o2"} & set(found)) <= 1


def test_several_goals_have_their_weights() -> None:
    made = case(FIVE[:2], {}, goal_conversion=0.5, goal_click=2.0, goal_redemption=1.0, nothing=0.25, **GREEDY)
    eligible = [(0, "web"), (1, "web")]
    chosen = choose(made, eligible, [0.5, 0.1], {"click": [0.1, 0.9], "redemption": [0.0, 0.2]})
    assert [c.expected_value for c in chosen.candidates] == pytest.approx([2.5 + 0.2, 0.5 + 1.8 + 0.2, 0.25])


def test_uplift_stands_for_the_probability() -> None:
    chosen = choose(case(FIVE[:2], {}, **GREEDY), [(0, "web"), (1, "web")], [0.5, 0.4], uplift=[-0.1, 0.02])
    assert [c.expected_value for c in chosen.candidates] == pytest.approx([-1.0, 0.2, 0.0])
    assert [c.probability for c in chosen.candidates] == [0.5, 0.4, None]
    assert listed(chosen) == ["o1"]


def test_a_message_worth_less_than_nothing_is_not_sent() -> None:
    chosen = decide(case(FIVE[:1], {}, nothing=6.0, **GREEDY))
    assert listed(chosen) == [None]


steers = st.builds(
    Steer,
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["pin", "boost", "bury", "exclude"]),
    place=st.integers(1, 4),
    factor=st.floats(0.1, 10),
)
some_offers: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.builds(
        dict,
        category=st.sampled_from([None, "coffee", "tea"]),
        tags=st.lists(st.sampled_from(["x", "y"]), max_size=2, unique=True),
        cost=st.floats(0, 6),
        exclusion_group=st.sampled_from([None, None, "g"]),
    ),
    min_size=1,
    max_size=6,
)


@example_settings(max_examples=150, deadline=None)
@given(
    some_offers,
    st.lists(st.tuples(steers, st.sets(st.integers(0, 5))), max_size=4),
    st.sampled_from(["model", "random", "business_as_usual", "holdout"]),
    st.sampled_from(["squarecb", "thompson", "epsilon_greedy"]),
    st.integers(0, 2**63),
    st.sampled_from([None, 1, 2]),
    st.integers(1, 5),
)
def test_whatever_the_rules_propensities_are_exact_and_the_list_keeps_to_them(
    fields: list[dict[str, Any]],
    rules: list[tuple[Steer, set[int]]],
    arm: str,
    explore_by: str,
    seed: int,
    most: int | None,
    top_k: int,
) -> None:
    offers = [offer(number, **one) for number, one in enumerate(fields)]
    steering = {rule: tuple(sorted(p for p in about if p < len(offers))) for rule, about in rules}
    more: dict[str, Any] = {"explore_by": explore_by, "most_per_category": most, "most_per_tag": most, "top_k": top_k}
    chosen = decide(case(offers, steering, arm, seed, **more), [0.5, 0.4, 0.3, 0.2, 0.1, 0.05][: len(offers)])
    weights = [candidate.propensity for candidate in chosen.candidates]
    assert fsum(weights) == pytest.approx(1.0, abs=1e-12)
    assert min(weights) >= 0.0
    ranked = sorted((c.rank, index) for index, c in enumerate(chosen.candidates) if c.rank is not None)
    assert [rank for rank, _ in ranked] == list(range(1, len(ranked) + 1))
    assert 1 <= len(ranked) <= top_k
    assert weights[ranked[0][1]] > 0.0
    barred = {p for rule, about in steering.items() if rule.do == "exclude" for p in about}
    assert not barred & {index for _, index in ranked}
    assert all(weights[index] == 0.0 for index in barred)
    standing = [offers[index] for _, index in ranked if index < len(offers)]
    groups = [one.exclusion_group for one in standing if one.exclusion_group]
    assert len(groups) == len(set(groups))
    if most is not None:
        for category in ("coffee", "tea"):
            assert sum(one.info.category == category for one in standing) <= most
