"""What `/customers/{id}` shows: why this person gets what, why not the rest, and what is known of them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from features.catalogue import CATALOGUE
from models.declared import PROPENSITIES
from service.customers.customer_store import read_customer, read_profiles, with_trait
from service.customers.look_up import CustomerReader
from service.decisions.decision_store import newest_heads
from service.decisions.explain import Explanation
from service.decisions.money import money
from service.decisions.quiet import zone_of
from service.decisions.read_decision import DecisionReader
from service.errors import Damaged, NotFound
from service.events.contacts import tidy_email, tidy_phone
from service.journeys.read_enrolments import show_customer
from service.offers.offers_store import read_offers
from service.pages.charts import Bar
from service.pages.words import percent
from service.storage.database import Connection, Database

DECISIONS = 5
WEIGHED = 5
"""How many candidates a decision's chart has."""
LATELY = 20
LOOKED_AT = 200
"""How many of the newest decisions are looked at for `LATELY` different customers."""
JOURNEYS = 10
TIMELINE = 40
MESSAGE_STATES = {
    "sent": "sent",
    "intended": "not yet sent",
    "blocked": "not sent",
    "failed": "failed",
    "uncertain": "perhaps sent",
}


@dataclass(frozen=True, slots=True)
class Told:
    """A decision with its words, and what it weighed as bars."""

    record: dict[str, Any]
    words: Explanation
    weighed: list[Bar]


def customer_view(
    database: Database, customers: CustomerReader, decisions: DecisionReader, customer_id: str
) -> dict[str, Any]:
    """The overview (None when nothing is known), the newest decisions in words, and the way through journeys.

    `NotFound` when there is neither overview nor decision. What was another id's is shown under the present one's.
    """
    customer_id = unicodedata.normalize("NFC", customer_id)  # as events write ids
    missing: NotFound | None = None
    overview: dict[str, Any] | None = None
    try:
        overview = customers.overview(customer_id)
    except NotFound as nobody:
        missing = nobody
    owner = customer_id if overview is None else overview["customer_id"]
    told = [
        each if isinstance(each, Damaged) else Told(*each, weighed(each[0]))
        for each in decisions.told(owner, DECISIONS)
    ]
    if missing is not None and not told:
        raise missing
    timeline = (overview or {}).get("timeline", [])[:TIMELINE]
    with database.read() as connection:
        journeys = show_customer(connection, owner)[:JOURNEYS]
        messages = [message for way in journeys for message in way["messages"]]
        names = offer_names(connection, (each.get("offer_id") for each in (*timeline, *messages)))
    return {
        "customer_id": owner,
        "known": overview,
        "zone": own_clock((overview or {}).get("timezone")),
        "told": told,
        "placements": list(dict.fromkeys(each.record["placement"] for each in told if isinstance(each, Told))),
        "journeys": journeys,
        "message_states": MESSAGE_STATES,
        "titles": {name: one.title for name, one in PROPENSITIES.items()},
        "timeline": timeline,
        "names": names,
        "features": shown_features((overview or {}).get("features") or {}),
    }


def weighed(record: Mapping[str, Any]) -> list[Bar]:
    """What the likeliest to be worth most were expected to earn, the one that goes first standing out; none where
    nothing was weighed against another.
    """
    known = [one for one in record["candidates"] if one["eligible"] and one["expected_value"] is not None]
    best = sorted(known, key=lambda one: (-one["expected_value"], one["rank"] != 1))[:WEIGHED]
    first = next((one for one in known if one["rank"] == 1), None)
    if first is None:  # nothing is sent
        first = next((one for one in known if one["offer_id"] is None), None)
    if first is not None and first not in best:
        best[-1:] = [first]
    return [_bar(one, record["offer_names"], one is first) for one in best] if len(best) > 1 else []


def _bar(candidate: Mapping[str, Any], names: Mapping[str, str], first: bool) -> Bar:
    offer_id, worth = candidate["offer_id"], candidate["expected_value"]
    what = "Nothing" if offer_id is None else f"{names.get(offer_id, offer_id)} by {candidate['channel']}"
    chance = candidate["propensity"]
    return Bar(what, worth, f"{money(worth)} · {'<0.1%' if 0 < chance < 0.0005 else percent(chance)}", first)


def own_clock(zone: str | None) -> str | None:
    """A customer's zone, where it is known and another than UTC."""
    found, unknown = zone_of(zone, "UTC")
    return None if unknown or found.key == "UTC" else zone


def decided_lately(database: Database) -> dict[str, Any]:
    """Whom decisions were made for lately, each with their newest one: somewhere to begin without an id."""
    with database.read() as connection:
        heads = newest_heads(connection, LOOKED_AT)
        newest = {head.customer_id: head for head in reversed(heads) if head.customer_id}
        lately = sorted(newest.values(), key=lambda head: head.decided_at, reverse=True)[:LATELY]
        profiles = read_profiles(connection, [head.customer_id for head in lately])
        names = offer_names(connection, (head.offer_id for head in lately))
    zones = {name: profile.timezone for name, profile in profiles.items()}
    return {"lately": lately, "zones": zones, "names": names}


def offer_names(connection: Connection, offer_ids: Iterable[str | None]) -> dict[str, str]:
    """The names of offers, also of those that are no longer in the catalogue."""
    wanted = sorted({each for each in offer_ids if each})
    return {offer.offer_id: str(offer.document["name"]) for offer in read_offers(connection, wanted, deleted=True)}


def found_by(database: Database, asked: str, country: str | None) -> dict[str, Any]:
    """Who is meant by a text that a person typed: `only` is one customer's id, `several` are those who share a trait.

    An id of somebody is that; else it may be an e-mail address, a number, a name. Nobody `known`: the text, as an id.
    """
    asked = unicodedata.normalize("NFC", asked)
    forms = [tidy_email(asked).value, tidy_phone(asked[:250], country).value]
    with database.read() as connection:
        if read_customer(connection, asked).known:
            return {"only": asked, "known": True}
        found = with_trait(connection, [asked, *(form for form in forms if form)], LATELY + 1)
    if len(found) > 1:
        return {"only": None, "several": found[:LATELY], "more": len(found) > LATELY, "asked": asked}
    return {"only": found[0].customer_id if found else asked, "known": bool(found)}


def shown_features(features: dict[str, Any]) -> list[tuple[str, Any, str]]:
    """Scalar features that have a value, by name, each with its unit."""
    values = features.get("values", features)
    units = {one.name: one.unit for one in CATALOGUE.features}
    return [
        (name, value, units.get(name, ""))
        for name, value in sorted(values.items())
        if isinstance(value, (int, float)) and value == value
    ]
