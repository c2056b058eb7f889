"""What makes a process unready."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from service import loops
from service.clock import SystemClock
from service.decisions.schemas import DecisionIn
from service.errors import Unavailable
from service.events.inbox_store import add_events, inbox
from service.loops import Loop
from service.settings import Settings
from service.storage.heartbeats import beat
from service.wiring import build, health, readiness
from tests.fakes.events import row


def test_decisions_that_nothing_keeps_make_it_unready_until_something_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = build(Settings(home=tmp_path, text_vectors=False))
    assert readiness(parts)[0]

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(parts.decider, "decide_away", full)
        disk.setattr(parts.steady.circuit, "allows", lambda: False)  # the database is on the same disk
        [told] = parts.steady.decide_each([DecisionIn(customer_id="c1")])
        assert isinstance(told, Unavailable)
    ready, report = readiness(parts)
    assert (ready, report["status"]) == (False, "not ready")
    assert "nor the disk takes them" in report["problems"][0]
    parts.steady.run_pass()
    assert readiness(parts)[0]
    parts.close()


@pytest.mark.parametrize("off", [timedelta(minutes=-5), timedelta(hours=6)], ids=str)
def test_a_worker_that_was_last_seen_by_a_clock_that_was_ahead_does_not_pass_for_alive(
    tmp_path: Path, off: timedelta
) -> None:
    parts = build(Settings(home=tmp_path, text_vectors=False))
    now = SystemClock().now()
    with parts.database.write() as connection:
        beat(connection, "journeys", now + off, now + off, {})
    assert [problem.partition(":")[0] for problem in readiness(parts)[1]["problems"]] == ["loop journeys"]
    with parts.database.write() as connection:
        beat(connection, "journeys", now, now, {})
    assert not readiness(parts)[1]["problems"]
    parts.close()


@pytest.mark.timeout(60)
def test_a_part_that_hangs_is_named_and_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = build(Settings(home=tmp_path, text_vectors=False))
    parts.steady.run_pass()
    over = threading.Event()
    monkeypatch.setattr(parts.online, "read", lambda *_: over.wait())
    monkeypatch.setattr(health, "read_all", lambda _: over.wait())
    try:
        for _ in range(10):  # more than look at a time
            ready, report = readiness(parts)
            assert (ready, report["status"]) == (True, "degraded")
            assert [problem.partition(":")[0] for problem in report["problems"]] == ["database", "online store"]
    finally:
        over.set()
    parts.close()


def test_a_loop_that_fails_or_hangs_for_long_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that learns, say, was seen in the metrics alone."""
    parts = build(Settings(home=tmp_path, text_vectors=False))
    failed, over, away = threading.Event(), threading.Event(), threading.Event()

    def fails() -> bool:
        failed.set()
        raise ValueError("of a person")

    def is_away() -> bool:
        away.set()
        raise Unavailable("the database does not answer now")  # it is named itself

    made = (("learning", fails), ("vectors", lambda: bool(over.wait(60))), ("texts", is_away))
    parts.loops.extend(Loop(name, run_pass, 60.0) for name, run_pass in made)
    for loop in parts.loops:
        loop.start()
    assert failed.wait(20)
    assert away.wait(20)
    while not (parts.loops[0].problem and parts.loops[2].problem):
        time.sleep(0.01)
    assert readiness(parts)[1]["problems"] == []
    monkeypatch.setattr(loops, "FAILING_S", 0.0)
    monkeypatch.setattr(loops, "HANGS_S", 0.0)
    told = [problem for problem in readiness(parts)[1]["problems"] if problem.startswith("loop vectors")]
    monkeypatch.setattr(loops, "HANGS_S", 3_600.0)
    told += readiness(parts)[1]["problems"]
    over.set()
    loops.stop_all(parts.loops)
    assert told == [
        "loop vectors: one pass has been at work for 0 minutes; the log says more",
        "loop learning: it has failed for 0 minutes (ValueError); the log says more",
    ]
    parts.close()


def test_a_database_that_is_read_but_not_written_is_named(tmp_path: Path) -> None:
    parts = build(Settings(home=tmp_path, text_vectors=False))
    parts.steady.too_slow()
    ready, report = readiness(parts)
    assert ready
    assert [problem.partition(":")[0] for problem in report["problems"]] == ["database"]
    parts.close()


def test_events_that_wait_for_the_online_store_are_named(tmp_path: Path) -> None:
    parts = build(Settings(home=tmp_path, text_vectors=False))
    parts.events_loop.problem = "the online store does not answer: OutOfMemoryError"
    ready, report = readiness(parts)
    assert ready
    assert "OutOfMemoryError" in report["problems"][0]
    parts.close()


def test_events_that_come_faster_than_their_effects_are_named(tmp_path: Path) -> None:
    """Passes may go well for hours, while what comes in waits longer and longer."""
    parts = build(Settings(home=tmp_path, text_vectors=False))
    now = parts.clock.now()
    for age, told in ((timedelta(), 0), (timedelta(minutes=5), 1)):
        with parts.database.write() as connection:
            connection.execute(inbox.delete())
            add_events(connection, [row(f"m{told}") | {"received_at": now - age}], now)
        problems = readiness(parts)[1]["problems"]
        assert len(problems) == told
    assert problems == ["events: 1 wait for their effects, the oldest event for 5 minutes"]
    parts.close()


def test_a_disk_that_is_full_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that could not be written to the log were told as `ComputeError`, and before that nothing was."""
    parts = build(Settings(home=tmp_path, text_vectors=False))
    parts.steady.run_pass()
    monkeypatch.setattr(health, "free_bytes", lambda _: 3_000_000)
    ready, report = readiness(parts)
    assert (ready, report["status"]) == (True, "degraded")
    assert report["problems"] == ["disk: only 3 MB are free for the home; make room"]
    parts.close()
