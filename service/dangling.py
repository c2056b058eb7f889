"""What journeys, offers and settings name that is not there (or no longer), for `opportune doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

from service.decisions.rules import compiled_steer
from service.experiments.definition import experiment_from
from service.experiments.experiment_store import list_experiments
from service.journeys.dangling import unknown_inputs, unknown_names
from service.journeys.definition import Journey, Split
from service.journeys.definitions import Definitions
from service.journeys.enrolment_store import versions_in_use
from service.journeys.journey_store import list_journeys
from service.offers.catalogue import compiled
from service.offers.offers_store import read_offers

if TYPE_CHECKING:
    from service.storage.database import Connection
    from service.wiring import Parts


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
        for rule in placement.rules:
            at = f"{name}: the rule {rule.name!r} ({rule.do})"
            lacking = ", ".join(repr(offer) for offer in rule.offers if offer not in known)
            if lacking:
                told = f"the catalogue has no offer {lacking}; put the offer or correct its id"
                yield Told("note", "placements", f"{at}: {told}")
            for fault in unknown_inputs(compiled_steer(rule.when)) if rule.when else ():
                yield Told("note", "placements", f"{at}: when: {fault}, so it never holds")


def of_journeys(parts: Parts) -> Iterator[Told]:
    """What active journeys name, in the version that lets in and in those that somebody is still in."""
    known = Definitions()
    with parts.database.read() as connection:
        drafts = {row["id"] for row in list_experiments(connection) if experiment_from(row).status == "draft"}
        for row in list_journeys(connection, "active"):
            for version in sorted({row.version, *versions_in_use(connection, row.journey_id)}):
                journey = known.find(connection, row.journey_id, version)
                at = row.journey_id if version == row.version else f"{row.journey_id}, version {version}"
                if journey is None:
                    yield Told("fail", "journeys", f"{at}: cannot be read by this version of the service; put it anew")
                    continue
                for told in _of_journey(connection, journey, drafts):
                    yield told._replace(detail=f"{at}: {told.detail}")


def _of_journey(connection: Connection, journey: Journey, drafts: set[str]) -> Iterator[Told]:
    for fault in unknown_names(connection, journey):
        yield Told("fail", "journeys", f"{fault.field}: {fault.detail}")
    for step in journey.steps.values():
        if isinstance(step, Split) and step.experiment in drafts:
            told = f"the experiment {step.experiment!r} is a draft, so all go else; put it with status running"
            yield Told("note", "journeys", f"step {step.id!r}: {told}")
