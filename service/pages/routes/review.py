"""Copy: shown, ordered, approved, rejected, edited and commented, each by a form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated
from urllib.parse import parse_qsl, quote, urlencode

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.datastructures import FormData

from service.content.content_desk import ContentDesk
from service.content.fields import CHANNEL_FIELDS
from service.content.review_variant import Review
from service.content.schemas import MAX_FIELD, canonical_locale
from service.errors import BadRequest, NotFound, Problem, Unauthorized
from service.pages.review_page import (
    ASKED,
    CHOICES,
    NOTICES,
    WRITTEN,
    Item,
    edit_view,
    in_reviewers_words,
    order_of,
    preview_document,
    review_view,
    write_view,
)
from service.pages.routes.frame import Pages, form_of, text_of
from service.pages.sign_in import REVIEW, Reader
from service.pages.site import HEADERS, PREVIEW_HEADERS
from service.web.threads import in_thread

VariantId = Annotated[str, Path(max_length=64)]


def add_review(router: APIRouter, pages: Pages) -> None:
    desk = pages.sources.desk

    async def shown(
        reader: Reader, query: Mapping[str, str], status: int = 200, alert: Problem | None = None
    ) -> Response:
        filters, after, done = _filters(query), query.get("after"), query.get("done", "")
        only = query.get("only") or None
        view = await in_thread(review_view, desk, filters, after or None, only)
        return pages.page(
            "review.html",
            reader,
            status,
            here="/review",
            alert=alert,
            notice=_notice(done, query.get("was"), view["variants"]),
            again=_again(query) if query.get("was") and (alert or done in ("approve", "reject")) else None,
            filters=filters,
            states=CHOICES,
            channels=tuple(CHANNEL_FIELDS),
            about=query.get("was"),
            back=_back(query),
            queue=f"/review?{_back(query)}" if only else None,
            first=f"/review?{_back({**query, 'after': ''})}" if after and not only else None,
            next=f"/review?{_back({**query, 'after': view['after']})}" if view["after"] else None,
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
            form = await form_of(request, reader, REVIEW)
            asked = {name: text_of(form, name) for name in ASKED}
            try:
                made = await desk.generate(order_of(asked), reader.who)
            except NotFound:
                return await _write_page(pages, reader, asked, NotFound(f"there is no offer {asked['offer'][:100]!r}"))
            except Problem as problem:
                return await _write_page(pages, reader, asked, problem)
            return RedirectResponse(f"{_from(made[0].variant_id)}&done=write", 303, HEADERS)  # the newest stand last

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
            form = await form_of(request, reader, REVIEW)
            back = _back(dict(parse_qsl(text_of(form, "back"), keep_blank_values=True)))
            if verb not in NOTICES:
                raise NotFound(f"there is nothing to do called {verb[:40]!r}")
            try:
                await in_thread(_act, desk, Review(variant_id, text_of(form, "etag"), reader.who), verb, form)
            except Unauthorized:
                raise
            except Problem as problem:
                told = await in_thread(in_reviewers_words, desk, variant_id, problem)
                if verb == "edit" and problem.status != 404:
                    return await _edit_page(pages, reader, variant_id, back, told, _edited(form))
                query = {**dict(parse_qsl(back, keep_blank_values=True)), "was": variant_id}
                return await shown(reader, query, problem.status, told)
            done = f"/review?{back}&{urlencode({'done': verb, 'was': variant_id})}"
            shown_next = variant_id if verb in {"edit", "comment"} else quote(text_of(form, "next")[:64], safe="")
            return RedirectResponse(f"{done}#v-{shown_next}" if shown_next else done, 303, HEADERS)

        return await pages.for_reader(request, act)


def _act(desk: ContentDesk, review: Review, verb: str, form: FormData) -> None:
    if verb == "approve":
        desk.reviewer.approve(review, text_of(form, "offer") or None)
    elif verb == "reject":
        desk.reviewer.reject(review, text_of(form, "reason") or None)
    elif verb == "comment":
        text = text_of(form, "text")
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
        longest=MAX_FIELD,
        **view,
    )


def _edited(form: FormData) -> dict[str, str]:
    """The fields of the edit form; browsers send line breaks as CR LF."""
    return {
        name.removeprefix("field."): text_of(form, name).replace("\r\n", "\n")
        for name in form
        if name.startswith("field.")
    }


def _filters(query: Mapping[str, str]) -> dict[str, str | None]:
    """`state` (pending unless asked otherwise), `channel`, `locale` (with its regions), `offer`; what is none: any."""
    state = query.get("state", "pending")
    channel, locale = query.get("channel"), query.get("locale", "").strip()
    try:
        wanted = canonical_locale(locale) if locale else None
    except ValueError:
        wanted = None
    return {
        "state": state if state in CHOICES else None,
        "channel": channel if channel in CHANNEL_FIELDS else None,
        "language": wanted,
        "offer_id": query.get("offer", "").strip()[:200] or None,
    }


def _back(query: Mapping[str, str]) -> str:
    """The filters in use and the page of the list, as a query string."""
    page = {"after": query["after"][:64]} if query.get("after") else {}
    filters = _filters(query)
    offer = {"offer": filters["offer_id"]} if filters["offer_id"] else {}
    told = {"state": filters["state"], "channel": filters["channel"], "locale": filters["language"]}
    return urlencode({name: value or "" for name, value in told.items()} | offer | page)


def _notice(done: str, was: str | None, items: Sequence[Item]) -> str | None:
    """What was done; of an edited text also that it cannot be approved as it is."""
    edited = next((item.variant for item in items if done == "edit" and item.variant.variant_id == was), None)
    if edited is not None and edited.failed:
        return f"Saved. It cannot be approved yet, since these checks fail: {', '.join(edited.failed)}."
    return (NOTICES | {"write": WRITTEN}).get(done)


def _again(query: Mapping[str, str]) -> str:
    """The text that was decided about, alone, in whatever state it is; from there the way leads back to the list."""
    return f"/review?{_back(query)}&{urlencode({'only': query['was'][:64]})}"


def _from(variant_id: str) -> str:
    """The list from this variant on, in whatever state it is."""
    return f"/review?{_back({'state': '', 'after': variant_id[:-1]})}"
