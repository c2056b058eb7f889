"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import orjson


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` fill a file beside `path`, then puts it in place in one step, after it has reached the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(part)
        with part.open("rb") as done:
            os.fsync(done.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """The text as UTF-8, whole or not at all."""
    write_whole(path, lambda part: _text_into(part, text))


def write_json(path: Path, value: object) -> None:
    """The value as indented JSON, whole or not at all."""
    data = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    write_whole(path, lambda part: _bytes_into(part, data))


def write_json_lines(path: Path, values: Iterable[object]) -> None:
    """One JSON document a line, whole or not at all."""
    data = b"".join(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE) for value in values)
    write_whole(path, lambda part: _bytes_into(part, data))


def _text_into(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _bytes_into(path: Path, data: bytes) -> None:
    path.write_bytes(data)
