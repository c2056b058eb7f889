"""Features of offers: fed with events and catalogue as customers' are, and built from the log as tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.offer_features import OnlineOffers
from features.row_stores import StoreAway
from features.rows import OnlineFeatures
from service.customers.customer_store import first_seen_of
from service.decisions.decision_store import read_heads
from service.events.rebuild_store import ask_rebuild
from service.offers.offers_store import change_number
from service.offers.versions import versions_since
from service.storage.database import Database

if TYPE_CHECKING:
    import polars as pl

    from features.event_log import EventLog

Progress = Callable[[int, int], None]
_CHUNK = 500


class FeatureFeed:
    """Where events go on their way into online features: to their customers, then to the offers they are about."""

    def __init__(self, database: Database, customers: OnlineFeatures, offers: OnlineOffers, buckets: int) -> None:
        """`buckets`: how many the event log has."""
        self._database = database
        self._buckets = buckets
        self._customers = customers
        self._offers = offers
        self._taken: int | None = None

    def apply(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Any order, repeats dropped, safe against kills."""
        begun = self._customers.apply(events)
        if begun:
            self._make_anew(begun, events)
        unnamed = {event["decision_id"] for event in events if event["decision_id"] and not event["offer_id"]}
        self._offers.apply(events, offers_decided(self._database, sorted(unnamed)))

    def _make_anew(self, begun: Sequence[str], events: Sequence[Mapping[str, Any]]) -> None:
        """Asks for those who had no row though they were known: a cache that is full drops rows by itself."""
        with self._database.read() as connection:
            seen = first_seen_of(connection, begun)
        told: dict[str, datetime] = {}
        for event in events:
            name, at = event["customer_id"], min(event["timestamp"], event["received_at"])
            told[name] = min(at, told.get(name, at))
        dropped = [name for name in begun if name in seen and seen[name] < told[name]]
        if dropped:
            with self._database.write() as connection:
                ask_rebuild(connection, dropped, self._buckets)

    def take_up_catalogue(self) -> bool:
        """A chore: takes in the versions of offers that changed; one number is read where none did."""
        with self._database.read() as connection:
            now = change_number(connection)
        if now == self._taken:
            return False
        try:
            self._take_up(self._offers.catalogue_change() if self._taken is None else self._taken, now)
        except StoreAway:
            return False  # the next pass tries again
        self._taken = now
        return False

    def _take_up(self, before: int, now: int) -> None:
        if now <= before:
            return
        with self._database.read() as connection:
            versions = list(versions_since(connection, before))
        for start in range(0, len(versions), _CHUNK):
            self._offers.put(versions[start : start + _CHUNK])
        self._offers.note_catalogue_change(now)


def offers_decided(database: Database, decision_ids: Sequence[str]) -> dict[str, str]:
    """The offer that each of these decisions put first; those that sent nothing are left out."""
    found: dict[str, str] = {}
    for start in range(0, len(decision_ids), _CHUNK):
        with database.read() as connection:
            heads = read_heads(connection, decision_ids[start : start + _CHUNK])
        found |= {decision: head.offer_id for decision, head in heads.items() if head.offer_id}
    return found


def build_offer_tables(
    database: Database, log: EventLog, online: OnlineOffers, home: Path, times: Sequence[datetime], progress: Progress
) -> list[str]:
    """Texts, offers' tables and customers' interests as of each time, and the online rows; what to tell of it.

    Of the event log only new files are read, and only tables and rows are made that new events change.
    """
    import polars as pl

    from features.interests import build_interests, categories_seen
    from features.offer_events import offer_history, unnamed_decisions
    from features.offer_features import build_offer_snapshot
    from features.offer_log import OfferLog, together
    from features.tables import OFFER_VERSIONS
    from features.text_keys import offer_text
    from features.texts import Texts

    with database.read() as connection:
        versions = pl.DataFrame(list(versions_since(connection, 0)), schema=OFFER_VERSIONS.schema)
    told = _make_texts(home, {*categories_seen(log), *versions["category"].drop_nulls(),
                              *map(offer_text, versions["name"], versions["description"])})  # fmt: skip
    texts = Texts(home).read()
    files = OfferLog(log).read()
    events = together([*files.values()])
    history = offer_history(events, versions, offers_decided(database, unnamed_decisions(events)))
    for place, moment in enumerate(times):
        if _heard(history, moment):
            build_offer_snapshot(history, moment, home / "offer_features", texts)
        build_interests(log, moment, home / "interests", texts)
        progress(place + 1, len(times))
    written = online.load_new(history, files)
    return [
        *told,
        f"built the features of {history['customer_id'].n_unique():,} offers, loaded {written:,} that changed",
    ]


def _heard(history: pl.DataFrame, moment: datetime) -> bool:
    return bool(((history["timestamp"] < moment) & (history["received_at"] <= moment)).any())


def _make_texts(home: Path, texts: set[str]) -> list[str]:
    from models.embedding import EmbeddingMissing, refresh_texts

    try:
        refresh_texts(home, texts)
    except EmbeddingMissing as missing:
        return [f"texts have no vectors: {missing}"]
    return []
