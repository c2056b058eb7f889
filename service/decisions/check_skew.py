"""Whether decisions were served the features that the event log gives: a sample of records, computed again offline.

A record holds the features of its decision and the time as of which they were read. What had been known by then is
computed again from the log; every value must be the same, to the last bit. Left out are decisions of customers whose
past has changed since (an import, two histories joined) and those made with other features: theirs cannot be made
again. A row that equals what was known some moments earlier is not wrong but behind, and counted as that.
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from features.event_log import bucket_of
from service.clock import Clock, SystemClock
from service.decisions.skew_store import add_check, any_between, ids_between, latest_checks
from service.decisions.whole import left_out, records_whole
from service.events.read_events import events_of
from service.events.rebuild_store import asked_for, changed_since, layout_of
from service.storage.database import Connection, Database

if TYPE_CHECKING:
    import polars as pl

    from features.event_log import EventLog

SAMPLE = 200
SPAN = timedelta(days=7)
BEHIND = timedelta(minutes=2)
"""How far back a row that lacks the newest events is looked for."""
_MOST = 20_000
_AT_ONCE = 100
_EXAMPLES = 10
_STEPS = 50


@dataclass(frozen=True, slots=True)
class Served:
    """A feature row as a decision was given it; None values are unknown."""

    decision_id: str
    customer_id: str
    as_of: datetime
    values: Mapping[str, float | None]


@dataclass(slots=True)
class Findings:
    """What a check has found so far."""

    rows: int = 0
    values: int = 0
    wrong_rows: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)
    behind: list[float] = field(default_factory=list)
    nulls: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    damaged: list[str] = field(default_factory=list)


class SkewCheck:
    """Checks samples of decisions. `store` names the online store, as for `QueueOutdated`."""

    def __init__(self, database: Database, event_log: EventLog, clock: Clock, store: str) -> None:
        self._database = database
        self._log = event_log
        self._clock = clock
        self._store = store

    def run(self, sample: int = SAMPLE) -> dict[str, Any]:
        """Checks up to `sample` decisions of the last seven days and keeps the report, unless none could be."""
        began, now = time.perf_counter(), self._clock.now()
        found = Findings()
        served = self._served(now, sample, found)
        buckets: dict[int, list[Served]] = {}
        for one in served:
            buckets.setdefault(bucket_of(one.customer_id, self._log.buckets), []).append(one)
        for mine in buckets.values():
            self._compare(mine, found)
        report = _report(found, now, time.perf_counter() - began)
        if found.rows:
            with self._database.write() as connection:
                add_check(connection, now, report)
        return report

    def has_decisions(self) -> bool:
        """Whether there are decisions of the last seven days."""
        now = self._clock.now()
        with self._database.read() as connection:
            return any_between(connection, now - SPAN, now)

    def latest(self) -> dict[str, Any] | None:
        """The newest report that was kept."""
        with self._database.read() as connection:
            return latest_report(connection)

    def _served(self, now: datetime, sample: int, found: Findings) -> list[Served]:
        with self._database.read() as connection:
            listed = ids_between(connection, now - SPAN, now, _MOST, now.timestamp())
            random.Random(now.timestamp()).shuffle(listed)
            layout = layout_of(connection, self._store)
            taken: list[Served] = []
            for start in range(0, len(listed), _AT_ONCE):
                if len(taken) >= sample:
                    break
                some = self._comparable(connection, listed[start : start + _AT_ONCE], layout, found)
                records, damaged = records_whole(connection, some)
                found.damaged.extend(damaged)
                for decision_id, record in records.items():
                    one = _read(decision_id, record, found)
                    if one is not None and len(taken) < sample:
                        taken.append(one)
            return taken

    def _comparable(
        self,
        connection: Connection,
        listed: Sequence[tuple[str, str, datetime]],
        layout: tuple[str, datetime] | None,
        found: Findings,
    ) -> list[str]:
        customers = sorted({customer_id for _, customer_id, _ in listed})
        changed, waiting = changed_since(connection, customers), asked_for(connection, customers)
        some: list[str] = []
        for decision_id, customer_id, at in listed:
            if customer_id in waiting or (customer_id in changed and at <= changed[customer_id]):
                found.skipped["history_changed"] += 1
            elif layout is not None and at <= layout[1]:
                found.skipped["other_features"] += 1
            else:
                some.append(decision_id)
        return some

    def _compare(self, served: Sequence[Served], found: Findings) -> None:
        from features.build import compute

        events = events_of(self._database, self._log, sorted({one.customer_id for one in served}))
        for one, told in zip(served, compute(events, _cuts(served)).iter_rows(named=True), strict=True):
            names = [name for name in one.values if name in told]
            found.rows += 1
            found.values += len(names)
            found.seen.update(names)
            found.nulls.update(name for name in names if one.values[name] is None)
            wrong = _differing(one, told)
            if wrong and (lag := _lag(one, events)) is not None:
                found.behind.append(lag)
            elif wrong:
                _note_wrong(one, told, wrong, found)


def latest_report(connection: Connection) -> dict[str, Any] | None:
    """The newest report that was kept."""
    return next((report for _, report in latest_checks(connection, 1)), None)


def _read(decision_id: str, record: Mapping[str, Any], found: Findings) -> Served | None:
    row = record["features"]
    if record["request"].get("at") is not None:
        found.skipped["asked_for_another_time"] += 1
        return None
    if row is None:
        found.skipped["without_features"] += 1
        return None
    return Served(decision_id, row["customer_id"], datetime.fromisoformat(row["as_of"]), row["values"])


def _cuts(served: Sequence[Served]) -> pl.DataFrame:
    import polars as pl

    from features.tables import UTC_TIME

    columns = {"customer_id": [one.customer_id for one in served], "as_of": [one.as_of for one in served]}
    return pl.DataFrame(columns, schema={"customer_id": pl.String, "as_of": UTC_TIME})


def _differing(one: Served, told: Mapping[str, Any]) -> list[str]:
    return [name for name, value in one.values.items() if name in told and not _same(value, told[name])]


def _same(served: float | None, computed: float) -> bool:
    if served is None:
        return not math.isfinite(computed)
    return served == computed


def _lag(one: Served, events: pl.DataFrame) -> float | None:
    """How many seconds before its time the row was right; None where it never was."""
    import polars as pl

    from features.build import compute

    mine = events.filter(pl.col("customer_id") == one.customer_id)
    known = pl.col("received_at")
    late = mine.filter(known.is_between(one.as_of - BEHIND, one.as_of))["received_at"].unique().sort(descending=True)
    for moment in late.to_list()[:_STEPS]:
        before = compute(mine.filter(known < moment), _cuts([one])).row(0, named=True)
        if not _differing(one, before):
            return float((one.as_of - moment).total_seconds())
    return None


def _note_wrong(one: Served, told: Mapping[str, Any], wrong: Sequence[str], found: Findings) -> None:
    found.wrong_rows += 1
    found.wrong.update(wrong)
    for name in wrong[: max(0, _EXAMPLES - len(found.examples))]:
        computed = told[name] if math.isfinite(told[name]) else None
        example = {"decision_id": one.decision_id, "feature": name, "served": one.values[name], "computed": computed}
        found.examples.append(example)


def _report(found: Findings, now: datetime, seconds: float) -> dict[str, Any]:
    return {
        "at": now.isoformat(),
        "made_at": SystemClock().now().isoformat(),
        "seconds": round(seconds, 3),
        "checked": {"decisions": found.rows, "values": found.values},
        "mismatches": {
            "decisions": found.wrong_rows,
            "values": sum(found.wrong.values()),
            "by_feature": dict(found.wrong.most_common()),
            "examples": found.examples,
        },
        "behind": {"decisions": len(found.behind), "worst_seconds": max(found.behind, default=0.0)},
        "nulls": {name: found.nulls[name] / count for name, count in sorted(found.seen.items())},
        "skipped": dict(found.skipped),
        "damaged": found.damaged,
    }


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """A report as people read it."""
    checked, wrong, behind = report["checked"], report["mismatches"], report["behind"]
    yield f"{checked['decisions']:,} decisions checked, {checked['values']:,} values, in {report['seconds']:.1f} s"
    yield f"{wrong['values']:,} values differ from the event log, in {wrong['decisions']:,} decisions"
    for name, count in wrong["by_feature"].items():
        yield f"  {name}: {count:,}"
    for one in wrong["examples"]:
        yield f"  decision {one['decision_id']}: {one['feature']} was {one['served']}, is {one['computed']}"
    yield f"{behind['decisions']:,} rows were behind, at most by {behind['worst_seconds']:.1f} s"
    for reason, count in report["skipped"].items():
        yield f"left out: {count:,} decisions ({reason.replace('_', ' ')})"
    yield from left_out(report["damaged"])
