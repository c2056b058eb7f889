"""What journeys, offers and settings name that is not there (or no longer), for `opportune doctor`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal, NamedTuple

from models.declaration import near
from service.content.variant import said_hash
from service.content.variant_store import approved_places
from service.customers.consent import MARKETING, TRANSACTIONAL
from service.decisions.arm_tests import placement_and_number
from service.decisions.case import WORDED
from service.decisions.rules import compiled_steer
from service.events.quality_store import read_counts
from service.events.read_report import known_names
from service.experiments.definition import experiment_from
from service.experiments.experiment_store import list_experiments, standing_tests
from service.journeys.dangling import unknown_inputs, unknown_names
from service.journeys.definition import Decide, Journey, Split
from service.journeys.definitions import Definitions
from service.journeys.enrolment_store import count_stuck, versions_in_use
from service.journeys.journey_store import list_journeys
from service.journeys.wake_journeys import ENGAGEMENT
from service.offers.catalogue import compiled
from service.offers.offers_store import read_offers

if TYPE_CHECKING:
    from service.storage.database import Connection
    from service.wiring import Parts


_LATELY = timedelta(days=30)
_ALIKE = 0.8
_PURPOSES = (MARKETING, TRANSACTIONAL)


class Told(NamedTuple):
    """`fail` where customers stand still because of it."""

    verdict: Literal["note", "fail"]
    part: str
    detail: str


def of_offers(parts: Parts) -> Iterator[Told]:
    """Features and scores that an eligibility asks for, and offers that must have come first, which there never were:
    nobody would ever get the offer."""
    with parts.database.read() as connection:
        offers = parts.catalogue.current(connection).offers
        required = {one.offer_id for offer in offers for one in offer.requires}
        ever = {one.offer_id for one in read_offers(connection, sorted(required), deleted=True)}
    for offer in offers:
        for fault in unknown_inputs(compiled(offer.eligibility)) if offer.eligibility else ():
            yield Told("note", "offers", f"{offer.offer_id}: its eligibility: {fault}, so nobody gets it")
        for one in offer.requires:
            if one.offer_id not in ever:
                told = f"requires the offer {one.offer_id!r}, which there never was, so nobody gets it"
                yield Told("note", "offers", f"{offer.offer_id}: {told}; put that offer, or correct its id")


def of_placements(parts: Parts) -> Iterator[Told]:
    """Offers of the settings that the catalogue lacks (it may come later, so this fails nothing), and what conditions
    of business rules ask for."""
    with parts.database.read() as connection:
        known = parts.catalogue.current(connection).by_id
    for name, placement in parts.settings.placements.items():
        usual = placement.business_as_usual
        if usual is not None and usual not in known:
            told = f"the catalogue has no offer {usual!r}, so that arm sends nothing; put the offer or correct its id"
            yield Told("note", "placements", f"{name}.business_as_usual: {told}")
        if placement.purpose not in _PURPOSES and (meant := near(placement.purpose, _PURPOSES)):
            told = f"the purpose {placement.purpose!r} is one of its own, so no refusal of another holds for it{meant}"
            yield Told("note", "placements", f"{name}: {told}")
        for rule in placement.rules:
            at = f"{name}: the rule {rule.name!r} ({rule.do})"
            lacking = ", ".join(repr(offer) for offer in rule.offers if offer not in known)
            if lacking:
                told = f"the catalogue has no offer {lacking}; put the offer or correct its id"
                yield Told("note", "placements", f"{at}: {told}")
            for fault in unknown_inputs(compiled_steer(rule.when)) if rule.when else ():
                yield Told("note", "placements", f"{at}: when: {fault}, so it never holds")


def of_limits(parts: Parts) -> Iterator[Told]:
    """Placements and tags that limits are about and that nothing is decided for, or no offer has: they hold nothing
    back. Asked once decisions are made at all."""
    settings = parts.settings
    with parts.database.read() as connection:
        tags = {tag for offer in parts.catalogue.current(connection).offers for tag in offer.info.tags}
        decided = {placement_and_number(one.id)[0] for one in standing_tests(connection)}
        running = _running(connection) if decided else ()
        asked = {step.placement for _, journey in running for step in _decides(journey)}
    known = [*settings.placements, *sorted(decided | asked)]
    limits: list[tuple[str, str | None, str | None]] = [
        ("caps", one.placement, None) for one in settings.decisions.caps
    ]
    limits += [("cool_downs", one.placement, one.tag) for one in settings.decisions.cool_downs]
    limits += [("situations", one, None) for one in settings.decisions.situations.get("placement", [])]
    for kind, placement, tag in limits if decided else ():
        if placement is not None and placement not in known:
            told = f"nothing was decided for the placement {placement!r} yet{near(placement, known)}"
            yield Told("note", "placements", f"decisions.{kind}: {told}")
        if tag is not None and tag not in tags:
            yield Told("note", "offers", f"decisions.{kind}: no offer has the tag {tag!r}{near(tag, sorted(tags))}")


def of_copy(parts: Parts) -> Iterator[Told]:
    """Channels of active journeys for which no words are approved, so that nothing is sent there."""
    approved: defaultdict[str, set[str]] = defaultdict(set)
    with parts.database.read() as connection:
        offers = parts.catalogue.current(connection).by_id
        for offer_id, offer_hash, channel, _ in approved_places(connection):
            offer = offers.get(offer_id)
            if offer is not None and offer_hash == said_hash(offer.document):
                approved[channel].add(offer_id)
        for at, journey in _running(connection):
            for step in _decides(journey):
                named = offers if step.offers is None else step.offers
                lacking = [by for by in step.channels if by in WORDED and approved[by].isdisjoint(named)]
                if lacking:
                    told = f"none of its offers has approved copy by {', '.join(lacking)}, so nothing is sent"
                    yield Told("note", "copy", f"{at}: step {step.id!r}: {told}; approve some at /review")


def of_events(parts: Parts) -> Iterator[Told]:
    """Events that active journeys and running experiments wait for, and that come under another name."""
    renamed = parts.settings.event_names
    since = (parts.clock.now() - _LATELY).date().isoformat()
    with parts.database.read() as connection:
        came = {key.name for key in read_counts(connection, since) if key.kind == "event"}
        waiting = {name: f"the journey {at}" for at, journey in _running(connection) for name in _events_of(journey)}
        for experiment in map(experiment_from, list_experiments(connection)):
            for metric in experiment.metrics if experiment.status == "running" else ():
                names = {metric.event, metric.denominator or metric.event}
                waiting.update(dict.fromkeys(names, f"the experiment {experiment.id}"))
    known = sorted({*known_names(), *came, *renamed.values(), *ENGAGEMENT})
    for name, who in sorted(waiting.items()):
        alike = [] if name in known else get_close_matches(name, known, 1, _ALIKE)
        if name in renamed and name not in renamed.values():
            told = f"which [event_names] renames to {renamed[name]!r}, so it never comes; name that"
            yield Told("note", "events", f"{who} is about {name!r}, {told}")
        elif alike:
            yield Told("note", "events", f"{who} is about {name!r}, which never came; do you mean {alike[0]!r}?")


def of_journeys(parts: Parts) -> Iterator[Told]:
    """What active journeys name, in the version that lets in and in those that somebody is in; and who is stuck."""
    with parts.database.read() as connection:
        for row in list_journeys(connection, "active"):
            if stuck := count_stuck(connection, row.journey_id):
                why = f"{row.journey_id}: {stuck:,} are stuck; /journeys says why, and lets them try again"
                yield Told("fail", "journeys", why)
        drafts = {row["id"] for row in list_experiments(connection) if experiment_from(row).status == "draft"}
        for at, journey in _running(connection):
            if journey is None:
                yield Told("fail", "journeys", f"{at}: cannot be read by this version of the service; put it anew")
                continue
            for told in _of_journey(connection, journey, drafts):
                yield told._replace(detail=f"{at}: {told.detail}")


def _running(connection: Connection) -> Iterator[tuple[str, Journey | None]]:
    """Active journeys, each version that lets in or that somebody is in; None for one that cannot be read."""
    known = Definitions()
    for row in list_journeys(connection, "active"):
        for version in sorted({row.version, *versions_in_use(connection, row.journey_id)}):
            at = row.journey_id if version == row.version else f"{row.journey_id}, version {version}"
            yield at, known.find(connection, row.journey_id, version)


def _decides(journey: Journey | None) -> list[Decide]:
    return [step for step in journey.steps.values() if isinstance(step, Decide)] if journey is not None else []


def _events_of(journey: Journey | None) -> set[str]:
    if journey is None:
        return set()
    waits = {name for _, rule in journey.event_waits() for name in rule.names}
    goal = None if journey.goal is None else journey.goal.event
    return waits.union(name for name in (journey.entry.event, goal) if name is not None)


def _of_journey(connection: Connection, journey: Journey, drafts: set[str]) -> Iterator[Told]:
    for fault in unknown_names(connection, journey):
        yield Told("fail", "journeys", f"{fault.field}: {fault.detail}")
    for step in journey.steps.values():
        if isinstance(step, Split) and step.experiment in drafts:
            told = f"the experiment {step.experiment!r} is a draft, so all go else; put it with status running"
            yield Told("note", "journeys", f"step {step.id!r}: {told}")
