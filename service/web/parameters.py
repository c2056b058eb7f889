"""Parameters of addresses: one that a route does not take is refused, as an unknown field of a body is."""

from __future__ import annotations

from difflib import get_close_matches

from fastapi import Request

from service.errors import FieldError, Invalid
from service.web.problems import summary

_MOST_NAMED = 10


def refuse_unknown_parameters(request: Request) -> None:
    """`Invalid` that names each parameter that the request's route does not read: passed over, `?limt=5` would get
    an answer to another question.
    """
    if not request.scope["query_string"]:
        return
    known = [field.alias for field in request.scope["route"].dependant.query_params]
    unknown = [name for name in request.query_params if name not in known][:_MOST_NAMED]
    if unknown:
        errors = [FieldError(name, f"unknown parameter; {_instead(name, known)}") for name in unknown]
        raise Invalid(summary(errors), errors)


def _instead(name: str, known: list[str]) -> str:
    near = get_close_matches(name[:100], known, 1)
    if near:
        return f"do you mean {near[0]}?"
    return f"this address takes {', '.join(known)}" if known else "this address takes none"
