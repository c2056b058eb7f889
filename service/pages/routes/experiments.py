"""Experiments set up by form: declared as a draft, started, stopped."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from service.errors import NotFound, Problem
from service.pages.experiment_page import ASKED, MOVES, move, save
from service.pages.routes.frame import Pages, form_of, text_of
from service.pages.sign_in import Reader
from service.pages.site import HEADERS
from service.web.threads import in_thread

ADMIN = ("admin",)


def add_experiments(router: APIRouter, pages: Pages) -> None:
    sources = pages.sources

    @router.get("/experiments/new")
    async def form(request: Request) -> Response:
        async def act(_: Request, reader: Reader) -> Response:
            return pages.page("experiment.html", reader, here="/experiments", asked={})

        return await pages.for_reader(request, act)

    @router.post("/experiments/new")
    async def declare(request: Request) -> Response:
        async def act(request: Request, reader: Reader) -> Response:
            told = await form_of(request, reader, ADMIN)
            asked = {name: text_of(told, name) for name in ASKED}
            try:
                await in_thread(save, sources.database, asked, sources.clock.now())
            except Problem as problem:
                return pages.page(
                    "experiment.html", reader, problem.status, here="/experiments", alert=problem, asked=asked
                )
            return RedirectResponse(f"/experiments?done=saved#{quote(asked['id'])}", 303, HEADERS)

        return await pages.for_reader(request, act)

    @router.post("/experiments/{experiment_id}/{verb}")
    async def change(request: Request, experiment_id: str, verb: str) -> Response:
        async def act(request: Request, reader: Reader) -> Response:
            told = await form_of(request, reader, ADMIN)
            if verb not in MOVES:
                raise NotFound(f"there is nothing to do called {verb[:40]!r}")
            ship = text_of(told, "ship") or None
            await in_thread(move, sources.database, experiment_id, verb, ship, sources.clock.now())
            return RedirectResponse(f"/experiments?done={verb}#{quote(experiment_id)}", 303, HEADERS)

        return await pages.for_reader(request, act)
