"""Numbers out of traits: the same reading for batch and for one event."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import orjson

from features.codes import area_number, country_number, label_number
from features.declare import LOCATED, LOCATION
from features.plan import Trait

_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_DATE = re.compile(r"(?:\d{4}-|--)?(\d{1,2})-(\d{1,2})")
_LESS = re.compile(r"^\s*(?:under|below|less|up to|<)", re.IGNORECASE)
LIMIT = 1e15
LOCATION_WORD = '"location"'
"""A context without this text says no place."""


def read_traits(traits: Any, wanted: list[Trait]) -> list[tuple[int, float]]:
    """(place in `wanted`, number) of the traits that an event carries; unreadable ones are left out.

    `traits` is JSON text, a mapping or None. What the event itself says (`utc_offset`) is not read here.
    """
    if not traits or not wanted:
        return []
    told = _parsed(traits)
    found = ((place, _first(told, trait)) for place, trait in enumerate(wanted))
    return [(place, number) for place, number in found if number is not None]


def with_location(traits: Any, context: str | None) -> Any:
    """An event's traits (as `read_traits` takes them) and, under `LOCATION`, where its context says it came from."""
    if context is None or LOCATION_WORD not in context:
        return traits
    location = _parsed(context).get("location")
    if not isinstance(location, dict):
        return traits
    told = {name: location[name] for name in LOCATED if isinstance(location.get(name), str)}
    return {**_parsed(traits or {}), LOCATION: told} if told else traits


def _parsed(traits: Any) -> dict[str, Any]:
    if isinstance(traits, dict):
        return traits
    try:
        told = orjson.loads(traits)
    except orjson.JSONDecodeError:
        return {}
    return told if isinstance(told, dict) else {}


def _first(told: Mapping[str, Any], trait: Trait) -> float | None:
    if trait.reading == "utc_offset":
        return None
    for name in trait.names:
        number = _number(_inside(told, name), trait)
        if number is not None:
            return number
    return None


def _inside(told: Mapping[str, Any], name: str) -> Any:
    """The value of a name, or of a path such as `address.country`."""
    if "." not in name or name in told:
        return told.get(name)
    outer, inner = name.split(".", 1)
    value = told.get(outer)
    return value.get(inner) if isinstance(value, dict) else None


def _number(value: Any, trait: Trait) -> float | None:
    reader = _TEXTS.get(trait.reading)
    if reader is not None:
        text = str(value) if type(value) is int else value
        return reader(text) if isinstance(text, str) else None
    if isinstance(value, str):
        return _highest(value, trait.levels) if trait.reading == "words" else _level(value, trait.levels)
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


def _highest(text: str, levels: tuple[str, ...]) -> float | None:
    """The highest level named: `Senior Marketing Manager` is a manager."""
    pattern, places = _words(levels)
    return max((places[word] for word in pattern.findall(text.casefold())), default=None)


@lru_cache(maxsize=64)
def _words(levels: tuple[str, ...]) -> tuple[re.Pattern[str], dict[str, float]]:
    """What finds the levels' words in a text (the longest first: an account executive is no executive)."""
    places = {word: float(place) for place, level in enumerate(levels) for word in level.split("|")}
    longest = sorted(places, key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, longest))})\b"), places


def _month_and_day(text: str) -> float | None:
    found = _DATE.match(text)
    if found is None:
        return None
    month, day = int(found.group(1)), int(found.group(2))
    return float(month * 100 + day) if 1 <= month <= 12 and 1 <= day <= 31 else None


_TEXTS: Mapping[str, Callable[[str], float | None]] = MappingProxyType(
    {"date": _month_and_day, "country": country_number, "area": area_number, "label": label_number}
)
"""Readings of text alone."""
