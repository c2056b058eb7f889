"""What is said to change a decision does, whatever business rules there are: each change is made, and decided again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from service.decisions.explain import Explanation
from service.decisions.read_decision import DecisionReader
from service.decisions.schemas import DecisionIn
from service.settings import Settings
from tests.fakes.databases import sqlite_with_tables
from tests.fakes.decisions import Desk, NextOffer, settings

GOLD = "customer.traits.gold == true"
RULED = {"vip": GOLD, "plain": "customer.traits.gold == false", "best": f"{GOLD} && context.page == 'cart'"}
GREEDY: dict[str, Any] = {"exploration": 1e12, "floor": 0.0, "fatigue_cost": 0.0, "caps": []}
CHANCES = {"hi": 0.1, "lo": 0.1, "vip": 0.1, "plain": 0.1, "best": 0.1}
VALUES = {"hi": 10.0, "lo": 2.5, "vip": 20.0}
PIN = {"name": "pp", "do": "pin", "offers": ["lo"]}
EXCLUDE = {"name": "ex", "do": "exclude", "offers": ["vip"]}
BURY = {"name": "bb", "do": "bury", "offers": ["hi", "vip"]}
BOOST = {"name": "bo", "do": "boost", "offers": ["lo"], "factor": 20.0}


class Asked:
    """A desk with offers of these values and business rules, where everything is decided greedily."""

    def __init__(self, desk: Desk, values: dict[str, float], rules: list[dict[str, Any]], **more: Any) -> None:
        self.desk, self.values, self.rules, self.chances, self.gold = desk, dict(values), rules, dict(CHANCES), False
        self.context: dict[str, Any] = {}
        self.more = more

    def decide(self, dry_run: bool = True, **decisions: Any) -> dict[str, Any]:
        arms = self.more.get("arms", {"model": 1, "random": 0, "business_as_usual": 0, "holdout": 0})
        plain = {
            **settings(**{**GREEDY, **decisions}).model_dump(),
            "placements": {"default": {"arms": arms, "rules": self.rules}},
        }
        self.desk.settings = Settings.model_validate(plain)
        self.desk.people.add("c1", traits={"gold": self.gold})
        self.desk.served.models["next-offer"] = NextOffer(self.chances)
        self.desk.put(**{name: {"value": v, "eligibility": RULED.get(name)} for name, v in self.values.items()})
        request = DecisionIn(
            customer_id="c1",
            channels=self.more.get("channels", ["email"]),
            offers=list(self.values),
            context=self.context,
            dry_run=dry_run,
        )
        return self.desk.decider.decide(request)

    def first(self) -> str | None:
        actions = self.decide()["actions"]
        return actions[0]["offer_id"] if actions else None

    def explained(self, **decisions: Any) -> Explanation:
        decision = self.decide(dry_run=False, **decisions)
        return DecisionReader(self.desk.database, self.desk.served).explain(decision["decision_id"])

    @contextmanager
    def changed(self, **fields: Any) -> Iterator[None]:
        before = {name: getattr(self, name) for name in fields}
        self.__dict__.update(fields)
        yield
        self.__dict__.update(before)

    def without(self, names: list[str]) -> list[dict[str, Any]]:
        return [rule for rule in self.rules if rule["name"] not in names]

    def keeps(self, promise: str) -> bool:
        """Makes the change that a sentence names; false where it names none of these kinds."""
        if dear := re.match(r"Offer (\w+) by email would (?:come first|be worth sending) if (.*)\.$", promise):
            self._dearer(dear[1], dear[2])
        elif lifted := re.match(
            r"Without the rules? (\w+(?: and \w+)*) (Offer (\w+) by email|nothing) would (?:be|come) ", promise
        ):
            with self.changed(rules=self.without(lifted[1].split(" and "))):
                assert self.first() == lifted[3], promise
        elif told := re.match(r"If (.*), Offer (\w+) by email could be sent(.*)", promise):
            rules = self.without(re.findall(r"there were no rule (\w+)", told[1]))
            gold = self.gold or GOLD in told[1] or "fitted its rule" in told[1]
            gold = gold and RULED["plain"] not in told[1]
            context = {"page": "cart"} if "page" in told[1] else self.context
            with self.changed(rules=rules, gold=gold, context=context):
                decision = self.decide()
            assert told[2] not in {one["offer_id"] for one in self._kept_out(decision, told[2])}, promise
            first = decision["actions"][0]["offer_id"] if decision["actions"] else None
            if "would come first" in told[3]:
                assert first == told[2], promise
            elif "still not come first" in told[3]:
                assert first != told[2], promise
        else:
            return False
        return True

    def _kept_out(self, decision: dict[str, Any], offer_id: str) -> list[dict[str, Any]]:
        rules = {"eligibility", "business_rule"}
        return [one for one in decision.get("excluded", ()) if one["offer_id"] == offer_id and one["rule"] in rules]

    def _dearer(self, name: str, ways: str) -> None:
        if more := re.search(r"worth ([\d.]+) more", ways):
            for cents, wins in ((0.0, True), (-0.03, False)):
                worth = max(0.0, self.values[name] + float(more[1]) + cents)
                with self.changed(values={**self.values, name: worth}):
                    assert (self.first() == name) == wins, ways
        if chance := re.search(r"its chance were ([\d.]+)%", ways):
            with self.changed(chances={**self.chances, name: float(chance[1]) / 100}):
                assert self.first() == name, ways


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    path: Path = tmp_path_factory.mktemp("rules")
    database = sqlite_with_tables(path / "state.db")
    return Desk(database)


def kept(asked: Asked, told: Explanation) -> list[str]:
    """The promises that were tried."""
    return [promise for promise in told.would_flip if asked.keeps(promise)]


def test_a_pin_and_an_exclusion_are_named_and_what_would_lift_them(desk: Desk) -> None:
    asked = Asked(desk, VALUES, [PIN, EXCLUDE])
    told = asked.explained()
    assert (
        "Offer hi by email is expected to earn more (1.00), but the rule pp puts Offer lo first; the probability "
        in (told.why[2])
    )
    assert "Offer hi by email is number 2 (1.00): the rule pp puts Offer lo first." in told.why_not
    assert (
        kept(asked, told)
        == list(told.would_flip)
        == [
            "Without the rule pp Offer hi by email would come first (1.00 against 0.25).",
            f"If “{GOLD}” held and there were no rule ex, Offer vip by email could be sent; it would still not come "
            "first (2.00 against 0.25), because of the rule pp.",
        ]
    )


def test_a_pin_by_several_channels_is_no_chance(desk: Desk) -> None:
    told = Asked(desk, VALUES, [PIN], channels=["email", "sms"]).explained()
    assert "Without the rule pp Offer hi by email would most likely come first (1.00 against 0.25)." in told.would_flip


def test_what_only_all_rules_together_do_is_told_of_all(desk: Desk) -> None:
    also, buried = {**PIN, "name": "also"}, {**BURY, "offers": ["vip"]}
    for values, rules, promised in (
        (
            {"hi": 10.0, "lo": 2.5},
            [PIN, also],
            "Without the rules pp and also Offer hi by email would come first (1.00 against 0.25).",
        ),
        (VALUES, [PIN, buried], "Without the rule pp Offer hi by email would come first (1.00 against 0.25)."),
    ):
        asked = Asked(desk, values, rules)
        asked.gold = True
        assert [one for one in asked.explained().would_flip if one.startswith("Without")] == [promised]
        assert asked.keeps(promised)


def test_a_bury_is_named_and_what_would_lift_it(desk: Desk) -> None:
    asked = Asked(desk, VALUES, [BURY])
    told = asked.explained()
    assert "but the rule bb puts it behind the others" in told.why[2]
    assert "Offer hi by email is number 2 (1.00): the rule bb puts it behind the others." in told.why_not
    assert (
        kept(asked, told)
        == list(told.would_flip)
        == [
            "Without the rule bb Offer hi by email would come first (1.00 against 0.25).",
            f"If “{GOLD}” held, Offer vip by email could be sent; it would still not come first (2.00 against 0.25), "
            "because of the rule bb.",
        ]
    )


def test_a_boost_is_named_and_what_would_be_enough_against_it(desk: Desk) -> None:
    asked = Asked(desk, VALUES, [BOOST])
    told = asked.explained()
    assert "but the rule bo counts Offer lo 20 times" in told.why[2]
    assert "Offer hi by email is number 2 (1.00): the rule bo counts Offer lo 20 times." in told.why_not
    assert kept(asked, told) == list(told.would_flip)
    assert not any(promise.startswith("Offer lo") for promise in told.would_flip)
    assert any(promise.startswith("Offer hi by email would come first if an order") for promise in told.would_flip)


def test_what_a_change_opens_beside_may_stand_before(desk: Desk) -> None:
    """Gold opens another offer that is worth more, so nothing is promised of the first place."""
    asked = Asked(desk, {**VALUES, "best": 50.0}, [])
    asked.context = {"page": "cart"}
    told = asked.explained()
    assert f"If “{GOLD}” held, Offer vip by email could be sent." in told.would_flip
    assert len(kept(asked, told)) == len(told.would_flip)


def test_rules_that_ask_for_what_is_changed_leave_the_outcome_open(desk: Desk) -> None:
    told = Asked(desk, VALUES, [{**PIN, "when": GOLD}]).explained()
    assert (
        f"If “{GOLD}” held, Offer vip by email could be sent; what business rules would do then cannot be told."
        in told.would_flip
    )


def test_chance_alone_and_the_old_way_promise_no_values(desk: Desk) -> None:
    arms = {"model": 0, "random": 1, "business_as_usual": 0, "holdout": 0}
    told = Asked(desk, VALUES, [EXCLUDE], arms=arms).explained()
    assert not any("come first" in promise for promise in told.would_flip)
    usual = Asked(desk, {"vip": 20.0}, [], arms={**arms, "random": 0, "business_as_usual": 1})
    told = usual.explained()
    assert [one for one in told.would_flip if one.endswith("could be sent, and it would come first.")]
    assert kept(usual, told)


steers = st.builds(
    dict,
    do=st.sampled_from(["pin", "boost", "bury", "exclude"]),
    offers=st.lists(st.sampled_from(sorted(CHANCES)), min_size=1, max_size=3, unique=True),
    place=st.integers(1, 2),
    factor=st.sampled_from([0.2, 3.0, 20.0]),
)


@example_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from(sorted(CHANCES)), st.integers(0, 60).map(float), min_size=1),
    st.lists(steers, max_size=4),
    st.booleans(),
    st.booleans(),
)
def test_every_promise_is_kept(
    desk: Desk, values: dict[str, float], rules: list[dict[str, Any]], gold: bool, cart: bool
) -> None:
    asked = Asked(desk, values, [{**rule, "name": f"r{number}"} for number, rule in enumerate(rules)])
    asked.gold, asked.context = gold, {"page": "cart"} if cart else {}
    kept(asked, asked.explained())


def test_what_chance_put_before_a_boosted_offer_is_told_as_tried(desk: Desk) -> None:
    asked = Asked(desk, {"hi": 10.0, "lo": 2.5}, [BOOST])
    while not (told := asked.explained(exploration=8.0)).headline.startswith("Offer hi"):
        pass
    assert told.why[2].startswith(
        "Offer lo by email was likelier to come first, as the rule bo counts Offer lo 20 times; this was tried, with "
    )
    assert told.would_flip[0].startswith("Another draw would: Offer lo by email had a chance of ")
    assert not any(promise.startswith("Offer hi") for promise in told.would_flip)
