"""What a decision is made of while the database is away: only what needs no check that cannot be made.

Consents, suppressions, caps, budgets and what happened before cannot be read now, nor can this decision be seen by
other processes. So nothing goes out (only channels that the customer comes to stay open), nothing is shown that some
limit counts, nothing is known of the person (contextless: whether profiling was refused cannot be asked), and an
eligibility rule that asks for the customer does not hold. A "no" that this process still knows is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from service.clock import new_id
from service.decisions.arms import arm_of
from service.decisions.ask_rules import ask_rules, expressions_of
from service.decisions.case import Case, Customer, Usage
from service.decisions.draft import Draft, of_another_time
from service.decisions.eligibility import candidates, judge
from service.decisions.gather import Sources, learnt_by, offers_of
from service.decisions.match_rules import steered
from service.decisions.policy import seed_of
from service.decisions.schemas import DecisionIn
from service.errors import Invalid, Problem

AWAY = "database"


def gather_away(
    sources: Sources, requests: Sequence[DecisionIn], now: datetime, first: int | None, refused: dict[int, Problem]
) -> list[Draft]:
    """A draft of each request, from memory alone; see `gather.gather` for `first` and `refused`."""
    drafts = []
    for index, request in enumerate(requests):
        try:
            drafts.append(_draft(sources, request, now, "" if first is None else f"requests[{first + index}]."))
        except Invalid as problem:
            refused[index] = problem
    return drafts


def _draft(sources: Sources, request: DecisionIn, now: datetime, place: str) -> Draft:
    at = request.at or now
    known = sources.last.people.find(request.customer_id) or Customer(request.customer_id)
    used = replace(known, traits={}, segments=(), profiling=False)
    offers = offers_of(sources, sources.catalogue.last, request, used, None, now, place, checked=False)
    rules = sources.rules.rules(request.placement)
    decision_id = new_id(at)
    case = Case(
        customer=used,
        placement=request.placement,
        channels=tuple(request.channels or rules.placement_channels),
        offers=offers,
        at=at,
        arm=arm_of(known.customer_id, request.placement, sources.rules.shares(request.placement), sources.secret),
        seed=seed_of(sources.secret, decision_id),
        top_k=request.top_k,
        rules=rules,
        usage=Usage(),
        answers=ask_rules(expressions_of(offers), used, None, {}, request.context, at, checked=False),
        checked=False,
        steered=steered(rules.steering, offers, used, None, {}, request.context, at),
        learnt=learnt_by(sources.models),
    )
    verdicts = judge(case)
    draft = Draft(decision_id, request, case, used, None, AWAY, verdicts, candidates(case, verdicts))
    draft.another_time = of_another_time(request.at, now)
    draft.degrade(AWAY)
    return draft
