"""What the journeys' runner asks of the other slices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from threading import Event
from typing import Any

from features.channels import CHANNELS
from features.rows import CustomerRow
from service.clock import SystemClock
from service.content.variant_store import edited_at
from service.customers.change_segments import change_segments
from service.customers.consent import allowed, explain
from service.customers.customer_store import Customer, read_customer, read_customers, segment_members
from service.customers.scores import scores
from service.customers.send_hours import loud_hours
from service.decisions.admit_messages import Admission, Outgoing, settled
from service.decisions.decision_store import read_heads
from service.decisions.hours import Planned, plan_hour
from service.decisions.ledger_lines_store import release_decisions
from service.decisions.policy import draw, seed_of
from service.decisions.quiet import next_allowed, zone_of
from service.decisions.schemas import DecisionIn
from service.decisions.suppression_store import read_suppressed
from service.decisions.verdicts import Failure
from service.events.record_events import record_events
from service.experiments.assign_customer import assign
from service.journeys.channels.file import FileChannel
from service.journeys.channels.message import Channel
from service.journeys.channels.smtp import SmtpChannel, SmtpServer
from service.journeys.channels.webhook import WebhookChannel
from service.journeys.collaborators import Clearance, Copy, DecisionRequest
from service.journeys.runner import NAME, Runner
from service.settings import Settings
from service.storage.database import Connection
from service.storage.heartbeats import beat, touch
from service.wiring.parts import Parts
from service.wrong_settings import source_of

_ADDRESSES = {"email": ("email",), "sms": ("phone",), "call": ("phone",), "push": ("pushToken", "push_token")}
_MEMBERS = 2_000
"""Members of a segment that are read at once."""


def journey_runner(parts: Parts) -> Runner:
    """The runner of `opportune worker`, over the same parts as the API."""
    wall = SystemClock()

    def heartbeat(name: str, at: datetime, detail: Mapping[str, object]) -> None:
        with parts.database.write() as connection:
            beat(connection, name, at, wall.now(), detail)

    def alive() -> None:
        with parts.database.write() as connection:
            touch(connection, NAME, wall.now())

    stopping = Event()
    return Runner(
        parts.database,
        parts.clock,
        JourneyCollaborators(parts),
        channels(parts.settings, stopping),
        heartbeat,
        stopping=stopping,
        alive=alive,
    )


def channels(settings: Settings, stopping: Event | None = None) -> dict[str, Channel]:
    """SMTP and webhook where they are set up; files in `outbox/` for the rest."""
    files = FileChannel(settings.home.absolute() / "outbox")
    made: dict[str, Channel] = dict.fromkeys(CHANNELS, files)
    smtp, hook = settings.smtp, settings.webhook
    if smtp.host:
        password = smtp.password.get_secret_value() if smtp.password else None
        timeouts = smtp.timeout_s, smtp.data_timeout_s
        server = SmtpServer(smtp.host, smtp.port, smtp.sender, smtp.user, password, smtp.start_tls, *timeouts)
        made["email"] = SmtpChannel(server, stopping=stopping)
    if hook.secret:
        secret = hook.secret.get_secret_value()
        try:
            made["webhook"] = WebhookChannel(
                secret, hook.url, allow_private=hook.allow_private, timeout_s=hook.timeout_s
            )
        except ValueError as fault:
            raise ValueError(f"webhook.secret{source_of('webhook', 'secret')}: {fault}") from fault
    return made


class JourneyCollaborators:
    """Implements `service.journeys.collaborators.Collaborators` over the other slices."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.settings = parts.settings
        self.default_zone = parts.settings.default_timezone
        self.admission = Admission(parts.decider.sources, parts.settings.decisions.reservation_hours)

    def decide(self, requests: Sequence[DecisionRequest]) -> Sequence[Mapping[str, Any]]:
        self.parts.models.refresh()
        return self.parts.decider.decide_many(
            [_decision(request) for request in requests], [request.key for request in requests]
        )

    def clear(self, customer_ids: Sequence[str], channel: str, placement: str, at: datetime) -> Mapping[str, Clearance]:
        purpose = self.settings.placement(placement).purpose
        with self.parts.database.read() as connection:
            customers = read_customers(connection, customer_ids)
            owners = [customer.customer_id for customer in customers.values()]
            suppressed = read_suppressed(connection, owners)
        return {
            asked: self._clearance(customer, suppressed.get(customer.customer_id, {}), channel, purpose, at)
            for asked, customer in customers.items()
            if customer.known
        }

    def admit(self, messages: Sequence[Outgoing], at: datetime) -> Mapping[str, Failure]:
        self.parts.models.refresh()
        return self.admission.admit(messages, at)

    def settle(self, connection: Connection, used: Sequence[Outgoing], unused: Sequence[Outgoing]) -> None:
        settled(connection, used, unused)

    def give_back(self, connection: Connection, decision_ids: Sequence[str]) -> None:
        release_decisions(connection, decision_ids)

    def _clearance(
        self, customer: Customer, suppressed: Mapping[str, str], channel: str, purpose: str, at: datetime
    ) -> Clearance:
        address = next(
            (str(customer.traits[name]) for name in _ADDRESSES.get(channel, ()) if customer.traits.get(name)), None
        )
        against = suppressed.get(channel) or suppressed.get("all")
        if against:
            return Clearance(f"{channel} is suppressed: {against}", rule="suppression")
        when_unknown = self.settings.consent.when_unknown
        if not allowed(customer.consents, channel, purpose, when_unknown):
            return Clearance(explain(customer.consents, channel, purpose, when_unknown), rule="consent")
        return Clearance(quiet_until=self._quiet_until(customer.timezone, channel, at), to=address)

    def _quiet_until(self, timezone: str | None, channel: str, at: datetime) -> datetime | None:
        quiet = self.settings.quiet_hours
        if channel not in quiet.channels:
            return None
        zone, _ = zone_of(timezone, self.default_zone)
        free = next_allowed(at, zone, quiet.start, quiet.end)
        return free if free > at else None

    def copy_against(self, copies: Sequence[Copy]) -> Mapping[Copy, str]:
        """The words in hand are those of the decision: what was edited since and approved again is another text."""
        with self.parts.database.read() as connection:
            offers = self.parts.catalogue.current(connection).by_id
            decided = read_heads(connection, [decision for *_, decision in copies if decision is not None])
            edited = edited_at(connection, [variant_id for variant_id, *_ in copies])
        against: dict[Copy, str] = {}
        for copy in copies:
            variant_id, offer_id, decision_id = copy
            offer, head, at = offers.get(offer_id), decided.get(decision_id or ""), edited.get(variant_id)
            if offer is None:
                against[copy] = "the offer has left the catalogue"
            elif not self.parts.library.is_approved(variant_id, offer_id, offer.document):
                against[copy] = "the copy is no longer approved, or the offer has changed since"
            elif at is not None and head is not None and at > head.decided_at:
                against[copy] = "the copy was edited since; decide again before this step"
        return against

    def zones(self, customer_ids: Sequence[str]) -> Mapping[str, str | None]:
        with self.parts.database.read() as connection:
            return {asked: one.timezone for asked, one in read_customers(connection, customer_ids).items()}

    def facts(self, customer_ids: Sequence[str], at: datetime) -> Mapping[str, Mapping[str, Any]]:
        with self.parts.database.read() as connection:
            customers = read_customers(connection, customer_ids)
        profiled = {asked: one.customer_id for asked, one in customers.items() if one.profiling}
        rows = dict(zip(profiled, self.parts.online.read(list(profiled.values()), at), strict=True))
        self.parts.models.refresh()
        return {asked: self._facts(customer, rows.get(asked)) for asked, customer in customers.items()}

    def _facts(self, customer: Customer, row: CustomerRow | None) -> Mapping[str, Any]:
        scored = scores(self.parts.models, row, customer.profiling)
        return {
            "traits": dict(customer.traits),
            "segments": list(customer.segments),
            "features": {} if row is None else {name: value for name, value in row.values.items() if value == value},
            "scores": {name: one["probability"] for name, one in scored.items() if one["probability"] is not None},
        }

    def good_hour(self, customer_id: str, channel: str, start: datetime, end: datetime, key: str) -> Planned | None:
        from models.send_time import SendTimeModel

        with self.parts.database.read() as connection:
            customer = read_customer(connection, customer_id)
        self.parts.models.refresh()
        model = self.parts.models.get("send-time") or SendTimeModel.untrained()
        row = self.parts.online.read([customer.customer_id], start)[0] if customer.profiling else None
        zone, _ = zone_of(customer.timezone, self.default_zone)
        quiet = self.settings.quiet_hours
        is_loud = loud_hours(channel, zone.key, quiet.start, quiet.end, quiet.channels)
        decisions = self.settings.decisions

        def best(n: int) -> list[datetime]:
            return [one.start for one in model.rank(row, channel, zone.key, start, end, n, is_loud)]

        return plan_hour(best, decisions.explore_hours, draw(seed_of(decisions.seed, key), 0))

    def assign(self, experiment: str, customer_ids: Sequence[str], at: datetime) -> Mapping[str, str | None]:
        with self.parts.database.write() as connection:
            return {
                customer_id: assign(connection, experiment, customer_id, at, self.parts.covariate)
                for customer_id in customer_ids
            }

    def change_segments(self, customer_ids: Sequence[str], add: str, remove: str | None, at: datetime) -> None:
        with self.parts.database.write() as connection:
            for customer_id in customer_ids:
                change_segments(connection, customer_id, at, (add,), (remove,) if remove else ())

    def members_of(self, segment: str) -> Iterator[str]:
        page = [""]
        while page:
            with self.parts.database.read() as connection:  # a page each: members are let in between
                page = segment_members(connection, segment, page[-1], _MEMBERS)
            yield from page

    def unsubscribe_url(self, customer_id: str, channel: str) -> str:
        return self.parts.unsubscribe_url(customer_id, channel)

    def record_events(self, connection: Connection, messages: Sequence[Mapping[str, Any]], now: datetime) -> None:
        record_events(connection, messages, now, self.parts.rules)


def _decision(request: DecisionRequest) -> DecisionIn:
    return DecisionIn(
        customer_id=request.customer_id,
        placement=request.placement,
        channels=list(request.channels) or None,
        context=dict(request.context),
        offers=list(request.offers) if request.offers is not None else None,
        top_k=1,
    )
