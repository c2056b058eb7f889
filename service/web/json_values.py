"""Values of a request that are kept as they come: only what every store and every reader of JSON can hold. Pure."""

from __future__ import annotations

import unicodedata
from math import isfinite
from typing import Any, TypeVar

import orjson

MAX_BYTES = 32_768
DEEPEST = 200
"""Levels of what is kept as it came: orjson writes 254, and an answer that shows it puts it into some of its own."""
Json = TypeVar("Json")


def plain_text(text: str) -> str:
    """Refuses control characters (tab and line breaks are fine) and broken surrogates."""
    if text.isascii() and text.isprintable():  # most texts
        return text
    for character in text:
        if unicodedata.category(character) in {"Cc", "Cs"} and character not in "\t\n\r":
            raise ValueError(f"contains the control character U+{ord(character):04X}; remove it")
    return text


def plain_json(value: Json) -> Json:
    """Refuses what JSON cannot say, control characters, and too much of it."""
    _check(value)
    try:
        size = len(orjson.dumps(value))
    except (orjson.JSONEncodeError, RecursionError):
        raise ValueError("cannot be written as JSON") from None
    if size > MAX_BYTES:
        raise ValueError(f"is larger than {MAX_BYTES:,} bytes; send only what rules and copy use")
    return value


def _check(value: Any, depth: int = 0) -> None:
    if depth > 20:
        raise ValueError("is nested deeper than 20 levels; flatten it")
    if isinstance(value, dict):
        for key, inner in value.items():
            plain_text(key)
            _check(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, depth + 1)
    elif isinstance(value, str):
        plain_text(value)
    elif isinstance(value, float) and not isfinite(value):
        raise ValueError("holds NaN or infinity; leave the value out")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("holds a whole number beyond 64 bits; send it as text")


def nested_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects stand in each other more than `levels` times; itself it looks without recursion."""
    within = [value]
    for _ in range(levels + 1):
        holders = [one for one in within if isinstance(one, (dict, list))]
        if not holders:
            return False
        within = [inner for one in holders for inner in (one.values() if isinstance(one, dict) else one)]
    return True
