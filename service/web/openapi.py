"""Completes the OpenAPI document once for all routes: keys, problems, `Idempotency-Key`. Slices say what is theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from service.web.problems import MEDIA_TYPE
from service.web.shapes import PART, name_parts

Operation = dict[str, Any]
Scopes = Mapping[tuple[str, str], tuple[str, ...]]
"""By path and method."""
_METHODS = ("get", "put", "post", "delete", "patch")
_GUARDED = ("/v1/", "/ofrep/")
_ANY_ID = "/v1/customers/"
"""Here an id may hold slashes; elsewhere one that does leads nowhere."""
_REF = {"$ref": PART + "Problem"}
PROBLEM: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457 problem details. `type` is stable; `errors` names fields.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "detail"],
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
_MEANINGS = {
    400: "The request cannot be read.",
    401: "No key, or one that is not known or was revoked.",
    403: "The key has not the scope.",
    404: "There is none such.",
    409: "In conflict with the current state.",
    410: "The answer under this Idempotency-Key was erased with a customer whom it named.",
    412: "Somebody else changed it first.",
    413: "The body is too large.",
    415: "The body is compressed, which only events may be.",
    422: "A field or a parameter is not valid, or not known; `errors` names it.",
    428: "The version that is meant must be named by If-Match.",
    503: "A part is away; try again.",
}
_OF_POST = {
    409: " Or the first request with this Idempotency-Key is still running.",
    422: " Or this Idempotency-Key was used with another body.",
}
IDEMPOTENCY_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key and body: the first answer again, for a day.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}


_PARAMETERS = {
    "after": "Go on behind this id: the answer before tells it",
    "limit": "At most so many",
    "state": "Only those in this state",
    "status": "Only those with this status",
    "channel": "By which channel",
    "locale": "In which language: a BCP 47 tag",
    "offer_id": "Of which offer",
    "version": "Of which version; by default the newest",
    "variant_id": "The variant's id",
    "decision_id": "The decision's id",
    "token": "What stands in the link of a message",
    "key": "Its key",
    "days": "How many days to look back",
    "n": "How many hours",
    "if-none-match": "The ETag of the answer before; 304 where nothing has changed",
}
"""What a parameter means wherever its slice does not say it."""
_TAGS = {
    "events": "What people did, as Segment's HTTP API takes it",
    "customers": "What is known of a person; consents, export, erasure",
    "links": "Where a message's link to unsubscribe leads",
    "offers": "The catalogue",
    "decisions": "What to send to whom, why, and what it brings",
    "content": "Copy: made, checked, approved",
    "journeys": "Journeys, who is in them, and their tasks for people",
    "experiments": "A/B tests and their results",
    "flags": "Experiments for OpenFeature's SDKs (OFREP)",
    "running": "Health and metrics",
}


def install_openapi(app: FastAPI) -> None:
    """Makes `app.openapi()` give the completed document."""
    plain: Callable[[], dict[str, Any]] = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = completed(plain(), _scopes(app))
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _scopes(app: FastAPI) -> Scopes:
    """Which scopes open an operation, where a key does."""
    return {
        (str(route.path_format), method.lower()): vars(guard.dependency)["scopes"]
        for route in iter_route_contexts(app.routes)
        for guard in getattr(route, "dependencies", ())
        if "scopes" in vars(guard.dependency)
        for method in route.methods or ()
    }


def completed(document: dict[str, Any], scopes: Scopes) -> dict[str, Any]:
    """The document with what holds of every operation."""
    parts = document.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas["Problem"] = PROBLEM
    parts["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "made by `opportune keys create`"},
        "keyAsUser": {"type": "http", "scheme": "basic", "description": "the key as user name, as Segment's libraries"},
    }
    document["tags"] = [{"name": name, "description": meaning} for name, meaning in _TAGS.items()]
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                _complete(path, method, operations[method])
                if named := scopes.get((path, method)):
                    _tell_scopes(operations[method], named)
                name_parts(operations[method], schemas)
    return document


def _complete(path: str, method: str, operation: Operation) -> None:
    guarded = path.startswith(_GUARDED)
    operation["security"] = [{"key": []}, {"keyAsUser": []}] if guarded else []
    if guarded and method == "post":
        operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in _PARAMETERS:
            parameter.setdefault("description", _PARAMETERS[parameter["name"]])
    answers = operation["responses"]
    for status in _statuses(path, method, operation) if guarded else ():
        answers.setdefault(str(status), {})
    for status, answer in answers.items():
        _describe(status, answer, guarded, method)
    operation["responses"] = dict(sorted(answers.items()))


def _tell_scopes(operation: Operation, scopes: tuple[str, ...]) -> None:
    meant = operation.get("description") or f"{operation['summary'].removesuffix('.')}."
    any_of = " or ".join(f"`{scope}`" for scope in dict.fromkeys((*scopes, "admin")))
    operation["description"] = f"{meant.rstrip()} Needs a key with the scope {any_of}."


def _statuses(path: str, method: str, operation: Operation) -> Iterator[int]:
    """What any operation of this kind may answer, beside what its slice says."""
    sends = "requestBody" in operation
    named = {parameter["name"].lower() for parameter in operation.get("parameters", [])}
    yield from (401, 403, 422, 503)
    if sends or named:
        yield 400
    if "{" in path and not path.startswith(_ANY_ID):
        yield 404
    if method == "post":
        yield from (409, 410)
    if "if-match" in named:
        yield from (412, 428)
    if sends:
        yield from (413, 415)


def _describe(status: str, answer: dict[str, Any], guarded: bool, method: str) -> None:
    number = int(status) if status.isdigit() else 0
    if number < 400:
        answer.setdefault("description", "Done")
        return
    if "HTTPValidationError" in str(answer.get("content")):
        answer.clear()
    if answer.get("description") in {None, HTTPStatus(number).phrase}:  # nothing, or FastAPI's word for nothing
        answer["description"] = _MEANINGS[number] + (_OF_POST.get(number, "") if guarded and method == "post" else "")
    if guarded or "content" not in answer:
        answer.setdefault("content", {}).setdefault(MEDIA_TYPE, {"schema": _REF})
    if guarded and (number == 503 or (number == 409 and method == "post")):
        answer["headers"] = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}}
