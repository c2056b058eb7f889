"""Messages as lines of JSON in `outbox/DAY.jsonl`: for trying things, and for a sender of one's own to read.

A line: `{"key", "at", "channel", "customer_id", "decision_id", "offer_id", "journey_id", "step", "to",
"unsubscribe_url", "content"}`; a webhook step's has its `payload` too. A key is written once, whoever tries and
however often: writers hold a lock, read what others wrote since, and cut off a line that a killed writer left
unfinished.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import orjson

from service.journeys.channels.message import Message, SendResult

_DAYS_KNOWN = 8


@dataclass(slots=True)
class _Day:
    """What is known of one file: its inode, how far it was read, the keys in it."""

    inode: int = 0
    read: int = 0
    keys: set[str] = field(default_factory=set)


class FileChannel:
    """Appends to the file of the day on which the message was made, so a retry finds the first try."""

    repeatable = True
    parallel = 1

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._days: dict[str, _Day] = {}
        self._lock = Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def send(self, message: Message) -> SendResult:
        return self.send_many([message])[0]

    def send_many(self, messages: Sequence[Message]) -> list[SendResult]:
        results: dict[str, SendResult] = {}
        by_day: dict[str, list[Message]] = {}
        for message in messages:
            by_day.setdefault(message.created_at.strftime("%Y-%m-%d"), []).append(message)
        with self._locked():
            for day, some in by_day.items():
                results |= self._append(day, some)
        return [results[message.key] for message in messages]

    def forget(self, customer_ids: Collection[str]) -> int:
        """Takes every line of these customers out of every file; returns how many lines there were."""
        from features.files import write_bytes  # with Polars, which sending does not need

        gone = 0
        with self._locked():
            for path in sorted(self._folder.glob("*.jsonl")):
                lines = path.read_bytes().splitlines(keepends=True)
                kept = [line for line in lines if not _about(line, customer_ids)]
                if len(kept) < len(lines):
                    write_bytes(path, b"".join(kept))
                    gone += len(lines) - len(kept)
        return gone

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, in this process and among all."""
        with self._lock, (self._folder / ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _append(self, day: str, messages: Sequence[Message]) -> dict[str, SendResult]:
        try:
            return self._appended(day, messages)
        except OSError as full:
            self._days.pop(day, None)  # what of it was written is read again next time
            return {message.key: SendResult("unreachable", f"the outbox: {full.strerror}") for message in messages}

    def _appended(self, day: str, messages: Sequence[Message]) -> dict[str, SendResult]:
        with (self._folder / f"{day}.jsonl").open("a+b") as file:
            known = self._catch_up(day, file.fileno())
            lines, results = [], {}
            for message in messages:
                if message.key in known.keys:
                    results[message.key] = SendResult("sent", "was written before under this key")
                    continue
                lines.append(_line(message))
                known.keys.add(message.key)
                results[message.key] = SendResult("sent", f"{day}.jsonl")
            _write_all(file.fileno(), b"".join(lines))
            os.fsync(file.fileno())  # before they are marked as sent; also for what an earlier try has written
            known.read = os.fstat(file.fileno()).st_size
        return results

    def _catch_up(self, day: str, file: int) -> _Day:
        """Reads what was written since; an unfinished last line is cut off, for its writer is dead."""
        stat = os.fstat(file)
        known = self._days.get(day)
        if known is None or known.inode != stat.st_ino or known.read > stat.st_size:
            known = self._days[day] = _Day(stat.st_ino)
            for old in sorted(self._days)[:-_DAYS_KNOWN]:
                if old != day:
                    del self._days[old]
        text = os.pread(file, stat.st_size - known.read, known.read)
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            os.ftruncate(file, known.read + whole)
        known.keys.update(orjson.loads(line)["key"] for line in text[:whole].splitlines())
        known.read += whole
        return known


def _write_all(file: int, text: bytes) -> None:
    while text:
        text = text[os.write(file, text) :]


def _line(message: Message) -> bytes:
    line: dict[str, Any] = {
        "key": message.key,
        "at": message.created_at,
        "channel": message.channel,
        "customer_id": message.customer_id,
        "decision_id": message.decision_id,
        "offer_id": message.offer_id,
        "journey_id": message.journey_id,
        "step": message.step,
        "to": message.to,
        "unsubscribe_url": message.unsubscribe_url,
        "content": dict(message.content),
    }
    if message.payload is not None:
        line["payload"] = dict(message.payload)
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE, default=str)


def _about(line: bytes, customer_ids: Collection[str]) -> bool:
    try:
        return orjson.loads(line)["customer_id"] in customer_ids
    except (orjson.JSONDecodeError, KeyError):
        return False
