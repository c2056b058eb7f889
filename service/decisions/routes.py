"""HTTP of decisions."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Request, Response
from pydantic import AfterValidator

from service.decisions.answer_schemas import BatchOut, DecisionOut, RecordOut, ReplayOut
from service.decisions.rank_actions import Decider
from service.decisions.read_decision import DecisionReader
from service.decisions.schemas import BatchIn, DecisionIn, parse
from service.decisions.steady import SteadyDecider
from service.decisions.together import Together
from service.offers.schemas import identifier
from service.storage.idempotency_store import Once
from service.web.auth import Guard
from service.web.middleware import ONCE
from service.web.shapes import gives, takes
from service.web.threads import in_thread

GOING_ON = ("/v1/decisions", "/v1/decisions/batch")
"""What is answered while the database is away."""
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
        return _answer({"decisions": await in_thread(decider.decide_batch, asked.requests, ids)})

    @router.get(
        "/{decision_id}",
        summary="The full record of a decision",
        dependencies=[may_read],
        responses=gives(RecordOut),
    )
    async def read(decision_id: DecisionId) -> Response:
        return _answer(await in_thread(reader.read, decision_id))

    @router.post(
        "/{decision_id}/replay",
        summary="Decide again from the record",
        dependencies=[may_read],
        responses=gives(ReplayOut),
    )
    async def decide_again(decision_id: DecisionId) -> Response:
        return _answer(await in_thread(reader.replay, decision_id))

    return router


def _answer(body: Any) -> Response:
    return Response(orjson.dumps(body, option=orjson.OPT_UTC_Z), media_type="application/json")
