"""A request's situation as inputs in which offers may differ: where it shows, on what page, by what device.

A declared value (`page=cart`) is one input, 1 where a request says it: its `placement`, or a field of its `context`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from models.reasons import NEGLIGIBLE
from models.seen_words import Plain
from models.sums import summed

Floats = npt.NDArray[np.float64]
Told = tuple[str, Mapping[str, Any]]
"""What a request says of its situation: its placement and its context."""
PLACEMENT = "placement"
"""The field that is no part of the context."""


def names_of(declared: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The inputs of declared values by field: `field=value`, in the order of their names."""
    return tuple(sorted(f"{field}={value}" for field, values in declared.items() for value in values))


def parted(name: str) -> tuple[str, str]:
    """Field and value of an input."""
    field, _, value = name.partition("=")
    return field, value


def inputs(names: Sequence[str], told: Sequence[Told]) -> Floats:
    """(requests, names): 1 where a request says so, else 0."""
    found = np.zeros((len(told), len(names)))
    for line, one in enumerate(told):
        for place, name in enumerate(names):
            field, value = parted(name)
            found[line, place] = said(one, field) == value
    return found


def said(told: Told, field: str) -> str | None:
    """What a request says of a field, as text: numbers, true and false as JSON writes them; None for anything else."""
    placement, context = told
    value = placement if field == PLACEMENT else context.get(field)
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode() if isinstance(value, bool | int | float) else None


@dataclass(frozen=True, slots=True)
class Situations:
    """Requests' situations: which of the `names` each says, `inputs` (customers, names), and how far each moves the
    log-odds of each offer, `effects` (offers, names).
    """

    names: tuple[str, ...]
    inputs: Floats
    effects: Floats

    def residual(self) -> Floats:
        """Their part of the log-odds, (customers, offers)."""
        return summed(self.inputs[:, None, :] * self.effects[None])

    def reasons(self, customer: int, offer: int) -> list[Plain]:
        """What of the situation moves the offer, in words."""
        found: list[Plain] = []
        for place in np.flatnonzero(self.inputs[customer]).tolist():
            effect = float(self.effects[offer, place])
            if abs(effect) > NEGLIGIBLE:
                field, value = parted(self.names[place])
                text = f"brings {'more' if effect > 0 else 'fewer'} orders where the {field} is {value} than elsewhere"
                found.append({"feature": f"situation_{field}", "text": text, "effect": round(effect, 4)})
        return found
