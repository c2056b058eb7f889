"""CEL expressions over what is known of a customer: compiled once, refused with the place of the fault.

The only importer of the CEL engine. An expression sees `customer.traits`, `customer.features`,
`customer.segments`, `customer.scores`, `context` (of the request) and `now`. Features are numbers with a
decimal point; CEL does not mix those with whole numbers in arithmetic (`customer.features.x / 2.0`), but does
in comparisons (`customer.features.x >= 2`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, NamedTuple

import cel

from service.offers.inputs import TEXT, Input, inputs_of

VARIABLES = frozenset({"customer", "context", "now"})
READABLE = frozenset({"traits", "features", "segments", "scores", "context", "now"})
MAX_LENGTH = 4_000
_FUNCTIONS = frozenset(
    [
        "size",
        "contains",
        "startsWith",
        "endsWith",
        "matches",
        "string",
        "int",
        "uint",
        "double",
        "bytes",
        "timestamp",
        "duration",
        "type",
        "dyn",
        "getFullYear",
        "getMonth",
        "getDayOfMonth",
        "getDate",
        "getDayOfWeek",
        "getDayOfYear",
        "getHours",
        "getMinutes",
        "getSeconds",
        "getMilliseconds",
    ]
)
_NAME = re.compile(r"[A-Za-z_]\w*\Z")
_MACRO = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")
_PLACE = re.compile(r"ERROR: <input>:(\d+):(-?\d+): (.*)")
_FEATURE = re.compile(r"\bcustomer\s*\.\s*features\s*\.\s*([A-Za-z_]\w*)")
PARTS = ("features", "scores", "segments", "traits")
"""What an expression may read of a customer."""
_PART = re.compile(r"(?<![\w.])customer\s*\.\s*([A-Za-z_]\w*)")
_PART_OF_NUMBER = re.compile(r"\b(customer\s*\.\s*(?:scores|features)\s*\.\s*[A-Za-z_]\w*)\s*\.\s*([A-Za-z_]\w*)")
_FEATURES = re.compile(r"\bfeatures\b")


class ExpressionError(ValueError):
    """An expression that cannot be used: what is wrong, and where (line and column count from 1)."""

    def __init__(self, problem: str, line: int = 1, column: int = 1) -> None:
        super().__init__(f"{problem} (line {line}, column {column})")
        self.problem, self.line, self.column = problem, line, column


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression. `features` are the feature names it reads; None when it may read any.

    `reads`: which of `READABLE` it may read at all. Handing the engine what nobody asks for is what costs.
    `inputs`: all that its answer hangs on; None where that is unsure.
    """

    source: str
    program: Any
    features: frozenset[str] | None
    uses_scores: bool
    reads: frozenset[str]
    inputs: tuple[Input, ...] | None = None


class Answer(NamedTuple):
    """True, false, or why neither: `missing` names what is not known of this customer."""

    holds: bool
    missing: str | None = None
    problem: str | None = None


def compile_expression(source: str, variables: frozenset[str] = VARIABLES) -> Expression:
    """Compiles and checks an expression; `ExpressionError` tells what is wrong and where.

    Checked without a customer: grammar, unknown names and functions, operators between types that never fit, and
    that the result is true or false.
    """
    if not source.strip():
        raise ExpressionError("the expression is empty; leave the field out for 'everyone'")
    if len(source) > MAX_LENGTH:
        raise ExpressionError(f"the expression is longer than {MAX_LENGTH:,} characters", 1, MAX_LENGTH + 1)
    try:
        program = cel.compile(source)
    except Exception as fault:  # the engine has no error type of its own for a failed parse
        raise _grammar_error(str(fault)) from None
    bare = TEXT.sub(lambda match: " " * len(match.group()), source)
    _refuse_unknown_names(program, source, bare, variables)
    inputs = inputs_of(source)
    expression = Expression(source, program, _features_read(bare), "scores" in bare, _reads(bare), inputs)
    _refuse_what_never_works(expression)
    return expression


def refuse_what_there_is_not(source: str) -> None:
    """Refuses `customer.trait.x`, which is known of nobody, and `customer.scores.churn.probability`, the way the API
    tells a score: in an expression it is a number.

    Apart from `compile_expression`, which what was stored before must pass.
    """
    bare = TEXT.sub(lambda match: " " * len(match.group()), source)
    for part in _PART.finditer(bare):
        if part[1] not in PARTS:
            near = get_close_matches(part[1], PARTS, 1, 0.8)
            instead = f"do you mean customer.{near[0]}?" if near else f"it has {', '.join(PARTS)}"
            raise ExpressionError(f"a customer has no '{part[1]}'; {instead}", *_place(bare, part.start(1)))
    found = _PART_OF_NUMBER.search(bare)
    if found is not None:
        number = re.sub(r"\s", "", found[1])
        told = f"{number} is a number and has no '{found[2]}'; write {number} > 0.5"
        raise ExpressionError(told, *_place(bare, found.start(2)))


def _place(text: str, at: int) -> tuple[int, int]:
    """Line and column, from 1."""
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def prepare(
    traits: Mapping[str, Any],
    features: Mapping[str, float],
    segments: Any,
    scores: Mapping[str, float],
    context: Mapping[str, Any],
    now: datetime,
    reads: Collection[str] = READABLE,
) -> Any:
    """The prepared variables of one request, shared by all its expressions, which together read `reads`.

    Missing features are left out.
    """
    customer: dict[str, Any] = {}
    if "traits" in reads:
        customer["traits"] = dict(traits)
    if "features" in reads:
        customer["features"] = {name: value for name, value in features.items() if value == value}
    if "segments" in reads:
        customer["segments"] = list(segments)
    if "scores" in reads:
        customer["scores"] = dict(scores)
    variables: dict[str, Any] = {"customer": customer}
    if "context" in reads:
        variables["context"] = dict(context)
    if "now" in reads:
        variables["now"] = now
    return cel.Context(variables=variables)


def ask(expression: Expression, prepared: Any) -> Answer:
    """What an expression says of prepared variables. Never raises: what cannot be told is named."""
    try:
        result = expression.program.execute(prepared)
    except KeyError as missing:
        return Answer(False, missing=str(missing.args[0]) if missing.args else "a field")
    except Exception as fault:  # any failure of an expression is a verdict on the offer, not on the request
        return Answer(False, problem=str(fault).split(". ")[0])
    if isinstance(result, bool):
        return Answer(result)
    return Answer(False, problem=f"the result is {type(result).__name__}, not true or false")


def _grammar_error(message: str) -> ExpressionError:
    found = _PLACE.search(message)
    if found is None:
        return ExpressionError(message.split("\n")[0][:300])
    line, column, problem = int(found[1]), max(1, int(found[2])), found[3]
    if "Recursion limit" in problem:
        problem = "too deeply nested"
    return ExpressionError(problem.split(" expecting ")[0].strip()[:300], line, column)


def _refuse_unknown_names(program: Any, source: str, bare: str, variables: frozenset[str]) -> None:
    bound = set(_MACRO.findall(bare))
    for name in program.variables():
        if name not in variables and name not in bound:
            names = ", ".join(sorted(variables))
            raise _at(bare, name, f"unknown name '{name}'; an expression may use {names}")
    for name in program.functions():
        if _NAME.match(name) and name not in _FUNCTIONS:
            raise _at(bare, name, f"unknown function '{name}'")


def _at(text: str, name: str, problem: str) -> ExpressionError:
    found = re.search(rf"(?<![\w.]){re.escape(name)}\b", text) or re.search(rf"\b{re.escape(name)}\b", text)
    return ExpressionError(problem, *_place(text, found.start() if found else 0))


def _features_read(bare: str) -> frozenset[str] | None:
    """Names after `customer.features.`; None when features are reached in another way, such as by index."""
    names = _FEATURE.findall(bare)
    mentions = len(_FEATURES.findall(bare))
    whole_customer = len(re.findall(r"\bcustomer\b(?!\s*\.)", bare))
    return frozenset(names) if mentions == len(names) and not whole_customer else None


def _reads(bare: str) -> frozenset[str]:
    """What an expression names; all of it when the customer is reached in another way than by a name behind a dot."""
    if re.search(r"\bcustomer\b(?!\s*\.\s*[A-Za-z_])", bare):
        return READABLE
    return frozenset(name for name in READABLE if re.search(rf"\b{name}\b", bare))


def _refuse_what_never_works(expression: Expression) -> None:
    """Tries the expression on a made-up customer: types that never fit would else be found by no customer at all."""
    features = dict.fromkeys(expression.features or (), 1.5)
    sample = prepare({}, features, [], {}, {}, datetime(2026, 1, 1, tzinfo=UTC))
    try:
        result = expression.program.execute(sample)
    except TypeError as fault:
        raise _type_error(expression.source, str(fault)) from None
    except Exception:  # a trait or score that the made-up customer lacks: real ones may have it
        return
    if not isinstance(result, bool):
        raise ExpressionError(f"the result is {type(result).__name__}; it must be true or false")


def _type_error(source: str, message: str) -> ExpressionError:
    operator = re.search(r"operation: \w+ (\S+) \w+", message)
    where = source.find(operator[1]) + 1 if operator and operator[1] in source else 1
    before = source[: max(0, where - 1)]
    return ExpressionError(message.replace("\n", " ")[:300], before.count("\n") + 1, where - before.rfind("\n") - 1)
