"""Killed runners, runners side by side, mail servers dead or slow: each message exactly once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import orjson
import pytest
from aiosmtpd.controller import Controller

from service.journeys.channels.message import Message, SendResult
from service.journeys.channels.smtp import SmtpChannel, SmtpServer
from service.journeys.figures_store import list_intents
from service.journeys.retry import RetryPolicy
from service.journeys.runner import RunnerOptions
from tests.conftest import free_port
from tests.fakes.journeys import FakeChannel, Stage

DECIDE = {"id": "choose", "kind": "decide", "placement": "p", "channels": ["email"], "else": "exit"}
SEND = {"id": "send", "kind": "send"}
REST = {"id": "rest", "kind": "wait", "for": "3d"}
ROOT = Path(__file__).parents[3]

# A runner in a process of its own, over the fake service and the real file channel. DIE kills it without a goodbye:
# `write`: after the channel has written, before anything is marked; `mark`: after the marks, before the enrolments
# are saved; `line`: in the middle of writing a line.
_RUNNER = """
import os, signal, sys
from pathlib import Path
from service.storage.database import Database
from service.journeys import deliver, runner
from service.journeys.channels import file
from service.journeys.runner import RunnerOptions
from tests.fakes.journeys import FakeChannel, Stage

url, outbox, die = sys.argv[1:4]

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if die == "write":
    deliver.Delivering._note = kill
if die == "mark":
    runner.Runner._save = kill
if die == "line":
    def torn(number, text):
        os.write(number, text[: len(text) * 2 // 3])
        kill()
    file._write_all = torn
stage = Stage(Database(url), options=RunnerOptions(batch=20, lease_s=1.0))
print("ready", flush=True)
sys.stdin.readline()
report = stage.runner(email=file.FileChannel(Path(outbox))).run_due()
print(report, flush=True)
"""


def start(stage: Stage, outbox: Path, die: str = "-") -> subprocess.Popen[str]:
    url = stage.database.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", _RUNNER, url, str(outbox), die]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(*processes: subprocess.Popen[str]) -> list[int]:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    codes = [process.wait(120) for process in processes]
    for process in processes:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.stdout.close()
    return codes


def sent(outbox: Path) -> Counter[str]:
    lines = [line for path in outbox.glob("*.jsonl") for line in path.read_bytes().splitlines()]
    return Counter(orjson.loads(line)["customer_id"] for line in lines)


@pytest.mark.parametrize("die", ["write", "mark", "line"])
def test_a_runner_killed_at_any_moment_leaves_each_message_sent_once(stage: Stage, tmp_path: Path, die: str) -> None:
    stage.journey(DECIDE, SEND, REST)
    for number in range(50):
        stage.enrol(f"c{number}")
    outbox = tmp_path / "outbox"
    assert go(start(stage, outbox, die)) == [-signal.SIGKILL]
    time.sleep(1.1)  # the dead runner's lease
    assert go(start(stage, outbox)) == [0]
    assert sent(outbox) == {f"c{number}": 1 for number in range(50)}
    assert all(stage.standing(f"c{number}").state.step == "rest" for number in range(50))


def test_two_runners_side_by_side_send_each_message_once(stage: Stage, tmp_path: Path) -> None:
    stage.journey(DECIDE, SEND, REST)
    for number in range(200):
        stage.enrol(f"c{number}")
    outbox = tmp_path / "outbox"
    assert go(start(stage, outbox), start(stage, outbox)) == [0, 0]
    assert sent(outbox) == {f"c{number}": 1 for number in range(200)}
    with stage.database.read() as connection:
        assert len(list_intents(connection, ("j", None), "sent", 1_000)) == 200


class Mails:
    """Counts what arrives, by recipient; slow where it is told to be."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.count: Counter[str] = Counter()
        self.delay_s = delay_s

    async def handle_DATA(self, server, session, envelope):  # type: ignore[no-untyped-def]  # noqa: N802
        import asyncio

        await asyncio.sleep(self.delay_s)
        self.count.update(envelope.rcpt_tos)
        return "250 taken"


def test_a_dead_mail_server_holds_messages_back_and_they_go_out_once_when_it_is_back(stage: Stage) -> None:
    stage.options = RunnerOptions(retry=RetryPolicy(spread=0.0))
    stage.journey(DECIDE, SEND, REST)
    for number in range(12):
        stage.enrol(f"c{number}")
    port, mails = free_port(), Mails()
    channel = SmtpChannel(SmtpServer("127.0.0.1", port, timeout_s=2.0))
    runner = stage.runner(email=channel)
    assert runner.run_due().sent == 0
    assert stage.standing("c0").state.phase == "parked"
    controller = Controller(mails, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        stage.later(minutes=1)
        assert runner.run_due().sent == 12
        channel.close()
    finally:
        controller.stop()
    assert mails.count == {f"c{number}@example.com": 1 for number in range(12)}


def test_a_slow_mail_server_costs_no_claim_and_no_second_message(stage: Stage) -> None:
    """Sending takes longer than a lease: the runner renews it, so another runner finds nothing to take."""
    stage.options = RunnerOptions(lease_s=0.8)
    stage.journey(DECIDE, SEND, REST)
    for number in range(24):
        stage.enrol(f"c{number}")
    port, mails = free_port(), Mails(0.2)
    controller = Controller(mails, hostname="127.0.0.1", port=port)
    controller.start()
    channel = SmtpChannel(SmtpServer("127.0.0.1", port, timeout_s=5.0))
    other = stage.runner(email=channel)
    taken: list[int] = []
    renew = stage.runner(email=channel)
    original = renew._renew

    def look() -> None:
        original()
        taken.append(other.run_due().moved)

    renew._delivering._still_working = look
    try:
        assert renew.run_due().sent == 24
        channel.close()
    finally:
        controller.stop()
    assert sum(taken) == 0
    assert mails.count == {f"c{number}@example.com": 1 for number in range(24)}


def test_a_runner_that_is_told_to_stop_leaves_what_it_has_not_begun_to_the_next_one(stage: Stage) -> None:
    """It sent the whole batch first: longer than who stops it waits, and mails that were cut off then are uncertain."""
    stage.journey(DECIDE, SEND, REST)
    for number in range(24):
        stage.enrol(f"c{number}")
    runner = stage.runner(email=(channel := FakeChannel(parallel=4)))

    def send(message: Message) -> SendResult:
        runner.stop()
        channel.tried.append(message)
        return SendResult("sent")

    channel.send = send  # type: ignore[method-assign]
    assert runner.run_due().sent == 4
    assert len(channel.tried) == 4
    with stage.database.read() as connection:
        waiting = list_intents(connection, ("j", None), "intended", 100)
    assert {intent.attempts for intent in waiting} == {0}
    assert stage.runner().run_due().sent == 20
    assert len({message.key for message in (*channel.tried, *stage.email.tried)}) == 24
