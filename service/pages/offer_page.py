"""Offers set up on the pages: what the form begins with, saved, and switched off or on again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from features.channels import CHANNELS
from service.content.variant import said_hash
from service.content.variant_store import approved_places
from service.errors import Conflict, FieldError, Invalid, NotFound, Stale
from service.offers.offers_store import StoredOffer, documents_of, put_offers, read_offers
from service.pages.offer_form import NEW, changed, checked, kept_caps, shown
from service.storage.database import Connection, Database

DONE = {
    "new": "Saved. It is in the catalogue from now on; what needs approved copy waits for it.",
    "saved": "Saved. It holds from the next decision on.",
    "outdated": "Saved. Its approved copy is out of use, since it may say what has changed.",
    "off": "Switched off: no decision chooses it from now on, and no journey sends it.",
    "on": "Switched on again.",
}


def offer_view(database: Database, offer_id: str | None, like: str | None) -> dict[str, Any]:
    """The form: an offer as it is, a new one that begins as another, or an empty one; `NotFound` where none is."""
    if not (offer_id or like):
        return {"asked": {**shown(NEW), "id": ""}, "chosen": [], "seen": 0, "kept": 0, "channels": CHANNELS}
    with database.read() as connection:
        stored = _found(connection, offer_id or like or "")
    asked = {**shown(stored.document), "id": offer_id or ""}
    version = stored.version if offer_id else 0
    kept = kept_caps(stored.document)
    return {
        "asked": asked, "chosen": stored.document["channels"], "seen": version, "kept": kept, "like": like,
        "channels": CHANNELS,
    }  # fmt: skip


def save(
    database: Database, asked: Mapping[str, str], channels: list[str], seen: int, like: str | None, now: datetime
) -> str:
    """Puts what the form says, beside what it does not show of the offer (of a new one: of the one that it began as).

    `seen`: the version that the form showed, 0 for a new offer. Answers with a name of `DONE`. `Invalid` names what is
    wrong, `Conflict` an id that is taken; `Stale`: somebody else has changed the offer meanwhile.
    """
    offer_id = asked["id"]
    if not offer_id:
        raise Invalid("Id: it is empty", [FieldError("Id", "it is empty")])
    with database.write() as connection:
        live = read_offers(connection, [offer_id])
        if live and not seen:
            raise Conflict(f"there is an offer {offer_id!r}; give this one another id")
        if seen and (not live or live[0].version != seen):
            raise Stale("nothing was saved: somebody has changed the offer since you opened it")
        base = live[0].document if live else _found(connection, like).document if like else NEW
        document = checked(changed(base, asked, channels), offer_id)
        _put(connection, offer_id, document, now)
        if not seen:
            return "new"
        approved = {offer_hash for _, offer_hash, _, _ in approved_places(connection, [offer_id])}
    return "outdated" if said_hash(base) in approved and said_hash(base) != said_hash(document) else "saved"


def switch(database: Database, offer_id: str, to: str, now: datetime) -> None:
    """Sets an offer's priority to 0, by which it is off; `to` on: to the one that it had before that."""
    with database.write() as connection:
        stored = _found(connection, offer_id)
        priority = 0.0
        if to == "on":
            versions = sorted(documents_of(connection, [offer_id]), key=lambda one: -one[1])
            priority = next((document["priority"] for _, _, document in versions if document["priority"]), 1.0)
        _put(connection, offer_id, {**stored.document, "priority": priority}, now)


def _put(connection: Connection, offer_id: str, document: Mapping[str, Any], now: datetime) -> None:
    """Puts the version after the one that is there; `Stale` where another writer was quicker."""
    before = read_offers(connection, [offer_id], deleted=True)
    version = before[0].version if before else 0
    if put_offers(connection, {offer_id: document}, now)[0].version not in (version, version + 1):
        raise Stale("nothing was saved: somebody is changing the offer, too; try again")


def _found(connection: Connection, offer_id: str) -> StoredOffer:
    found = read_offers(connection, [offer_id])
    if not found:
        raise NotFound(f"there is no offer {offer_id[:100]!r}")
    return found[0]
