"""What is ready, and what is not: for load balancers, and for people who wonder."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from service.clock import SystemClock
from service.events.inbox_store import backlog
from service.storage.heartbeats import read_all
from service.wiring.parts import Parts

_STALE = timedelta(seconds=30)


def readiness(parts: Parts) -> tuple[bool, dict[str, Any]]:
    """Whether decisions can be made and kept, and every part that is away, late or refused, by name.

    Without the database they are made from memory and kept on the disk, so its absence alone makes nothing unready.
    """
    report: dict[str, Any] = {"status": "ready", "problems": []}
    problems: list[str] = report["problems"]
    ready = True
    try:
        with parts.database.read() as connection:
            pending, set_aside = backlog(connection)
            report["heartbeats"] = read_all(connection)
        report["heartbeats"].setdefault("events", {}).update(pending=pending, set_aside=set_aside)
    except Exception as away:
        ready = parts.steady.can_keep()
        problems.append(f"database: {type(away).__name__}; check OPPORTUNE_DATABASE_URL and the server")
    try:
        parts.online.read(["readiness"], parts.clock.now())
    except Exception as away:
        problems.append(f"online store: {type(away).__name__}; decisions do without features")
    report["decisions"] = parts.steady.status()
    if report["decisions"]["nowhere"]:
        ready = False
        problems.append("decisions: neither the database nor the disk takes them; free space on the disk of the home")
    if report["decisions"]["spool_waits"]:
        problems.append("decisions: some wait on the disk, to be brought into the database")
    report["texts"] = parts.text_watch.status()
    if parts.text_watch.failing:
        problems.append(f"texts: {report['texts']['problem']}; new offers are placed by their categories")
    report["models"] = parts.models.status()
    problems += [f"model {entry['name']}: {entry['problem']}" for entry in report["models"] if entry["problem"]]
    now = SystemClock().now()
    for name, seen in report.get("heartbeats", {}).items():
        if "seen" in seen and now - seen["seen"] > _STALE:
            problems.append(f"loop {name}: no pass since {seen['seen']:%Y-%m-%dT%H:%M:%SZ}; is its process running?")
    if not ready:
        report["status"] = "not ready"
    elif problems:
        report["status"] = "degraded"
    return ready, report
