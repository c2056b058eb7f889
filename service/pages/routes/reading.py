"""Pages that only show something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from service.clock import SystemClock
from service.errors import BadRequest, Invalid, NotFound
from service.journeys.definitions import Definitions
from service.pages.customer_page import customer_view, decided_lately, found_by
from service.pages.data_page import data_view
from service.pages.experiment_page import DONE as EXPERIMENT_DONE
from service.pages.impact_page import impact_view
from service.pages.journey_page import DONE as JOURNEY_DONE
from service.pages.lists import experiments_view, journeys_view, models_view, offers_view
from service.pages.offer_page import DONE as OFFER_DONE
from service.pages.rehearsal import rehearse
from service.pages.report_page import report_view
from service.pages.routes.frame import Pages, form_of, text_of
from service.pages.sign_in import Reader
from service.pages.site import HEADERS
from service.web.paths import CUSTOMER_ID
from service.web.threads import in_thread

MOST_ASKED = 1_000


def add_reading(router: APIRouter, pages: Pages) -> None:
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
        lambda r: {
            **offers_view(
                sources.database,
                r.query_params,
                sources.clock.now(),
                sources.models.get("next-offer") is not None,
                definitions,
            ),
            "notice": OFFER_DONE.get(r.query_params.get("done", "")),
        },
    )
    reading(
        "/journeys",
        "journeys.html",
        "/journeys",
        lambda r: {
            **journeys_view(sources.database, definitions, SystemClock().now()),
            "notice": JOURNEY_DONE.get(r.query_params.get("done", "")),
        },
    )
    reading("/impact", "impact.html", "/impact", lambda _: impact_view(sources.database))
    reading(
        "/experiments",
        "experiments.html",
        "/experiments",
        lambda r: {
            "experiments": experiments_view(sources.database, sources.clock.now()),
            "notice": EXPERIMENT_DONE.get(r.query_params.get("done", "")),
        },
    )
    reading("/models", "models.html", "/models", lambda _: models_view(sources.models, sources.home, sources.database))
    reading(
        "/data",
        "data.html",
        "/data",
        lambda r: data_view(sources.database, sources.clock.now(), r.query_params.get("days", "")),
    )

    def customer(request: Request) -> dict[str, Any]:
        view = customer_view(sources.database, sources.customers, sources.decisions, request.path_params["customer_id"])
        asked = request.query_params
        if placement := asked.get("placement", "").strip():
            view["placements"] = [placement, *(one for one in view["placements"] if one != placement)]
            told = (view["customer_id"], placement, asked.get("when", ""), sources.clock.now())
            try:
                view["would"] = rehearse(sources.database, sources.decide, *told)
            except Invalid as wrong:
                view["alert"] = wrong
        return view

    reading(f"/customers/{CUSTOMER_ID}", "customer.html", "/customers", customer)

    @router.get("/customers")
    async def customers(request: Request) -> Response:
        async def act(_: Request, reader: Reader) -> Response:
            return pages.page("customers.html", reader, here="/customers", **await in_thread(lately))

        return await pages.for_reader(request, act)

    @router.post("/customers")
    async def find(request: Request) -> Response:
        """By a form that is posted: an e-mail address in a page's address would stay in the logs of proxies."""

        async def act(request: Request, reader: Reader) -> Response:
            asked = text_of(await form_of(request, reader), "id")
            if len(asked) > MOST_ASKED:
                raise BadRequest(f"nobody has an id or a trait of more than {MOST_ASKED:,} characters")
            found = await in_thread(found_by, sources.database, asked, sources.country)
            if (only := found["only"]) is None:
                return pages.page("customers.html", reader, here="/customers", **found, **await in_thread(lately))
            if not found["known"]:  # where there is nothing to show either, that is told here, beside what was typed
                try:
                    await in_thread(customer_view, sources.database, sources.customers, sources.decisions, only)
                except NotFound as nobody:
                    told = {"alert": nobody, "asked": asked, **await in_thread(lately)}
                    return pages.page("customers.html", reader, 404, here="/customers", **told)
            return RedirectResponse(f"/customers/{quote(only, safe='')}", 303, HEADERS)

        return await pages.for_reader(request, act)

    def lately() -> dict[str, Any]:
        return decided_lately(sources.database)
