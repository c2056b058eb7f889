"""Reading a customer: the overview, the scores, the best hours, and everything held."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from features.row_stores import StoreAway
from service.clock import Clock
from service.customers.customer_store import Customer, consents_told, read_customer, read_profiles
from service.customers.history import history
from service.customers.identity_store import aliases_of
from service.customers.profile import Profile
from service.customers.scores import features_of, scores
from service.customers.send_hours import loud_hours
from service.customers.set_consents import consents_of
from service.errors import FieldError, Invalid, NotFound
from service.settings import QuietHours
from service.storage.database import Connection, Database

if TYPE_CHECKING:
    from features.event_log import EventLog
    from features.rows import CustomerRow
    from models.best_channel import ChannelChoice
    from models.registry import ServedModels

TIMELINE = 100
CONFIDENT = 0.5
Exporter = Callable[[Connection, Sequence[str]], Any]
"""What a slice holds of a customer, given all their ids, fit for JSON."""


class Readable(Protocol):
    """The part of the online features that reading needs."""

    def read(self, customer_ids: Sequence[str], as_of: datetime) -> list[CustomerRow | None]: ...


@dataclass(frozen=True, slots=True)
class Rivals:
    """Channels to compare with the one asked for: what a response is worth, and what sending costs by channel."""

    channels: tuple[str, ...] = ()
    value: float = 1.0
    costs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CustomerReader:
    """Everything that reading a customer needs."""

    database: Database
    event_log: EventLog
    features: Readable | None
    models: ServedModels | None
    clock: Clock
    quiet_hours: QuietHours
    default_timezone: str
    exporters: Mapping[str, Exporter] = field(default_factory=dict)

    def overview(self, customer_id: str) -> dict[str, Any]:
        """`GET /v1/customers/{id}`."""
        customer, profile, ids = self._known(customer_id)
        row, degraded = self._row_if_there(customer.customer_id)
        events = history(self.database, self.event_log, ids, TIMELINE)
        return {
            **_described(customer, profile, ids),
            "features": features_of(row),
            "scores": scores(self.models, row, customer.profiling, away=bool(degraded)),
            "timeline": [_entry(event) for event in reversed(events)],
            "degraded": degraded,
        }

    def scores(self, customer_id: str) -> dict[str, Any]:
        """`GET /v1/customers/{id}/scores`."""
        customer, _, _ = self._known(customer_id)
        row, degraded = self._row_if_there(customer.customer_id)
        return scores(self.models, row, customer.profiling, away=bool(degraded))

    def send_times(
        self, customer_id: str, channel: str, start: datetime, end: datetime, n: int, rivals: Rivals | None = None
    ) -> dict[str, Any]:
        """`GET /v1/customers/{id}/send-times`: allowed hours, best first; with `rivals`, the best channel too.

        `little_data` in `degraded`: the customer's own behaviour says less than half of them; `basis` says whose hours
        weigh most.
        """
        from models.best_channel import best_channels
        from models.local_hours import LONGEST
        from models.send_time import SendTimeModel

        if end <= start or end - start > LONGEST:
            detail = f"is not after 'from', by at most {LONGEST.days} days; choose another window"
            raise Invalid(f"to {detail}", [FieldError("to", detail)])
        with self.database.read() as connection:
            customer = read_customer(connection, customer_id)
        served = None if self.models is None else self.models.get("send-time")
        model = served or SendTimeModel.untrained()
        row, away = self._row_if_there(customer.customer_id) if customer.profiling else (None, [])
        zone = customer.timezone or self.default_timezone
        quiet = self.quiet_hours

        def allowed(name: str) -> Callable[[datetime], bool]:
            return loud_hours(name, zone, quiet.start, quiet.end, quiet.channels)

        times = model.rank(row, channel, zone, start, end, n, allowed(channel))
        compared = {}
        if rivals is not None and rivals.channels:
            named = (channel, *rivals.channels)
            found = best_channels(model, row, named, zone, start, end, allowed, rivals.value, rivals.costs)
            compared = {"channels": [_of_channel(one, zone) for one in found]}
        degraded = [
            *away,
            *(["unknown_customer"] if not customer.known else []),
            *(["default_timezone"] if customer.timezone is None else []),
            *(["no_model"] if served is None else []),
            *(["little_data"] if any(time.confidence < CONFIDENT for time in times) else []),
        ]
        return {
            "customer_id": customer_id,
            "channel": channel,
            "timezone": zone,
            "send_times": [
                {
                    "start": _local(time.start, zone),
                    "probability": time.probability,
                    "lift_over_default": time.lift_over_default,
                    "confidence": time.confidence,
                    "basis": time.basis,
                }
                for time in times
            ],
            **compared,
            "model_version": model.version,
            "degraded": degraded,
        }

    def export(self, customer_id: str) -> dict[str, Any]:
        """`GET /v1/customers/{id}/export`: everything held."""
        customer, profile, ids = self._known(customer_id)
        row = self.row(customer.customer_id)
        with self.database.read() as connection:
            told = consents_told(connection, ids)
            others = {name: exporter(connection, ids) for name, exporter in self.exporters.items()}
        return {
            **_described(customer, profile, ids),
            "exported_at": self.clock.now(),
            "consent_record": told,
            "features": features_of(row),
            "scores": scores(self.models, row, customer.profiling),
            "events": [_whole(event) for event in history(self.database, self.event_log, ids)],
            **others,
        }

    def row(self, customer_id: str) -> CustomerRow | None:
        """The customer's features as of now."""
        return None if self.features is None else self.features.read([customer_id], self.clock.now())[0]

    def _row_if_there(self, customer_id: str) -> tuple[CustomerRow | None, list[str]]:
        """`row`, and what is missing, by the name that decisions give it: the online store may be away."""
        try:
            return self.row(customer_id), []
        except StoreAway:
            return None, ["features"]

    def _known(self, customer_id: str) -> tuple[Customer, Profile | None, list[str]]:
        with self.database.read() as connection:
            customer = read_customer(connection, customer_id)
            owner = customer.customer_id
            profile = read_profiles(connection, [owner]).get(owner)
            ids = [owner, *aliases_of(connection, owner)]
        if profile is None and not history(self.database, self.event_log, ids, 1):
            raise NotFound(f"nothing is known of a customer {customer_id[:100]!r}")
        return customer, profile, ids


def _of_channel(one: ChannelChoice, zone: str) -> dict[str, Any]:
    return {
        "channel": one.channel,
        "start": _local(one.at.start, zone),
        "probability": one.at.probability,
        "expected_value": one.expected_value,
        "confidence": one.at.confidence,
    }


def _described(customer: Customer, profile: Profile | None, ids: Sequence[str]) -> dict[str, Any]:
    return {
        "customer_id": customer.customer_id,
        "other_ids": list(ids[1:]),
        "traits": customer.traits,
        "timezone": customer.timezone,
        "locale": customer.locale,
        "country": customer.country,
        "segments": list(customer.segments),
        "consents": {"profiling": True} if profile is None else consents_of(profile),
        "first_seen": None if profile is None else profile.first_seen,
        "updated_at": None if profile is None else profile.updated_at,
    }


def _entry(event: Mapping[str, Any]) -> dict[str, Any]:
    names = ("message_id", "type", "event", "channel", "offer_id", "campaign_id", "decision_id", "order_id")
    rest = ("revenue_cents", "currency", "machine", "machine_reason", "url")
    entry = {name: event[name] for name in (*names, *rest) if event[name] is not None}
    return {"at": event["timestamp"], **entry, "properties": orjson.loads(event["properties"] or "{}")}


def _whole(event: Mapping[str, Any]) -> dict[str, Any]:
    packed = ("properties", "traits", "context")
    return {**event, **{name: orjson.loads(event[name]) for name in packed if event[name] is not None}}


def _local(at: datetime, zone: str) -> str:
    from zoneinfo import ZoneInfo

    return at.astimezone(ZoneInfo(zone)).isoformat()
