"""HTTP of the pages. Every page works without JavaScript; every form carries a token of its reader."""

from __future__ import annotations

from fastapi import APIRouter

from service.pages.routes.experiments import add_experiments
from service.pages.routes.frame import Pages, Sources
from service.pages.routes.journeys import add_journeys
from service.pages.routes.offers import add_offers
from service.pages.routes.reading import add_reading
from service.pages.routes.review import add_review
from service.pages.routes.signing_in import add_signing_in

__all__ = ["Pages", "Sources", "routes"]


def routes(pages: Pages) -> APIRouter:
    """All pages. Not in the OpenAPI document: they are for people."""
    router = APIRouter(include_in_schema=False)
    add_signing_in(router, pages)
    add_review(router, pages)
    add_journeys(router, pages)
    add_experiments(router, pages)
    add_offers(router, pages)
    add_reading(router, pages)
    return router
