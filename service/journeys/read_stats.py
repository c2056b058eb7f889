"""A journey's figures: per step what went in, waits, was sent, opened, clicked, converted, failed, stuck; when."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from service.journeys.definition import Journey, kind_of
from service.journeys.figures_store import count_converted, count_tasks, list_intents, problems, standing_counts
from service.journeys.intent_store import Intent
from service.journeys.journey_store import Count, JourneyRow, read_counts
from service.storage.database import Connection

_COUNTED = ("opened", "clicked", "converted", "undecided")
_OUTCOMES = ("sent", "failed", "blocked", "uncertain")
LISTED = 50
"""So many problems, the latest, and uncertain sends, the oldest, are named."""


def read_stats(connection: Connection, row: JourneyRow, journey: Journey, version: int | None = None) -> dict[str, Any]:
    """The figures of all versions together, or of one. Steps in the order of the newest version, then others."""
    wanted = row.journey_id, version
    counts: dict[str, list[Count]] = {}
    for count in read_counts(connection, row.journey_id, version):
        counts.setdefault(count.step, []).append(count)
    live: dict[str, dict[str, int]] = {}
    totals = {"active": 0, "stuck": 0, "ended": 0}
    reasons: Counter[str] = Counter()
    for status, step, reason, number in standing_counts(connection, wanted):
        totals[status] = totals.get(status, 0) + number
        at = live.setdefault(step or "", {})
        at[status] = at.get(status, 0) + number
        if status == "ended":
            reasons[reason or ""] += number
    tasks = count_tasks(connection, wanted)
    known = [*journey.steps, *sorted((counts.keys() | live.keys()) - journey.steps.keys() - {""})]
    whole = {count.name: count.value for count in counts.get("", [])}
    converted = count_converted(connection, wanted)
    return {
        "journey_id": row.journey_id,
        "name": journey.name,
        "version": row.version,
        "status": row.status,
        "enrollments": totals | {"entered": whole.get("entered", 0), "converted": converted, "ended_by": dict(reasons)},
        "steps": [_step(step, journey, counts.get(step, []), live.get(step, {}), tasks.get(step)) for step in known],
        "problems": [_problem(one) for one in problems(connection, wanted, LISTED)],
        "uncertain": [_uncertain(one) for one in list_intents(connection, wanted, "uncertain", LISTED)],
    }


def _step(
    step: str, journey: Journey, counts: list[Count], live: dict[str, int], tasks: dict[str, int] | None
) -> dict[str, Any]:
    values = {count.name: count.value for count in counts}
    outcomes = _of_kind(values, "outcome.")
    sends = journey.steps.get(step)
    is_send = sends is not None and kind_of(sends) in {"send", "call", "webhook"}
    return {
        "id": step,
        "kind": kind_of(sends) if sends is not None else None,
        "entered": values.get("entered", 0),
        "waiting": live.get("active", 0),
        **{name: outcomes.get(name, 0) if is_send or sends is None else 0 for name in _OUTCOMES},
        **{name: values.get(name, 0) for name in _COUNTED},
        "stuck": live.get("stuck", 0),
        "outcomes": outcomes,
        "blocked_by": _of_kind(values, "blocked."),
        "postponed_by": _of_kind(values, "postponed."),
        "tasks": tasks,
        "first_run": _edge(counts, "first_at", min),
        "last_run": _edge(counts, "last_at", max),
    }


def _of_kind(values: dict[str, int], kind: str) -> dict[str, int]:
    return {name.removeprefix(kind): value for name, value in values.items() if name.startswith(kind)}


def _edge(counts: list[Count], name: str, choose: Any) -> datetime | None:
    times = [getattr(count, name) for count in counts]
    found: datetime | None = choose(times) if times else None
    return found


def _problem(row: Any) -> dict[str, Any]:
    return {
        "enrollment_id": row.id,
        "customer_id": row.customer_id,
        "step": row.step,
        "status": row.status,
        "failures": row.failures,
        "problem": row.problem,
        "next_try": row.due_at,
        "last_run": row.last_run_at,
    }


def _uncertain(intent: Intent) -> dict[str, Any]:
    return {
        "key": intent.key,
        "customer_id": intent.customer_id,
        "step": intent.step,
        "channel": intent.channel,
        "detail": intent.detail,
        "at": intent.attempted_at or intent.created_at,
    }
