from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from service.clock import FileClock
from tests.fakes.decision_service import DecisionService
from training.world import World
from training.world.client import Api, ApiError, wait_until
from training.world.clock_file import ClockFile
from training.world.drive import Drive, Plan
from training.world.mailbox import Mailbox, Outbox
from training.world.messages import stamp

PLAN = Plan(days=4, every_days=2, tick_hours=6, learn_on_days=(2,), enrol_on_days=(0, 2), patience_s=10)


def test_a_run_sends_decides_delivers_and_measures(tmp_path: Path) -> None:
    world = World(5, 40)
    clock = ClockFile(tmp_path / "clock", world.start)
    lessons: list[datetime] = []
    days: list[int] = []

    def rule(customer: str) -> tuple[str, str] | None:
        return None if world.index[customer] % 10 == 0 else ("coffee-30", "push")

    with Mailbox() as mailbox, DecisionService(clock.path, rule, mailbox.port) as service, Api(service.url, "k") as api:
        drive = Drive(
            world, api, clock, [mailbox], PLAN,
            learn=lambda: lessons.append(clock.now), progress=lambda day, _: days.append(day),
        )  # fmt: skip
        summary = drive.run()

    assert days == [1, 2, 3, 4]
    assert lessons == [world.start + timedelta(days=1, hours=18)]
    assert summary["decisions"] == 80
    model, holdout = summary["arms"]["model"], summary["arms"]["holdout"]
    assert model["decisions"] + holdout["decisions"] == 80
    assert holdout == {**holdout, "sent": 0, "value": 0.0}
    assert model["sent"] == model["decisions"]
    assert model["best"] >= model["value"]
    assert summary["model_untrained"]["decisions"] + summary["model_trained"]["decisions"] == model["decisions"]

    lapsed = int((world.people.kind == 1).sum())
    assert summary["journey"]["enrolled"] == summary["journey"]["arrived"] == len(service.enrolled) == lapsed
    ids = [event["messageId"] for event in service.events]
    assert len(ids) == len(set(ids))
    decided = {e["properties"].get("decision_id") for e in service.events if "Delivered" in e["event"]}
    assert decided <= set(service.decisions)
    opened = [e for e in service.events if e["event"] == "Email Opened"]
    assert opened
    assert all(event["properties"]["decision_id"] in service.decisions for event in opened)
    assert all(event["timestamp"] <= stamp(clock.now) for event in service.events)
    orders = [e for e in service.events if e["event"] == "Order Completed" and "decision_id" in e["properties"]]
    assert len(orders) <= model["sales"] + summary["journey"]["sales"]


def test_two_runs_of_the_same_world_measure_the_same(tmp_path: Path) -> None:
    figures = []
    for name in ("one", "two"):
        world = World(8, 20)
        clock = ClockFile(tmp_path / name, world.start)
        with DecisionService(clock.path, lambda _: ("tea-30", "email")) as service, Api(service.url, "k") as api:
            plan = Plan(days=3, every_days=1, tick_hours=12, journey=None, learn_on_days=())
            figures.append(Drive(world, api, clock, [], plan).run())
    assert figures[0] == figures[1]


def test_what_rules_stop_counts_for_nobody_and_what_is_planned_for_later_counts(tmp_path: Path) -> None:
    world = World(8, 20)
    clock = ClockFile(tmp_path / "clock", world.start)
    capped = world.customers[0]
    rule = {capped: None, world.customers[1]: None}
    plan = Plan(days=1, every_days=1, tick_hours=12, journey=None, learn_on_days=())
    with DecisionService(clock.path, lambda customer: rule.get(customer, ("tea-30", "email"))) as service:
        service.capped.add(capped)
        service.send_at = (world.start + timedelta(days=2, hours=15)).isoformat()
        with Api(service.url, "k") as api:
            drive = Drive(world, api, clock, [], plan)
            drive.run()
    entries = {entry.customer_id: entry for entry in drive.ledger.entries.values()}
    stopped, held = entries[capped], entries[world.customers[1]]
    assert (stopped.best, stopped.uniform, stopped.value) == (0.0, 0.0, 0.0)
    assert (held.value, held.best > 0.0, held.uniform != 0.0) == (0.0, True, True)
    sent = [entry for customer, entry in entries.items() if customer not in rule]
    assert all(entry.send_at == world.start + timedelta(days=2, hours=15) for entry in sent)
    assert all(0.0 != entry.value <= entry.best for entry in sent)
    assert not any("Delivered" in event["event"] for event in service.events)


def test_events_go_in_batches_under_the_limit(tmp_path: Path) -> None:
    clock = ClockFile(tmp_path / "clock", World(1, 1).start)
    big = [{"type": "track", "event": "x", "userId": "u", "properties": {"pad": "p" * 20_000}} for _ in range(60)]
    with DecisionService(clock.path, lambda _: None) as service, Api(service.url, "k") as api:
        assert api.send_events(big) == 60
        assert len(service.events) == 60
        assert api.send_events([]) == 0
        with pytest.raises(ApiError, match="GET /nowhere answered 404: GET /nowhere"):
            api.get("/nowhere")


def test_the_service_sees_every_move_of_the_clock(tmp_path: Path) -> None:
    world = World(1, 1)
    clock = ClockFile(tmp_path / "clock", world.start)
    reader = FileClock(clock.path)
    for minute in range(50):
        now = world.start + timedelta(minutes=minute)
        clock.move_to(now)
        assert reader.now() == now
    with pytest.raises(ValueError, match="cannot go back"):
        clock.move_to(world.start)


def test_the_outbox_gives_complete_lines_once(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    assert outbox.take() == []
    file = tmp_path / "2026-03-02.jsonl"
    file.write_text('{"customer_id":"c1","channel":"sms","decision_id":"d1"}\n{"customer_id":"c2",')
    assert [(a.recipient, a.decision_id, a.channel) for a in outbox.take()] == [("c1", "d1", "sms")]
    with file.open("a") as more:
        more.write('"channel":"push"}\n')
    assert [(a.recipient, a.decision_id) for a in outbox.take()] == [("c2", None)]
    assert outbox.take() == []


def test_waiting_in_vain_says_for_what() -> None:
    with pytest.raises(TimeoutError, match="in vain for the moon"):
        wait_until(lambda: False, "the moon", 0.05)
