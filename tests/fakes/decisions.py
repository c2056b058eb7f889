"""Stand-ins for what decisions ask of others: people, features, models, words, a clock that is moved by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import text

from features.channel_hours import ChannelHours
from features.offers import OfferInfo
from features.rows import CustomerRow
from models.reasons import Reason
from service.decisions.case import Customer
from service.decisions.ports import ChooseContent, ContentFor
from service.decisions.rank_actions import Decider
from service.offers.catalogue import CatalogueCache
from service.offers.offer import Offer
from service.offers.offers_store import put_offers
from service.offers.schemas import OfferIn
from service.settings import Settings
from service.storage.database import Connection, Database

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)  # a Wednesday


@dataclass
class HandClock:
    """Tells the time it was set to."""

    time: datetime = NOON

    def now(self) -> datetime:
        return self.time

    def forward(self, **span: float) -> None:
        self.time += timedelta(**span)


@dataclass
class People:
    """Customers by id; others are unknown."""

    known: dict[str, Customer] = field(default_factory=dict)

    def add(self, customer_id: str, **fields: Any) -> None:
        self.known[customer_id] = Customer(customer_id, known=True, **fields)

    def read(self, _: Connection, ids: Sequence[str]) -> Mapping[str, Customer]:
        return {name: self.known.get(name) or Customer(name) for name in ids}


def row(
    customer_id: str, at: datetime = NOON, affinity: Mapping[str, Any] | None = None, **values: float
) -> CustomerRow:
    """A feature row with these values."""
    hours = np.zeros(168)
    hours[10] = 2
    return CustomerRow(customer_id, at, values, affinity or {}, hours, {"email": ChannelHours(hours, hours)})


@dataclass
class Rows:
    """Feature rows by customer. `broken` makes every read fail."""

    rows: dict[str, CustomerRow] = field(default_factory=dict)
    broken: bool = False
    asked: list[str] = field(default_factory=list)

    def add(self, customer_id: str, **values: float) -> None:
        self.rows[customer_id] = row(customer_id, **values)

    def read(self, ids: Sequence[str], as_of: datetime) -> list[CustomerRow | None]:
        if self.broken:
            raise OSError("the feature store is away")
        self.asked.extend(ids)
        return [self.rows.get(name) for name in ids]


@dataclass
class NextOffer:
    """A ranker with a fixed probability for each offer; customers with orders convert twice as often."""

    chances: Mapping[str, float]
    version: str = "3"
    broken: bool = False

    def score(
        self, customer: CustomerRow | None, offers: Sequence[OfferInfo], channels: Sequence[str], at: datetime
    ) -> np.ndarray:
        if self.broken:
            raise RuntimeError("the model is broken")
        times = 2.0 if customer is not None and customer.values.get("orders_90d", 0) > 0 else 1.0
        column = np.array([min(1.0, self.chances.get(offer.offer_id, 0.1) * times) for offer in offers])
        return np.repeat(column[:, None], len(channels), axis=1)

    def reasons(
        self, customer: CustomerRow | None, offer: OfferInfo, channel: str, at: datetime, n: int = 3
    ) -> tuple[Reason, ...]:
        return (Reason("orders_90d", "ordered lately", 0.31),)


@dataclass
class Served:
    """Models by name; `refused` are those before whose newest version the one that serves stands in."""

    models: dict[str, Any] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)

    def get(self, name: str, alias: str = "champion") -> Any | None:
        return self.models.get(name)

    def stands_in(self, name: str) -> bool:
        return name in self.refused


def words(customer: Customer, locale: str) -> ChooseContent:
    """Content for every offer but those whose name says otherwise."""

    def choose(offer: Offer, channel: str) -> dict[str, Any] | None:
        if "wordless" in offer.document["name"]:
            return None
        return {
            "variant_id": f"v-{offer.offer_id}-{channel}",
            "locale": locale,
            "subject": offer.document["name"],
            "body": "…",
        }

    return choose


EXPLORES = {"exploration": 8.0, "floor": 0.001}  # for `settings`: draws, as the product does unless told otherwise


def settings(**decisions: Any) -> Settings:
    """Everyone in the model's arm and always the best choice and hour, unless the arguments say otherwise."""
    decisions = {"exploration": 1e12, "floor": 0.0, "explore_hours": 0.0, **decisions}
    arms = decisions.pop("arms", {"model": 1, "random": 0, "business_as_usual": 0, "holdout": 0})
    usual = decisions.pop("business_as_usual", None)
    other = {name: decisions.pop(name) for name in ("quiet_hours", "consent", "default_timezone") if name in decisions}
    placements = {"default": {"arms": arms, "business_as_usual": usual}}
    return Settings(placements=placements, decisions=decisions, **other)  # type: ignore[arg-type]


def damage(database: Database, decision_id: str, column: str = "record") -> None:
    """Spoils what is packed of a decision, as a bad disk does."""
    with database.write() as connection:
        changed = text(f"UPDATE decisions SET {column} = :packed WHERE decision_id = :id")
        connection.execute(changed, {"packed": b"\x03damaged", "id": decision_id})


@dataclass
class Desk:
    """A decider with all that it needs, ready to be asked."""

    database: Database
    settings: Settings = field(default_factory=settings)
    clock: HandClock = field(default_factory=HandClock)
    people: People = field(default_factory=People)
    rows: Rows = field(default_factory=Rows)
    served: Served = field(default_factory=Served)
    content: ContentFor = words

    @property
    def decider(self) -> Decider:
        return Decider(
            self.database,
            self.clock,
            self.settings,
            CatalogueCache(),
            self.people.read,
            self.rows,
            self.served,
            self.content,
        )

    def put(self, **offers: dict[str, Any]) -> None:
        """Offers by id; each is given a name and channels unless it has them."""
        filled = {
            name: OfferIn.model_validate(
                {"name": name, "channels": ["email", "sms"], "value": 10.0, **offer}
            ).document()
            for name, offer in offers.items()
        }
        with self.database.write() as connection:
            put_offers(connection, filled, self.clock.now())
