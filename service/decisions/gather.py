"""Reads all that decisions need, once for many of them, and puts it into cases."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from features.customer_row import some_values
from features.rows import CustomerRow
from models.candidates import MOST
from models.declared import PROPENSITIES
from service.clock import new_id
from service.decisions.arbitration import FATIGUE_DAYS
from service.decisions.arms import arm_of
from service.decisions.assortment import Remembered, assortment
from service.decisions.case import DAY_US, Case, Customer, Entry, Shared, Usage, microseconds
from service.decisions.circuit import Circuit
from service.decisions.draft import Draft
from service.decisions.eligibility import candidates, judge
from service.decisions.last_known import LastKnown
from service.decisions.ledger_store import FOREVER, read_entries, read_shared
from service.decisions.match_rules import steered
from service.decisions.moments_store import read_moments
from service.decisions.policy import seed_of
from service.decisions.ports import Features, Models, Owners, ReadCustomers
from service.decisions.rules import RuleBook
from service.decisions.schemas import DecisionIn
from service.decisions.score import NEXT_OFFER
from service.decisions.shortlist import Shortlist, open_channels
from service.decisions.suppression_store import read_suppressed
from service.decisions.windows import reach
from service.errors import FieldError, Invalid, Problem
from service.offers.catalogue import Catalogue, CatalogueCache, distinct_expressions
from service.offers.cel import Answer, Expression, ask, prepare
from service.offers.offer import Offer
from service.storage.database import Connection, Database

log = logging.getLogger(__name__)
SCORES = tuple(PROPENSITIES)


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
    last: LastKnown = field(default_factory=LastKnown)
    reading: Circuit = field(default_factory=lambda: Circuit("features", longest_pause_s=4.0))
    shortlist: Shortlist = field(default_factory=Shortlist)


@dataclass(frozen=True, slots=True)
class Scores:
    """A customer's scores by model, the versions that gave them, and the models that failed."""

    scores: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)


_UNSCORED = Scores()
_UNTOLD = Answer(False, problem="the customer's data cannot be read now")
expressions_of = Remembered(distinct_expressions)
"""The eligibility expressions of these offers, each once."""


def _uses_scores(offers: tuple[Offer, ...]) -> bool:
    return any(expression.uses_scores for expression in expressions_of(offers).values())


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
        people = _people(connection, sources, requests)
        wanted = [(people[request.customer_id].customer_id, request) for request in requests]
        ledger = LedgerView(
            connection, wanted, catalogue.longest_cap_days, sources.rules, now, catalogue.asks_for_moments
        )
        rows, unread = _rows(sources, requests, people, now)
        weighed: dict[int, tuple[Offer, ...]] = {}
        for index, request in enumerate(requests):
            place = "" if first is None else f"requests[{first + index}]."
            row = rows.get((people[request.customer_id].customer_id, request.at or now))
            try:
                weighed[index] = offers_of(sources, catalogue, request, people[request.customer_id], row, now, place)
            except Invalid as problem:
                if refused is None:
                    raise
                refused[index] = problem
        asking = {
            (people[requests[index].customer_id].customer_id, requests[index].at or now): None
            for index, offers in weighed.items()
            if _uses_scores(offers)
        }
        scores = _scores(sources.models, {key: rows[key] for key in asking if key in rows})
        learnt = learnt_by(sources.models)
        drafts = []
        for index, offers in weighed.items():
            request = requests[index]
            person = people[request.customer_id]
            key = (person.customer_id, request.at or now)
            row = rows.get(key)
            decision_id = ids[index] if ids is not None else new_id(request.at or now)
            told = scores.get(key, _UNSCORED) if _uses_scores(offers) else _UNSCORED
            draft = _draft(sources, request, decision_id, now, person, row, offers, ledger, told, learnt)
            if not person.known and row is None:
                draft.degrade("unknown_customer")
            if unread and row is not None:
                draft.degrade("features")
                draft.degrade("features:snapshot")
            elif unread or (row is None and person.known and person.profiling):
                draft.degrade("features")
            drafts.append(draft)
    return drafts


def _people(connection: Connection, sources: Sources, requests: Sequence[DecisionIn]) -> dict[str, Customer]:
    ids = list(dict.fromkeys(request.customer_id for request in requests))
    found = sources.read_customers(connection, ids)
    suppressed = read_suppressed(connection, list({person.customer_id for person in found.values()}))
    people = {
        asked: Customer(
            person.customer_id,
            person.known,
            person.timezone,
            person.locale,
            person.traits,
            person.segments,
            person.consents,
            person.profiling,
            suppressed.get(person.customer_id, {}),
        )
        for asked, person in found.items()
    }
    sources.last.people.keep(people.items())
    return people


class LedgerView:
    """What the ledger says for a set of requests, read with few queries."""

    def __init__(
        self,
        connection: Connection,
        wanted: Sequence[tuple[str, DecisionIn]],
        offer_days: float,
        rules: RuleBook,
        now: datetime,
        moments: bool,
    ) -> None:
        """`wanted`: customers with what is asked for them; `offer_days`: how far back a rule of an offer looks.

        `moments`: whether some offer asks for what happened before.
        """
        books = {request.placement: rules.rules(request.placement) for _, request in wanted}
        caps = [reach(cap.per_days, cap.calendar) for book in books.values() for cap in book.caps]
        days = max([*caps, offer_days, FATIGUE_DAYS])
        first = min(microseconds(request.at or now) for _, request in wanted)
        names = sorted({name for name, _ in wanted})
        self._entries = read_entries(connection, names, first - round(days * DAY_US))
        asked = moments or any(book.cool_downs for book in books.values())
        self._moments = read_moments(connection, names) if asked else {}
        self._default_zone = rules.default_zone
        self._connection = connection
        self._shared: dict[tuple[int, int, str], dict[tuple[str, int], Shared]] = {}

    def usage(self, customer_id: str, offers: tuple[Offer, ...], at: datetime, as_of: bool) -> Usage:
        """The customer's entries and the offers' shared limits; with `as_of`, only what had been by then."""
        now = microseconds(at)
        until = now if as_of else FOREVER
        entries: tuple[Entry, ...] = self._entries.get(customer_id, ())
        if as_of:
            entries = tuple(entry for entry in entries if entry.at <= until)
        shared: dict[tuple[str, int], Shared] = {}
        for offer in assortment(offers).shared:
            key = (now, until, offer.offer_id)
            if key not in self._shared:
                self._shared[key] = read_shared(self._connection, [offer], at, self._default_zone, until)
            shared.update(self._shared[key])
        return Usage(entries, shared, self._moments.get(customer_id, {}))


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
    sources.last.rows.keep((name, row) for (name, at), row in found.items() if at == now)
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


def _draft(
    sources: Sources,
    request: DecisionIn,
    decision_id: str,
    now: datetime,
    customer: Customer,
    row: CustomerRow | None,
    offers: tuple[Offer, ...],
    ledger: LedgerView,
    told: Scores,
    learnt: float,
) -> Draft:
    at = request.at or now
    rules = sources.rules.rules(request.placement)
    used = customer if customer.profiling else replace(customer, traits={}, segments=())
    answers = ask_rules(expressions_of(offers), used, row, told.scores, request.context, at)
    case = Case(
        customer=used,
        placement=request.placement,
        channels=tuple(request.channels or rules.placement_channels),
        offers=offers,
        at=at,
        arm=arm_of(customer.customer_id, request.placement, sources.rules.shares(request.placement), sources.secret),
        seed=seed_of(sources.secret, decision_id),
        top_k=request.top_k,
        rules=rules,
        usage=ledger.usage(customer.customer_id, offers, at, request.at is not None),
        answers=answers,
        steered=steered(rules.steering, offers, used, row, told.scores, request.context, at),
        learnt=learnt,
    )
    verdicts = judge(case)
    return Draft(
        decision_id,
        request,
        case,
        customer,
        row,
        None if customer.profiling else "profiling_opt_out",
        verdicts,
        candidates(case, verdicts),
        scores=told.scores,
        models=dict(told.versions),
        degraded=list(told.failed),
    )


def learnt_by(models: Models) -> float:
    """How many outcomes the ranker that serves has learnt from since it was trained; 0 where none serves."""
    return float(getattr(models.get(NEXT_OFFER), "learnt", 0.0))


def ask_rules(
    expressions: Mapping[str, Expression],
    customer: Customer,
    row: CustomerRow | None,
    scores: Mapping[str, float],
    context: Mapping[str, Any],
    at: datetime,
    checked: bool = True,
) -> dict[str, Answer]:
    """What each expression says of this customer; not `checked`: those that ask for the customer cannot be told."""
    if not expressions:
        return {}
    reads = frozenset[str]().union(*(expression.reads for expression in expressions.values()))
    features = _read_by(expressions, row) if "features" in reads else {}
    prepared = prepare(customer.traits, features, customer.segments, scores, context, at, reads)
    return {
        source: ask(expression, prepared) if checked or "customer" not in expression.program.variables() else _UNTOLD
        for source, expression in expressions.items()
    }


def _read_by(expressions: Mapping[str, Expression], row: CustomerRow | None) -> Mapping[str, float]:
    """Only the features that some expression reads: building the variables is what costs."""
    if row is None:
        return {}
    if any(expression.features is None for expression in expressions.values()):
        return row.values
    return some_values(row, frozenset(name for one in expressions.values() for name in one.features or ()))


def _scores(models: Models, rows: Mapping[tuple[str, datetime], CustomerRow]) -> dict[tuple[str, datetime], Scores]:
    """The scores of these customers, for the rules that ask for them."""
    found, customers = {key: Scores() for key in rows}, list(rows.values())
    for name in SCORES if rows else ():
        model = models.get(name)
        if model is None:
            continue
        version = str(model.version)
        for told, probability in zip(found.values(), _probabilities(name, model, customers), strict=True):
            if isinstance(probability, Exception):
                told.failed.append(f"model:{name}")
            elif probability is not None:
                told.scores[name] = float(probability)
                told.versions[name] = version
    return found


def _probabilities(name: str, model: Any, rows: Sequence[CustomerRow]) -> Sequence[float | Exception | None]:
    """Of all rows at once where the model can; a row with which it fails fails alone."""
    try:
        if hasattr(model, "probabilities"):
            told: Sequence[float | None] = model.probabilities(rows)
            return told
        return [model.score(row).probability for row in rows]
    except Exception as failure:  # the rules that need it will say that it is missing
        if len(rows) == 1:
            log.exception("the %s model failed", name)
            return [failure]
    return [one for row in rows for one in _probabilities(name, model, [row])]
