"""Numbers out of traits: the same reading for batch and for one event."""

from __future__ import annotations

import math
import re
from typing import Any

import orjson

from features.plan import Trait

_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_DATE = re.compile(r"(?:\d{4}-|--)?(\d{1,2})-(\d{1,2})")
_LESS = re.compile(r"^\s*(?:under|below|less|up to|<)", re.IGNORECASE)
LIMIT = 1e15


def read_traits(traits: Any, wanted: list[Trait]) -> list[tuple[int, float]]:
    """(place in `wanted`, number) of the traits that an event carries; unreadable ones are left out.

    `traits` is JSON text, a mapping or None.
    """
    if not traits or not wanted:
        return []
    told = _parsed(traits)
    found = ((place, _number(told.get(trait.name), trait)) for place, trait in enumerate(wanted))
    return [(place, number) for place, number in found if number is not None]


def _parsed(traits: Any) -> dict[str, Any]:
    if isinstance(traits, dict):
        return traits
    try:
        told = orjson.loads(traits)
    except orjson.JSONDecodeError:
        return {}
    return told if isinstance(told, dict) else {}


def _number(value: Any, trait: Trait) -> float | None:
    if trait.date:
        return _month_and_day(value)
    if isinstance(value, str):
        return _level(value, trait.levels)
    if not isinstance(value, int | float):
        return None
    number = float(value)
    return number if math.isfinite(number) and abs(number) <= LIMIT else None


def _level(text: str, levels: tuple[str, ...]) -> float | None:
    plain = text.strip().lower()
    if plain in levels:
        return float(levels.index(plain))
    found = _NUMBER.search(plain)
    if found is None or levels:
        return None
    number = float(found.group().replace(",", ""))
    return 0.0 if _LESS.match(plain) else min(number, LIMIT)


def _month_and_day(value: Any) -> float | None:
    found = _DATE.match(value) if isinstance(value, str) else None
    if found is None:
        return None
    month, day = int(found.group(1)), int(found.group(2))
    return float(month * 100 + day) if 1 <= month <= 12 and 1 <= day <= 31 else None
