"""Text and JSON files that appear whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import orjson

from features.files import write_whole

__all__ = ["write_json", "write_json_lines", "write_text", "write_whole"]


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
