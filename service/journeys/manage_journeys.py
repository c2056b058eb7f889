"""Use cases over journeys as a whole: store a version, read, activate, pause, archive, try again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from service.errors import Conflict, Invalid, NotFound, summary
from service.journeys.dangling import unknown_names
from service.journeys.enrolment_store import end_all, free_stuck
from service.journeys.intent_store import reset_attempts
from service.journeys.journey_store import (
    JourneyRow,
    add_counts,
    add_version,
    find_journey,
    list_journeys,
    list_versions,
    read_version,
    set_status,
)
from service.journeys.parse_definition import load_journey, parse_journey
from service.storage.database import Connection

_MOVES = {
    "activate": ("active", {"draft", "active", "paused"}),
    "pause": ("paused", {"active", "paused"}),
    "archive": ("archived", {"draft", "active", "paused", "archived"}),
}


def must_find(connection: Connection, journey_id: str, lock: bool = False) -> JourneyRow:
    """The journey; `NotFound` where there is none."""
    row = find_journey(connection, journey_id, lock)
    if row is None:
        raise NotFound(f"there is no journey {journey_id!r}")
    return row


def put_journey(
    connection: Connection, journey_id: str, document: Any, now: datetime, made_by: str | None
) -> tuple[dict[str, Any], bool]:
    """Stores a new version and returns it; True where the journey itself is new. `Invalid` lists the faults.

    What is active lets in by the new version at once, so that all it names must be there.
    """
    journey, canonical = parse_journey(document, journey_id)
    before = find_journey(connection, journey_id, lock=True)
    if before is not None and before.status == "archived":
        raise Conflict(f"journey {journey_id!r} is archived; make a new one under another id")
    if before is not None and before.status == "active" and (faults := unknown_names(connection, journey)):
        raise Invalid(f"{summary(faults)} (or pause the journey first)", faults)
    entry = (journey.entry.event, journey.entry.segment)
    row = add_version(connection, journey_id, canonical, entry, now, made_by)
    return _shown(row, canonical), before is None


def get_journey(connection: Connection, journey_id: str, version: int | None = None) -> dict[str, Any]:
    """A journey with the definition of one version (default: the newest), and the list of all."""
    row = must_find(connection, journey_id)
    definition = read_version(connection, journey_id, version or row.version)
    if definition is None:
        raise NotFound(f"journey {journey_id!r} has no version {version}; the newest is {row.version}")
    shown = _shown(row, definition) | {"versions": list_versions(connection, journey_id)}
    return shown | ({"version": version} if version else {})


def get_journeys(connection: Connection, status: str | None = None) -> list[dict[str, Any]]:
    """Every journey without its steps, by id."""
    shown = []
    for row in list_journeys(connection, status):
        definition = read_version(connection, row.journey_id, row.version) or {}
        whole = _shown(row, definition)
        del whole["definition"]
        shown.append(whole | {"name": definition.get("name"), "description": definition.get("description", "")})
    return shown


def change_status(connection: Connection, journey_id: str, verb: str, now: datetime) -> dict[str, Any]:
    """`activate`, `pause` or `archive`; repeating one changes nothing. Archiving ends what runs, for good.

    `Conflict` names what the newest version names and what is not there, before it lets anybody in.
    """
    row = must_find(connection, journey_id, lock=True)
    status, allowed = _MOVES[verb]
    if row.status not in allowed:
        raise Conflict(f"journey {journey_id!r} is {row.status} and cannot {verb}", status_now=row.status)
    if verb == "activate" and row.status != status:
        try:
            journey = load_journey(journey_id, read_version(connection, journey_id, row.version) or {})
        except ValueError as fault:  # an earlier version of the service took it
            told = f"version {row.version} of journey {journey_id!r} cannot be read any more; put it anew"
            raise Conflict(told) from fault
        if faults := unknown_names(connection, journey):
            raise Conflict(f"journey {journey_id!r} cannot be activated: {summary(faults)}", faults)
    if row.status != status:
        set_status(connection, journey_id, status, now)
    if status == "archived":
        ended = end_all(connection, journey_id, "archived", now)
        if ended:
            add_counts(connection, {(journey_id, row.version, "", "ended.archived"): ended}, now)
    return get_journey(connection, journey_id)


def retry_stuck(connection: Connection, journey_id: str, now: datetime) -> dict[str, Any]:
    """Lets every stuck enrolment try again from the step that it is stuck at."""
    must_find(connection, journey_id)
    reset_attempts(connection, journey_id)
    return {"retried": free_stuck(connection, journey_id, now)}


def _shown(row: JourneyRow, definition: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row.journey_id,
        "version": row.version,
        "status": row.status,
        "entry": {"event": row.entry_event, "segment": row.entry_segment},
        "created_at": row.created_at,
        "changed_at": row.changed_at,
        "definition": definition,
    }
