"""One enrolment's piece of work that goes out: its intent, its message, its task, its event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service.decisions.admit_messages import Outgoing
from service.journeys.carry_out import Run, context_of
from service.journeys.channels.message import Message
from service.journeys.commands import CallWebhook, OpenTask, SendMessage
from service.journeys.enrolment import hour_of
from service.journeys.enrolment_store import Outcome
from service.journeys.intent_store import Intent, intent_key

_EVENT_NAMES = {"email": "Email Delivered", "sms": "SMS Delivered", "push": "Push Notification Delivered"}
Delivery = SendMessage | OpenTask | CallWebhook


@dataclass(slots=True)
class Parcel:
    """A run that sends, and its intent."""

    run: Run
    intent: Intent
    command: Delivery
    message: Message | None = None

    @property
    def id(self) -> str:
        return self.run.enrolment.id


def delivered_event(parcel: Parcel, now: datetime) -> dict[str, Any]:
    """The delivery as a Segment message; its id is made of the intent's key, so it counts once.

    `send_at_probability`: with which the hour was drawn that it went out in, where one was chosen.
    """
    intent = parcel.intent
    properties = {
        "channel": intent.channel,
        "decision_id": intent.decision_id,
        "offer_id": intent.offer_id,
        "journey_id": intent.journey_id,
        "journey_step": intent.step,
        "variant_id": intent.variant_id,
        "send_at_probability": _hour_probability(parcel, now),
    }
    return {
        "type": "track",
        "event": _EVENT_NAMES.get(intent.channel, "Offer Delivered"),
        "messageId": f"delivered-{intent.key}",
        "userId": intent.customer_id,
        "timestamp": now.isoformat(),
        "properties": {name: value for name, value in properties.items() if value is not None},
    }


def _hour_probability(parcel: Parcel, now: datetime) -> float | None:
    planned = parcel.run.state.planned
    if planned is None and isinstance(parcel.command, SendMessage):
        planned = hour_of(parcel.command.action)
    return planned.probability if planned is not None and planned.covers(now) else None


def parcel_of(run: Run, now: datetime) -> Parcel:
    """The parcel of a run that asks to send; its intent as it would be written now."""
    command = run.command
    assert isinstance(command, (SendMessage, OpenTask, CallWebhook))
    action: Mapping[str, Any] = {} if isinstance(command, CallWebhook) else command.action or {}
    content = action.get("content") or {}
    kind, channel = {
        SendMessage: ("message", str(action.get("channel"))),
        OpenTask: ("call", "call"),
        CallWebhook: ("webhook", "webhook"),
    }[type(command)]
    intent = Intent(
        key=intent_key(run.enrolment.id, command.step, command.visit),
        enrolment_id=run.enrolment.id,
        journey_id=run.journey.id,
        version=run.enrolment.version,
        step=command.step,
        visit=command.visit,
        customer_id=run.customer_id,
        kind=kind,
        channel=channel,
        created_at=now,
        decision_id=None if isinstance(command, CallWebhook) else command.decision_id,
        offer_id=action.get("offer_id"),
        variant_id=content.get("variant_id"),
    )
    return Parcel(run, intent, command)


def outgoing(parcel: Parcel) -> Outgoing | None:
    """The message as the rules of decisions see it; None for a webhook step, which is no message."""
    command, intent = parcel.command, parcel.intent
    if isinstance(command, CallWebhook):
        return None
    action = command.action or {}
    about = intent.offer_id if action.get("channel") == intent.channel else None  # a task about what was e-mailed
    return Outgoing(
        key=intent.key,
        customer_id=intent.customer_id,
        channel=intent.channel,
        placement=placement_of(parcel),
        decision_id=None if about is None else intent.decision_id,
        rank=int(action.get("rank") or 1),
        offer_id=about,
        context={} if command.asked is None else context_of(parcel.run, command.asked),
    )


def placement_of(parcel: Parcel) -> str:
    """Where its decision was asked for."""
    asked = None if isinstance(parcel.command, CallWebhook) else parcel.command.asked
    return "default" if asked is None else asked.placement


def checkpoint(run: Run) -> Outcome:
    """Where a run stands while it sends; a crash goes on from here, with the same decision and key."""
    enrolment = run.enrolment
    return Outcome(enrolment.id, enrolment.seq, "active", run.state, run.moment.now, seen=1 << 62)


def task_of(parcel: Parcel, now: datetime) -> dict[str, Any]:
    """The row of a person's task."""
    command, intent = parcel.command, parcel.intent
    assert not isinstance(command, CallWebhook)
    content = (command.action or {}).get("content") or {}
    title, instructions = f"Call about {intent.offer_id}", str(content.get("script") or content.get("body") or "")
    if isinstance(command, OpenTask):
        title, instructions = command.title, command.instructions
    return {
        "key": intent.key,
        "journey_id": intent.journey_id,
        "step": intent.step,
        "customer_id": intent.customer_id,
        "title": title,
        "instructions": instructions,
        "action": None if command.action is None else dict(command.action),
        "decision_id": intent.decision_id,
        "state": "open",
        "due_at": command.due_at if isinstance(command, OpenTask) else None,
        "created_at": now,
    }


def by_channel(parcels: Iterable[Parcel]) -> list[tuple[str, list[Parcel]]]:
    """Each channel with its messages, a placement at a time; tasks and webhook steps apart."""
    groups: dict[tuple[str, str, str], list[Parcel]] = {}
    for parcel in parcels:
        groups.setdefault((parcel.intent.channel, parcel.intent.kind, placement_of(parcel)), []).append(parcel)
    return [(channel, group) for (channel, *_), group in sorted(groups.items())]
