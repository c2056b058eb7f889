"""What the routes of all pages share: where pages read from, who reads, and problems as pages."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from starlette.datastructures import FormData

from models.registry import ServedModels
from service.clock import Clock
from service.content.content_desk import ContentDesk
from service.content.schemas import MAX_FIELD
from service.customers.look_up import CustomerReader
from service.decisions.read_decision import DecisionReader
from service.errors import BadRequest, NotFound, Problem, Unauthorized
from service.pages.rehearsal import Decide
from service.pages.sign_in import COOKIE, Reader, Sessions, check_form, local_path
from service.pages.site import HEADERS, Site
from service.storage.database import Database
from service.web.auth import require
from service.web.threads import in_thread

Handle = Callable[[Request, Reader], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where pages read from: the other slices' use cases. `home` holds `reports/`; `country` is the phone numbers'."""

    database: Database
    clock: Clock
    desk: ContentDesk
    customers: CustomerReader
    decisions: DecisionReader
    models: ServedModels
    decide: Decide
    home: FilePath
    secure_cookies: bool = False
    country: str | None = None


class Pages:
    """What every page does: find out who reads, answer problems as pages."""

    def __init__(self, sources: Sources, sessions: Sessions) -> None:
        self.sources = sources
        self.sessions = sessions
        self.site = Site()

    async def for_reader(self, request: Request, act: Handle) -> Response:
        """Answers for who is signed in; else with the sign-in form (401) or what is wrong, as a page."""
        reader: Reader | None = None
        try:
            reader = await self._reader(request)
            return await act(request, reader)
        except Unauthorized as problem:
            back = _address(request) if request.method == "GET" else _page_before(request)
            first_visit = request.method == "GET" and "authorization" not in request.headers
            first_visit = first_visit and COOKIE not in request.cookies  # others of the same host are none of ours
            return self.sign_in_form(back, None if first_visit else problem)
        except Problem as problem:
            return self._message(reader, problem, request)

    async def problem(self, request: Request, problem: Problem) -> Response:
        """A problem that was met outside of `for_reader`: no page at the address, or something failed."""
        try:
            reader: Reader | None = await self._reader(request)
        except Exception:  # nobody is signed in, or what failed was the database
            reader = None
        if problem.status == 404:
            problem = NotFound(f"there is no page at {request.url.path[:200]}")
        return self._message(reader, problem, request)

    async def _reader(self, request: Request) -> Reader:
        client = request.client.host if request.client else None
        return await in_thread(self.sessions.read, request.headers, request.cookies, client)

    def _message(self, reader: Reader | None, problem: Problem, request: Request) -> HTMLResponse:
        told = {"heading": "Not allowed" if problem.status == 403 else problem.title, "detail": problem.detail}
        if problem.status == 503 and request.method == "GET":
            told["again"] = local_path(_address(request))
        elif request.method == "POST" and (before := _page_before(request)):
            told["before"] = local_path(before)
        return self.page("message.html", reader, problem.status, **told)

    def page(self, template: str, reader: Reader | None, status: int = 200, **values: Any) -> HTMLResponse:
        return HTMLResponse(self.site.render(template, reader, **values), status, HEADERS)

    def sign_in_form(self, back: str, problem: Problem | None) -> HTMLResponse:
        response = self.page("sign_in.html", None, 401, next=local_path(back), alert=problem)
        response.headers["WWW-Authenticate"] = 'Bearer realm="opportune"'
        return response


def _address(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def _page_before(request: Request) -> str:
    """The page whose form was sent, as browsers tell the site itself (`Referrer-Policy`)."""
    return re.sub(r"^https?://[^/]*", "", request.headers.get("referer", ""))


async def form_of(request: Request, reader: Reader, scopes: tuple[str, ...] = ()) -> FormData:
    """What a reader sent by a form of these pages. `Forbidden` without one of the scopes, or from another site."""
    if scopes:
        require(reader.key, scopes)
    form = await request.form()
    check_form(reader, request.headers, form)
    return form


def text_of(form: FormData, name: str) -> str:
    value = form.get(name)
    text = value if isinstance(value, str) else ""
    if len(text) > MAX_FIELD or "\x00" in text:
        raise BadRequest(f"{name} is too long or holds a character that text cannot hold")
    return text.strip() if name != "etag" else text


def version_of(form: FormData) -> int:
    """The version of what the form showed, by its hidden field; 0 where it showed something new."""
    text = text_of(form, "version")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
