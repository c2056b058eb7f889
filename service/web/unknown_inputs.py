"""What a route does not read is refused: parameters of its address, and fields of a body where it takes none.

Passed over, `?limt=5` and a comment sent along with an approval would get an answer to something else. Unknown fields
of bodies that are read are found where they are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

import orjson
from fastapi import Request
from fastapi.routing import APIRoute

from service.errors import FieldError, Invalid, summary

_MOST_NAMED = 10
_NOTHING = (b"", b"{}", b"null")


async def refuse_unknown_inputs(request: Request) -> None:
    """`Invalid` that names each of them."""
    route: APIRoute = request.scope["route"]
    errors = list(_unknown_parameters(request, route)) if request.scope["query_string"] else []
    if not errors and request.method == "POST" and not _takes_a_body(route):
        errors = list(_unknown_fields((await request.body()).strip()))
    if errors:
        raise Invalid(summary(errors), errors[:_MOST_NAMED])


def _unknown_parameters(request: Request, route: APIRoute) -> Iterator[FieldError]:
    known = [field.alias for field in route.dependant.query_params]
    for name in request.query_params:
        if name not in known:
            yield FieldError(name, f"unknown parameter; {_instead(name, known)}")


def _instead(name: str, known: list[str]) -> str:
    near = get_close_matches(name[:100], known, 1)
    if near:
        return f"do you mean {near[0]}?"
    return f"this address takes {', '.join(known)}" if known else "this address takes none"


def _takes_a_body(route: APIRoute) -> bool:
    """Read by the framework, or by the route itself, which then says so in the document."""
    return route.body_field is not None or "requestBody" in (route.openapi_extra or {})


def _unknown_fields(body: bytes) -> Iterator[FieldError]:
    try:
        sent = {} if body in _NOTHING else orjson.loads(body)
    except orjson.JSONDecodeError:
        sent = None
    if not isinstance(sent, dict):
        yield FieldError("body", "is not read at this address; leave it out")
        return
    for name in sent:
        yield FieldError(name, "unknown field; this address takes no body")
