"""Reads all that decisions need, once for many of them, and puts it into cases."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from features.rows import CustomerRow
from models.candidates import MOST
from service.clock import new_ids
from service.decisions.arms import arm_of
from service.decisions.ask_rules import Answers, Asked, Questions, ask_rules, questions_of
from service.decisions.case import Case, Customer
from service.decisions.circuit import Circuit
from service.decisions.count_by_offer import CountByOffer
from service.decisions.draft import Draft, of_another_time
from service.decisions.eligibility import candidates, judge
from service.decisions.last_known import LastKnown
from service.decisions.ledger_view import LedgerView
from service.decisions.match_rules import steered
from service.decisions.policy import seed_of
from service.decisions.ports import Features, Models, Owners, Person, ReadCustomers, There
from service.decisions.rules import RuleBook
from service.decisions.schemas import DecisionIn
from service.decisions.score import NEXT_OFFER
from service.decisions.scores import UNSCORED, Scores, scores_of
from service.decisions.shortlist import Shortlist, open_channels
from service.decisions.suppression_store import read_suppressed
from service.errors import FieldError, Invalid, Problem
from service.offers.catalogue import Catalogue, CatalogueCache
from service.offers.cel import Answer, Expression
from service.offers.offer import Offer
from service.storage.database import Connection, Database

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where things are read from."""

    database: Database
    catalogue: CatalogueCache
    read_customers: ReadCustomers
    features: Features
    models: Models
    rules: RuleBook
    secret: str
    owners: Owners | None = None
    there: There | None = None
    last: LastKnown = field(default_factory=LastKnown)
    reading: Circuit = field(default_factory=lambda: Circuit("features", longest_pause_s=4.0))
    shortlist: Shortlist = field(default_factory=Shortlist)
    counting: CountByOffer = field(default_factory=CountByOffer)


class Asking(NamedTuple):
    """A request that is to be decided, with what was read for it. `used`: what the decision may know of the person."""

    number: int
    request: DecisionIn
    person: Customer
    used: Customer
    at: datetime
    row: CustomerRow | None
    offers: tuple[Offer, ...]
    questions: Questions


def gather(
    sources: Sources,
    requests: Sequence[DecisionIn],
    now: datetime,
    first: int | None,
    ids: Sequence[str] | None = None,
    refused: dict[int, Problem] | None = None,
) -> list[Draft]:
    """A draft of each request: candidates judged, nothing scored yet. `Invalid` names an offer that is unknown.

    With `refused`, such a request's problem is put there by its place instead, and it has no draft.
    `first`: place in its batch of the first request, for the names of fields; None where it came alone.
    `ids` are the decisions' ids, from which their seeds come; without them, new ones that sort by time.
    """
    with sources.database.read() as connection:
        catalogue = sources.catalogue.current(connection)
        sources.counting.see_to(sources.database, connection, catalogue)
        people = _people(connection, sources, requests)
        wanted = [(people[request.customer_id].customer_id, request) for request in requests]
        ledger = LedgerView(connection, wanted, catalogue.past, sources.rules, now)
        rows, unread = _rows(sources, requests, people, now)
        asking: list[Asking] = []
        for index, request in enumerate(requests):
            place = "" if first is None else f"requests[{first + index}]."
            person = people[request.customer_id]
            at = request.at or now
            row = rows.get((person.customer_id, at))
            try:
                offers = offers_of(sources, catalogue, request, person, row, now, place)
            except Invalid as problem:
                if refused is None:
                    raise
                refused[index] = problem
                continue
            used = person if person.profiling else replace(person, traits={}, segments=())
            asking.append(Asking(index, request, person, used, at, row, offers, questions_of(offers)))
        names = new_ids([one.at for one in asking]) if ids is None else [ids[one.number] for one in asking]
        told = _told(sources.models, asking)
        answers = _answers(asking, told)
        drafts = _drafts(sources, asking, names, told, answers, ledger)
    for one, draft in zip(asking, drafts, strict=True):
        person, row = one.person, one.row
        draft.another_time = of_another_time(one.request.at, now)
        if not person.known and row is None:
            draft.degrade("unknown_customer")
        if unread and row is not None:
            draft.degrade("features")
            draft.degrade("features:snapshot")
        elif unread or (row is None and person.known and person.profiling):
            draft.degrade("features")
    return drafts


def _people(connection: Connection, sources: Sources, requests: Sequence[DecisionIn]) -> dict[str, Customer]:
    ids = list(dict.fromkeys(request.customer_id for request in requests))
    found = sources.read_customers(connection, ids)
    suppressed = read_suppressed(connection, list({person.customer_id for person in found.values()}))
    people = {
        asked: Customer(
            person.customer_id,
            person.known,
            _zone_named(person),
            person.locale,
            person.traits,
            person.segments,
            person.consents,
            person.profiling,
            suppressed.get(person.customer_id, {}),
        )
        for asked, person in found.items()
    }
    sources.last.people.keep(people)
    return people


def _zone_named(person: Person) -> str | None:
    """The person's zone, else the name that was given for one and is none, so that a decision says so."""
    named = person.traits.get("timezone") if person.timezone is None else person.timezone
    return named if isinstance(named, str) and named else None


def _rows(
    sources: Sources, requests: Sequence[DecisionIn], people: Mapping[str, Customer], now: datetime
) -> tuple[dict[tuple[str, datetime], CustomerRow], bool]:
    """Feature rows by (customer, time) of those who may be profiled; and whether reading failed.

    Then they are the rows that this process read last, of customers that are still known, for the present time only.
    """
    wanted: dict[datetime, dict[str, None]] = {}
    for request in requests:
        person = people[request.customer_id]
        if person.profiling:
            wanted.setdefault(request.at or now, {})[person.customer_id] = None
    found: dict[tuple[str, datetime], CustomerRow] = {}
    if not sources.reading.allows():
        return _snapshots(sources, people, now), True
    try:
        for at, ids in wanted.items():
            names = list(ids)
            for name, row in zip(names, sources.features.read(names, at), strict=True):
                if row is not None:
                    found[name, at] = row
    except Exception:  # whatever fails in the feature store, the customer still gets a decision
        log.exception("the online features could not be read; deciding with the last known, or without")
        sources.reading.failed()
        return _snapshots(sources, people, now), True
    sources.reading.succeeded()
    sources.last.rows.keep({name: row for (name, at), row in found.items() if at == now})
    return found, False


def _snapshots(
    sources: Sources, people: Mapping[str, Customer], now: datetime
) -> dict[tuple[str, datetime], CustomerRow]:
    found = {}
    for person in people.values():
        row = sources.last.rows.find(person.customer_id) if person.known and person.profiling else None
        if row is not None:
            found[person.customer_id, now] = row
    return found


def offers_of(
    sources: Sources,
    catalogue: Catalogue,
    request: DecisionIn,
    customer: Customer,
    row: CustomerRow | None,
    now: datetime,
    place: str,
    checked: bool = True,
) -> tuple[Offer, ...]:
    """The offers that a request weighs. `Invalid` names one that is unknown, behind `place`."""
    if request.offers is None:
        if len(catalogue.offers) <= MOST:
            return catalogue.offers
        rules, at = sources.rules.rules(request.placement), request.at or now
        used = customer if customer.profiling else replace(customer, traits={}, segments=())
        channels = open_channels(customer, rules, request.channels or rules.placement_channels)

        def ask_them(expressions: Mapping[str, Expression]) -> dict[str, Answer]:
            return ask_rules(expressions, used, row, {}, request.context, at, checked)

        model, vectors = sources.models.get("next-offer"), sources.catalogue.vectors
        return sources.shortlist.offers(catalogue, model, vectors, rules, channels, row, at, ask_them)
    unknown = [
        FieldError(f"{place}offers[{index}]", f"there is no offer {offer_id!r}")
        for index, offer_id in enumerate(request.offers)
        if offer_id not in catalogue.by_id
    ]
    if unknown:
        raise Invalid(f"{unknown[0].field}: {unknown[0].detail}", unknown)
    return tuple(catalogue.by_id[offer_id] for offer_id in sorted(request.offers))


def _told(models: Models, asking: Sequence[Asking]) -> list[Scores]:
    """Each one's scores, where a rule of the offers asks for them."""
    wanted = {(one.person.customer_id, one.at): one.row for one in asking if one.questions.uses_scores}
    found = scores_of(models, {key: row for key, row in wanted.items() if row is not None})
    return [
        found.get((one.person.customer_id, one.at), UNSCORED) if one.questions.uses_scores else UNSCORED
        for one in asking
    ]


def _answers(asking: Sequence[Asking], told: Sequence[Scores]) -> list[Answers]:
    """What the rules of the offers say of each; those with the same rules are asked about together."""
    alike: dict[int, list[int]] = {}
    for place, one in enumerate(asking):
        alike.setdefault(id(one.questions), []).append(place)
    found: list[Answers] = [{}] * len(asking)
    for places in alike.values():
        some = [(asking[place], told[place].scores) for place in places]
        asked = [Asked(one.used, one.row, scores, one.request.context, one.at) for one, scores in some]
        for place, answers in zip(places, some[0][0].questions.ask(asked), strict=True):
            found[place] = answers
    return found


def _drafts(
    sources: Sources,
    asking: Sequence[Asking],
    names: Sequence[str],
    told: Sequence[Scores],
    answers: Sequence[Answers],
    ledger: LedgerView,
) -> list[Draft]:
    """Part by part over all of them, as in `Decider`: what a part reads stays in the processor's cache."""
    learnt = learnt_by(sources.models)
    cases = [_case(sources, *of, ledger, learnt) for of in zip(asking, names, told, answers, strict=True)]
    verdicts = [judge(case) for case in cases]
    return [
        Draft(
            name,
            one.request,
            case,
            one.person,
            one.row,
            None if one.person.profiling else "profiling_opt_out",
            verdict,
            candidates(case, verdict),
            scores=scores.scores,
            models=dict(scores.versions),
            degraded=list(scores.failed),
        )
        for one, name, scores, case, verdict in zip(asking, names, told, cases, verdicts, strict=True)
    ]


def _case(
    sources: Sources,
    asking: Asking,
    decision_id: str,
    told: Scores,
    answers: Answers,
    ledger: LedgerView,
    learnt: float,
) -> Case:
    request, offers, at, used = asking.request, asking.offers, asking.at, asking.used
    rules = sources.rules.rules(request.placement)
    return Case(
        customer=used,
        placement=request.placement,
        channels=tuple(request.channels or rules.placement_channels),
        offers=offers,
        at=at,
        arm=arm_of(used.customer_id, request.placement, sources.rules.shares(request.placement), sources.secret),
        seed=seed_of(sources.secret, decision_id),
        top_k=request.top_k,
        rules=rules,
        usage=ledger.usage(used.customer_id, offers, at, request.at is not None),
        answers=answers,
        steered=steered(rules.steering, offers, used, asking.row, told.scores, request.context, at),
        learnt=learnt,
    )


def learnt_by(models: Models) -> float:
    """How many outcomes the ranker that serves has learnt from since it was trained; 0 where none serves."""
    return float(getattr(models.get(NEXT_OFFER), "learnt", 0.0))
