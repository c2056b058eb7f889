"""When parts fail: the circuit, the spool, and decisions without a database."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import xxhash
from sqlalchemy import select, text

from service.customers.customer_store import delete_profiles, write_profiles
from service.customers.erasure_store import begin_erasure, gone_since
from service.customers.identity_store import owners_of
from service.customers.profile import Profile
from service.decisions import spool as spools
from service.decisions.circuit import Circuit
from service.decisions.decision_store import decisions
from service.decisions.explain import explain
from service.decisions.rank_actions import Decider
from service.decisions.read_decision import DecisionReader
from service.decisions.rules import RuleBook
from service.decisions.schemas import DecisionIn
from service.decisions.spool import Spool
from service.decisions.steady import SteadyDecider
from service.decisions.together import Together
from service.errors import Invalid, Unavailable
from service.settings import Cap, CoolDown
from service.storage.database import Connection, Database
from service.storage.key_store import list_keys, revoke_key
from service.web.auth import Guard, create_key
from service.wiring.warm_up import try_decisions, try_the_way_in
from tests.fakes.decisions import NOON, Desk, NextOffer, settings

Make = Callable[..., SteadyDecider]


class Line(Database):
    """A database whose line can be cut, or made slow."""

    cut = False
    slow_s = 0.0

    @contextmanager
    def read(self) -> Iterator[Connection]:
        self._try()
        with super().read() as connection:
            yield connection

    @contextmanager
    def write(self, durable: bool = True) -> Iterator[Connection]:
        self._try()
        with super().write(durable) as connection:
            yield connection

    def _try(self) -> None:
        if self.slow_s:
            time.sleep(self.slow_s)
        if self.cut:
            raise Unavailable("the line is cut")


@pytest.fixture
def line(tmp_path: Path) -> Line:
    made = Line(f"sqlite:///{tmp_path / 'state.db'}")
    made.create_tables()
    return made


@pytest.fixture
def desk(line: Line) -> Desk:
    made = Desk(line)
    made.people.add("c1", traits={"plan": "gold"})
    made.rows.add("c1", orders_90d=2.0)
    made.served.models["next-offer"] = NextOffer({"a": 0.3})
    return made


@pytest.fixture
def steady(tmp_path: Path) -> Iterator[Callable[..., SteadyDecider]]:
    """Makes steady deciders that have looked around once; closes them."""
    made: list[SteadyDecider] = []

    def make(desk: Desk, owners: dict[str, str] | None = None, looks: bool = True, **more: Any) -> SteadyDecider:
        one = SteadyDecider(desk.decider, Spool(tmp_path / "spool", lambda _, ids: owners or {}), **more)
        made.append(one)
        if looks:
            one.run_pass()
        return one

    yield make
    for one in made:
        one.close()


def decide(decider: SteadyDecider, customer: str = "c1", **request: Any) -> dict[str, Any]:
    told = decider.decide_each([DecisionIn(customer_id=customer, **request)])[0]
    if isinstance(told, Exception):
        raise told
    return told


def held(line: Line, query: str) -> int:
    with line.read() as connection:
        return int(connection.execute(text(query)).scalar_one())


def test_a_circuit_opens_and_closes_by_itself() -> None:
    now = [0.0]
    circuit = Circuit("test", failures=2, pause_s=1.0, longest_pause_s=3.0, now=lambda: now[0])
    circuit.failed()
    assert circuit.allows()
    circuit.failed()
    assert circuit.is_open
    assert not circuit.allows()
    now[0] = 1.0
    assert circuit.allows()  # one try
    assert not circuit.allows()
    circuit.failed()
    now[0] = 2.9
    assert not circuit.allows()  # the pause has doubled
    now[0] = 3.0
    assert circuit.allows()
    circuit.succeeded()
    assert not circuit.is_open
    assert circuit.allows()
    circuit.failed(at_once=True)
    assert circuit.is_open


def test_without_the_database_only_what_needs_no_check_is_shown(
    desk: Desk, line: Line, tmp_path: Path, steady: Make
) -> None:
    desk.people.add("no", consents={"web": {"marketing": False}})
    desk.put(
        a={"channels": ["email", "web"]},
        counted={"channels": ["web"], "caps": [{"max": 5, "per_days": 7}]},
        personal={"channels": ["web"], "eligibility": "customer.traits.plan == 'gold'"},
        contextual={"channels": ["web"], "eligibility": "context.page == 'cart'"},
    )
    decider = steady(desk)
    assert {a["offer_id"] for a in decide(decider)["actions"]} >= {"a", "counted", "personal"}
    decide(decider, "no")
    line.cut = True
    away = decide(decider, context={"page": "cart"})
    assert [(a["offer_id"], a["channel"]) for a in away["actions"]] == [("a", "web"), ("contextual", "web")]
    assert away["degraded"][0] == "database"
    stopped = {(one["offer_id"], one["channel"]): one["rule"] for one in away["excluded"]}
    assert stopped["a", "email"] == "unchecked"
    assert stopped["counted", "web"] == "unchecked"
    assert stopped["personal", "web"] == "eligibility"
    assert decide(decider, "no")["actions"] == []  # the last known "no" holds
    assert decider.status()["open"] == ["database"]
    with pytest.raises(Invalid):
        decide(decider, offers=["nosuch"])
    line.cut = False
    decider.run_pass()
    assert decider.status() == {"open": [], "spool_waits": False, "nowhere": False}
    reader = DecisionReader(line, desk.served)
    told = reader.replay(away["decision_id"])
    assert told["equal"], told["differences"]
    record = reader.read(away["decision_id"])
    assert record["contextless"] == "database"
    assert record["features"] is None
    assert any("nothing could be checked" in said for said in explain(record).limits)
    assert "database" not in decide(decider)["degraded"]


@pytest.mark.parametrize(
    ("rule", "shown"),
    [({}, False), ({"tag": "sale"}, True), ({"channel": "email"}, True), ({"placement": "elsewhere"}, True)],
)
def test_without_the_database_a_cool_down_closes_what_it_is_about(
    desk: Desk, line: Line, steady: Make, rule: dict[str, str], shown: bool
) -> None:
    desk.settings = settings(cool_downs=[CoolDown(after="purchase", days=3, **rule)])
    desk.put(a={"channels": ["web"]})
    decider = steady(desk)
    line.cut = True
    assert bool(decide(decider)["actions"]) == shown


@pytest.mark.parametrize(
    ("cool_down", "offer", "shown"),
    [
        ({}, {}, True),
        ({}, {"caps": [{"max": 5, "per_days": 7}]}, False),
        ({}, {"requires": [{"offer_id": "b", "event": "clicked"}]}, False),
        ({}, {"budget": {"amount": 9, "per_days": 1}, "cost": 0.1}, False),
        ({}, {"exclusion_group": "big", "exclusion_days": 3.0}, False),
        ({}, {"tags": ["sale"]}, False),
        ({}, {"tags": ["sale"], "ends_at": "2030-01-01T00:00:00Z"}, False),
        ({"channel": "web"}, {"tags": ["sale"]}, False),
        ({"channel": "email"}, {"tags": ["sale"]}, True),
        ({"placement": "elsewhere"}, {"tags": ["sale"]}, True),
        ({"channel": "email"}, {"tags": ["sale"], "ends_at": "2030-01-01T00:00:00Z"}, True),
    ],
)
def test_without_the_database_nothing_that_the_ledger_limits_is_shown(
    desk: Desk, line: Line, steady: Make, cool_down: dict[str, str], offer: dict[str, Any], shown: bool
) -> None:
    desk.settings = settings(cool_downs=[CoolDown(after="purchase", days=3, tag="sale", **cool_down)], caps=[])
    desk.put(a={"channels": ["web"], **offer}, b={"channels": ["sms"]})
    decider = steady(desk)
    line.cut = True
    made = decide(decider)
    stopped = [one["rule"] for one in made["excluded"] if one["offer_id"] == "a"]
    assert stopped == ([] if shown else ["unchecked"])
    line.cut = False
    decider.run_pass()
    told = DecisionReader(line, desk.served).replay(made["decision_id"])
    assert told["equal"], told["differences"]


def test_records_of_before_a_tag_alone_was_unchecked_replay_as_they_were(
    desk: Desk, line: Line, steady: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = RuleBook._make
    monkeypatch.setattr(RuleBook, "_make", lambda book, name: replace(make(book, name), tags_unchecked=False))
    desk.settings = settings(cool_downs=[CoolDown(after="purchase", days=3, tag="sale")], caps=[])
    desk.put(a={"channels": ["web"], "tags": ["sale"]})
    decider = steady(desk)
    line.cut = True
    made = decide(decider)
    line.cut = False
    decider.run_pass()
    assert [action["offer_id"] for action in made["actions"]] == ["a"]
    assert DecisionReader(line, desk.served).replay(made["decision_id"])["equal"]


def test_what_was_spooled_is_brought_in_once_and_counts(desk: Desk, line: Line, tmp_path: Path, steady: Make) -> None:
    desk.put(a={"channels": ["web"]})
    decider = steady(desk, {"cookie": "c1"})
    line.cut = True
    made = [decide(decider, "cookie") for _ in range(5)]
    decide(decider, "cookie", dry_run=True)
    copies = {path: path.read_bytes() for path in (tmp_path / "spool").iterdir()}
    line.cut = False
    decider.run_pass()
    assert not list((tmp_path / "spool").iterdir())
    for path, content in copies.items():  # as if the process had died before it took the file away
        path.write_bytes(content)
    assert Spool(tmp_path / "spool", lambda _, ids: {}).bring_in(line) == 0
    with line.read() as connection:
        ids = set(connection.execute(text("SELECT decision_id FROM decisions WHERE customer_id = 'c1'")).scalars())
    assert ids == {decision["decision_id"] for decision in made}  # the person known by then
    assert held(line, "SELECT count(*) FROM ledger WHERE customer_id = 'c1' AND message") == 5
    desk.settings = settings(caps=[Cap(channel="web", max=5, per_days=7)])
    full = desk.decider.decide(DecisionIn(customer_id="c1"))
    assert [one["rule"] for one in full["excluded"]] == ["frequency_cap"]


def test_a_disk_that_hangs_refuses_as_one_that_is_full(
    desk: Desk, line: Line, steady: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes nothing and refuses nothing: askers waited for as long as it did, and all threads with them."""
    answers, sync = threading.Event(), os.fsync

    def hang(handle: int) -> None:
        answers.wait(60)
        sync(handle)

    monkeypatch.setattr("service.decisions.spool.os.fsync", hang)
    monkeypatch.setattr("service.decisions.spool.PATIENCE_S", 0.05)
    desk.put(a={"channels": ["web"]})
    decider = steady(desk)
    line.cut = True
    with pytest.raises(Unavailable, match="neither the database nor the disk"):
        decide(decider)
    assert decider.status()["nowhere"]
    monkeypatch.setattr("service.decisions.spool.PATIENCE_S", 60.0)
    with pytest.raises(Unavailable):  # at once: the first has not been answered yet
        decide(decider)
    answers.set()
    while decider.without([DecisionIn(customer_id="c1")])[0].__class__ is Unavailable:
        time.sleep(0.01)
    line.cut = False
    decider.run_pass()
    assert not decider.status()["nowhere"]
    assert held(line, "SELECT count(*) FROM decisions") == 2  # the late one, too


def test_who_was_erased_before_it_was_brought_in_does_not_come_back(
    desk: Desk, line: Line, tmp_path: Path, steady: Make
) -> None:
    desk.put(a={"channels": ["web"]})
    with line.write() as connection:
        write_profiles(connection, [Profile(name, NOON, NOON, identified=True) for name in ("anna", "ben")])

    def kept(*names: str) -> Spool:
        spool = Spool(tmp_path / "spool", owners_of, gone_since, desk.clock)
        decider = SteadyDecider(desk.decider, spool)
        decider.run_pass()
        line.cut = True
        for name in names:
            decide(decider, name)
        line.cut = False
        return spool

    assert kept("stranger").bring_in(line) == 1  # nobody was erased
    spool = kept("anna", "ben", "stranger")
    with line.write() as connection:
        begin_erasure(connection, "e1", ["anna"], {}, desk.clock.now())
        delete_profiles(connection, ["anna"])
    assert spool.bring_in(line) == 1
    with line.read() as connection:
        told = connection.execute(text("SELECT customer_id FROM decisions ORDER BY customer_id")).scalars().all()
        reserved = connection.execute(text("SELECT DISTINCT customer_id FROM ledger ORDER BY customer_id")).scalars()
        assert (list(told), list(reserved)) == (["ben", "stranger"], ["ben", "stranger"])
    desk.clock.time += timedelta(seconds=1)
    assert kept("another").bring_in(line) == 1  # since the last erasure

    spool, erased_at = kept("anna", "ben"), desk.clock.now()
    with line.write() as connection:
        begin_erasure(connection, "e2", ["anna"], {}, erased_at)
        again = erased_at + timedelta(seconds=1)
        write_profiles(connection, [Profile("anna", again, again, identified=True)])  # by an event of after it
    assert spool.bring_in(line) == 1
    with line.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM decisions WHERE customer_id = 'anna'")).scalar_one() == 0


def test_of_a_long_outage_memory_holds_a_few_decisions_at_once(
    desk: Desk, line: Line, tmp_path: Path, steady: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.put(a={"channels": ["web"]})
    decider = steady(desk)
    line.cut = True
    for number in range(5):
        decide(decider, f"c{number}")
    line.cut = False
    read, ahead, whole = [0], list[int](), spools._read

    def counted(*told: Any) -> Iterator[Any]:
        for one in whole(*told):
            read[0] += 1
            yield one

    def written(each: Spool, connection: Connection, some: Sequence[Any]) -> int:
        ahead.append(read[0])
        return really(each, connection, some)

    really = Spool._write
    monkeypatch.setattr(spools, "AT_ONCE", 2)
    monkeypatch.setattr(spools, "_read", counted)
    monkeypatch.setattr(Spool, "_write", written)
    decider.run_pass()
    assert ahead == [2, 4, 5]
    assert held(line, "SELECT count(*) FROM decisions") == 5


def test_what_the_database_does_not_take_stops_no_other_and_stays(
    desk: Desk, line: Line, tmp_path: Path, steady: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another version, say: nothing was brought in any more, no event had its effects, and no service started."""
    monkeypatch.setattr(spools, "AGAIN_S", 0.0)
    desk.put(a={"channels": ["web"]})
    decider = steady(desk)
    line.cut = True
    for _ in range(3):
        decide(decider)
    [path] = (tmp_path / "spool").iterdir()
    lines = path.read_bytes().splitlines(keepends=True)
    for change in (lambda one: one["decision"].pop("placement"), lambda one: one["ledger"].append({})):
        told = orjson.loads(lines[-1].partition(b" ")[2])
        told["decision"]["decision_id"] = f"d{len(lines)}"
        change(told)
        body = orjson.dumps(told)
        lines.insert(0, f"{xxhash.xxh3_64_hexdigest(body)} ".encode() + body + b"\n")
    decider.close()
    path.with_name("dead.jsonl").write_bytes(b"".join(lines))
    path.unlink()
    line.cut = False
    again = steady(desk)
    assert held(line, "SELECT count(*) FROM decisions") == 3
    assert again.status()["spool_waits"]
    with pytest.raises(Unavailable, match="2 decisions"):
        again.bring_all_in()
    (tmp_path / "spool" / "dead.jsonl").write_bytes(b"".join(lines[2:]))  # somebody mended it
    again.bring_all_in()
    assert not list((tmp_path / "spool").iterdir())


@pytest.mark.parametrize("may", ["open", "unlink"])
def test_a_file_that_may_not_be_read_or_removed_stops_no_other(
    desk: Desk, line: Line, tmp_path: Path, steady: Make, monkeypatch: pytest.MonkeyPatch, may: str
) -> None:
    """Of another user, or on a bad sector: no event had its effects any more, and the others stayed on the disk."""

    def refused(*told: Any, **more: Any) -> Any:
        if Path(told[0]).name == "0.jsonl":
            raise PermissionError(errno.EACCES, "not yours", "0.jsonl")
        return really(*told, **more)

    monkeypatch.setattr(spools, "AGAIN_S", 0.0)
    desk.put(a={"channels": ["web"]})
    decider = steady(desk)
    line.cut = True
    for number in range(2):
        decide(decider)
        decider.close()
        sorted((tmp_path / "spool").iterdir())[-1].rename(tmp_path / "spool" / f"{number}.jsonl")
    line.cut = False
    really = open if may == "open" else Path.unlink
    monkeypatch.setattr(*(("builtins.open",) if may == "open" else (Path, "unlink")), refused)
    decider.run_pass()
    assert held(line, "SELECT count(*) FROM decisions") == (1 if may == "open" else 2)
    with pytest.raises(Unavailable, match="cannot be brought"):
        decider.bring_all_in()
    monkeypatch.undo()  # with it, the next try comes in a minute
    Spool(tmp_path / "spool", lambda _, ids: {}).bring_in(line)  # another process, which may
    decider.bring_all_in()
    assert held(line, "SELECT count(*) FROM decisions") == 2
    assert not list((tmp_path / "spool").iterdir())


def test_a_torn_line_is_left_out_and_whole_ones_are_not(desk: Desk, line: Line, tmp_path: Path, steady: Make) -> None:
    desk.put(a={"channels": ["web"]})
    decider = steady(desk)
    line.cut = True
    ids = [decide(decider)["decision_id"] for _ in range(3)]
    path = next((tmp_path / "spool").iterdir())
    whole, unended, torn = path.read_bytes().splitlines(keepends=True)
    path.with_name("dead.jsonl").write_bytes(whole + torn[:-40])
    path.with_name("other.jsonl").write_bytes(unended.removesuffix(b"\n"))
    path.unlink()
    line.cut = False
    spool = Spool(tmp_path / "spool", lambda _, ids: {})
    assert spool.bring_in(line) == 1
    with line.read() as connection:
        assert [row.decision_id for row in connection.execute(select(decisions.c.decision_id))] == ids[:1]
    assert not spool.waits()


def test_a_line_that_the_disk_spoilt_is_not_lost_without_a_word(
    desk: Desk, line: Line, tmp_path: Path, steady: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody was answered by it, and lines behind it were: it passed for torn, and went with its file."""
    desk.put(a={"channels": ["web"]})
    decider = steady(desk)
    line.cut = True
    for _ in range(3):
        decide(decider)
    decider.close()
    path = next((tmp_path / "spool").iterdir())
    before, spoilt, behind = path.read_bytes().splitlines(keepends=True)
    bad = spoilt.replace(b'"default"', b'"defaulu"')
    assert bad != spoilt
    path.write_bytes(before + bad + behind)
    line.cut = False
    again = steady(desk)
    assert held(line, "SELECT count(*) FROM decisions") == 2
    assert f"1 decisions of {path} cannot be brought in (line 2 is damaged)" in caplog.text
    assert again.status()["spool_waits"]
    assert bad in path.read_bytes()
    with pytest.raises(Unavailable, match="may be of the customer"):
        again.bring_all_in()


def test_what_a_full_disk_refused_is_not_brought_in_and_spoils_nothing(
    desk: Desk, line: Line, tmp_path: Path, steady: Make, caplog: pytest.LogCaptureFixture
) -> None:
    desk.put(a={"channels": ["web"]})
    decider = steady(desk)
    line.cut = True
    kept = [decide(decider)["decision_id"]]
    size = next((tmp_path / "spool").iterdir()).stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        for most in (size + 100, 100, 100):  # a line begins to be written, and no more
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
            with pytest.raises(Unavailable, match="neither the database nor the disk"):
                decide(decider)
        assert len(list((tmp_path / "spool").iterdir())) == 1  # that of the one that was kept
        assert decider.status()["nowhere"]
        assert "Traceback" not in caplog.text  # for each request it would fill the disk that is full
        decider.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    decider.run_pass()  # the disk takes something again
    assert not decider.status()["nowhere"]
    kept.append(decide(decider)["decision_id"])
    line.cut = False
    decider.run_pass()
    with line.read() as connection:
        assert set(connection.execute(text("SELECT decision_id FROM decisions")).scalars()) == set(kept)


def test_a_file_that_another_process_writes_is_left_alone(desk: Desk, line: Line, tmp_path: Path, steady: Make) -> None:
    desk.put(a={"channels": ["web"]})
    decider = steady(desk)
    line.cut = True
    decide(decider)
    line.cut = False
    other = Spool(tmp_path / "spool", lambda _, ids: {})
    assert other.bring_in(line) == 0
    decider.run_pass()
    assert held(line, "SELECT count(*) FROM decisions") == 1


def test_a_file_that_is_brought_in_before_it_is_locked_takes_no_decision_along(
    desk: Desk, line: Line, tmp_path: Path, steady: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.put(a={"channels": ["web"]})
    decider = steady(desk)
    other, lock = Spool(tmp_path / "spool", lambda _, ids: {}), fcntl.flock

    def late(file: Any, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        line.cut = False
        assert other.bring_in(line) == 0
        line.cut = True
        lock(file, how)

    line.cut = True
    monkeypatch.setattr(fcntl, "flock", late)
    decide(decider)
    line.cut = False
    decider.run_pass()
    assert held(line, "SELECT count(*) FROM decisions") == 1


def test_whoever_brings_in_meanwhile_returns_when_all_is_in(
    desk: Desk, line: Line, tmp_path: Path, steady: Make
) -> None:
    """Else events would be applied before the decisions that they belong to."""
    desk.put(a={"channels": ["web"]})
    decider = steady(desk)
    line.cut = True
    decide(decider)
    line.cut = False
    found: list[int] = []

    def bring_in() -> None:
        decider.bring_in()
        found.append(held(line, "SELECT count(*) FROM decisions"))

    both = [threading.Thread(target=bring_in) for _ in range(2)]
    with desk.database.write():  # holds up the first, while the second comes
        for thread in both:
            thread.start()
        for thread in both:
            thread.join(0.2)
    for thread in both:
        thread.join()
    assert found == [1, 1]


def test_neither_database_nor_disk_is_told(desk: Desk, line: Line, tmp_path: Path, steady: Make) -> None:
    desk.put(a={"channels": ["web"]})
    (tmp_path / "spool").write_text("no folder")
    decider = steady(desk)
    line.cut = True
    with pytest.raises(Unavailable, match="neither"):
        decide(decider)


def test_a_batch_goes_on_where_the_line_was_cut(desk: Desk, line: Line, tmp_path: Path, steady: Make) -> None:
    desk.put(a={"channels": ["web"]})
    decider = steady(desk)
    done = decider.decide_batch([DecisionIn(customer_id=f"c{n}") for n in range(150)])
    line.cut = True
    done += decider.decide_batch([DecisionIn(customer_id=f"d{n}") for n in range(150)])
    assert all(decision["actions"] for decision in done)
    with pytest.raises(Invalid) as fault:
        decider.decide_batch([DecisionIn(customer_id="c1"), DecisionIn(customer_id="c1", offers=["x"])])
    assert fault.value.errors[0].field == "requests[1].offers[0]"
    line.cut = False
    decider.run_pass()
    assert held(line, "SELECT count(*) FROM decisions") == 301  # the request beside the wrong one was kept, too


def test_a_batch_comes_within_its_time_too(desk: Desk, line: Line, tmp_path: Path, steady: Make) -> None:
    desk.put(a={"channels": ["web"]})
    decider = steady(desk, time_budget_s=0.05)
    line.slow_s = 0.2
    done = decider.decide_batch([DecisionIn(customer_id=f"c{n}") for n in range(3)])
    assert [one["degraded"][0] for one in done] == ["database"] * 3
    assert all(one["actions"] for one in done)
    assert decider.circuit.is_open
    line.slow_s = 0.0
    decider.close()  # what came too late has been decided by now, and was taken back
    assert (held(line, "SELECT count(*) FROM decisions"), held(line, "SELECT count(*) FROM ledger")) == (0, 0)


def test_an_answer_comes_within_its_time(desk: Desk, line: Line, steady: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.put(a={"channels": ["web"]})
    decider = steady(desk, time_budget_s=0.1)
    together = Together(decider)
    begun: list[DecisionIn] = []
    late: list[str] = []
    decide, take_back = decider._decider.decide_each, decider.came_late

    def decide_each(requests: Sequence[DecisionIn], names: Any) -> list[dict[str, Any] | Exception]:
        begun.extend(requests)
        return decide(requests, names)

    def came_late(decision_ids: Sequence[str]) -> None:
        take_back(decision_ids)
        late.extend(decision_ids)

    monkeypatch.setattr(decider._decider, "decide_each", decide_each)
    monkeypatch.setattr(decider, "came_late", came_late)

    async def ask() -> list[dict[str, Any]]:
        asked = [together.decide(DecisionIn(customer_id=f"c{n}")) for n in range(40)]
        told = [orjson.loads(told) for told in await asyncio.gather(*asked)]
        line.slow_s = 0.0
        while len(late) < len(begun):
            await asyncio.sleep(0.01)
        return told

    line.slow_s = 0.4
    answers = asyncio.run(ask())
    assert all("database" in answer["degraded"] for answer in answers)
    assert all(answer["actions"] for answer in answers)
    together.close()
    decider.run_pass()
    reader = DecisionReader(line, desk.served)
    for answer in answers:
        assert reader.read(answer["decision_id"])["customer_id"] == answer["customer_id"]
    assert held(line, "SELECT count(*) FROM ledger") == 40
    assert held(line, "SELECT count(*) FROM decisions") == 40  # each request once, as it was answered
    assert late
    assert {answer["decision_id"] for answer in answers}.isdisjoint(late)


def test_what_came_too_late_and_went_to_the_disk_is_taken_back(
    desk: Desk, line: Line, steady: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that hangs, then fails: its batch goes to the disk after its askers were answered."""
    desk.put(a={"channels": ["web"]})
    decider = steady(desk, time_budget_s=0.1)
    together = Together(decider)
    late: list[str] = []
    take_back = decider.came_late

    def came_late(decision_ids: Sequence[str]) -> None:
        take_back(decision_ids)
        late.extend(decision_ids)

    monkeypatch.setattr(decider, "came_late", came_late)

    async def ask() -> dict[str, Any]:
        told: dict[str, Any] = orjson.loads(await together.decide(DecisionIn(customer_id="c1")))
        while not late:
            await asyncio.sleep(0.01)
        return told

    line.slow_s, line.cut = 0.4, True
    answer = asyncio.run(ask())
    line.slow_s, line.cut = 0.0, False
    together.close()
    decider.run_pass()
    assert late != [answer["decision_id"]]
    assert DecisionReader(line, desk.served).read(answer["decision_id"])["customer_id"] == "c1"
    assert held(line, "SELECT count(*) FROM decisions") == 1
    assert held(line, "SELECT count(*) FROM ledger") == 1


def test_the_last_model_then_rates_then_the_catalogues_order(
    desk: Desk, line: Line, tmp_path: Path, steady: Make
) -> None:
    desk.put(a={"channels": ["web"]}, b={"channels": ["web"], "value": 20.0})
    made: Decider = desk.decider
    good = made.decide(DecisionIn(customer_id="c1"))
    assert good["models"]["next-offer"] == "3"
    desk.served.models["next-offer"] = NextOffer({}, version="4", broken=True)
    last = made.decide(DecisionIn(customer_id="c1"))
    assert (last["models"]["next-offer"], last["degraded"][0]) == ("3", "last_model:next-offer")
    assert last["actions"][0]["probability"] == good["actions"][0]["probability"]
    assert DecisionReader(line, desk.served).replay(last["decision_id"])["equal"]
    desk.served.models["next-offer"], desk.served.refused = NextOffer({"a": 0.9, "b": 0.1}), {"next-offer"}
    before = made.decide(DecisionIn(customer_id="c1"))  # the champion was refused: what served before serves on
    assert (before["models"]["next-offer"], before["degraded"][0]) == ("3", "last_model:next-offer")
    assert before["actions"][0]["reasons"]
    desk.served.models["next-offer"], desk.served.refused = NextOffer({}, version="4", broken=True), set()
    broken = desk.decider.decide(DecisionIn(customer_id="c1"))  # a process in which no model ever worked
    assert "model:next-offer" in broken["degraded"]
    desk.served.models["next-offer"] = NextOffer({"a": 0.3})
    fresh = steady(desk, looks=False)
    assert decide(fresh, explain=False)["degraded"] == []
    del desk.served.models["next-offer"]
    line.cut = True
    first = decide(fresh)
    assert first["degraded"] == ["database", "model:next-offer", "rates"]
    assert [action["offer_id"] for action in first["actions"]] == ["b", "a"]  # by worth


def test_features_fall_back_to_those_read_last(desk: Desk, line: Line) -> None:
    desk.put(a={"channels": ["web"]})
    made = desk.decider
    before = made.decide(DecisionIn(customer_id="c1"))
    desk.rows.broken = True
    after = made.decide(DecisionIn(customer_id="c1"))
    assert "features:snapshot" in after["degraded"]
    assert after["actions"][0]["probability"] == before["actions"][0]["probability"]
    assert "features" in made.decide(DecisionIn(customer_id="c1", at="2026-03-01T00:00:00Z"))["degraded"]
    for _ in range(5):
        made.decide(DecisionIn(customer_id="c1"))
    assert made.sources.reading.is_open
    desk.rows.broken = False
    asked = len(desk.rows.asked)
    assert (
        "features:snapshot" in made.decide(DecisionIn(customer_id="c1"))["degraded"]
    )  # not asked: the circuit is open
    assert len(desk.rows.asked) == asked


def test_with_no_data_at_all_a_decision_is_sensible(line: Line) -> None:
    """No model, no features, no rates, an unknown customer: the offer of more worth first, and nothing at a loss."""
    desk = Desk(line)
    desk.put(cheap={"value": 5.0}, dear={"value": 50.0}, loss={"value": 1.0, "cost": 9.0})
    decision = desk.decider.decide(DecisionIn(customer_id="nobody", channels=["email"]))
    assert [action["offer_id"] for action in decision["actions"]] == ["dear", "cheap"]


def test_many_at_once_while_the_line_is_cut_and_mended(desk: Desk, line: Line, tmp_path: Path, steady: Make) -> None:
    desk.put(a={"channels": ["web"]})
    decider = steady(desk)

    def work(number: int) -> dict[str, Any]:
        line.cut = number % 40 >= 20
        return decide(decider, f"c{number}")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(work, range(120)))
    line.cut = False
    decider.run_pass()
    decider.run_pass()
    assert held(line, "SELECT count(*) FROM decisions") == 120
    assert held(line, "SELECT count(*) FROM ledger WHERE message") == 120
    assert len({answer["decision_id"] for answer in answers}) == 120


async def test_nothing_that_fails_in_a_try_keeps_the_service_from_starting(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def decide_each(self, requests: Any) -> Any:
            raise RuntimeError("no model, no catalogue")

    together = Together(Broken())  # type: ignore[arg-type]
    await try_the_way_in(Guard(line), together)
    together.close()
    assert "no model, no catalogue" in caplog.text


def test_a_decision_tried_at_the_start_is_not_kept_and_may_fail(
    steady: Make, desk: Desk, line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    desk.put(a={})
    one = steady(desk)
    try_decisions(one, ["nobody", "c1"])
    assert [held(line, f"select count(*) from {table}") for table in ("decisions", "ledger", "decision_parts")] == [
        0
    ] * 3
    assert caplog.text == ""
    told = decide(one)
    assert held(line, "select count(*) from decision_parts") > 0, "what a rehearsal wrote does not count as written"
    assert held(line, f"select count(*) from decisions where decision_id = '{told['decision_id']}'") == 1
    line.cut = True
    one.without = lambda requests, first=None: [Unavailable("full")] * len(requests)  # type: ignore[method-assign]
    try_decisions(one, ["nobody"])
    assert "tried at the start" in caplog.text


def test_every_placement_is_tried_and_every_customer(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    tried: list[tuple[str, str]] = []

    class Noting:
        def decide_each(self, requests: Any) -> Any:
            tried.extend((one.customer_id, one.placement) for one in requests if one.dry_run)
            return []

        def rehearse(self, requests: Any) -> None:
            pass

    one: Any = Noting()
    try_decisions(one, ["a", "b", "c"], ["p", "q"])
    try_decisions(one, ["a"], ["p", "q"])
    assert tried == [("a", "p"), ("b", "q"), ("c", "p"), ("a", "p"), ("a", "q")]
    try_decisions(one, ["a"], ["not a name"])
    assert "could not be tried at the start" in caplog.text


async def test_keys_are_known_before_anybody_asks_and_good_while_the_database_is_away(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keys(guard: Guard) -> list[bool]:
        return [guard.remembered(secret) is not None for secret in (good, ended)]

    good, ended = (create_key(line, ("decide",), label, NOON) for label in ("good", "ended"))
    with line.write() as connection:
        key_id = next(key.key_id for key in list_keys(connection) if key.label == "ended")
        revoke_key(connection, key_id, NOON)

    class Quick:
        def decide_each(self, requests: Any) -> list[Any]:
            return [{} for _ in requests]

    guard, together = Guard(line), Together(Quick())  # type: ignore[arg-type]
    assert keys(guard) == [False, False]
    await try_the_way_in(guard, together)
    together.close()
    assert keys(guard) == [True, False]
    monkeypatch.setattr("service.web.auth._REMEMBER_S", 0.0)
    line.cut = True
    assert keys(guard) == [False, False]
    assert (await guard.identify(good)).label == "good"
    with pytest.raises(Unavailable):
        await guard.identify(ended)
