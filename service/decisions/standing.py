"""How a customer stood to what a rule names: `orders_90d` as "3 orders in the last 90 days". Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from models.reasons import sentence

_NAMED = re.compile(r"\b(?:customer\.(features|traits|scores)|(context))\.([A-Za-z_]\w*)|\bcustomer\.(segments)\b")
_MOST, _LONGEST = 4, 60


def standing(expression: str, record: Mapping[str, Any]) -> str:
    """What the record of a decision holds of the names in a CEL expression, in brackets; empty when it names none.

    Nothing of the customer where it was not to be used: the record has none of it, whatever is known.
    """
    found = list(dict.fromkeys(_told(expression, record)))[:_MOST]
    return f" (now: {'; '.join(found)})" if found else ""


def _told(expression: str, record: Mapping[str, Any]) -> Iterator[str]:
    values = (record["features"] or {}).get("values", {})
    for part, context, name, segments in _NAMED.findall(expression):
        if record["contextless"] and not context:
            continue
        if segments:
            yield f"segments {', '.join(record['customer']['segments']) or 'none'}"
        elif part == "features":
            yield sentence(name, _numbers(values)) or f"{name} {_short(values.get(name))}"
        else:
            held = {"traits": record["customer"]["traits"], "scores": record["scores"]}.get(part)
            yield f"{name} {_short((record['request']['context'] if context else held or {}).get(name))}"


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if value is not None}


def _short(value: Any) -> str:
    if value is None:
        return "not known"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
