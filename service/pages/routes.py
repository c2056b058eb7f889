"""HTTP of the pages. Every page works without JavaScript; every form carries a token of its reader."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote, urlencode

from fastapi import APIRouter, Form, Path, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.datastructures import FormData

from models.registry import ServedModels
from service.clock import Clock
from service.content.content_desk import ContentDesk
from service.content.fields import CHANNEL_FIELDS
from service.content.review_variant import Review
from service.content.schemas import MAX_FIELD, canonical_locale
from service.content.variant import STATES
from service.customers.look_up import CustomerReader
from service.decisions.read_decision import DecisionReader
from service.errors import BadRequest, NotFound, Problem, Unauthorized
from service.journeys.definitions import Definitions
from service.pages.customer_page import customer_view, decided_lately, found_by
from service.pages.data_page import data_view
from service.pages.lists import experiments_view, journeys_view, models_view, offers_view
from service.pages.report_page import report_view
from service.pages.review_page import (
    ASKED,
    NOTICES,
    WRITTEN,
    edit_view,
    order_of,
    preview_document,
    review_view,
    write_view,
)
from service.pages.sign_in import COOKIE, LASTS_S, REVIEW, Reader, Sessions, check_form, local_path
from service.pages.site import HEADERS, PREVIEW_HEADERS, Site
from service.storage.database import Database
from service.web.auth import require
from service.web.paths import CUSTOMER_ID
from service.web.threads import in_thread

VariantId = Annotated[str, Path(max_length=64)]
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
    home: FilePath
    secure_cookies: bool = False
    country: str | None = None


def routes(pages: Pages) -> APIRouter:
    """All pages. Not in the OpenAPI document: they are for people."""
    router = APIRouter(include_in_schema=False)
    _add_signing_in(router, pages)
    _add_review(router, pages)
    _add_reading(router, pages)
    return router


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
            back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            first_visit = request.method == "GET" and not {"authorization", "cookie"} & set(request.headers)
            return self.sign_in_form(back if request.method == "GET" else "/", None if first_visit else problem)
        except Problem as problem:
            return self._message(reader, problem)

    async def problem(self, request: Request, problem: Problem) -> Response:
        """A problem that was met outside of `for_reader`: no page at the address, or something failed."""
        try:
            reader: Reader | None = await self._reader(request)
        except Exception:  # nobody is signed in, or what failed was the database
            reader = None
        if problem.status == 404:
            problem = NotFound(f"there is no page at {request.url.path[:200]}")
        return self._message(reader, problem)

    async def _reader(self, request: Request) -> Reader:
        client = request.client.host if request.client else None
        return await in_thread(self.sessions.read, request.headers, request.cookies, client)

    def _message(self, reader: Reader | None, problem: Problem) -> HTMLResponse:
        return self.page("message.html", reader, problem.status, heading=problem.title, detail=problem.detail)

    def page(self, template: str, reader: Reader | None, status: int = 200, **values: Any) -> HTMLResponse:
        return HTMLResponse(self.site.render(template, reader, **values), status, HEADERS)

    def sign_in_form(self, back: str, problem: Problem | None) -> HTMLResponse:
        response = self.page("sign_in.html", None, 401, next=local_path(back), alert=problem)
        response.headers["WWW-Authenticate"] = 'Bearer realm="opportune"'
        return response


def _add_signing_in(router: APIRouter, pages: Pages) -> None:
    @router.get("/sign-in")
    async def form(next: Annotated[str, Query(max_length=2_000)] = "/") -> Response:
        return pages.page("sign_in.html", None, next=local_path(next))

    @router.post("/sign-in")
    async def sign_in(
        request: Request,
        key: Annotated[str, Form(max_length=500)] = "",
        next: Annotated[str, Form(max_length=2_000)] = "/",
    ) -> Response:
        if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            return pages.sign_in_form("/", Unauthorized("This form was sent by another site."))
        try:
            _, cookie = await in_thread(pages.sessions.sign_in, key)
        except Problem as problem:
            return pages.sign_in_form(next, problem)
        response = RedirectResponse(local_path(next), 303, HEADERS)
        response.set_cookie(
            COOKIE, cookie, LASTS_S, path="/", secure=pages.sources.secure_cookies, httponly=True, samesite="strict"
        )
        return response

    @router.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        async def act(request: Request, reader: Reader) -> Response:
            check_form(reader, request.headers, await request.form())
            response = RedirectResponse("/sign-in", 303, HEADERS)
            response.delete_cookie(COOKIE, path="/")
            return response

        return await pages.for_reader(request, act)

    @router.get("/static/{name}")
    async def static(name: str) -> Response:
        found = pages.site.files.get(name)
        if found is None:
            raise NotFound(f"there is no file {name[:100]!r}")
        kept = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
        return Response(found.body, 200, kept, found.kind)


def _add_review(router: APIRouter, pages: Pages) -> None:
    desk = pages.sources.desk

    async def shown(
        reader: Reader, query: Mapping[str, str], status: int = 200, alert: Problem | None = None
    ) -> Response:
        filters = _filters(query)
        view = await in_thread(review_view, desk, filters, query.get("after") or None)
        more = f"{_back(query)}&{urlencode({'after': view['after'] or ''})}"
        return pages.page(
            "review.html",
            reader,
            status,
            here="/review",
            alert=alert,
            notice=(NOTICES | {"write": WRITTEN}).get(query.get("done", "")),
            filters=filters,
            states=STATES,
            channels=tuple(CHANNEL_FIELDS),
            back=_back(query),
            next=f"/review?{more}" if view["after"] else None,
            **view,
        )

    @router.get("/review")
    async def review(request: Request) -> Response:
        async def act(request: Request, reader: Reader) -> Response:
            return await shown(reader, request.query_params)

        return await pages.for_reader(request, act)

    @router.get("/review/new")
    async def new_form(request: Request) -> Response:
        async def act(request: Request, reader: Reader) -> Response:
            return await _write_page(pages, reader, request.query_params)

        return await pages.for_reader(request, act)

    @router.post("/review/new")
    async def write(request: Request) -> Response:
        async def act(request: Request, reader: Reader) -> Response:
            require(reader.key, REVIEW)
            form = await request.form()
            check_form(reader, request.headers, form)
            asked = {name: _text(form, name) for name in ASKED}
            try:
                made = await desk.generate(order_of(asked), reader.who)
            except Problem as problem:
                return await _write_page(pages, reader, asked, problem)
            before = made[0].variant_id[:-1]  # the newest stand last: show these first
            return RedirectResponse(f"/review?{_back({'state': ''})}&after={before}&done=write", 303, HEADERS)

        return await pages.for_reader(request, act)

    @router.get("/review/{variant_id}/preview")
    async def preview(request: Request, variant_id: VariantId) -> Response:
        async def act(_: Request, __: Reader) -> Response:
            return HTMLResponse(await in_thread(preview_document, desk, variant_id), 200, PREVIEW_HEADERS)

        return await pages.for_reader(request, act)

    @router.get("/review/{variant_id}/edit")
    async def edit_form(request: Request, variant_id: VariantId) -> Response:
        async def act(request: Request, reader: Reader) -> Response:
            return await _edit_page(pages, reader, variant_id, _back(request.query_params))

        return await pages.for_reader(request, act)

    @router.post("/review/{variant_id}/{verb}")
    async def change(request: Request, variant_id: VariantId, verb: str) -> Response:
        async def act(request: Request, reader: Reader) -> Response:
            require(reader.key, REVIEW)
            form = await request.form()
            check_form(reader, request.headers, form)
            back = _back(dict(parse_qsl(_text(form, "back"), keep_blank_values=True)))
            if verb not in NOTICES:
                raise NotFound(f"there is nothing to do called {verb[:40]!r}")
            try:
                await in_thread(_act, desk, Review(variant_id, _text(form, "etag"), reader.who), verb, form)
            except Unauthorized:
                raise
            except Problem as problem:
                if verb == "edit" and problem.status != 404:
                    return await _edit_page(pages, reader, variant_id, back, problem, _edited(form))
                return await shown(reader, dict(parse_qsl(back, keep_blank_values=True)), problem.status, problem)
            anchor = f"#v-{variant_id}" if verb in {"edit", "comment"} else ""
            return RedirectResponse(f"/review?{back}&done={verb}{anchor}", 303, HEADERS)

        return await pages.for_reader(request, act)


def _act(desk: ContentDesk, review: Review, verb: str, form: FormData) -> None:
    if verb == "approve":
        desk.reviewer.approve(review)
    elif verb == "reject":
        desk.reviewer.reject(review, _text(form, "reason") or None)
    elif verb == "comment":
        text = _text(form, "text")
        if not text:
            raise BadRequest("the comment is empty; write something")
        desk.reviewer.comment(review, text)
    else:
        variant, _ = desk.variant(review.variant_id)
        optional = {rule.name for rule in CHANNEL_FIELDS[variant.channel] if not rule.required}
        edited = {name: None if not text and name in optional else text for name, text in _edited(form).items()}
        desk.reviewer.edit(review, edited)


async def _write_page(
    pages: Pages, reader: Reader, asked: Mapping[str, str], problem: Problem | None = None
) -> Response:
    view = await in_thread(write_view, pages.sources.desk, asked)
    return pages.page("write.html", reader, problem.status if problem else 200, here="/review", alert=problem, **view)


async def _edit_page(
    pages: Pages,
    reader: Reader,
    variant_id: str,
    back: str,
    problem: Problem | None = None,
    typed: Mapping[str, str] | None = None,
) -> Response:
    view = await in_thread(edit_view, pages.sources.desk, variant_id)
    variant = view["v"]
    return pages.page(
        "edit.html",
        reader,
        problem.status if problem else 200,
        here="/review",
        alert=problem,
        back=back,
        rules=CHANNEL_FIELDS[variant.channel],
        fields={**variant.fields, **(typed or {})},
        **view,
    )


def _edited(form: FormData) -> dict[str, str]:
    """The fields of the edit form; browsers send line breaks as CR LF."""
    return {
        name.removeprefix("field."): _text(form, name).replace("\r\n", "\n")
        for name in form
        if name.startswith("field.")
    }


def _text(form: FormData, name: str) -> str:
    value = form.get(name)
    text = value if isinstance(value, str) else ""
    if len(text) > MAX_FIELD or "\x00" in text:
        raise BadRequest(f"{name} is too long or holds a character that text cannot hold")
    return text.strip() if name != "etag" else text


def _filters(query: Mapping[str, str]) -> dict[str, str | None]:
    """`state` (pending unless asked otherwise), `channel`, `locale`; what is not known counts as any."""
    state = query.get("state", "pending")
    channel, locale = query.get("channel"), query.get("locale", "").strip()
    try:
        wanted = canonical_locale(locale) if locale else None
    except ValueError:
        wanted = None
    return {
        "state": state if state in STATES else None,
        "channel": channel if channel in CHANNEL_FIELDS else None,
        "locale": wanted,
    }


def _back(query: Mapping[str, str]) -> str:
    """The filters in use, as a query string."""
    return urlencode({name: value or "" for name, value in _filters(query).items()})


def _add_reading(router: APIRouter, pages: Pages) -> None:
    sources, definitions = pages.sources, Definitions()

    def reading(path: str, template: str, here: str, view: Callable[[Request], dict[str, Any]]) -> None:
        @router.get(path)
        async def shown(request: Request) -> Response:
            async def act(request: Request, reader: Reader) -> Response:
                return pages.page(template, reader, here=here, **await in_thread(view, request))

            return await pages.for_reader(request, act)

    reading(
        "/",
        "report.html",
        "/",
        lambda _: report_view(sources.home, sources.database, sources.models, sources.clock.now()),
    )
    reading(
        "/offers",
        "offers.html",
        "/offers",
        lambda r: offers_view(
            sources.database,
            r.query_params.get("after", ""),
            sources.clock.now(),
            sources.models.get("next-offer") is not None,
        ),
    )
    reading(
        "/journeys", "journeys.html", "/journeys", lambda _: {"journeys": journeys_view(sources.database, definitions)}
    )
    reading(
        "/experiments",
        "experiments.html",
        "/experiments",
        lambda _: {"experiments": experiments_view(sources.database, sources.clock.now())},
    )
    reading("/models", "models.html", "/models", lambda _: models_view(sources.models, sources.home, sources.database))
    reading(
        "/data",
        "data.html",
        "/data",
        lambda r: data_view(sources.database, sources.clock.now(), r.query_params.get("days", "")),
    )
    reading(
        f"/customers/{CUSTOMER_ID}",
        "customer.html",
        "/customers",
        lambda r: customer_view(sources.database, sources.customers, sources.decisions, r.path_params["customer_id"]),
    )

    @router.get("/customers")
    async def customers(request: Request, id: Annotated[str, Query(max_length=1_000)] = "") -> Response:
        async def act(_: Request, reader: Reader) -> Response:
            found: dict[str, Any] = {"several": []}
            if id.strip():
                found = await in_thread(found_by, sources.database, id.strip(), sources.country)
                if found["only"] is not None:
                    return RedirectResponse(f"/customers/{quote(found['only'], safe='')}", 303, HEADERS)
            lately = await in_thread(decided_lately, sources.database)
            return pages.page("customers.html", reader, here="/customers", **found, **lately)

        return await pages.for_reader(request, act)
