"""The catalogue in memory: loaded once, then only what changed; a change anywhere is seen by the next decision."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache

import numpy as np

from features.texts import Texts, TextVectors
from service.offers.cel import Expression, compile_expression
from service.offers.offer import Offer, offer_from_document
from service.offers.offers_store import change_number, changed_since
from service.storage.database import Connection


class Catalogue:
    """All live offers at one moment, in the order of their ids. Never changed; a change makes a new one."""

    def __init__(self, offers: Iterable[Offer], change: int) -> None:
        self.change = change
        self.offers: tuple[Offer, ...] = tuple(sorted(offers, key=lambda offer: offer.offer_id))
        self.by_id: Mapping[str, Offer] = {offer.offer_id: offer for offer in self.offers}
        self.longest_cap_days = max((offer.longest_cap_days for offer in self.offers), default=0.0)
        self.asks_for_moments = any(offer.requires for offer in self.offers)
        self._starts = np.array([_seconds(offer.starts_at, -np.inf) for offer in self.offers])
        self._ends = np.array([_seconds(offer.ends_at, np.inf) for offer in self.offers])
        worth = [offer.priority * (offer.value - offer.cost) for offer in self.offers]
        self._worth = np.array(worth, dtype=np.float64)
        self._categories: dict[str, list[int]] = {}
        for position, offer in enumerate(self.offers):
            if offer.info.category is not None:
                self._categories.setdefault(offer.info.category, []).append(position)

    def shortlist(self, at: datetime, liked: Mapping[str, float], most: int) -> tuple[Offer, ...]:
        """At most `most` offers, in the order of their ids: all, or of a large catalogue those that look best.

        A large catalogue is cut by dates, then by worth (priority x (value - cost)) raised by how much the
        customer likes the category (`liked`: orders in 90 days). Half the places go to the liked categories.
        """
        if len(self.offers) <= most:
            return self.offers
        seconds = at.timestamp()
        running = (self._starts <= seconds) & (seconds < self._ends)
        order = np.lexsort((np.arange(len(self.offers)), -self._worth))
        order = order[running[order]]
        first: list[int] = []
        for category in sorted(liked, key=lambda name: (-liked[name], name)):
            positions = [position for position in self._categories.get(category, ()) if running[position]]
            first.extend(sorted(positions, key=lambda position: (-self._worth[position], position)))
            if len(first) >= most // 2:
                break
        chosen = dict.fromkeys(first[: most // 2])
        for position in order.tolist():
            if len(chosen) >= most:
                break
            chosen[position] = None
        return tuple(self.offers[position] for position in sorted(chosen))


class CatalogueCache:
    """Hands out the newest catalogue. One for each process; safe for threads."""

    def __init__(self, texts: Texts | None = None) -> None:
        """`texts`: where vectors of texts are; whoever reads it anew brings those of new offers in."""
        self._lock = threading.Lock()
        self._texts = texts
        self._vectors = TextVectors.none()
        self._catalogue = Catalogue((), 0)

    @property
    def last(self) -> Catalogue:
        """The catalogue as it was when it was last looked at: for when the database is away."""
        return self._catalogue

    def current(self, connection: Connection) -> Catalogue:
        """The catalogue as the database has it now: one small query, and a load of what changed, if anything did."""
        change = change_number(connection)
        vectors = self._vectors if self._texts is None else self._texts.held
        if change == self._catalogue.change and vectors is self._vectors:
            return self._catalogue
        with self._lock:
            if change < self._catalogue.change:  # another database behind the same cache, or a restored one
                self._catalogue = Catalogue((), 0)
            if change > self._catalogue.change or vectors is not self._vectors:
                self._catalogue = self._load(connection, change, vectors)
                self._vectors = vectors
            return self._catalogue

    def _load(self, connection: Connection, change: int, vectors: TextVectors) -> Catalogue:
        offers = dict(self._catalogue.by_id)
        for stored in changed_since(connection, self._catalogue.change):
            if stored.deleted_at is not None:
                offers.pop(stored.offer_id, None)
            else:
                offers[stored.offer_id] = offer_from_document(stored.offer_id, stored.version, stored.document)
        places = vectors.places(np.array([offer.text for offer in offers.values()], np.int64))
        told = (offer.told(place >= 0) for offer, place in zip(offers.values(), places.tolist(), strict=True))
        return Catalogue(told, change)


@lru_cache(maxsize=20_000)
def compiled(source: str) -> Expression:
    """An expression that was accepted before, compiled once a process."""
    return compile_expression(source)


def distinct_expressions(offers: Sequence[Offer]) -> dict[str, Expression]:
    """Each expression of these offers once."""
    return {source: compiled(source) for source in {o.eligibility for o in offers if o.eligibility is not None}}


def _seconds(time: datetime | None, otherwise: float) -> float:
    return otherwise if time is None else time.timestamp()
