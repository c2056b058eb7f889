"""What an expression reads, so that its answers can be remembered: customers alike in that get the same answer. Pure.

Most expressions hold numbers against limits (`customer.features.orders_90d >= 2`). Then only the side of each limit
counts on which a number lies, so that some hundred distinct numbers make a handful of kinds of customers. Told from
the text alone: what is not surely of this form is not told at all, and is asked of the engine each time.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_ROOT = re.compile(r"\b(?:customer|context|now)\b")
_PATH = re.compile(
    r"(?:customer\s*\.\s*(?:(?P<of>features|scores|traits)\s*\.\s*(?P<name>[A-Za-z_]\w*)\b|segments\b)"
    r"|context\s*\.\s*(?P<asked>[A-Za-z_]\w*)\b)"
)
_UNSURE = re.compile(r"[\\`]|//|'''|\"\"\"")
"""What makes it unsure where texts begin and end: escapes, comments, texts over many lines."""
_BEFORE, _BEHIND = re.compile(r"(?:^|[(,&|?:])\s*\Z"), re.compile(r"\s*(?:\Z|[),&|?:])")
_NUMBER = r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_LIMIT_BEHIND = re.compile(rf"\s*(?:<=|>=|<|>|==|!=)\s*({_NUMBER})(?![\w.])")
_LIMIT_BEFORE = re.compile(rf"(?<![\w.])({_NUMBER})\s*(?:<=|>=|<|>|==|!=)\s*\Z")
_HAS_BEFORE, _HAS_BEHIND = re.compile(r"\bhas\s*\(\s*\Z"), re.compile(r"\s*\)")
_LARGEST = 2.0**53
_LONGEST = 100
"""Texts longer than this are not kept."""
UNTOLD: Any = object()
"""Stands for a value whose answers are not remembered."""
_ABSENT, _NAN = -1, -2


class Input(NamedTuple):
    """One thing that an expression reads: the `name` in `of` (features, scores, traits, context), or the segments.

    `limits`: the numbers that it is held against, and nothing else is done with it; None: it counts as it is.
    """

    of: str
    name: str = ""
    limits: tuple[float, ...] | None = None


def inputs_of(source: str, bare: str) -> tuple[Input, ...] | None:
    """All that an expression reads; None where that is unsure, or where it reads the time. `bare`: without its texts.

    Example: `has(customer.scores.churn) && customer.scores.churn > 0.9` gives `(Input("scores", "churn", (0.9,)),)`.
    """
    if _UNSURE.search(source):
        return None
    found: dict[tuple[str, str], list[float] | None] = {}
    for root in _ROOT.finditer(bare):
        path = _PATH.match(bare, root.start())
        if path is None or bare[: root.start()].rstrip()[-1:] == ".":
            return None
        of = path["of"] or ("context" if path["asked"] else "segments")
        behind = bare[path.end() :].lstrip()[:1]
        if behind == "(":  # a macro over all of them
            return None
        place = of, path["name"] or path["asked"] or ""
        limits, before = _limits(bare, *path.span()), found.get(place, [])
        found[place] = None if limits is None or before is None else [*before, *limits]
    told = (Input(of, name, None if some is None else tuple(sorted(set(some)))) for (of, name), some in found.items())
    inputs = tuple(told)
    numbers = [one for one in inputs if one.of in {"features", "scores"}]
    return None if any(one.limits is None for one in numbers) else inputs


def _limits(bare: str, start: int, end: int) -> list[float] | None:
    """The numbers that the path from `start` to `end` is held against there; None where something else is done."""
    before, behind = bare[:start], bare[end:]
    if _HAS_BEFORE.search(before) and _HAS_BEHIND.match(behind):
        return []
    after = _LIMIT_BEHIND.match(behind)
    if after is not None and _BEFORE.search(before) and _BEHIND.match(behind, after.end()):
        return _number(after[1])
    ahead = _LIMIT_BEFORE.search(before)
    if ahead is not None and _BEFORE.search(before[: ahead.start()]) and _BEHIND.match(behind):
        return _number(ahead[1])
    return None


def _number(text: str) -> list[float] | None:
    number = float(text)
    return [number] if abs(number) < _LARGEST else None


def kind_of_number(value: float | None, limits: Sequence[float]) -> int:
    """Which side of each limit a number lies on; absent and NaN are kinds of their own."""
    if value is None:
        return _ABSENT
    if value != value:
        return _NAN
    return bisect_left(limits, value) + bisect_right(limits, value)


def kind_of_any(values: Mapping[str, Any], one: Input) -> Any:
    """What is alike for the expression of a trait or of the context: a value as it is, with its type."""
    value = values.get(one.name, UNTOLD)
    if value is UNTOLD:
        return _ABSENT
    kind = type(value)
    if kind is bool or kind is int or (kind is str and len(value) <= _LONGEST):
        return kind, value
    if value is None:
        return (kind,)
    if kind is float and one.limits is not None:
        return kind, kind_of_number(value, one.limits)
    return UNTOLD
