"""What is remembered between cases changes no verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from service.decisions.case import Case, CoolDown, Customer, Entry, Rules, Usage
from service.decisions.eligibility import candidates, excluded, judge
from service.decisions.offer_rules import offer_failures
from service.decisions.rules import RuleBook
from service.offers.cel import Answer
from service.offers.offer import Offer, offer_from_document
from service.offers.schemas import OfferIn
from tests.fakes.decisions import NOON
from tests.fakes.decisions import settings as settings_of

RULES: Rules = RuleBook(settings_of()).rules("default")
NOW = int(NOON.timestamp() * 1_000_000)
SOURCES = ("customer.features.a > 1.0", "context.items > 2")


def offer(number: int, **fields: Any) -> Offer:
    told = OfferIn.model_validate({"name": f"o{number}", "channels": ["email", "web"], **fields})
    return offer_from_document(f"o{number}", 1, told.document())


OFFERS = (
    offer(0),
    offer(1, eligibility=SOURCES[0], caps=[{"max": 1, "per_days": 7}]),
    offer(2, eligibility=SOURCES[1], channels=["sms"]),
    offer(3, ends_at="2020-01-01T00:00:00Z"),
    offer(4, tags=["sale"], eligibility=SOURCES[0]),
)
PLAIN = (*OFFERS[:3], OFFERS[4])
ANSWERS = [Answer(True), Answer(False), Answer(False, missing="a")]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    channels = draw(st.permutations(["email", "web", "sms"]))[: draw(st.integers(1, 3))]
    consents = {"email": {"marketing": draw(st.booleans())}, "sms": {"marketing": True}}
    entry = Entry(NOW - 9, None, "email", draw(st.sampled_from(["o0", "o1"])), True, True)
    cool_down = CoolDown("purchase", 3, tag=draw(st.sampled_from([None, "sale"])))
    bought = {("purchase", ""): (NOW - 9, NOW - 9)}
    return Case(
        Customer("c", consents=consents, suppressed=draw(st.sampled_from([{}, {"sms": "bounced"}]))),
        "default",
        tuple(channels),
        draw(st.sampled_from([OFFERS, PLAIN])),
        NOON,
        "model",
        1,
        5,
        replace(RULES, cool_downs=draw(st.sampled_from([(), (cool_down,)]))),
        Usage(draw(st.sampled_from([(), (entry,)])), {}, draw(st.sampled_from([{}, bought]))),
        {source: draw(st.sampled_from(ANSWERS)) for source in SOURCES},
        checked=draw(st.sampled_from([True, True, False])),
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(cases(), min_size=1, max_size=8))
def test_what_is_remembered_changes_no_verdict(some: list[Case]) -> None:
    for case in some:
        fresh = replace(case, offers=(*case.offers,), answers=dict(case.answers))
        assert fresh.offers is not case.offers
        for _ in range(2):
            verdicts, alone = judge(case), judge(fresh)
            assert verdicts == alone
            assert candidates(case, verdicts) == candidates(fresh, alone)
            assert excluded(case, verdicts) == excluded(fresh, alone)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_every_offer_that_a_rule_stops_is_asked(case: Case) -> None:
    """Offers without rules of their own are left out of the asking: a new rule could be forgotten there."""
    case = replace(case, rules=replace(case.rules, cool_downs=()))
    seen = {o.offer_id: [one for one in case.usage.entries if one.offer_id == o.offer_id] for o in case.offers}
    alone = {o.offer_id: tuple(offer_failures(case, o, seen[o.offer_id])) for o in case.offers}
    assert judge(case).offers == alone


def test_customers_whom_nothing_stops_share_their_verdicts() -> None:
    rules = replace(RULES, consent_when_unknown="allow")
    answers = {source: Answer(False) for source in SOURCES}
    first = Case(Customer("a"), "default", ("email", "web"), PLAIN, NOON, "model", 1, 5, rules, Usage(), answers)
    second = replace(first, customer=Customer("b", consents={"email": {"marketing": True}}), seed=2)
    stopped = replace(first, customer=Customer("c", consents={"email": {"marketing": False}}))
    assert judge(first) is judge(second)
    assert judge(stopped) != judge(first)
    assert [line["rule"] for line in excluded(stopped, judge(stopped))].count("consent") == 3
