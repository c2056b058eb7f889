"""Why a score is what it is, in the customer's terms: the strongest effects, as the catalogue's sentences."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from string import Formatter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.catalogue import FEATURES
from features.feature_set import spoken

_SINGULAR = {"categories": "category", "children": "child", "people": "person"} | {
    noun: noun[:-1]
    for noun in ("answers", "checkouts", "clicks", "complaints", "coupons", "days", "forms", "hours", "items", "looks",
                 "messages", "opens", "orders", "products", "refunds", "times", "unsubscribes")
}  # fmt: skip
_KINDS = "email|human|push|sms|spam|web|weekend"
_ONE = re.compile(rf"((?<![\w.,])1 (?:(?:{_KINDS}) )?)({'|'.join(_SINGULAR)})\b(?! and )")
SENTENCES: Mapping[str, str] = {one.name: one.sentence for one in FEATURES}
NEGLIGIBLE = 1e-3  # log-odds; a weaker effect is no reason


class Reason(NamedTuple):
    """A feature's `effect` on the score (log-odds, positive raises it) and a sentence that says what it saw."""

    feature: str
    text: str
    effect: float


def strongest(
    names: Sequence[str],
    effects: Sequence[float] | npt.NDArray[np.float64],
    values: Mapping[str, float],
    n: int = 3,
) -> tuple[Reason, ...]:
    """The `n` strongest reasons, strongest first; one sentence is said once, with the sum of its effects.

    Features that the row lacks (NaN) give no sentence. Only as many are put into words as are returned.
    """
    groups: dict[str, list[tuple[float, str]]] = {}
    told = effects.tolist() if isinstance(effects, np.ndarray) else [float(effect) for effect in effects]
    for name, effect in zip(names, told, strict=False):
        if abs(effect) > NEGLIGIBLE and is_known(values.get(name, 0.0)):
            groups.setdefault(SENTENCES.get(name, name), []).append((effect, name))
    ordered = [(sum(effect for effect, _ in members), max(members, key=_size)[1]) for members in groups.values()]
    ordered.sort(key=lambda found: (-abs(found[0]), found[1]))
    said: dict[str, Reason] = {}
    for effect, name in ordered:
        if len(said) == n or abs(effect) <= NEGLIGIBLE:
            break
        text = sentence(name, values)
        if text is not None and text not in said:
            said[text] = Reason(name, text, round(effect, 4))
    return tuple(said.values())


def _size(member: tuple[float, str]) -> float:
    return abs(member[0])


def is_known(value: float | None) -> bool:
    """Whether a value is a finite number."""
    return value is not None and math.isfinite(value)


def sentence(name: str, values: Mapping[str, float]) -> str | None:
    """The catalogue's sentence for feature `name`, filled with `values`; None when the row lacks what it needs, or the
    feature has no sentence.
    """
    template = SENTENCES.get(name)
    if not template or not is_known(values.get(name)):
        return None
    said = fill(template, values)
    # Another feature in the sentence may be missing, e.g. the usual gap of a first-time buyer.
    return said if said is not None else fill(template.split(",")[0], values)


def fill(template: str, values: Mapping[str, Any]) -> str | None:
    """A format string with the values it names; None where one of them is missing, NaN or infinite."""
    used = {}
    for name in named(template):
        value = values.get(name)
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return None
        used[name] = spoken(name, value)
    return one_of_many(template.format_map(used))


def one_of_many(text: str) -> str:
    """Nouns behind a 1 in the singular: "1 days ago" as "1 day ago"."""
    return _ONE.sub(lambda found: found[1] + _SINGULAR[found[2]], text) if "1 " in text else text


@lru_cache(maxsize=1024)
def named(template: str) -> tuple[str, ...]:
    """The values that a format string names."""
    return tuple(dict.fromkeys(name for _, name, _, _ in Formatter().parse(template) if name))
