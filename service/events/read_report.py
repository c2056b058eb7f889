"""The data report: what came in, of what quality, and what is held back; from counts, never from the events."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from features.catalogue import CATALOGUE
from features.currencies import CURRENCIES
from features.vocabulary import NAMES, REPEATED
from service.events.inbox_store import backlog, size
from service.events.normalize import TYPES
from service.events.quality_store import by_reason, latest_files, read_counts
from service.events.rebuild_store import how_many_wait
from service.events.tally import LATE, Key
from service.storage.database import Connection

MOST_DAYS = 3660
_MOST = 50
_MOST_EVENTS = 500
ALSO_KNOWN = frozenset({"Resubscribed", REPEATED, "group", "alias"})
"""Events and types of messages that have an effect though features do not read them."""
Counts = Mapping[Key, int]


def read_report(connection: Connection, now: datetime, days: int) -> dict[str, Any]:
    """What came in for the last `days` days of events; refused lines and repeats in files, which have no day, too."""
    first = now.astimezone(UTC).date() - timedelta(days=days - 1)
    counts = read_counts(connection, first.isoformat())
    told = _by_kind(counts)
    events = told["event"]
    total, late = sum(events.values()), sum(told["late"].values())
    waiting, failed = how_many_wait(connection)
    notes = told["note"]
    return {
        "from": first.isoformat(),
        "until": now,
        "events": total,
        "duplicates_dropped": sum(told["duplicate"].values()),
        "late": {"count": late, "share": _share(late, total), "after_seconds": LATE.total_seconds()},
        "clock_skew": {"count": notes["clock_skew"], "share": _share(notes["clock_skew"], total)},
        "future_times": notes["future_time"],
        "broken_time_zones": notes["bad_timezone"],
        "unknown_decisions": notes["unknown_decision"],
        "currencies": _currencies(told["currency"]),
        "contacts": _contacts(notes),
        "machine": _machine(told["engagement"], told["machine"]),
        "by_day": _by_day(counts),
        "by_event": _by_event(counts, events, known_names()),
        "nulls": _nulls(told["null"], events),
        "quarantine": _quarantine(connection),
        "files": [_file(row) for row in latest_files(connection, _MOST)],
        "refused_in_files": _listed(told["rejected"], "field"),
        "inbox": {"events": size(connection), "waiting": backlog(connection)[0]},
        "features": {"customers_waiting": waiting, "customers_failed": failed},
    }


def known_names() -> set[str]:
    """Event names and types that features read (a user's own features too) or that have another effect."""
    declared = {verb for feature in CATALOGUE.features if feature.events for verb in feature.events.verbs}
    return {*NAMES, *TYPES, *ALSO_KNOWN, *declared}


def _by_kind(counts: Counts) -> defaultdict[str, defaultdict[str, int]]:
    told: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for key, count in counts.items():
        told[key.kind][key.name] += count
    return told


def _by_day(counts: Counts) -> list[dict[str, Any]]:
    columns = ("event", "late", "engagement", "machine")
    days: defaultdict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(columns, 0))
    for key, count in counts.items():
        if key.day and key.kind in columns:
            days[key.day][key.kind] += count
    return [
        {
            "day": day,
            "events": one["event"],
            "late_share": _share(one["late"], one["event"]),
            "machine_share": _share(one["machine"], one["engagement"]),
        }
        for day, one in sorted(days.items())
    ]


def _by_event(counts: Counts, events: Mapping[str, int], known: set[str]) -> list[dict[str, Any]]:
    spans: dict[str, tuple[str, str]] = {}
    for key in counts:
        if key.kind == "event":
            first, last = spans.get(key.name, (key.day, key.day))
            spans[key.name] = (min(first, key.day), max(last, key.day))
    listed = sorted(events.items(), key=lambda one: (-one[1], one[0]))[:_MOST_EVENTS]
    return [
        {
            "event": name,
            "count": count,
            "first_day": spans[name][0],
            "last_day": spans[name][1],
            "known": name in known,
            "like": None if name in known else next(iter(difflib.get_close_matches(name, known, 1)), None),
        }
        for name, count in listed
    ]


def _nulls(nulls: Mapping[str, int], events: Mapping[str, int]) -> list[dict[str, Any]]:
    listed = []
    for name, count in sorted(nulls.items()):
        event, _, field = name.rpartition(".")
        listed.append({"event": event, "field": field, "count": count, "share": _share(count, events.get(event, 0))})
    return listed[: 4 * _MOST_EVENTS]


def _contacts(notes: Mapping[str, int]) -> dict[str, Any]:
    return {
        "email": {"seen": notes["email"], "bad": notes["bad_email"], "normalized": notes["email_normalized"]},
        "phone": {
            "seen": notes["phone"],
            "bad": notes["bad_phone"],
            "without_country": notes["phone_without_country"],
            "normalized": notes["phone_normalized"],
        },
    }


def _currencies(events: Mapping[str, int]) -> list[dict[str, Any]]:
    """Events by the currency of their money, and its rate; null where it is counted nowhere."""
    listed = sorted(events.items(), key=lambda one: (-one[1], one[0]))[:_MOST]
    rates = ((code, count, CURRENCIES.rate(code)) for code, count in listed)
    return [
        {"currency": code, "events": count, "counted": rate is not None, "rate": None if rate is None else float(rate)}
        for code, count, rate in rates
    ]


def _machine(engagements: Mapping[str, int], by_machine: Mapping[str, int]) -> dict[str, Any]:
    total, machine = sum(engagements.values()), sum(by_machine.values())
    events = [
        {"event": name, "count": count, "machine": machines, "share": _share(machines, count)}
        for name, count, machines in ((name, n, by_machine.get(name, 0)) for name, n in sorted(engagements.items()))
    ]
    return {"opens_and_clicks": total, "machine": machine, "share": _share(machine, total), "by_event": events}


def _quarantine(connection: Connection) -> dict[str, Any]:
    return {"events": backlog(connection)[1], "by_reason": by_reason(connection, _MOST)}


def _file(row: Mapping[str, Any]) -> dict[str, Any]:
    path = Path(row["path"])
    rejects = path.with_name(f"{path.name}.rejects.jsonl")
    return {
        "path": row["path"],
        "started_at": row["started_at"],
        "finished_at": row["finished_at"],
        "accepted": row["accepted"],
        "rejected": row["rejected"],
        "rejects": str(rejects) if row["rejected"] else None,
    }


def _listed(counts: Mapping[str, int], name: str) -> list[dict[str, Any]]:
    ordered: Iterable[tuple[str, int]] = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return [{name: key, "count": count} for key, count in list(ordered)[:_MOST]]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
