"""The CEL conditions of journeys: checked when a journey is written, asked when it runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from service.events.match import VARIABLES
from service.offers.cel import Answer, Expression, ExpressionError, ask, compile_expression
from service.offers.inputs import TEXT

__all__ = ["BRANCH", "EVENT", "ExpressionError", "check", "holds", "steps_named"]

BRANCH = frozenset({"customer", "decision", "steps", "journey", "now"})
EVENT = VARIABLES
_STEP = re.compile(r"(?<![\w.])steps\s*\.\s*([A-Za-z_]\w*)\b(?!\s*\()")  # what is called is no step


@lru_cache(maxsize=4096)
def compiled(source: str, variables: frozenset[str]) -> Expression:
    """The expression, compiled once; `ExpressionError` names the place of the fault."""
    return compile_expression(source, variables)


def check(source: str, variables: frozenset[str]) -> str | None:
    """What is wrong with an expression, or None."""
    try:
        compiled(source, variables)
    except ExpressionError as fault:
        return str(fault)
    return None


def steps_named(source: str) -> list[str]:
    """The steps whose outcome an expression asks for by `steps.NAME`."""
    return _STEP.findall(TEXT.sub("''", source))


def holds(source: str, variables: frozenset[str], values: Mapping[str, Any]) -> Answer:
    """Whether an expression holds; what cannot be told does not hold, with its reason."""
    return ask(compiled(source, variables), dict(values))
