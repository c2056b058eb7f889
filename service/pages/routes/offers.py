"""Offers set up by form: put, changed, switched off and on."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from service.errors import NotFound, Problem, Stale
from service.pages.offer_form import FIELDS, in_words
from service.pages.offer_page import offer_view, save, switch
from service.pages.routes.frame import Pages, form_of, text_of, version_of
from service.pages.sign_in import Reader
from service.pages.site import HEADERS
from service.web.threads import in_thread

ADMIN = ("admin",)


def add_offers(router: APIRouter, pages: Pages) -> None:
    sources = pages.sources

    @router.get("/offers/new")
    async def form(request: Request) -> Response:
        async def act(request: Request, reader: Reader) -> Response:
            query = request.query_params
            view = await in_thread(offer_view, sources.database, query.get("offer"), query.get("like"))
            return pages.page("offer.html", reader, here="/offers", **view)

        return await pages.for_reader(request, act)

    @router.post("/offers/new")
    async def put(request: Request) -> Response:
        async def act(request: Request, reader: Reader) -> Response:
            told = await form_of(request, reader, ADMIN)
            asked = {name: text_of(told, name) for name in FIELDS}
            channels = [str(one) for one in told.getlist("channels")]
            like, seen = text_of(told, "like") or None, version_of(told)
            try:
                done = await in_thread(save, sources.database, asked, channels, seen, like, sources.clock.now())
            except Problem as problem:
                view = await in_thread(offer_view, sources.database, asked["id"] if seen else None, like)
                differs = in_words(view["asked"], asked) if isinstance(problem, Stale) else []
                typed = {**view, "asked": asked, "chosen": channels, "differs": differs}
                return pages.page("offer.html", reader, problem.status, here="/offers", alert=problem, **typed)
            return _to_list({"named": asked["id"], "done": done})

        return await pages.for_reader(request, act)

    @router.post("/offers/switch")
    async def turn(request: Request) -> Response:
        async def act(request: Request, reader: Reader) -> Response:
            told = await form_of(request, reader, ADMIN)
            offer_id, to = text_of(told, "offer"), text_of(told, "to")
            if to not in ("on", "off"):
                raise NotFound(f"there is nothing to do called {to[:40]!r}")
            await in_thread(switch, sources.database, offer_id, to, sources.clock.now())
            return _to_list({"named": text_of(told, "named"), "after": text_of(told, "after"), "done": to}, offer_id)

        return await pages.for_reader(request, act)


def _to_list(query: Mapping[str, str], offer_id: str = "") -> Response:
    """Back to where one was in the list."""
    place = f"#o-{quote(offer_id, safe='')}" if offer_id else ""
    return RedirectResponse(f"/offers?{urlencode(query)}{place}", 303, HEADERS)
