"""What an expression reads, so that its answers can be remembered: customers alike in that get the same answer. Pure.

Most expressions hold numbers against limits (`customer.features.orders_90d >= 2`) and texts against texts. Then only
the side of each limit counts on which a number lies, and which of the texts it is: some hundred distinct customers make
a handful of kinds, and a kind tells nothing of anyone but that. Told from the text of the expression alone: what is
not surely of this form is not told at all, and is asked of the engine each time.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

TEXT = re.compile(r"'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"", re.DOTALL)
"""A text in an expression, with its quotes."""
_ROOT = re.compile(r"\b(?:customer|context|now)\b")
_PATH = re.compile(
    r"(?:customer\s*\.\s*(?:(?P<of>features|scores|traits)\s*\.\s*(?P<name>[A-Za-z_]\w*)\b|segments\b)"
    r"|context\s*\.\s*(?P<asked>[A-Za-z_]\w*)\b)"
)
_UNSURE = re.compile(r"[\\`]|//|'''|\"\"\"")
"""What makes it unsure where texts begin and end: escapes, comments, texts over many lines."""
_BEFORE, _BEHIND = re.compile(r"(?:^|[(,&|?:])\s*\Z"), re.compile(r"\s*(?:\Z|[),&|?:])")
_NUMBER = r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_NUMBER_BEHIND = re.compile(rf"\s*(?:<=|>=|<|>|==|!=)\s*({_NUMBER})(?![\w.])")
_NUMBER_BEFORE = re.compile(rf"(?<![\w.])({_NUMBER})\s*(?:<=|>=|<|>|==|!=)\s*\Z")
_IS_BEHIND, _IS_BEFORE = re.compile(r"\s*(?:==|!=)\s*"), re.compile(r"(?:==|!=)\s*\Z")
_IN_BEHIND, _IN_BEFORE = re.compile(r"\s+in\s*\[([\s,]*)\]"), re.compile(r"\bin\s*\Z")
_HAS_BEFORE, _HAS_BEHIND = re.compile(r"\bhas\s*\(\s*\Z"), re.compile(r"\s*\)")
_LARGEST = 2.0**53
UNTOLD: Any = object()
"""Stands for a value whose answers are not remembered."""
_ABSENT, _NAN = -1, -2
Limit = float | str


class Input(NamedTuple):
    """One thing that an expression reads: the `name` in `of` (features, scores, traits, context), or the segments.

    `limits`: the numbers and texts that it is held against (segments: looked for in them), and nothing else is done
    with it; None: it counts as it is.
    """

    of: str
    name: str = ""
    limits: tuple[Limit, ...] | None = None


def merged(limits: Sequence[Sequence[Limit] | None]) -> tuple[Limit, ...] | None:
    """Several's limits as one's, numbers first, in their order."""
    if any(some is None for some in limits):
        return None
    distinct = {one for some in limits for one in some or ()}
    return (*sorted(numbers_in(distinct)), *sorted(texts_in(distinct)))


def numbers_in(limits: Collection[Limit] | None) -> tuple[float, ...]:
    return tuple(one for one in limits or () if not isinstance(one, str))


def texts_in(limits: Collection[Limit] | None) -> frozenset[str]:
    return frozenset(one for one in limits or () if isinstance(one, str))


def inputs_of(source: str) -> tuple[Input, ...] | None:
    """All that an expression reads; None where that is unsure, or where it reads the time.

    Example: `has(customer.scores.churn) && customer.scores.churn > 0.9` gives `(Input("scores", "churn", (0.9,)),)`.
    """
    if _UNSURE.search(source):
        return None
    said = _Said(source)
    found: dict[tuple[str, str], list[Sequence[Limit] | None]] = {}
    for root in _ROOT.finditer(said.bare):
        path = _PATH.match(said.bare, root.start())
        if path is None or said.bare[: root.start()].rstrip()[-1:] == ".":
            return None
        if said.bare[path.end() :].lstrip()[:1] == "(":  # a macro over all of them
            return None
        of = path["of"] or ("context" if path["asked"] else "segments")
        limits = said.sought(*path.span()) if of == "segments" else said.limits(*path.span())
        found.setdefault((of, path["name"] or path["asked"] or ""), []).append(limits)
    inputs = tuple(Input(of, name, merged(limits)) for (of, name), limits in found.items())
    numbers = [one for one in inputs if one.of in {"features", "scores"}]
    return None if any(one.limits is None for one in numbers) else inputs


class _Said:
    """An expression's text; `bare` has blanks in place of its texts, which `from_start` and `to_end` have by place."""

    def __init__(self, source: str) -> None:
        texts = list(TEXT.finditer(source))
        self.source = source
        self.bare = TEXT.sub(lambda match: " " * len(match.group()), source)
        self.from_start = {match.start(): match for match in texts}
        self.to_end = {match.end(): match for match in texts}

    def limits(self, start: int, end: int) -> list[Limit] | None:
        """What the path from `start` to `end` is held against there; None where something else is done."""
        before, behind = self.bare[:start], self.bare[end:]
        if _HAS_BEFORE.search(before) and _HAS_BEHIND.match(behind):
            return []
        if _BEFORE.search(before):
            number = _NUMBER_BEHIND.match(behind)
            if number is not None and _BEHIND.match(behind, number.end()):
                return _number(number[1])
            return self._texts_behind(end)
        number = _NUMBER_BEFORE.search(before)
        if number is not None and _BEFORE.search(before[: number.start()]) and _BEHIND.match(behind):
            return _number(number[1])
        return self._text_before(start, end, _IS_BEFORE)

    def sought(self, start: int, end: int) -> list[Limit] | None:
        """The text that is looked for in the segments there; None where something else is done."""
        return self._text_before(start, end, _IN_BEFORE)

    def _texts_behind(self, end: int) -> list[Limit] | None:
        among = _IN_BEHIND.match(self.bare, end)
        if among is not None and _BEHIND.match(self.bare, among.end()):
            return [match.group()[1:-1] for match in self.from_start.values() if end <= match.start() < among.end()]
        held = _IS_BEHIND.match(self.source, end)
        text = self.from_start.get(held.end()) if held is not None else None
        return [text.group()[1:-1]] if text is not None and _BEHIND.match(self.bare, text.end()) else None

    def _text_before(self, start: int, end: int, operator: re.Pattern[str]) -> list[Limit] | None:
        held = operator.search(self.bare[:start])
        text = self.to_end.get(len(self.source[: held.start()].rstrip())) if held is not None else None
        if text is None or not _BEFORE.search(self.bare[: text.start()]) or not _BEHIND.match(self.bare, end):
            return None
        return [text.group()[1:-1]]


def _number(text: str) -> list[Limit] | None:
    number = float(text)
    return [number] if abs(number) < _LARGEST else None


def kind_of_number(value: float | None, limits: Sequence[float]) -> int:
    """Which side of each limit a number lies on; absent and NaN are kinds of their own."""
    if value is None:
        return _ABSENT
    if value != value:
        return _NAN
    return bisect_left(limits, value) + bisect_right(limits, value)


class Limits(NamedTuple):
    """An input's limits, ready to be held against; `plain`: nothing else is done with it."""

    name: str
    plain: bool
    numbers: tuple[float, ...]
    texts: frozenset[str]

    @classmethod
    def of(cls, one: Input) -> Limits:
        return cls(one.name, one.limits is not None, numbers_in(one.limits), texts_in(one.limits))

    def kind_in(self, values: Mapping[str, Any]) -> Any:
        """What is alike for the expression of a trait or of the context: its type, and what it is by the limits."""
        value = values.get(self.name, UNTOLD)
        if value is UNTOLD:
            return _ABSENT
        kind = type(value)
        if kind is bool:
            return kind, value
        if value is None:
            return (kind,)
        if self.plain and kind is str:
            return kind, value if value in self.texts else None
        if self.plain and (kind is float or (kind is int and abs(value) < _LARGEST)):
            return kind, kind_of_number(value, self.numbers)
        return UNTOLD
