"""Journeys set up by form: begun from a template or the newest version, activated, paused, tried again."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from service.errors import NotFound, Problem
from service.pages.journey_page import MOVES, move, save, written_view
from service.pages.routes.frame import Pages, form_of, text_of, version_of
from service.pages.sign_in import Reader
from service.pages.site import HEADERS
from service.web.threads import in_thread

ADMIN = ("admin",)


def add_journeys(router: APIRouter, pages: Pages) -> None:
    sources = pages.sources

    @router.get("/journeys/new")
    async def write_form(request: Request) -> Response:
        async def act(request: Request, reader: Reader) -> Response:
            query = request.query_params
            view = await in_thread(written_view, sources.database, query.get("template"), query.get("journey"))
            return pages.page("journey.html", reader, here="/journeys", **view)

        return await pages.for_reader(request, act)

    @router.post("/journeys/new")
    async def write(request: Request) -> Response:
        async def act(request: Request, reader: Reader) -> Response:
            form = await form_of(request, reader, ADMIN)
            asked, text = text_of(form, "journey"), text_of(form, "text").replace("\r\n", "\n")
            seen = version_of(form)
            try:
                await in_thread(save, sources.database, asked, text, seen, sources.clock.now(), reader.key.key_id)
            except Problem as problem:
                view = await in_thread(written_view, sources.database, None, asked if seen else None)
                typed = {**view, "journey": asked, "text": text}
                return pages.page("journey.html", reader, problem.status, here="/journeys", alert=problem, **typed)
            return RedirectResponse(f"/journeys?done=saved#{quote(asked)}", 303, HEADERS)

        return await pages.for_reader(request, act)

    @router.post("/journeys/{journey_id}/{verb}")
    async def change(request: Request, journey_id: str, verb: str) -> Response:
        async def act(request: Request, reader: Reader) -> Response:
            await form_of(request, reader, ADMIN)
            if verb not in MOVES:
                raise NotFound(f"there is nothing to do called {verb[:40]!r}")
            await in_thread(move, sources.database, journey_id, verb, sources.clock.now())
            return RedirectResponse(f"/journeys?done={verb}#{quote(journey_id)}", 303, HEADERS)

        return await pages.for_reader(request, act)
