"""HTTP of the catalogue."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import AfterValidator

from service.clock import Clock
from service.errors import FieldError, Invalid, NotFound
from service.offers.answer_schemas import BulkOut, OfferOut, OffersOut
from service.offers.offers_store import StoredOffer, delete_offer, list_offers, put_offers, read_offers
from service.offers.put_offers import described
from service.offers.schemas import NEEDS_ITSELF, BulkIn, OfferIn, Word, identifier
from service.storage.database import Database
from service.web.answers import json_answer
from service.web.auth import Guard
from service.web.bodies import parse
from service.web.key_first import KeyFirst
from service.web.paths import OFFER_ID
from service.web.shapes import gives, takes
from service.web.threads import in_thread

OfferId = Annotated[Word, Path(description="The offer's id")]


def routes(database: Database, clock: Clock, guard: Guard) -> APIRouter:
    """`PUT | GET | DELETE /v1/offers/{offer_id}`, `GET | PUT /v1/offers`."""
    router = APIRouter(prefix="/v1/offers", tags=["offers"], route_class=KeyFirst)
    may_read, may_write = guard.needs("decide", "review"), guard.needs("admin")

    def put(documents: dict[str, dict[str, Any]]) -> list[StoredOffer]:
        with database.write() as connection:
            return put_offers(connection, documents, clock.now())

    @router.put(f"/{OFFER_ID}", summary="Put an offer", dependencies=[may_write], responses=gives(OfferOut))
    async def put_one(offer_id: OfferId, offer: OfferIn) -> Response:
        if offer.offer_id not in {None, offer_id}:
            detail = f"is {offer.offer_id!r}, but the path says {offer_id!r}; leave it out or make them equal"
            raise Invalid(f"offer_id {detail}", [FieldError("offer_id", detail)])
        if offer.needs(offer_id):
            raise Invalid(f"requires {NEEDS_ITSELF}", [FieldError("requires", NEEDS_ITSELF)])
        return json_answer(described((await in_thread(put, {offer_id: offer.document()}))[0]))

    @router.put(
        "",
        summary="Put many offers, all or none",
        dependencies=[may_write],
        openapi_extra=takes(BulkIn),
        responses=gives(BulkOut),
    )
    async def put_many(request: Request) -> Response:
        bulk = await in_thread(parse, BulkIn, await request.body())  # ten thousand take seconds
        documents = {offer.offer_id: offer.document() for offer in bulk.offers}
        if len(documents) != len(bulk.offers):
            raise Invalid(
                "offers: an offer_id stands there twice", [FieldError("offers", "an offer_id stands there twice")]
            )
        stored = await in_thread(put, documents)
        return json_answer(
            {"put": len(stored), "offers": [{"offer_id": o.offer_id, "version": o.version} for o in stored]}
        )

    @router.get(
        "", summary="List offers in the order of their ids", dependencies=[may_read], responses=gives(OffersOut)
    )
    async def list_all(
        after: Annotated[str, Query(max_length=200), AfterValidator(identifier)] = "",
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
    ) -> Response:
        def read() -> list[StoredOffer]:
            with database.read() as connection:
                return list_offers(connection, after, limit + 1)

        found = await in_thread(read)
        more = found[limit - 1].offer_id if len(found) > limit else None
        return json_answer({"offers": [described(offer) for offer in found[:limit]], "next": more})

    @router.get(f"/{OFFER_ID}", summary="Get an offer", dependencies=[may_read], responses=gives(OfferOut))
    async def get_one(offer_id: OfferId) -> Response:
        def read() -> list[StoredOffer]:
            with database.read() as connection:
                return read_offers(connection, [offer_id])

        found = await in_thread(read)
        if not found:
            raise NotFound(f"there is no offer {offer_id!r}")
        return json_answer(described(found[0]))

    @router.delete(f"/{OFFER_ID}", status_code=204, summary="Take an offer out", dependencies=[may_write])
    async def delete_one(offer_id: OfferId) -> Response:
        def delete() -> bool:
            with database.write() as connection:
                return delete_offer(connection, offer_id, clock.now())

        if not await in_thread(delete):
            raise NotFound(f"there is no offer {offer_id!r}")
        return Response(status_code=204)

    return router
