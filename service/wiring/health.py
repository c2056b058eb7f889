"""What is ready, and what is not: for load balancers, and for people who wonder."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, TypeVar

from features.files import LEAST_FREE, free_bytes
from service.clock import SystemClock, monotonic
from service.events.inbox_store import backlog, oldest_waiting
from service.storage.heartbeats import is_silent, read_all
from service.storage.home_store import home_of, other_home
from service.wiring.parts import Parts

_STALE = timedelta(seconds=30)
_LATE = timedelta(minutes=1)
_LOOK_S = 0.4
"""How long each of two parts is waited for: who asks often gives up after a second, and what hangs refuses nothing."""
_lookers = ThreadPoolExecutor(8, "ready")
"""What hangs holds these, and looks that come meanwhile count as unanswered."""
_disk_looker = ThreadPoolExecutor(1, "ready-disk")
_T = TypeVar("_T")


def readiness(parts: Parts) -> tuple[bool, dict[str, Any]]:
    """Whether decisions can be made and kept, and every part that is away, late or refused, by name.

    Without the database they are made from memory and kept on the disk, so its absence alone makes nothing unready.
    """
    report: dict[str, Any] = {"status": "ready", "problems": []}
    problems: list[str] = report["problems"]
    ready = True
    room, began = _disk_looker.submit(free_bytes, parts.settings.home), monotonic()
    try:
        report["heartbeats"], home, oldest = _in_time(lambda: _state(parts))
        other = other_home(home, parts.home_id)
        problems += [] if other is None else [f"home: {other}"]
        problems += _late_events(parts, oldest, report["heartbeats"]["events"]["pending"])
    except Exception as away:
        ready = parts.steady.can_keep()
        problems.append(f"database: {type(away).__name__}; check OPPORTUNE_DATABASE_URL and the server")
    try:
        _in_time(lambda: parts.online.read(["readiness"], parts.clock.now()))
    except Exception as away:
        problems.append(f"online store: {type(away).__name__}; decisions do without features")
    problems += _little_room(room, began + _LOOK_S - monotonic())
    report["decisions"] = parts.steady.status()
    if "database" in report["decisions"]["open"] and not any(problem.startswith("database:") for problem in problems):
        problems.append("database: it is read, but takes no decisions in time; see its disk, locks and load")
    if report["decisions"]["nowhere"]:
        ready = False
        problems.append("decisions: neither the database nor the disk takes them; is it full, read-only or hanging?")
    if report["decisions"]["spool_waits"]:
        problems.append("decisions: some wait on the disk for the database; if they stay there, the log says why")
    if parts.events_loop.problem:
        problems.append(f"events: {parts.events_loop.problem}; those accepted are kept, and take effect when it works")
    troubles = ((loop.name, loop.trouble()) for loop in parts.loops if not (loop is parts.events_loop and loop.problem))
    problems += [f"loop {name}: {trouble}; the log says more" for name, trouble in troubles if trouble]
    report["texts"] = parts.text_watch.status()
    if parts.text_watch.failing:
        problems.append(f"texts: {report['texts']['problem']}; new offers are placed by their categories")
    report["models"] = parts.models.status()
    problems += [f"model {entry['name']}: {entry['problem']}" for entry in report["models"] if entry["problem"]]
    now = SystemClock().now()
    for name, seen in report.get("heartbeats", {}).items():
        if "seen" in seen and is_silent(seen["seen"], now, _STALE):
            problems.append(f"loop {name}: no pass since {seen['seen']:%Y-%m-%dT%H:%M:%SZ}; is its process running?")
    if not ready:
        report["status"] = "not ready"
    elif problems:
        report["status"] = "degraded"
    return ready, report


def _in_time(look: Callable[[], _T]) -> _T:
    looking = _lookers.submit(look)
    try:
        return looking.result(_LOOK_S)
    finally:
        looking.cancel()  # where it has not even begun


def _little_room(room: Future[int], wait_s: float) -> list[str]:
    """Of a full disk the loops know no more than that something failed."""
    try:
        free = room.result(max(wait_s, 0.0))
    except Exception as away:
        return [f"home: {type(away).__name__}; see whether its disk is there"]
    finally:
        room.cancel()
    return [f"disk: only {free / 1e6:,.0f} MB are free for the home; make room"] if free < LEAST_FREE else []


def _late_events(parts: Parts, oldest: datetime | None, pending: int) -> list[str]:
    """Each pass may go well, and all of them be fewer than the events that come in. Simulated time jumps."""
    if oldest is None or parts.settings.clock != "system" or parts.events_loop.problem:
        return []
    since = parts.clock.now() - oldest
    if since < _LATE:
        return []
    return [
        f"events: {pending:,} wait for their effects, the oldest event for {since.total_seconds() / 60:.0f} minutes"
    ]


def _state(parts: Parts) -> tuple[dict[str, dict[str, Any]], str | None, datetime | None]:
    """The heartbeats, the home that the database belongs to, and since when an event waits."""
    with parts.database.read() as connection:
        pending, set_aside = backlog(connection)
        found, home, oldest = read_all(connection), home_of(connection), oldest_waiting(connection)
    found.setdefault("events", {}).update(pending=pending, set_aside=set_aside)
    return found, home, oldest
