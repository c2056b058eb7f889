"""What the command line does with the service's parts; each function is one command."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from xxhash import xxh3_64_hexdigest

from service.clock import SystemClock
from service.loops import PYTHON
from service.settings import Settings
from service.storage.database import Connection, Database
from service.storage.migrate import migrate

if TYPE_CHECKING:
    from features.event_log import EventLog
    from service.wiring import Parts

_PATIENCE_S = 30.0
_ALIVE = timedelta(seconds=8)
_ALONE_AT_ONCE = 2_000
_TRIES = 5
_NOBODY = "there are no customers yet; bring events with 'opportune ingest PATH'"


def create_key_command(settings: Settings, scopes: tuple[str, ...], label: str) -> str:
    """A new key's secret."""
    from service.web.auth import create_key

    with _state(settings) as database:
        return create_key(database, scopes, label or "+".join(scopes), SystemClock().now())


def list_keys_command(settings: Settings) -> list[str]:
    """A line a key: id, scopes, label, since when, until when."""
    from service.storage.key_store import list_keys

    with _state(settings) as database, database.read() as connection:
        return [
            f"{key.key_id}  {','.join(key.scopes):<24} {key.label:<24} since {key.created_at:%Y-%m-%d %H:%M}Z"
            + (f", revoked {key.revoked_at:%Y-%m-%d %H:%M}Z" if key.revoked_at else "")
            for key in list_keys(connection)
        ]


def revoke_key_command(settings: Settings, key_id: str) -> None:
    """Ends a key; ValueError when there is none such."""
    from service.storage.key_store import revoke_key

    with _state(settings) as database, database.write() as connection:
        if not revoke_key(connection, key_id, SystemClock().now()):
            raise ValueError(f"no key {key_id!r} is in use; list them with 'opportune keys list'")


def impact_command(settings: Settings, placement: str | None) -> Iterator[str]:
    """What decisions bring, in lines; ValueError where nothing is measured of a placement that is named."""
    from service.decisions.read_impact import read_impact

    with _state(settings) as database, database.read() as connection:
        found = read_impact(connection, placement)
    if not found and placement is not None:
        raise ValueError(f"nothing is measured at {placement!r}: it needs decisions, and two arms that have a share")
    if not found:
        yield "nothing is measured yet: it begins with decisions at a placement of which two arms have a share"
    for one in found:
        ended = f" until {one['stopped_at']:%Y-%m-%d %H:%M}Z" if one["stopped_at"] else ""
        yield f"{one['placement']}: {one['customers']:,} customers since {one['since']:%Y-%m-%d %H:%M}Z{ended}"
        for arm in one["arms"]:
            if arm["customers"]:
                each = f"{arm['revenue_per_customer']:,.2f} {one['currency']} a customer, {arm['buyers']:.2%} ordered"
                yield f"  {arm['arm']:<18} {arm['customers']:>9,}  {each}"
        if one["variance_reduction"] > 0.005:
            yield "  (revenue as if all arms had bought alike in the year before)"
        if one["crossovers"]:
            yield f"  {one['crossovers']:,} came into another arm (visitors who became known): counted for the first"
        yield from (f"  {told['asks']}: {told['sentence']}" for told in one["comparisons"])


def ingest_command(settings: Settings, paths: list[Path], offers: Path | None, mapping: Path | None) -> None:
    """Events and offers from files; what could not be read goes to rejects files, and is told."""
    from service.events.ingest_files import FileIngest
    from service.events.mapping import read_mapping
    from service.offers.put_offers import import_offers

    with _parts(settings) as parts:
        if offers is not None:
            imported = import_offers(offers, parts.database, parts.clock.now())
            print(f"{offers}: {imported.put} offers" + _rejected(imported.rejected, imported.rejects))
            if imported.such_as:
                print(f"  such as {imported.such_as}")
            _refuse_if_nothing_was_read(offers, imported.put, imported.rejected, imported.rejects)
            _make_text_vectors(settings, parts)
        if not paths:
            return
        ingest = FileIngest(
            parts.database,
            parts.event_log,
            parts.clock,
            parts.rules,
            parts.handlers,
            parts.identities,
            [parts.join_histories],
            parts.lease,
            lambda: _service_runs(parts),
        )
        bar = Progress()
        report = ingest.ingest(paths, None if mapping is None else read_mapping(mapping), bar.show)
        bar.end()
        _make_features(parts)
        for file in report.files:
            already = " (ingested before; nothing to do)" if file.already else ""
            print(f"{file.path}: {file.accepted:,} events{_rejected(file.rejected, file.rejects)}{already}")
            for field, count, first in file.reasons:
                print(f"  {count:,} by {field}, such as: {first}")
        _tell_money_not_counted(parts)
        for file in report.files:
            _refuse_if_nothing_was_read(file.path, file.accepted, file.rejected, file.rejects)


def _refuse_if_nothing_was_read(path: Path, read: int, rejected: int, rejects: Path | None) -> None:
    """ValueError: some wrong lines are told beside what was read, a file of nothing else is a wrong file."""
    if rejected and not read:
        raise ValueError(f"{path}: none of its {rejected:,} lines could be read; {rejects} says why of each")


def _tell_money_not_counted(parts: Parts) -> None:
    """Every sum would lack it, and nothing but the data report says so."""
    from service.events.quality_store import money_not_counted

    with parts.database.read() as connection:
        uncounted = money_not_counted(connection, "")
    for code, events in sorted(uncounted.items()):
        rule = "give its rate in [currencies], or make it the currency of the settings"
        print(f"money in {code} ({events:,} events) is counted nowhere; {rule}", file=sys.stderr)


def _make_text_vectors(settings: Settings, parts: Parts) -> None:
    """Gives the catalogue's new texts their vectors, unless a running service does; without an embedder, says so."""
    from service.wiring.text_watch import make_vectors

    if not settings.text_vectors or _service_runs(parts):
        return
    with parts.database.read() as connection:
        catalogue = parts.catalogue.current(connection)
    problem = make_vectors(settings.home.absolute(), catalogue)  # may take minutes: outside of the transaction
    if problem:
        print(f"offers' texts have no vectors: {problem}", file=sys.stderr)


def skew_command(settings: Settings, sample: int) -> bool:
    """Checks served features against the event log; False when a value differs."""
    from service.decisions.check_skew import lines

    with _parts(settings) as parts:
        report = parts.skew.run(sample)
    for line in lines(report):
        print(line)
    return not report["mismatches"]["values"]


def drift_command(settings: Settings, sample: int) -> bool:
    """Compares what models see, say and promise with their training; False when something has moved."""
    from service.decisions.check_drift import lines, shifted

    with _parts(settings) as parts:
        parts.shadow.run()
        report = parts.drift.run(sample)
    for line in lines(report):
        print(line)
    return not shifted(report)


def requeue_command(settings: Settings) -> None:
    """Gives events that were set aside another try, from where they failed."""
    from service.events.inbox_store import quarantined, requeue

    with _parts(settings) as parts:
        with parts.database.write() as connection:
            count = requeue(connection, parts.clock.now())
        print(f"{count:,} events go in again")
        if count:
            _settle(parts)
            with parts.database.read() as connection:
                aside = quarantined(connection)
            print(f"{aside:,} were set aside again" if aside else "all went well")


DAYS_AT_ONCE = 10
"""A backfill makes so many days together from one reading of the events."""


def features_command(
    settings: Settings, as_of: datetime | None, backfill: int, engine: str, address: str | None
) -> None:
    """Feature tables as of a time (and of the days before), and the online store: both from what is new."""
    from features.leftovers import sweep
    from features.online_load import OnlineLoad
    from features.ray_engine import NoRay

    with _parts(settings) as parts:
        sweep(settings.home.absolute(), SystemClock().now())
        _settle(parts)
        days = days_of(as_of, parts.clock.now(), backfill)
        try:
            _build_tables(settings, parts.event_log, days, engine, address)
        except NoRay as absent:
            raise ValueError(str(absent)) from absent
        bar, note = Progress(), settings.home.absolute() / "online-loaded.json"
        load = OnlineLoad(parts.event_log, parts.online, note, xxh3_64_hexdigest(settings.online_url.encode()))
        written = load.run(days[0], lambda done, all_: bar.show("online store", done / all_))
        bar.end()
        print(f"loaded {written:,} customers into the online store")
        if not any(parts.event_log.files(bucket) for bucket in range(parts.event_log.buckets)):
            print(_NOBODY, file=sys.stderr)
        _build_offer_tables(settings, parts, days)
        _apply_feast(settings)


def days_of(as_of: datetime | None, now: datetime, backfill: int) -> list[datetime]:
    """A time and as many days before it, the newest first. Without a time: now, and midnights (UTC), so that a
    backfill that was stopped is about the same days when it is run again."""
    if as_of is not None:
        return [as_of - timedelta(days=day) for day in range(backfill + 1)]
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return [now, *(midnight - timedelta(days=day) for day in range(backfill))]


def _build_tables(settings: Settings, log: EventLog, days: list[datetime], engine: str, address: str | None) -> None:
    from features.build import snapshot_folder
    from features.engines import one_by_one
    from features.ray_engine import ray_engine
    from features.snapshots import build_snapshots

    out, bar = settings.home.absolute() / "features", Progress()
    with ray_engine(address) if engine == "ray" else nullcontext(one_by_one) as run:
        for start in range(0, len(days), DAYS_AT_ONCE):
            some = days[start : start + DAYS_AT_ONCE]
            name = f"features as of {some[-1]:%Y-%m-%d %H:%M}" + (f" to {some[0]:%Y-%m-%d}" if len(some) > 1 else "")
            done = build_snapshots(
                log,
                some,
                out,
                engine=run,
                progress=lambda now, all_, name=name: bar.show(name, now / all_),  # type: ignore[misc]
            )
            bar.end()
            read, files = sum(one.read for one in done), sum(one.files for one in done)
            for cut in some:
                print(f"built {snapshot_folder(out, cut)}")
            others = "; the others had been read before" if read < files else ""
            print(f"read the events of {read:,} of {files:,} files{others}")


def _build_offer_tables(settings: Settings, parts: Parts, days: list[datetime]) -> None:
    from service.wiring.offer_features import build_offer_tables

    bar = Progress()
    told = build_offer_tables(
        parts.database,
        parts.event_log,
        parts.offers_online,
        settings.home.absolute(),
        days,
        lambda done, all_: bar.show("offers and interests", done / all_),
    )
    bar.end()
    for line in told:
        print(line)


def explain_feature(settings: Settings, name: str) -> None:
    """What a feature means, where it comes from, and how it is distributed in the newest table; `all`: a line each."""
    from features.explain import EVERY, explain

    if name == "all":
        for feature in EVERY.features:
            print(f"{feature.name:<32} {feature.description}")
        return
    try:
        for line in explain(settings.home.absolute(), name):
            print(line)
    except KeyError as unknown:
        raise ValueError(f"{unknown.args[0]}; 'opportune features --explain all' lists them") from unknown


def export_command(settings: Settings) -> None:
    """Writes the tables that training reads: customers, offers, decisions, outcomes."""
    from service.decisions.whole import left_out

    with _parts(settings) as parts:
        _settle(parts)
        for _ in range(_TRIES):
            before = _newest_erasure(parts.database)
            damaged = _export(parts.database, parts.event_log.root, settings.home.absolute() / "tables")
            if _newest_erasure(parts.database) == before:
                for line in left_out(damaged):
                    print(line)
                return
    raise ValueError("customers were erased all the time while tables were written; run it again")


def _export(database: Database, log: Path, tables: Path) -> list[str]:
    """The decisions that are not in the tables because their records are damaged."""
    from features.forgotten import forgotten_before
    from service.customers.export_tables import export_customers
    from service.decisions.export_decisions import export_decisions

    export_customers(database, tables / "customers.parquet")
    with database.read() as connection:
        return export_decisions(connection, tables, forgotten_before(log)).damaged


def _newest_erasure(database: Database) -> str | None:
    """Whoever was erased while a table was written may stand in it: then it is written again."""
    from service.customers.erasure_store import newest_erasure

    with database.read() as connection:
        return newest_erasure(connection)


def score_command(settings: Settings, out: Path) -> None:
    """Every customer's scores and ranked actions, by the champions of now, whether a service runs or not."""
    from service.decisions.score_customers import score_customers
    from service.memory import keep_freed_memory, leave_alone_what_stays

    wrong = _bring_models(settings)
    if wrong:
        print(f"{wrong}; customers are scored by the models that served last", file=sys.stderr)
    keep_freed_memory()
    with _parts(settings) as parts:
        _settle(parts)
        leave_alone_what_stays()
        bar = Progress()
        count = score_customers(
            parts.decider, parts.models, out, parts.clock.now(), lambda done: bar.count("customers scored", done)
        )
        bar.end()
        print(f"{out}: {count:,} customers")
        if not count:
            print(_NOBODY, file=sys.stderr)


def _bring_models(settings: Settings) -> str | None:
    """Brings the models that are to serve into `served/`, as a service does while it runs; None, or what is wrong.

    Where nothing was ever registered nothing is asked: it takes two seconds.
    """
    file = Path(settings.tracking_uri.removeprefix("sqlite:///"))
    if settings.tracking_uri.startswith("sqlite:///") and not file.exists():
        return None
    fetcher = [
        *PYTHON,
        "-m",
        "models.registry",
        settings.tracking_uri,
        str(settings.home.absolute() / "served"),
        "once",
    ]
    asked = subprocess.run(fetcher, capture_output=True, text=True, check=False)
    return None if asked.returncode == 0 else asked.stderr.strip().rpartition("\n")[2]


_EACH = 10_000


class Progress:
    """One line that is rewritten on a terminal; elsewhere a plain line at the beginning, half way and at the end."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown = ""
        self._tenth = -1
        self._each = 0

    def show(self, name: str, share: float) -> None:
        """How much of `name` is done, 0 to 1."""
        tenth = int(share * 10)
        if self._terminal:
            filled = "█" * int(share * 30)
            sys.stderr.write(f"\r{name[:40]:<40} {filled:<30} {share:4.0%}")
            sys.stderr.flush()
        elif (name, tenth) != (self._shown, self._tenth) and tenth % 5 == 0:
            print(f"{name}: {share:.0%}", file=sys.stderr, flush=True)
        self._shown, self._tenth = name, tenth

    def count(self, name: str, done: int) -> None:
        """How many are done, where nobody knows of how many; elsewhere than on a terminal a line each 10,000."""
        if self._terminal:
            sys.stderr.write(f"\r{name}: {done:,}")
            sys.stderr.flush()
        elif done // _EACH > self._each:
            self._each = done // _EACH
            print(f"{name}: {done:,}", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._terminal:
            sys.stderr.write("\r" + " " * 80 + "\r")


@contextmanager
def _state(settings: Settings) -> Iterator[Database]:
    settings.make_home()
    database = Database(settings.state_url)
    try:
        migrate(database)
        yield database
    finally:
        database.close()


@contextmanager
def _parts(settings: Settings) -> Iterator[Parts]:
    from service.wiring import build

    parts = build(settings)
    try:
        parts.steady.run_pass()  # what is applied, counted or exported finds the decisions it belongs to
        yield parts
    finally:
        parts.close()


def _settle(parts: Parts) -> None:
    """Applies and flushes what waits in the inbox; where a running service is at it, waits until it is in the log."""
    from service.events.events_lease import LostLease
    from service.events.inbox_store import has_moved, newest
    from service.events.rebuild_store import how_many_wait

    with parts.database.read() as connection:
        last = newest(connection)
    end = time.monotonic() + _PATIENCE_S
    while True:
        try:
            parts.events.finish()
            return
        except LostLease:
            with parts.database.read() as connection:
                if has_moved(connection, last) and how_many_wait(connection)[0] == 0:
                    return
        if time.monotonic() > end:
            print("a running service is still at work on events; the newest are left out", file=sys.stderr)
            return
        time.sleep(0.5)


def _make_features(parts: Parts) -> None:
    """Waits until the customers touched have their features; makes them here where no service runs to do it."""
    from service.events.events_lease import LostLease
    from service.events.rebuild_store import how_many_wait

    bar, most, idle_since = Progress(), 1, time.monotonic()
    parts.rebuild_features.at_once = _ALONE_AT_ONCE
    left = None
    while (waiting := _waiting(parts, how_many_wait)) and time.monotonic() - idle_since < _PATIENCE_S:
        if waiting != left:
            left, most, idle_since = waiting, max(most, waiting), time.monotonic()
        bar.show("online features", 1 - waiting / most)
        try:
            if _service_runs(parts):
                time.sleep(0.2)
            else:
                parts.rebuild_features()
        except LostLease:
            time.sleep(0.5)
    if left and not waiting:
        bar.show("online features", 1.0)
    bar.end()
    if waiting:
        print(f"the features of {waiting:,} customers wait for the running service", file=sys.stderr)


def _waiting(parts: Parts, count: Callable[[Connection], tuple[int, int]]) -> int:
    with parts.database.read() as connection:
        return count(connection)[0]


def _service_runs(parts: Parts) -> bool:
    """Whether some process applies events: then it also makes features, between two passes."""
    from service.storage.heartbeats import is_silent, read_all

    with parts.database.read() as connection:
        seen = read_all(connection).get("events", {}).get("seen")
    return seen is not None and not is_silent(seen, SystemClock().now(), _ALIVE)


def _apply_feast(settings: Settings) -> None:
    """Brings Feast's registry up to date, where Feast is installed (the extra `train`) and something has changed."""
    import importlib.util

    if importlib.util.find_spec("feast") is None:
        return
    from features.store.declared import applied, fingerprint, mark_applied

    home = settings.home.absolute()
    told = fingerprint(home, settings.online_url)
    if applied(home) == told:
        print("Feast's registry has the feature views as they are")
        return
    from features.store.quick_import import feast_quickly

    with feast_quickly():
        from features.store.registry import apply

    apply(home, online_url=settings.online_url)
    mark_applied(home, told)
    print("applied the feature views to Feast's registry")


def _rejected(count: int, rejects: Path | None) -> str:
    return f", {count:,} rejected (see {rejects})" if count else ""
