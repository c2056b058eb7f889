"""Lets a customer into a journey, by its re-entry rule and caps; or says why not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from service.clock import new_id
from service.journeys.definition import Journey
from service.journeys.enrolment import State
from service.journeys.enrolment_store import Enrolment, add_enrolment, count_active, earlier, free_guard
from service.journeys.journey_store import JourneyRow
from service.storage.database import Connection


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a customer was not let in: a stable `reason`, a sentence, the enrolment in the way, when it may succeed."""

    reason: str
    detail: str
    enrolment_id: str | None = None
    until: datetime | None = None


@dataclass(slots=True)
class Entering:
    """What one transaction knows of those who come in: the counts to add at its end, once for all of them (a row that
    is written for each grows by as many versions), and how many are in journeys that have a cap. Their rows are locked,
    so that nobody else comes in meanwhile.
    """

    counts: Counter[tuple[str, int, str, str]] = field(default_factory=Counter)
    inside: dict[str, int] = field(default_factory=dict)


def enrol(
    connection: Connection,
    row: JourneyRow,
    journey: Journey,
    customer_id: str,
    now: datetime,
    source: Mapping[str, Any],
    entering: Entering,
    name: str | None = None,
) -> Enrolment | Refused:
    """Enrols a customer in the newest version, due at once. Call it in a `write()` transaction, with the journey's row
    locked, and add the counts at its end. `name` is to be its id: who enrols again in the same request finds it under
    that.
    """
    refused = (
        _closed(row)
        or _entered_before(connection, journey, customer_id, now)
        or _full(connection, journey, entering.inside)
    )
    if refused is not None:
        return refused
    guard = None if journey.reentry.rule == "always" else f"{journey.id}:{customer_id}"
    if guard is not None and journey.reentry.rule == "after_exit":
        free_guard(connection, guard)
    state = State(enrolled_at=now)
    enrolment = Enrolment(
        name or new_id(now), journey.id, row.version, customer_id, "active", 0, state, due_at=now, source=source
    )
    if not add_enrolment(connection, enrolment, guard):
        return Refused("already_enrolled", f"{customer_id!r} has just been enrolled by another request")
    entering.counts[journey.id, row.version, "", "entered"] += 1
    if journey.id in entering.inside:
        entering.inside[journey.id] += 1
    return enrolment


def as_entered(enrolment: Enrolment) -> Enrolment:
    """An enrolment as it was when it began."""
    at = enrolment.state.enrolled_at
    whose = enrolment.id, enrolment.journey_id, enrolment.version, enrolment.customer_id
    return Enrolment(*whose, "active", 0, State(enrolled_at=at), due_at=at, source=enrolment.source)


def _closed(row: JourneyRow) -> Refused | None:
    match row.status:
        case "active":
            return None
        case "draft":
            return Refused("not_active", f"the journey is a draft; POST /v1/journeys/{row.journey_id}/activate first")
        case "paused":
            return Refused("paused", "the journey is paused; activate it to let customers in")
    return Refused("archived", "the journey is archived and lets nobody in")


def _entered_before(connection: Connection, journey: Journey, customer_id: str, now: datetime) -> Refused | None:
    rule = journey.reentry
    if rule.rule == "always":
        return None
    before = earlier(connection, journey.id, customer_id)
    running = next((one for one in before if one.status != "ended"), None)
    if running is not None:
        return Refused("already_enrolled", f"{customer_id!r} is in this journey now", running.id)
    if not before:
        return None
    if rule.rule == "once":
        return Refused("entered_before", f"{customer_id!r} was in this journey, which lets in once", before[0].id)
    left = max(one.ended_at or now for one in before)
    again = left + (rule.after or timedelta(0))
    if again > now:
        return Refused("too_soon", f"{customer_id!r} may enter again from {again.isoformat()}", before[0].id, again)
    return None


def _full(connection: Connection, journey: Journey, inside: dict[str, int]) -> Refused | None:
    most = journey.caps.enrolled
    if most is None:
        return None
    if journey.id not in inside:
        inside[journey.id] = count_active(connection, journey.id)
    if inside[journey.id] >= most:
        return Refused("full", f"{most} customers are in this journey, as many as its cap allows")
    return None
