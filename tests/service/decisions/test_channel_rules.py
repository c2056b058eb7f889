from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from service.decisions.assortment import assortment
from service.decisions.case import Case, CoolDown, Customer, MessageCap, Rules, Usage, instant
from service.decisions.eligibility import candidates, excluded, judge
from service.decisions.rules import RuleBook
from service.offers.cel import Answer
from service.offers.offer import Offer, offer_from_document
from service.offers.schemas import OfferIn
from tests.fakes.decisions import NOON, settings

PLAIN: Rules = replace(RuleBook(settings()).rules("default"), caps=(), cool_downs=())


def offer(name: str, **fields: object) -> Offer:
    told = OfferIn.model_validate({"name": name, "channels": ["email", "sms", "web"], **fields})
    return offer_from_document(name, 1, told.document())


def case(rules: Rules = PLAIN, channels: tuple[str, ...] = ("email", "web"), **others: object) -> Case:
    made = Case(Customer("c"), "default", channels, (offer("a"),), NOON, "model", 1, 5, rules, Usage(), {})
    return replace(made, **others)  # type: ignore[arg-type]


def told(asked: Case) -> list[tuple[str, str | None, str]]:
    return [(line["rule"], line["channel"], line["detail"]) for line in excluded(asked, judge(asked))]


def test_a_channel_that_the_placement_has_not_is_named_before_all_else() -> None:
    refusing = Customer("c", consents={"sms": {"marketing": False}})
    asked = case(replace(PLAIN, placement_channels=("email",)), ("email", "sms"), customer=refusing)
    assert told(asked) == [("placement_channel", "sms", "sms is not a channel of placement default")]
    assert list(candidates(asked, judge(asked))) == [(0, "email")]


@pytest.mark.parametrize(
    ("rule", "closes"),
    [
        (MessageCap("web", 1, 7), True),
        (MessageCap(None, 1, 7, placement="default"), True),
        (MessageCap(None, 1, 7), False),
        (MessageCap("email", 1, 7), False),
        (MessageCap("web", 1, 7, placement="other"), False),
        (CoolDown("purchase", 3), True),
        (CoolDown("purchase", 3, channel="web"), True),
        (CoolDown("purchase", 3, placement="default"), True),
        (CoolDown("purchase", 3, placement="other"), False),
        (CoolDown("purchase", 3, channel="email"), False),
        (CoolDown("purchase", 3, tag="sale"), False),
    ],
)
def test_without_the_database_only_pages_that_no_rule_counts_are_open(
    rule: MessageCap | CoolDown, closes: bool
) -> None:
    counted = {"caps": (rule,)} if isinstance(rule, MessageCap) else {"cool_downs": (rule,)}
    asked = case(replace(PLAIN, **counted), checked=False)  # type: ignore[arg-type]
    assert [(name, channel) for name, channel, _ in told(asked)] == [
        ("unchecked", channel) for channel in ("email", *(["web"] if closes else []))
    ]


def test_dates_are_told_in_words_and_until_when() -> None:
    starts, ended = NOON + timedelta(hours=1), NOON - timedelta(hours=2)
    offers = offer("early", starts_at=starts.isoformat()), offer("late", ends_at=ended.isoformat())
    asked = case(offers=offers, channels=("email",))
    assert [(one["detail"], one["until"]) for one in excluded(asked, judge(asked))] == [
        (f"starts at {starts:%Y-%m-%d %H:%M} UTC", starts),
        (f"ended at {ended:%Y-%m-%d %H:%M} UTC", None),
    ]
    night = replace(PLAIN, quiet_start=NOON.time(), quiet_end=(NOON + timedelta(hours=3)).time())
    for hours, kept_out in ((1, True), (3, True), (4, False)):
        ending = offer("a", ends_at=(NOON + timedelta(hours=hours)).isoformat())
        lines = told(case(replace(night, quiet_channels=frozenset({"email"})), offers=(ending,)))
        words = f"ends at {NOON + timedelta(hours=hours):%Y-%m-%d %H:%M} UTC, before email may be sent again"
        assert lines == ([("ended", "email", words)] if kept_out else [])


def test_cool_downs_are_over_when_their_days_are_and_count_nothing_of_later() -> None:
    now, hour = instant(NOON), 3_600_000_000
    for rule, ago, holds in (
        (CoolDown("purchase", 1.0), 24 * hour - 1, True),
        (CoolDown("purchase", 1.0), 24 * hour, False),
        (CoolDown("purchase", 1.0), -1, False),
        (CoolDown("complaint", 1.0), hour, False),
        (CoolDown("purchase", 1.0, placement="other"), hour, False),
    ):
        usage = Usage(moments={("purchase", ""): (now - 90 * 24 * hour, now - ago)})
        failures = judge(case(replace(PLAIN, cool_downs=(rule,)), usage=usage)).channels["email"]
        assert [(one.rule, one.until) for one in failures] == (
            [("cool_down", NOON + timedelta(microseconds=24 * hour - ago))] if holds else []
        )


@pytest.mark.parametrize(
    ("channel", "closed"), [("email", {("a", "email")}), (None, {("a", "email"), ("a", "web")}), ("sms", set())]
)
def test_a_cool_down_of_a_tag_closes_its_offers_on_its_channel(channel: str | None, closed: set[object]) -> None:
    rules = replace(PLAIN, cool_downs=(CoolDown("purchase", 3, channel=channel, tag="sale"),))
    bought = Usage(moments={("purchase", ""): (instant(NOON) - 1, instant(NOON) - 1)})
    asked = case(rules, offers=(offer("a", tags=["sale"]), offer("b")), usage=bought)
    lines = excluded(asked, judge(asked))
    assert {(one["offer_id"], one["channel"]) for one in lines} == closed
    assert {one["rule"] for one in lines} <= {"cool_down"}
    assert len(candidates(asked, judge(asked))) == 4 - len(closed)


def test_what_is_remembered_of_offers_stays_bounded() -> None:
    offers = (offer("a", eligibility="context.a > 1"), offer("b"))
    for number in range(600):  # answers that differ, as many as requests name what is missing
        asked = case(offers=offers, answers={"context.a > 1": Answer(False, missing=f"a{number}")})
        assert told(asked)[0][2] == f"the rule needs 'a{number}', which is not known of this customer"
    assert len(assortment(offers).judged) < 300
