"""The file channel: each key one line, whoever writes and whoever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from service.journeys.channels.file import FileChannel
from service.journeys.channels.message import Message

AT = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
MESSAGE = Message(
    "k1", "email", "anna", AT, "anna@example.com", {"subject": "Grüße", "body": "x\ny"}, "d1", "o1", "j", "send"
)


def lines(folder: Path) -> list[dict]:
    return [orjson.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines()]


def test_a_message_is_a_line_of_its_day(tmp_path: Path) -> None:
    assert FileChannel(tmp_path).send(MESSAGE).state == "sent"
    assert [path.name for path in tmp_path.glob("*.jsonl")] == ["2026-03-02.jsonl"]
    (line,) = lines(tmp_path)
    assert (line["key"], line["customer_id"], line["decision_id"], line["to"]) == (
        "k1",
        "anna",
        "d1",
        "anna@example.com",
    )
    assert line["content"] == {"subject": "Grüße", "body": "x\ny"}


def test_a_key_is_written_once_by_any_channel_in_any_process(tmp_path: Path) -> None:
    first, second = FileChannel(tmp_path), FileChannel(tmp_path)
    other = replace(MESSAGE, key="k2")
    assert [result.state for result in first.send_many([MESSAGE, MESSAGE, other])] == ["sent"] * 3
    second.send(MESSAGE)
    second.send(replace(MESSAGE, key="k3"))
    first.send(replace(MESSAGE, key="k3"))
    assert [line["key"] for line in lines(tmp_path)] == ["k1", "k2", "k3"]


def test_a_line_that_a_killed_writer_left_unfinished_is_cut_off(tmp_path: Path) -> None:
    channel = FileChannel(tmp_path)
    channel.send(MESSAGE)
    with (tmp_path / "2026-03-02.jsonl").open("ab") as file:
        file.write(b'{"key":"k2","customer')
    assert channel.send(replace(MESSAGE, key="k2")).state == "sent"
    assert [line["key"] for line in lines(tmp_path)] == ["k1", "k2"]


def test_a_customer_is_forgotten_and_others_go_on(tmp_path: Path) -> None:
    channel, other = FileChannel(tmp_path), FileChannel(tmp_path)
    channel.send(MESSAGE)
    other.send(replace(MESSAGE, key="k2", customer_id="ben", created_at=AT + timedelta(days=1)))
    other.send(replace(MESSAGE, key="k3", customer_id="ben"))
    assert sorted(line["key"] for line in lines(tmp_path) if line["customer_id"] == "ben") == ["k2", "k3"]
    assert channel.forget(["ben"]) == 2
    other.send(replace(MESSAGE, key="k4"))
    channel.send(MESSAGE)
    assert [line["key"] for line in lines(tmp_path)] == ["k1", "k4"]


def test_what_is_kept_when_a_customer_is_forgotten_is_on_the_disk_before_it_takes_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = FileChannel(tmp_path)
    channel.send_many([MESSAGE, replace(MESSAGE, key="k2", customer_id="ben")])

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        channel.forget(["ben"])
    assert [line["key"] for line in lines(tmp_path)] == ["k1", "k2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "2026-03-02.jsonl"]


def test_a_full_disk_is_told_and_nothing_is_taken_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = FileChannel(tmp_path)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        assert channel.send(MESSAGE).state == "unreachable"
    assert channel.send(MESSAGE).state == "sent"
    assert [line["key"] for line in lines(tmp_path)] == ["k1"]


def test_a_file_that_cannot_be_opened_is_told_as_a_full_disk_is(tmp_path: Path) -> None:
    """No inode is left, or the folder is another user's: each message failed by itself, with a trace of its own."""
    channel, place = FileChannel(tmp_path), tmp_path / f"{MESSAGE.created_at:%Y-%m-%d}.jsonl"
    place.mkdir()
    assert channel.send(MESSAGE).state == "unreachable"
    place.rmdir()
    assert channel.send(MESSAGE).state == "sent"
    assert len(lines(tmp_path)) == 1


def test_what_is_not_on_the_disk_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark that it was sent is on the disk: a line that is not would be lost with the machine's power."""
    channel = FileChannel(tmp_path)

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        assert [channel.send(MESSAGE).state for _ in range(2)] == ["unreachable"] * 2  # though the line is there
    assert channel.send(MESSAGE).state == "sent"
    assert [line["key"] for line in lines(tmp_path)] == ["k1"]


_WRITER = """
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from service.journeys.channels.file import FileChannel
from service.journeys.channels.message import Message
channel = FileChannel(Path(sys.argv[1]))
at = datetime(2026, 3, 2, tzinfo=UTC)
print("ready", flush=True)
for turn in range(200):
    channel.send_many([Message(f"{turn}-{n}", "email", "c", at, content={"body": "x" * 500}) for n in range(20)])
"""


def test_writers_side_by_side_one_of_them_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WRITER, str(tmp_path)]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    while len(lines_or_fewer(tmp_path)) < 200:
        time.sleep(0.01)
    writers[0].send_signal(signal.SIGKILL)
    assert writers[1].wait(120) == 0
    writers[0].wait()
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.close()
    keys = [line["key"] for line in lines(tmp_path)]
    assert sorted(keys) == sorted(f"{turn}-{n}" for turn in range(200) for n in range(20))


def lines_or_fewer(folder: Path) -> list[bytes]:
    return [line for path in folder.glob("*.jsonl") for line in path.read_bytes().splitlines()]
