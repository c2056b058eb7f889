"""Every error as RFC 9457 `application/problem+json`: stable type, title, status, detail, errors for fields."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from features.row_stores import StoreAway
from service.errors import (
    BadRequest,
    FieldError,
    Invalid,
    NotFound,
    Problem,
    StillRunning,
    Unavailable,
    disk_trouble,
    path_of,
    summary,
)
from service.web.threads import in_thread

log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = "5"
NOTHING_HERE = "there is nothing at this address; /docs tells what there is"
App = Callable[..., Awaitable[None]]
ProblemPage = Callable[[Request, Problem], Awaitable[Response]]
_FOR_PROGRAMS = ("/v1/", "/ofrep/", "/health/", "/metrics", "/openapi.json", "/u/")


def problem_body(problem: Problem) -> bytes:
    """The JSON of a problem."""
    body: dict[str, Any] = {
        "type": problem.type,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        **problem.extra,
    }
    if problem.errors:
        body["errors"] = [{"field": error.field, "detail": error.detail} for error in problem.errors]
    return orjson.dumps(body, default=str)


def problem_headers(problem: Problem) -> dict[str, str]:
    """What a client should do, for programs: Segment's Python library keeps events for as long as it is told to wait,
    and drops them after three minutes of trying by itself.
    """
    if problem.status == 401:
        return {"WWW-Authenticate": 'Bearer realm="opportune"'}
    passes = problem.status == 503 or isinstance(problem, StillRunning)
    return {"Retry-After": RETRY_AFTER_S} if passes else {}


def raw_headers(problem: Problem) -> list[tuple[bytes, bytes]]:
    """The same for who speaks ASGI."""
    return [(name.lower().encode(), value.encode()) for name, value in problem_headers(problem).items()]


def problem_response(problem: Problem) -> Response:
    """The HTTP answer of a problem."""
    return Response(problem_body(problem), problem.status, problem_headers(problem), media_type=MEDIA_TYPE)


def as_problem(error: Exception, method: str, route: str) -> Problem:
    """What a client is told of a failure; the log is told of those that are ours."""
    trouble = str(error) if isinstance(error, StoreAway) else disk_trouble(error)
    if trouble is not None:
        away = Unavailable(f"{trouble}; try again in a few seconds")
        away.__cause__ = error
        error = away
    if not isinstance(error, Problem):
        log.error("unexpected failure in %s %s", method, route, exc_info=error)
        return Problem("Something failed here; the log has the cause. Try again.")
    if error.status >= 500:
        log.warning("%s %s: %s (%r)", method, route, error.detail, error.__cause__)
    return error


def field_errors(errors: Sequence[Any], drop: int = 1) -> tuple[FieldError, ...]:
    """Pydantic's errors as field paths (`batch[3].userId`); `drop` leading parts name the place (`body`)."""
    return tuple(FieldError(path_of(error["loc"][drop:]), _sentence(error)) for error in errors)


_NO_OBJECT = frozenset({"dict_type", "model_type", "model_attributes_type"})
_OBJECT = "should be an object, {…}"
_WORDS = {
    "extra_forbidden": "unknown field; remove it or check its spelling",
    **dict.fromkeys(_NO_OBJECT, _OBJECT),
    "list_type": "should be a list, […]",
}
"""What is told in the words of JSON, by Pydantic's name of the error; else in Pydantic's, who speaks of Python."""


def _sentence(error: Any) -> str:
    return _WORDS.get(error["type"]) or str(error["msg"]).removeprefix("Value error, ")


def _sent_as_other(errors: Sequence[Any], media_type: str | None) -> tuple[FieldError, ...]:
    """The one thing that is wrong where JSON was sent as something else, as curl does by itself."""
    told = all(tuple(error["loc"]) == ("body",) and error["type"] in _NO_OBJECT for error in errors)
    if not told or "json" in (media_type or "").lower():
        return ()
    sent = f"was sent as {media_type[:100]}" if media_type else "was sent without its type"
    return (FieldError("body", f"{sent}; add the header Content-Type: application/json"),)


def invalid_from(error: ValidationError) -> Invalid:
    """A pydantic error as a problem."""
    fields = field_errors(error.errors(include_url=False, include_input=False, include_context=False), drop=0)
    return Invalid(summary(fields), fields)


def install_problem_handlers(app: FastAPI, page: ProblemPage | None = None) -> None:
    """Turns every kind of failure into a problem; unexpected ones are logged and answered without detail.

    `page` shows a problem to who reads pages: a browser, at an address that is not the API's.
    """

    async def answer(request: Request, problem: Problem) -> Response:
        if page is not None and _reads_pages(request):
            return await page(request, problem)
        return problem_response(problem)

    async def on_failure(request: Request, error: Exception) -> Response:
        return await answer(request, as_problem(error, request.method, _route(request)))

    async def on_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        errors = _sent_as_other(error.errors(), request.headers.get("content-type")) or field_errors(error.errors())
        return await answer(request, Invalid(summary(errors), errors))

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 400 and "parsing the body" in str(error.detail):  # FastAPI's words for any such fault
            detail = "cannot be read; send JSON in UTF-8, nested less deeply than 1,000 levels"
            return await answer(request, BadRequest(f"the body {detail}", [FieldError("body", detail)]))
        nowhere = error.status_code == 404  # nobody of ours raises it: no route was found
        told = NOTHING_HERE if nowhere else str(error.detail)
        if nowhere and request.url.path.endswith("/"):
            told = f"{NOTHING_HERE}; leave out the slash at its end"
        headers = dict(error.headers or {})
        if error.status_code == 405:  # the framework names the methods of the first route with this path alone
            documented = (await in_thread(request.app.openapi))["paths"].get(_route(request), {})
            headers["Allow"] = ", ".join(sorted(map(str.upper, documented))) or headers["Allow"]
            told = f"{request.method} is not possible at this address; it takes {headers['Allow']}"
        problem = Problem(told)
        problem.status, problem.title = error.status_code, str(error.detail)
        problem.type = {400: BadRequest.type, 404: NotFound.type, 405: "urn:opportune:method-not-allowed"}.get(
            error.status_code, "about:blank"
        )
        response = await answer(request, problem)
        response.headers.update(headers)
        return response

    async def on_leaving(_: Request, __: Exception) -> Response:
        return problem_response(BadRequest("the client went away before its body was whole"))  # nobody reads it

    app.add_exception_handler(ClientDisconnect, on_leaving)
    app.add_exception_handler(Problem, on_failure)
    app.add_exception_handler(StoreAway, on_failure)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_failure)


def _reads_pages(request: Request) -> bool:
    """Whether a person looks: browsers ask for HTML, programs for JSON or anything."""
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith(_FOR_PROGRAMS)


def _route(request: Request) -> str:
    """The route's template, as the document has it: a path may hold a customer's id, which has no place in a log."""
    return str(getattr(request.scope.get("route"), "path_format", "an unknown path"))


class AnswerFailures:
    """ASGI: answers a failure that nothing else has, and ends it there; one in the middle of an answer goes on.

    The framework raises it once more behind its answer, upon which the server closes the connection without a word,
    under whoever asks next.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        started = scope["type"] != "http"

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception as failure:
            if started:
                raise
            answer = await scope["app"].exception_handlers[Exception](Request(scope, receive), failure)
            await answer(scope, receive, send)
