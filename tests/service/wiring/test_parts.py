"""What features know of the settings is read when a process starts; other settings are refused, with what to do."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select

from service.commands import requeue_command
from service.content.guardrails import check_copy
from service.customers.refunds_store import refunds
from service.events.record_events import record_events
from service.experiments.assign_customer import assign
from service.experiments.define_experiment import define_experiment
from service.experiments.goals_store import goals
from service.experiments.read_results import read_results
from service.experiments.schemas import ExperimentIn
from service.settings import Settings
from service.wiring.background import bring_in_what_waits
from service.wiring.parts import build
from tests.fakes.events import row


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"default_timezone": "Asia/Tokyo"}, "set OPPORTUNE_DEFAULT_TIMEZONE=Asia/Tokyo"),
        ({"currency": "EUR"}, "OPPORTUNE_CURRENCY='EUR'"),
    ],
)
def test_settings_that_features_do_not_know_are_refused(tmp_path: Path, other: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        build(Settings(home=tmp_path, **other))


def test_text_messages_are_measured_with_a_link_as_long_as_ours(tmp_path: Path) -> None:
    parts = build(Settings(home=tmp_path, public_url="https://offers.example.com"))
    try:
        room = 3 * 153 - len(parts.unsubscribe_url(str(uuid4()), "sms"))
        for more, fits in ((0, True), (1, False)):
            fields = {"body": "x" * (room - 1 + more) + " {{ unsubscribe_url }}"}
            assert all(check.passed for check in check_copy("sms", "en", fields, rules=parts.desk.rules)) is fits
    finally:
        parts.close()


def test_a_covariate_is_of_before_the_exposure_however_late_that_is_told(tmp_path: Path) -> None:
    (tmp_path / "clock").write_text("2026-03-02T09:00:00+00:00")
    parts = build(Settings(home=tmp_path / "home", clock=f"file:{tmp_path / 'clock'}"))
    try:
        now = parts.clock.now()
        ordered = now - timedelta(minutes=20)
        order = {"type": "track", "event": "Order Completed", "userId": "c1", "timestamp": ordered.isoformat()}
        with parts.database.write() as connection:
            record_events(connection, [order], now)
        parts.events.run_pass()
        told = [parts.covariate("c1", "orders_90d", now - timedelta(minutes=m)) for m in (0, 30, 90)]
        assert told == [1.0, 0.0, None]
    finally:
        parts.close()


def test_whoever_is_no_customer_any_more_loses_the_features_that_came_late(tmp_path: Path) -> None:
    parts = build(Settings(home=tmp_path))
    try:
        order = {"type": "track", "event": "Order Completed", "userId": "there"}
        with parts.database.write() as connection:
            record_events(connection, [order], parts.clock.now())
        parts.events.run_pass()
        parts.online.apply([row("m", "erased", "Order Completed")])  # by a process that stood still meanwhile
        parts.events._applier._forget_strangers(["erased", "there"])
        found = parts.online.read(["erased", "there"], parts.clock.now())
        assert [one is None for one in found] == [True, False]
    finally:
        parts.close()


def test_a_service_answers_before_an_outages_decisions_are_in_and_a_command_works_with_all_of_them(
    tmp_path: Path,
) -> None:
    """60,000 take half a minute: nobody was answered meanwhile, and who watches over the process kills it."""
    waiting = tmp_path / "spool" / "of-before.jsonl"
    waiting.parent.mkdir()
    waiting.touch()
    parts = build(Settings(home=tmp_path))
    try:
        assert parts.steady.can_keep()
        assert waiting.exists()
        bring_in_what_waits(parts)  # the loop that starts with the service
        assert not waiting.exists()
    finally:
        parts.close()
    waiting.touch()
    requeue_command(Settings(home=tmp_path))
    assert not waiting.exists()


def test_situations_of_the_settings_are_learnt_from(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, decisions={"situations": {"page": ["home", "cart"], "placement": ["web.top"]}})  # type: ignore[arg-type]
    parts = build(settings)
    try:
        assert parts.learner.situations == ("page=cart", "page=home", "placement=web.top")
    finally:
        parts.close()


def test_a_refund_that_comes_before_its_order_takes_it_back_and_is_erased_with_its_customer(tmp_path: Path) -> None:
    parts = build(Settings(home=tmp_path))
    now = parts.clock.now()

    def tell(name: str, **properties: Any) -> None:
        event = {"type": "track", "event": name, "userId": "c1", "timestamp": now.isoformat(), "properties": properties}
        with parts.database.write() as connection:
            record_events(connection, [event], parts.clock.now())
        parts.events.run_pass()

    try:
        with parts.database.write() as connection:
            body = ExperimentIn.model_validate({"variants": ["A", "B"]})
            define_experiment(connection, "x", body, now)
            assign(connection, "x", "c1", now)
        tell("Order Refunded", order_id="o1", total=5)
        for order in ("o1", "o2"):
            tell("Order Completed", order_id=order, total=5)
        with parts.database.read() as connection:
            assert sum(arm["total"] for arm in read_results(connection, "x", now)["arms"]) == 1
            counted = connection.execute(select(goals.c.order_id, goals.c.times).order_by(goals.c.order_id)).all()
            assert [tuple(row) for row in counted] == [("o1", 0), ("o2", 1)]
        assert parts.eraser.erase("c1", parts.events.exclusively)["erased"]["refunds"] == 1
        with parts.database.read() as connection:
            assert connection.execute(select(refunds)).all() == []
            assert connection.execute(select(goals)).all() == []
    finally:
        parts.close()
