"""The catalogue in memory: loaded once, then only what changed; a change anywhere is seen by the next decision."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from features.texts import Texts, TextVectors
from models.candidates import Worth
from service.offers.cel import Expression, compile_expression
from service.offers.offer import Offer, offer_from_document, past_of
from service.offers.offers_store import change_number, changed_since
from service.storage.database import Connection

Bools = npt.NDArray[np.bool_]


class Catalogue:
    """All live offers at one moment, in the order of their ids. Never changed; a change makes a new one."""

    def __init__(self, offers: Iterable[Offer], change: int) -> None:
        self.change = change
        self.offers: tuple[Offer, ...] = tuple(sorted(offers, key=lambda offer: offer.offer_id))
        self.by_id: Mapping[str, Offer] = {offer.offer_id: offer for offer in self.offers}
        self.past = past_of(self.offers)
        self._starts = np.array([_seconds(offer.starts_at, -np.inf) for offer in self.offers])
        self._ends = np.array([_seconds(offer.ends_at, np.inf) for offer in self.offers])
        sources = dict.fromkeys(offer.eligibility for offer in self.offers if offer.eligibility is not None)
        self.expressions: tuple[str, ...] = tuple(sources)
        number = {source: place for place, source in enumerate(self.expressions)}
        self._asks = np.array([number.get(offer.eligibility or "", -1) for offer in self.offers], np.int64)
        self._channels: dict[str, Bools] = {}

    def may_go(self, at: datetime, channels: Collection[str], holds: Mapping[str, bool]) -> Bools:
        """Which offers (N,) run at a time, go by one of the channels, and have an expression that holds, if told."""
        seconds = at.timestamp()
        fits = np.array([holds.get(source, True) for source in self.expressions] + [True], np.bool_)
        found = (self._starts <= seconds) & (seconds < self._ends) & fits[self._asks]
        reached = np.zeros(len(self.offers), np.bool_)
        for channel in channels:
            reached |= self._by_channel(channel)
        return np.asarray(found & reached, np.bool_)

    def _by_channel(self, channel: str) -> Bools:
        """Which offers (N,) go by a channel; made once."""
        if channel not in self._channels:
            self._channels[channel] = np.array([channel in offer.channels for offer in self.offers], np.bool_)
        return self._channels[channel]

    def worth(self) -> Worth:
        """What each offer earns and costs, and its priority."""
        told = [(offer.value, offer.cost, offer.priority) for offer in self.offers]
        return Worth(*np.array(told, np.float64).reshape(-1, 3).T)


class CatalogueCache:
    """Hands out the newest catalogue. One for each process; safe for threads."""

    def __init__(self, texts: Texts | None = None) -> None:
        """`texts`: where vectors of texts are; whoever reads it anew brings those of new offers in (`vectors`)."""
        self._lock = threading.Lock()
        self._texts = texts
        self.vectors = TextVectors.none()
        self._catalogue = Catalogue((), 0)

    @property
    def last(self) -> Catalogue:
        """The catalogue as it was when it was last looked at: for when the database is away."""
        return self._catalogue

    def current(self, connection: Connection) -> Catalogue:
        """The catalogue as the database has it now: one small query, and a load of what changed, if anything did."""
        change = change_number(connection)
        vectors = self.vectors if self._texts is None else self._texts.held
        if change == self._catalogue.change and vectors is self.vectors:
            return self._catalogue
        with self._lock:
            if change < self._catalogue.change:  # another database behind the same cache, or a restored one
                self._catalogue = Catalogue((), 0)
            if change > self._catalogue.change or vectors is not self.vectors:
                self._catalogue = self._load(connection, change, vectors)
                self.vectors = vectors
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
