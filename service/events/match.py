"""Whether an event is the one that a journey or a metric names: by its name, and by a CEL condition. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from service.offers.cel import Expression, ask, compile_expression

VARIABLES = frozenset({"event"})
_UNSEEN = frozenset({"context", "traits"})


def name_of(event: Mapping[str, Any]) -> str | None:
    """What an event is called: a track call by its own name, else by its kind. A page's name is no event's."""
    return event.get("event") if event["type"] == "track" else event["type"]


@lru_cache(maxsize=4096)
def condition(source: str) -> Expression:
    """The condition, compiled once; `ExpressionError` names the place of the fault."""
    return compile_expression(source, VARIABLES)


def holds(where: str | None, event: Mapping[str, Any]) -> bool:
    """Whether the condition holds for the event; what cannot be told does not hold."""
    return where is None or ask(condition(where), {"event": _shown(event)}).holds


def _shown(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event as conditions see it: its columns, `name`, and `properties` opened."""
    known = {name: value for name, value in event.items() if value is not None and name not in _UNSEEN}
    given = event.get("properties")
    known["properties"] = orjson.loads(given) if isinstance(given, str | bytes) and given else given or {}
    return known | {"name": event.get("event")}
