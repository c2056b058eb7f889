"""What could not be read of a file: beside it, with the reasons."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import IO, Any

import orjson

from features.leftovers import drop_stale
from service.clock import SystemClock
from service.errors import FieldError
from service.events.read_files import Item


class Rejects:
    """What could not be read of a file, beside it as `<source>.rejects.jsonl`, replaced whole at the end."""

    def __init__(self, source: Path) -> None:
        self._path = source.with_name(f"{source.name}.rejects.jsonl")
        self._draft = source.with_name(f".{source.name}.rejects.{os.getpid()}.tmp")

    @contextmanager
    def draft(self) -> Iterator[IO[bytes]]:
        """Where to write; nothing of it is seen before `finish`. It goes where reading fails, and what a killed run
        left, when it is a day old: there are people in it.
        """
        left = self._draft.parent.glob(f".{escape(self._path.name.removesuffix('.jsonl'))}.*.tmp")
        drop_stale(left, SystemClock().now())
        try:
            with self._draft.open("wb") as file:
                yield file
        except BaseException:
            self._draft.unlink(missing_ok=True)
            raise

    def finish(self, count: int) -> Path | None:
        """Puts the draft into its place; with nothing rejected, an older file goes."""
        if count:
            os.replace(self._draft, self._path)
            return self._path
        self._draft.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)
        return None

    def existing(self) -> Path | None:
        """The file, where there is one."""
        return self._path if self._path.exists() else None


def fault(item: Item, errors: Sequence[FieldError]) -> bytes:
    """The line that tells of an item that was not taken, and why."""
    told = [{"field": error.field, "detail": error.detail} for error in errors]
    record: dict[str, Any] = {"line": item.line, "errors": told}
    original = {"message": item.message} if item.text is None else {"text": item.text}
    try:
        return orjson.dumps({**record, **original}) + b"\n"
    except orjson.JSONEncodeError:  # nested too deeply to be written again
        return orjson.dumps(record) + b"\n"
