"""The offers that decisions weighed, as they were then: at their versions, with or without a vector of their text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.offers.offer import Offer, offer_from_document
from service.offers.offers_store import read_versions
from service.storage.database import Connection


def offers_then(connection: Connection, records: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[Offer, ...]]:
    """The offers of each decision, by its id, in the order of its record; without those not known any more."""
    wanted = {(str(name), int(version)) for record in records.values() for name, version in record["offers"]}
    documents = read_versions(connection, sorted(wanted))
    offers = {key: offer_from_document(*key, document) for key, document in documents.items()}
    known = {(*key, text): offer.told(text) for key, offer in offers.items() for text in (False, True)}
    return {decision_id: tuple(_of(record, known)) for decision_id, record in records.items()}


def _of(record: Mapping[str, Any], known: Mapping[tuple[str, int, bool], Offer]) -> list[Offer]:
    """`known`: offers by name, version, and whether their text has a vector; made once for all that weighed them."""
    untold = record.get("untold")
    keys = [(str(name), int(version), untold is not None and name not in untold) for name, version in record["offers"]]
    return [known[key] for key in keys if key in known]
