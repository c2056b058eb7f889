"""What eligibility expressions say of customers: asked of the engine, or known from a customer alike in all they read.

The engine takes 8 µs an expression and more to be handed a customer. Customers who lie on the same side of every limit
are of one kind (`service.offers.inputs`), and the answers of a kind are asked for once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from features.customer_row import feature_matrix, some_values
from features.rows import CustomerRow
from service.decisions.case import Customer
from service.decisions.remembered import Remembered
from service.offers.catalogue import compiled, distinct_expressions
from service.offers.cel import Answer, Expression, ask, prepare
from service.offers.inputs import UNTOLD, Input, Limit, Limits, kind_of_number, merged, texts_in
from service.offers.offer import Offer

Answers = Mapping[str, Answer]
_UNTOLD = Answer(False, problem="the customer's data cannot be read now")
_KINDS = 512
"""Kinds of customers whose answers are remembered, for each expression and for each set of them."""
_MOST_INPUTS = 32
"""Sets of expressions that read more have too many kinds: each expression remembers for itself."""
T = TypeVar("T")
expressions_of = Remembered(distinct_expressions)
"""The eligibility expressions of these offers, each once."""


class Asked(NamedTuple):
    """Of whom, and when. `customer` has what may be used of them."""

    customer: Customer
    row: CustomerRow | None
    scores: Mapping[str, float]
    context: Mapping[str, Any]
    at: datetime


def ask_rules(
    expressions: Mapping[str, Expression],
    customer: Customer,
    row: CustomerRow | None,
    scores: Mapping[str, float],
    context: Mapping[str, Any],
    at: datetime,
    checked: bool = True,
) -> dict[str, Answer]:
    """What each expression says of this customer; not `checked`: those that ask for the customer cannot be told."""
    if not expressions:
        return {}
    prepared = _prepared(expressions, Asked(customer, row, scores, context, at))
    return {
        source: ask(expression, prepared) if checked or "customer" not in expression.program.variables() else _UNTOLD
        for source, expression in expressions.items()
    }


def _prepared(expressions: Mapping[str, Expression], of: Asked) -> Any:
    reads = frozenset[str]().union(*(expression.reads for expression in expressions.values()))
    features = _read_by(expressions, of.row) if "features" in reads else {}
    return prepare(of.customer.traits, features, of.customer.segments, of.scores, of.context, of.at, reads)


def _read_by(expressions: Mapping[str, Expression], row: CustomerRow | None) -> Mapping[str, float]:
    """Only the features that some expression reads: building the variables is what costs."""
    if row is None:
        return {}
    if any(expression.features is None for expression in expressions.values()):
        return row.values
    return some_values(row, frozenset(name for one in expressions.values() for name in one.features or ()))


class Questions:
    """A set of expressions, asked of many customers at once. `uses_scores`: whether one of them reads a score."""

    def __init__(self, sources: tuple[str, ...]) -> None:
        self._expressions = {source: compiled(source) for source in sources}
        self.uses_scores = any(expression.uses_scores for expression in self._expressions.values())
        told = {source: one.inputs for source, one in self._expressions.items() if one.inputs is not None}
        inputs = _merged(one for some in told.values() for one in some)
        by_kind = {of: [one for one in inputs if one.of == of] for of in ("features", "scores", "traits", "context")}
        self._features, self._scores, self._traits, self._context = (
            [Limits.of(one) for one in some] for some in by_kind.values()
        )
        sought = next((one.limits for one in inputs if one.of == "segments"), ())
        self._sought = None if sought is None else sorted(texts_in(sought))
        ordered = [*(one for some in by_kind.values() for one in some), Input("segments")]
        place = {(one.of, one.name): number for number, one in enumerate(ordered)}
        self._places = {source: [place[one.of, one.name] for one in some] for source, some in told.items()}
        self._each: dict[str, dict[tuple[Any, ...], Answer]] = {source: {} for source in told}
        self._whole = len(told) == len(sources) and len(inputs) <= _MOST_INPUTS
        self._all: dict[tuple[Any, ...], Answers] = {}
        self._distinct: dict[tuple[Answer, ...], Answers] = {}

    def ask(self, asked: Sequence[Asked]) -> list[Answers]:
        """The same as `ask_rules` of each; answers of one kind of customers may be one object, never to be changed."""
        if not self._expressions:
            return [{} for _ in asked]
        names = [one.name for one in self._features]
        numbers = feature_matrix([of.row for of in asked], names).tolist() if names else [()] * len(asked)
        return [self._ask(of, self._kind(of, features)) for of, features in zip(asked, numbers, strict=True)]

    def _kind(self, of: Asked, features: Sequence[float]) -> tuple[Any, ...]:
        """What is alike in customers who get the same answers; `UNTOLD` stands in it for what is not remembered."""
        kind: list[Any] = [
            kind_of_number(value, one.numbers) for one, value in zip(self._features, features, strict=True)
        ]
        kind += [kind_of_number(of.scores.get(one.name), one.numbers) for one in self._scores]
        kind += [one.kind_in(of.customer.traits) for one in self._traits]
        kind += [one.kind_in(of.context) for one in self._context]
        segments = of.customer.segments
        kind.append(segments if self._sought is None else tuple([name in segments for name in self._sought]))
        return tuple(kind)

    def _ask(self, of: Asked, kind: tuple[Any, ...]) -> Answers:
        whole = self._whole and UNTOLD not in kind
        found = self._all.get(kind) if whole else None
        if found is None:
            found = self._ask_each(of, kind)
            if whole:
                found = self._one_of(found)
                _remember(self._all, kind, found)
        return found

    def _one_of(self, answers: Answers) -> Answers:
        """The same answers as one object, by which what follows from them is found again."""
        told = tuple(answers.values())
        found = self._distinct.get(told)
        if found is None:
            _remember(self._distinct, told, answers)
        return found or answers

    def _ask_each(self, of: Asked, kind: tuple[Any, ...]) -> Answers:
        answers: dict[str, Answer] = {}
        prepared: Any = None
        for source, expression in self._expressions.items():
            own = tuple([kind[place] for place in self._places[source]]) if source in self._places else (UNTOLD,)
            told = self._each[source].get(own) if UNTOLD not in own else None
            if told is None:
                prepared = _prepared(self._expressions, of) if prepared is None else prepared
                told = ask(expression, prepared)
                if UNTOLD not in own:
                    _remember(self._each[source], own, told)
            answers[source] = told
        return answers


def _merged(inputs: Iterable[Input]) -> list[Input]:
    """Each input once, with the limits of all that read it."""
    found: dict[tuple[str, str], list[Sequence[Limit] | None]] = {}
    for of, name, limits in inputs:
        found.setdefault((of, name), []).append(limits)
    return [Input(of, name, merged(limits)) for (of, name), limits in found.items()]


def _remember(known: dict[tuple[Any, ...], T], kind: tuple[Any, ...], told: T) -> None:
    if len(known) >= _KINDS:
        known.clear()
    known[kind] = told


def _sources(offers: Sequence[Offer]) -> tuple[str, ...]:
    return tuple(sorted({offer.eligibility for offer in offers if offer.eligibility is not None}))


_questions = lru_cache(maxsize=256)(Questions)
questions_of = Remembered[tuple[Offer, ...], Questions](lambda offers: _questions(_sources(offers)))
"""What is asked of customers for these offers."""
