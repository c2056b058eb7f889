"""Erases a customer everywhere: state, inbox, event log, online features, exported tables. Aggregates stay.

The state goes in one transaction, which also notes what is left; events, features and tables follow between two
passes of the events loop, and what came into the state meanwhile goes again, so that nothing in flight brings the
customer back. A killed process's rest is finished by the next one (`finish_open`, a chore of that loop). Events that
join another id to the customer's take effect first: else that id's history would stay, and nobody would know whose.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.row_stores import empty_log
from models.versions import registered_versions
from service.clock import Clock, monotonic, new_id
from service.customers.customer_store import delete_profiles, forget_consents, read_profiles
from service.customers.erasure_store import begin_erasure, finish_erasure, open_erasures, read_erasure
from service.customers.identity_store import aliases_of, forget_identities, present_id, still_joining
from service.customers.join_histories import Rebuildable
from service.events.events_lease import EventsLease
from service.events.inbox_store import claims_wait, erase_customers
from service.events.quality_store import erase_names
from service.events.rebuild_store import forget_rebuilds
from service.storage.database import Connection, Database
from service.storage.idempotency_store import answers_naming, erase_answers

if TYPE_CHECKING:
    import polars as pl

    from features.event_log import EventLog
    from models.registry import ServedModels
    from service.customers.profile import Profile

Eraser = Callable[[Connection, Sequence[str]], int]
"""Removes what a slice holds of customers, given all their ids, in the caller's transaction; answers how many rows."""
_WAIT_S = 20.0
_ADDRESSES = ("email", "phone")
KEPT = (
    "counts and totals that name nobody; backups, and files outside of the home (such as those of 'opportune score'), "
    "are not looked through"
)
_FOLDERS = ("tables", "features.draft", "features", "interests")
"""Drafts first: a table that becomes whole meanwhile is met again where it then stands."""


class CustomerEraser:
    """`erasers` are the other slices' parts, by the name under which the answer counts them. `materialized` removes
    what data scientists put into the online store through Feast, and says how many rows that were. `bring_in` writes
    into the state what waits elsewhere to come into it, or that would bring the customer back. `stores` are the URLs
    or paths of the state and the online store: SQLite keeps in its log what was deleted.
    """

    def __init__(
        self,
        database: Database,
        event_log: EventLog,
        clock: Clock,
        lease: EventsLease,
        features: Rebuildable | None,
        home: Path,
        models: ServedModels | None = None,
        erasers: Mapping[str, Eraser] | None = None,
        materialized: Callable[[Sequence[str]], int] | None = None,
        bring_in: Callable[[], object] = lambda: None,
        stores: Sequence[str] = (),
    ) -> None:
        self._database = database
        self._log = event_log
        self._clock = clock
        self._lease = lease
        self._features = features
        self._home = home
        self._models = models
        self._erasers = dict(erasers or {})
        self._materialized = materialized
        self.bring_in = bring_in
        self._stores = stores

    def erase(self, customer_id: str, exclusively: Callable[[Callable[[], bool]], bool]) -> dict[str, Any]:
        """Erases, and waits for the end of it; `complete` is false when another process has it still to do.

        `exclusively` is `EventsRunner.exclusively`.
        """
        self.bring_in()
        self._await_claims(customer_id)
        erasure_id, first_seen = self._erase_state(customer_id)
        mine = exclusively(self.finish_open)
        end = monotonic() + (0 if mine else _WAIT_S)
        while not (result := self._result(erasure_id))[0] and monotonic() < end:
            time.sleep(0.1)
        complete, erased = result
        return {
            "customer_id": customer_id,
            "erased": erased,
            "complete": complete,
            "kept": KEPT,
            "models": [] if first_seen is None else learnt_from(self._models, first_seen),
        }

    def finish_open(self) -> bool:
        """A chore: finishes erasures that were begun, here or by a process that died."""
        with self._database.read() as connection:
            if not open_erasures(connection):
                return False
        with self._database.write() as connection:
            self._lease.hold(connection)
            waiting = open_erasures(connection)
        for erasure_id, ids in waiting:
            counts = self.erase_files(ids)
            with self._database.write() as connection:
                self._lease.hold(connection)
                self.forget(connection, ids)  # what was under way while the state went: a decision, events, joining
                erase_answers(connection, ids, (), self._clock.now())
                finish_erasure(connection, erasure_id, counts, self._clock.now())
        for store in self._stores:
            empty_log(store)
        return bool(waiting)

    def erase_files(self, ids: Sequence[str]) -> dict[str, int]:
        """Takes these ids out of the event log, the features and the tables; answers how much of each. Behind the lease
        of events alone.
        """
        counts = {"events": self._log.erase(ids, self._lease.keep), "features": self._erase_features(ids)}
        if self._materialized is not None:
            counts["materialized"] = self._materialized(ids)
        counts["tables"] = sum(erase_from_tables(path, ids) for path in _with_tables(self._home))
        return counts

    def _await_claims(self, customer_id: str) -> None:
        end = monotonic() + _WAIT_S
        while monotonic() < end:
            with self._database.read() as connection:
                if not claims_wait(connection, _ids(connection, customer_id)):
                    return
            time.sleep(0.02)

    def _erase_state(self, customer_id: str) -> tuple[str, datetime | None]:
        with self._database.read() as connection:  # so that no writer waits while all answers are looked through
            known = _ids(connection, customer_id)
            answers = answers_naming(connection, known)
        now = self._clock.now()
        with self._database.write() as connection:
            ids = _ids(connection, customer_id)
            if others := [one for one in ids if one not in known]:  # joined since
                answers += answers_naming(connection, others)
            profile = read_profiles(connection, ids[:1], lock=True).get(ids[0])
            erased = self.forget(connection, ids)
            erased["idempotency_answers"] = erase_answers(connection, ids, answers, now)
            erased["names_of_counts"] = erase_names(connection, [*ids, *_addresses(profile)])
            erasure_id = new_id(now)
            begin_erasure(connection, erasure_id, ids, erased, now)
        return erasure_id, None if profile is None else profile.first_seen

    def forget(self, connection: Connection, ids: Sequence[str]) -> dict[str, Any]:
        """Takes these ids out of the state, in the caller's transaction; answers how many rows of what."""
        erased: dict[str, Any] = {name: eraser(connection, ids) for name, eraser in self._erasers.items()}
        erased["inbox"] = erase_customers(connection, ids)
        erased["profile"] = delete_profiles(connection, ids)
        erased["identities"] = forget_identities(connection, ids)
        erased["consents"] = forget_consents(connection, ids)
        forget_rebuilds(connection, ids)
        return erased

    def _erase_features(self, ids: Sequence[str]) -> int:
        if self._features is None:
            return 0
        for one in ids:
            self._features.erase(one)
        return len(ids)

    def _result(self, erasure_id: str) -> tuple[bool, dict[str, Any]]:
        with self._database.read() as connection:
            return read_erasure(connection, erasure_id)


def _ids(connection: Connection, customer_id: str) -> list[str]:
    """All ids of a customer; the first is their own."""
    owner = present_id(connection, customer_id)
    return list(dict.fromkeys([owner, customer_id, *aliases_of(connection, owner), *still_joining(connection, owner)]))


def _addresses(profile: Profile | None) -> list[str]:
    told = [profile.traits.get(name) for name in _ADDRESSES] if profile is not None else []
    return [address for address in told if isinstance(address, str)]


def learnt_from(models: ServedModels | None, first_seen: datetime) -> list[dict[str, Any]]:
    """Model versions whose training data reaches to the customer's first event or beyond. Of those that are not in
    service only when they were registered is known; their data is older than that.
    """
    if models is None:
        return []
    learnt, serving = [], set()
    for entry in models.status():
        model = models.get(entry["name"], entry["alias"]) if entry["version"] else None
        until = getattr(model, "trained", {}).get("labels_until") if model is not None else None
        serving.add((entry["name"], entry["version"]))
        if model is not None and (until is None or _utc(until) >= first_seen):
            learnt.append({"name": entry["name"], "version": entry["version"], "alias": entry["alias"]})
    learnt += [
        {"name": name, "version": version, "alias": None}
        for name, row in sorted(registered_versions(models.folder).items())
        for version, at in sorted(row.items(), key=lambda one: one[1])
        if (name, version) not in serving and at >= first_seen
    ]
    return learnt


def _with_tables(home: Path) -> list[Path]:
    """Files and folders of tables; those of `opportune score` lie right in the home, where they lie in it at all."""
    return [*home.glob("*.parts"), *(home / folder for folder in _FOLDERS), *home.glob("*.parquet"), *home.glob("*.pq")]


def erase_from_tables(place: Path, customer_ids: Sequence[str]) -> int:
    """Rewrites the Parquet files that name these customers, of a folder or one alone; returns how many rows went."""
    import polars as pl

    gone = 0
    wanted = pl.Series(list(customer_ids), dtype=pl.String).implode()
    for path in [place] if place.is_file() else sorted(place.rglob("*.parquet")):
        try:
            gone += _erase_from_file(path, wanted)
        except pl.exceptions.ComputeError as fault:  # it may be anybody's who writes into the home
            raise ValueError(f"{path} cannot be read, so whom it names is not known; remove it, or mend it") from fault
    return gone


def _erase_from_file(path: Path, wanted: pl.Series) -> int:
    import polars as pl

    from features.files import write_parquet

    scan = pl.scan_parquet(path, hive_partitioning=False)
    if "customer_id" not in scan.collect_schema().names():
        return 0
    theirs = int(scan.filter(pl.col("customer_id").is_in(wanted)).select(pl.len()).collect().item())
    if theirs:
        rows = pl.read_parquet(path, hive_partitioning=False)
        write_parquet(rows.filter(~pl.col("customer_id").is_in(wanted)), path)
    return theirs


def _utc(text: str) -> datetime:
    from datetime import UTC

    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
