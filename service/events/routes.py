"""HTTP of events in: Segment's tracking API, answered once the events are durable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response

from service.clock import Clock
from service.errors import TooLarge
from service.events.answer_schemas import DataReportOut, TakenOut
from service.events.inbox_writer import InboxWriter
from service.events.normalize import TYPES, Row, Rules
from service.events.read_report import MOST_DAYS, read_report
from service.events.read_request import MAX_BATCH, MAX_MESSAGE, decoded, name_by, read_batch, read_single
from service.events.schemas import ANSWERS, BATCH_BODY, message_body
from service.storage.database import Connection, Database
from service.web.auth import Guard
from service.web.shapes import gives
from service.web.threads import in_thread

_BATCHES = ("import", "import/", "b")
"""Where batches come in, too: from Segment's libraries for Ruby and Java, and from those for apps."""
INFLATED = frozenset(f"/v1/{kind}" for kind in (*TYPES, "events", "batch", *_BATCHES))
"""Paths whose bodies may be compressed."""
_SUCCESS = b'{"success":true}'
Section = Callable[[Connection], Any]
_OF_ANY_TYPE = (
    "As a sender writes that has one address for all, such as Segment's Webhooks destination: `type` says which."
)
_INLINE = 64 * 1024
"""A body up to this size is read on the event loop (under a few ms), a larger one in a thread."""


def routes(writer: InboxWriter, rules: Rules, clock: Clock, guard: Guard) -> APIRouter:
    """`POST /v1/identify | track | page | screen | group | alias | events | batch`."""
    router = APIRouter(prefix="/v1", tags=["events"])
    may_ingest = [guard.needs("ingest")]

    async def take(request: Request, limit: int, read: Callable[[bytes], list[Row]]) -> Response:
        raw = await _bounded(request, limit)
        encoding = request.headers.get("content-encoding")

        def rows_of() -> list[Row]:
            return read(decoded(raw, encoding, limit))

        rows = rows_of() if len(raw) <= _INLINE and encoding is None else await in_thread(rows_of)
        once = request.headers.get("idempotency-key")
        if once is not None:
            name_by(rows, f"{request.state.key.key_id}\0{request.url.path}\0{once}", raw)
        if rows:
            await asyncio.wrap_future(writer.submit(rows))
        return Response(_SUCCESS, media_type="application/json")

    def add_single(kind: str | None) -> None:
        async def single(request: Request) -> Response:
            return await take(request, MAX_MESSAGE, lambda body: read_single(body, kind, rules, clock.now()))

        router.add_api_route(
            f"/{kind or 'events'}",
            single,
            methods=["POST"],
            name=f"post_{kind or 'event'}",
            summary=f"One {kind} message" if kind else "One message of any type",
            description=None if kind else _OF_ANY_TYPE,
            dependencies=may_ingest,
            openapi_extra=message_body(kind),
            responses=gives(TakenOut) | ANSWERS,
        )

    for kind in (*TYPES, None):
        add_single(kind)

    @router.post(
        "/batch",
        summary="Many messages, all or none",
        dependencies=may_ingest,
        openapi_extra=BATCH_BODY,
        responses=gives(TakenOut) | ANSWERS,
    )
    async def post_batch(request: Request) -> Response:
        return await take(request, MAX_BATCH, lambda body: read_batch(body, rules, clock.now()))

    for path in _BATCHES:
        router.add_api_route(
            f"/{path}",
            post_batch,
            methods=["POST"],
            dependencies=may_ingest,
            openapi_extra=BATCH_BODY,
            responses=gives(TakenOut),
            include_in_schema=False,
        )
    return router


def report_routes(database: Database, clock: Clock, guard: Guard, sections: Mapping[str, Section]) -> APIRouter:
    """`GET /v1/data-report`. `sections` are other slices' parts of the report, by name."""
    router = APIRouter(prefix="/v1", tags=["events"])

    def report(days: int) -> bytes:
        with database.read() as connection:
            told = read_report(connection, clock.now(), days)
            told |= {name: section(connection) for name, section in sections.items()}
        return orjson.dumps(told, option=orjson.OPT_UTC_Z)

    @router.get(
        "/data-report",
        summary="What came in, and of what quality",
        dependencies=[guard.needs("review")],
        responses=gives(DataReportOut),
    )
    async def get_report(days: Annotated[int, Query(ge=1, le=MOST_DAYS)] = 30) -> Response:
        """Counts by event and day, late and repeated ones, nulls, machines' share, contacts, quarantine, files."""
        return Response(await in_thread(report, days), media_type="application/json")

    return router


async def _bounded(request: Request, limit: int) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise TooLarge(f"the body is larger than {limit:,} bytes; send it in parts")
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"the body is larger than {limit:,} bytes; send it in parts")
        chunks.append(chunk)
    return b"".join(chunks)
