"""Why a score is what it is, in the customer's terms: the strongest effects, as the catalogue's sentences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.catalogue import feature

NEGLIGIBLE = 1e-3  # log-odds; a weaker effect is no reason


@dataclass(frozen=True, slots=True)
class Reason:
    """A feature's `effect` on the score (log-odds, positive raises it) and a sentence that says what it saw."""

    feature: str
    text: str
    effect: float


def strongest(
    names: Sequence[str],
    effects: Sequence[float] | npt.NDArray[np.float64],
    values: Mapping[str, float],
    n: int = 3,
    describe: Callable[[str, Mapping[str, float]], str | None] | None = None,
) -> tuple[Reason, ...]:
    """The `n` strongest reasons, strongest first; one sentence is said once, with the sum of its effects.

    Features that the row lacks (NaN) give no sentence. `describe` overrides the catalogue's sentences.
    """
    say = describe or sentence
    said: dict[str, Reason] = {}
    for name, effect in zip(names, [float(effect) for effect in effects], strict=False):
        text = say(name, values) if abs(effect) > NEGLIGIBLE else None
        if text is None:
            continue
        before = said.get(text)
        if before is None:
            said[text] = Reason(name, text, effect)
        else:
            first = name if abs(effect) > abs(before.effect) else before.feature
            said[text] = Reason(first, text, before.effect + effect)
    ordered = sorted(said.values(), key=lambda reason: (-abs(reason.effect), reason.feature))
    return tuple(Reason(r.feature, r.text, round(r.effect, 4)) for r in ordered[:n] if abs(r.effect) > NEGLIGIBLE)


def sentence(name: str, values: Mapping[str, float]) -> str | None:
    """The catalogue's sentence for feature `name`, filled with `values`; None when the row lacks what it needs."""
    try:
        template: str = feature(name).sentence
    except KeyError:
        return None
    known = {key: value for key, value in values.items() if value is not None and math.isfinite(value)}
    if name not in known:
        return None
    try:
        return template.format(**known)
    except KeyError:  # another feature in the sentence is missing, e.g. the usual gap of a first-time buyer
        return _first_clause(template, known)


def _first_clause(template: str, known: Mapping[str, float]) -> str | None:
    try:
        return template.split(",")[0].format(**known)
    except (KeyError, ValueError):
        return None
