"""HTTP of decisions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import AfterValidator

from service.decisions.answer_schemas import BatchOut, DecisionOut, ImpactOut, RecordOut, ReplayOut
from service.decisions.rank_actions import Decider
from service.decisions.read_decision import DecisionReader
from service.decisions.read_impact import read_impact
from service.decisions.schemas import BatchIn, DecisionIn
from service.decisions.steady import SteadyDecider
from service.decisions.together import Together
from service.offers.schemas import identifier
from service.storage.database import Database
from service.storage.idempotency_store import Once
from service.web.answers import json_answer
from service.web.auth import Guard
from service.web.bodies import parse
from service.web.middleware import ONCE
from service.web.shapes import gives, takes
from service.web.threads import in_thread

GOING_ON = ("/v1/decisions", "/v1/decisions/batch")
"""What is answered while the database is away."""
Placement = Annotated[str | None, Query(max_length=200, description="Of this one alone")]
DecisionId = Annotated[str, Path(min_length=1, max_length=100), AfterValidator(identifier)]


def routes(
    decider: Decider | SteadyDecider, reader: DecisionReader, guard: Guard, together: Together | None = None
) -> APIRouter:
    """`POST /v1/decisions[/batch]`, `GET /v1/decisions/{id}`, `POST /v1/decisions/{id}/replay`."""
    router = APIRouter(prefix="/v1/decisions", tags=["decisions"])
    deciding = together or Together(decider)
    may_decide, may_read = guard.needs("decide"), guard.needs("decide", "review")

    @router.post(
        "", summary="Decide", dependencies=[may_decide], openapi_extra=takes(DecisionIn), responses=gives(DecisionOut)
    )
    async def decide(request: Request) -> Response:
        asked = parse(DecisionIn, await request.body())
        return Response(await deciding.decide(asked, request.scope.get(ONCE)), media_type="application/json")

    @router.post(
        "/batch",
        summary="Decide for many",
        dependencies=[may_decide],
        openapi_extra=takes(BatchIn),
        responses=gives(BatchOut),
    )
    async def decide_batch(request: Request) -> Response:
        asked = parse(BatchIn, await request.body())
        once: Once | None = request.scope.get(ONCE)
        ids = None if once is None else [once.part(place) for place in range(len(asked.requests))]
        return json_answer({"decisions": await in_thread(decider.decide_batch, asked.requests, ids)})

    @router.get(
        "/{decision_id}",
        summary="The full record of a decision",
        dependencies=[may_read],
        responses=gives(RecordOut),
    )
    async def read(decision_id: DecisionId) -> Response:
        return json_answer(await in_thread(reader.read, decision_id))

    @router.post(
        "/{decision_id}/replay",
        summary="Decide again from the record",
        dependencies=[may_read],
        responses=gives(ReplayOut),
    )
    async def decide_again(decision_id: DecisionId) -> Response:
        return json_answer(await in_thread(reader.replay, decision_id))

    return router


def impact_routes(database: Database, guard: Guard) -> APIRouter:
    """`GET /v1/impact`."""
    router = APIRouter(prefix="/v1/impact", tags=["decisions"])

    @router.get(
        "", summary="What decisions bring", dependencies=[guard.needs("decide", "review")], responses=gives(ImpactOut)
    )
    async def impact(placement: Placement = None) -> Response:
        """The model's arm of each placement beside its others, by what customers did since their first decision."""
        return json_answer({"placements": await in_thread(_impact, database, placement)})

    return router


def _impact(database: Database, placement: str | None) -> list[dict[str, Any]]:
    with database.read() as connection:
        return read_impact(connection, placement)
