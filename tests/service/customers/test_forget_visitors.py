"""Visitors who never said who they are, and have not come for long, leave nothing; everybody else stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError
from sqlalchemy import select

from features.event_log import EventLog
from features.forgotten import forgotten_before
from service.customers import forget_visitors
from service.customers.customer_store import add_consents, customers
from service.customers.erase_customer import CustomerEraser
from service.customers.forget_visitors import ForgetVisitors
from service.customers.link_identities import LinkedIdentities
from service.customers.profile import ConsentChange
from service.customers.update_customers import update_customers
from service.decisions.read_decision import erase_of, kept_of
from service.decisions.suppression_store import suppress
from service.events import inbox_store
from service.events.apply_events import Applier
from service.events.events_lease import EventsLease
from service.events.flush_events import Flusher
from service.events.run_events import EventsRunner
from service.settings import Retention
from service.storage.database import Connection, Database
from tests.fakes.events import FakeFeatures, FixedClock, row


@dataclass
class House:
    """A log, features and a state, in which it is a long time after the first events."""

    database: Database
    home: Path
    clock: FixedClock = field(default_factory=FixedClock)
    features: FakeFeatures = field(default_factory=FakeFeatures)

    def __post_init__(self) -> None:
        self.log, self.lease = EventLog(self.home / "events"), EventsLease(self.database)
        self.eraser = CustomerEraser(
            self.database, self.log, self.clock, self.lease, self.features, self.home, None, {"decisions": erase_of}
        )
        applier = Applier(self.database, self.clock, self.lease, [update_customers], self.features, LinkedIdentities())
        self.runner = EventsRunner(applier, Flusher(self.database, self.log, self.clock, self.lease), self.lease)

    def put(self, *rows: dict[str, Any]) -> None:
        with self.database.write() as connection:
            inbox_store.add_events(connection, rows, self.clock.now())
        self.runner.finish()

    def visit(self, *visitors: str, **message: Any) -> None:
        fields = {"type": "page", "event": None, "userId": None, "name": "Home", **message}
        self.put(*(row(f"{name}-{message.get('timestamp')}", anonymousId=name, **fields) for name in visitors))

    def chore(self, days: float = 540.0, kept: Sequence[Any] = (kept_of,)) -> ForgetVisitors:
        return ForgetVisitors(self.database, self.log, self.clock, self.lease, self.eraser, days, kept)

    def profiles(self) -> set[str]:
        with self.database.read() as connection:
            return set(connection.execute(select(customers.c.customer_id)).scalars())

    def logged(self) -> set[str]:
        return set(self.log.scan().collect()["customer_id"])


@pytest.fixture
def house(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(forget_visitors, "FIRST_AFTER_S", 0.0)
    monkeypatch.setattr(forget_visitors, "REST", 0.0)
    return House(database, tmp_path)


def work(chore: ForgetVisitors, turns: int = 60) -> None:
    for _ in range(turns):
        assert chore() is False


def test_those_who_never_came_again_leave_nothing(house: House) -> None:
    house.visit("v1", "v2", "kept", "stopped", "lately", "imported", "waiting", "consents")
    house.visit("told", type="identify", traits={"email": "a@example.org"})
    house.put(row("order", None, "Order Completed", anonymousId="buyer"))
    house.put(row("known", "c1"), row("joins", "c2", anonymousId="joined", type="identify", event=None))
    house.visit("joined", timestamp="2026-02-01T00:00:00Z")
    house.clock.time += timedelta(days=600)
    lately = (house.clock.now() - timedelta(days=9)).isoformat()
    house.put({**row("again", None, anonymousId="lately"), "timestamp": house.clock.now() - timedelta(days=9)})
    house.put({**row("late", None, anonymousId="imported"), "received_at": house.clock.now()})
    with house.database.write() as connection:
        inbox_store.add_events(connection, [row("last", None, anonymousId="waiting")], house.clock.now())
        suppress(connection, "stopped", "email", "bounced", house.clock.now() - timedelta(days=590))
        answer = ConsentChange("consents", house.clock.now() - timedelta(days=590), "email", "marketing", True, "api")
        add_consents(connection, [answer])
    table = house.home / "tables" / "customers.parquet"
    table.parent.mkdir()
    pl.DataFrame({"customer_id": ["v1", "c1", "kept"]}).write_parquet(table)
    stay = house.profiles() - {"v1", "v2"}
    before, logged = forgotten_before(house.log.root), house.logged()
    work(house.chore(kept=[kept_of, lambda _connection, ids, _since: {"kept"} & set(ids)]))
    assert (before, lately > str(forgotten_before(house.log.root))) == (None, True)
    assert house.profiles() == stay
    assert house.logged() == logged - {"v1", "v2"}
    assert set(house.features.taken) == logged - {"v1", "v2"}
    assert set(pl.read_parquet(table)["customer_id"]) == {"c1", "kept"}
    assert {"told", "buyer", "c1", "c2", "lately", "imported", "waiting", "stopped", "consents", "kept"} <= stay


@pytest.mark.parametrize("days", [0.0, 700.0])
def test_nobody_goes_before_their_time(house: House, days: float) -> None:
    house.visit("v1")
    house.clock.time += timedelta(days=600)
    work(house.chore(days))
    assert (house.profiles(), house.logged(), forgotten_before(house.log.root)) == ({"v1"}, {"v1"}, None)


def test_a_few_go_in_each_transaction_and_a_killed_process_is_followed_by_the_next(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forget_visitors, "LOOKED_AT", 7)
    monkeypatch.setattr(forget_visitors, "AT_ONCE", 2)
    house.visit(*(f"v{number}" for number in range(60)))
    house.clock.time += timedelta(days=600)
    forget, portions = CustomerEraser.forget, list[int]()

    def dying(eraser: CustomerEraser, connection: Connection, ids: Sequence[str]) -> dict[str, Any]:
        portions.append(len(ids))
        if len(portions) == 5:
            raise SystemExit("killed")
        return forget(eraser, connection, ids)

    monkeypatch.setattr(CustomerEraser, "forget", dying)
    with pytest.raises(SystemExit):
        work(house.chore())
    assert 0 < len(house.profiles()) < 60
    work(house.chore())
    assert (house.profiles(), house.logged(), house.features.taken) == (set(), set(), {})
    assert max(portions) == 2


def test_who_comes_back_meanwhile_is_a_newcomer(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.visit("v1")
    house.clock.time += timedelta(days=600)
    erase = CustomerEraser.erase_files

    def erase_and_come(eraser: CustomerEraser, ids: Sequence[str]) -> dict[str, int]:
        with house.database.write() as connection:
            inbox_store.add_events(connection, [row("new", None, anonymousId="v1")], house.clock.now())
        return erase(eraser, ids)

    monkeypatch.setattr(CustomerEraser, "erase_files", erase_and_come)
    work(house.chore())
    house.runner.finish()
    assert (house.profiles(), house.log.scan().collect()["message_id"].to_list()) == ({"v1"}, ["new"])


def test_days_are_checked() -> None:
    assert Retention().anonymous_days == 540
    assert Retention(anonymous_days=0).anonymous_days == 0
    with pytest.raises(ValidationError, match="at least 30 days"):
        Retention(anonymous_days=7)
