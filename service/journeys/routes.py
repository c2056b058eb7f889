"""HTTP of journeys: definitions, activation, enrolments, figures, tasks, templates."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from service.clock import Clock
from service.customers.identity_store import present_id
from service.errors import Conflict, NotFound
from service.journeys.answer_schemas import (
    EnrollmentOut,
    EnrollmentsOut,
    JourneyOut,
    JourneysOut,
    RetriedOut,
    StatsOut,
    Status,
    StoredOut,
    TaskOut,
    TasksOut,
    TemplatesOut,
)
from service.journeys.close_task import close
from service.journeys.collaborators import RecordEvents
from service.journeys.definitions import Definitions
from service.journeys.enrol_customer import Entering, Refused, as_entered, enrol
from service.journeys.enrolment_store import find_enrolment
from service.journeys.intent_store import closed_task, list_tasks
from service.journeys.journey_store import add_counts
from service.journeys.manage_journeys import (
    change_status,
    get_journey,
    get_journeys,
    must_find,
    put_journey,
    retry_stuck,
)
from service.journeys.parse_definition import read_text
from service.journeys.read_enrolments import show_enrolment, show_enrolments
from service.journeys.read_stats import read_stats
from service.journeys.read_templates import read_templates
from service.journeys.schemas import CustomerId, EnrollmentBody, JourneyBody, TaskBody
from service.storage.database import Database
from service.storage.idempotency_store import Once
from service.web.answers import json_answer
from service.web.auth import Guard
from service.web.key_first import KeyFirst
from service.web.middleware import ONCE
from service.web.shapes import gives, takes
from service.web.threads import in_thread

JourneyId = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="The journey's id")]
TaskKey = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,200}$")]
Version = Annotated[int | None, Query(ge=1, le=2**31 - 1)]
_READ = ("review", "decide")


def routes(
    database: Database,
    clock: Clock,
    guard: Guard,
    record_events: RecordEvents,
    definitions: Definitions | None = None,
) -> APIRouter:
    """`record_events(connection, messages, now)` puts Segment messages into the inbox (a task's outcome is one)."""
    router = APIRouter(tags=["journeys"])
    known = definitions or Definitions()
    router.include_router(_templates(guard))
    router.include_router(_definitions(database, clock, guard))
    router.include_router(_enrolments(database, clock, guard, known))
    router.include_router(_figures(database, guard, known))
    router.include_router(_tasks(database, clock, guard, record_events))
    return router


def _templates(guard: Guard) -> APIRouter:
    router = APIRouter()

    @router.get("/v1/journey-templates", dependencies=[guard.needs(*_READ)], responses=gives(TemplatesOut))
    async def get_templates() -> Response:
        """Journeys to begin with: welcome, winback, abandoned cart, post-purchase."""
        return json_answer({"templates": await in_thread(read_templates)})

    return router


def _definitions(database: Database, clock: Clock, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/v1/journeys")

    def put(journey_id: str, body: bytes, kind: str, by: str | None) -> tuple[dict[str, Any], bool]:
        document = read_text(body, kind)
        with database.write() as connection:
            return put_journey(connection, journey_id, document, clock.now(), by)

    @router.put(
        "/{journey_id}",
        dependencies=[guard.needs("admin")],
        responses=gives(StoredOut, 200, 201) | {400: {}, 409: {}, 422: {}},
        openapi_extra=takes(JourneyBody),
    )
    async def put_one(journey_id: JourneyId, request: Request) -> Response:
        """Stores a new version. Who is enrolled stays on the version they entered.

        The body may be YAML, too, sent with `Content-Type: application/yaml`.
        """
        kind = request.headers.get("content-type", "application/json")
        key = getattr(request.state, "key", None)
        body = await request.body()
        stored, new = await in_thread(put, journey_id, body, kind, getattr(key, "key_id", None))
        return json_answer(stored, 201 if new else 200)

    @router.get("", dependencies=[guard.needs(*_READ)], responses=gives(JourneysOut))
    async def get_all(status: Status | None = None) -> Response:
        """Every journey, by id."""
        with_status = await in_thread(_read, database, get_journeys, status)
        return json_answer({"journeys": with_status})

    @router.get("/{journey_id}", dependencies=[guard.needs(*_READ)], responses=gives(JourneyOut) | {404: {}})
    async def get_one(journey_id: JourneyId, version: Version = None) -> Response:
        """One journey: its newest version, or the one asked for."""
        return json_answer(await in_thread(_read, database, get_journey, journey_id, version))

    def move(journey_id: str, verb: str) -> dict[str, Any]:
        with database.write() as connection:
            return change_status(connection, journey_id, verb, clock.now())

    def add_verb(verb: str, summary: str) -> None:
        @router.post(
            f"/{{journey_id}}/{verb}",
            name=f"{verb}_journey",
            summary=summary,
            dependencies=[guard.needs("admin")],
            responses=gives(JourneyOut) | {404: {}, 409: {}},
        )
        async def change(journey_id: JourneyId) -> Response:
            return json_answer(await in_thread(move, journey_id, verb))

    add_verb("activate", "Lets customers in, and moves those who are in")
    add_verb("pause", "Lets nobody in and moves nobody; who is in keeps the place")
    add_verb("archive", "Ends it for good, for everybody who is in it too")

    def retry(journey_id: str) -> dict[str, Any]:
        with database.write() as connection:
            return retry_stuck(connection, journey_id, clock.now())

    @router.post("/{journey_id}/retry", dependencies=[guard.needs("admin")], responses=gives(RetriedOut) | {404: {}})
    async def retry_journey(journey_id: JourneyId) -> Response:
        """Lets stuck enrolments try again, once the cause is mended."""
        return json_answer(await in_thread(retry, journey_id))

    return router


def _enrolments(database: Database, clock: Clock, guard: Guard, definitions: Definitions) -> APIRouter:
    router = APIRouter(prefix="/v1/journeys/{journey_id}/enrollments", route_class=KeyFirst)

    def enter(journey_id: str, customer_id: str, once: Once | None) -> dict[str, Any]:
        with database.write() as connection:
            row = must_find(connection, journey_id, lock=True)
            done = find_enrolment(connection, once.name) if once is not None and once.again else None
            if done is not None:  # by this very request, before its process died
                return show_enrolment(as_entered(done), [])
            journey = definitions.get(connection, journey_id, row.version)
            customer = present_id(connection, customer_id)
            name = None if once is None else once.name
            now, entering = clock.now(), Entering()
            result = enrol(connection, row, journey, customer, now, {"api": True}, entering, name)
            add_counts(connection, entering.counts, now)
        if isinstance(result, Refused):
            raise Conflict(result.detail, reason=result.reason, enrollment_id=result.enrolment_id, until=result.until)
        return show_enrolment(result, [])

    @router.post(
        "",
        dependencies=[guard.needs("decide")],
        status_code=201,
        responses=gives(EnrollmentOut, 201) | {404: {}, 409: {}},
    )
    async def enrol_one(request: Request, journey_id: JourneyId, body: EnrollmentBody) -> Response:
        """Lets a customer in; 409 with a `reason` where the journey's state, re-entry rule or cap forbids it."""
        return json_answer(await in_thread(enter, journey_id, body.customer_id, request.scope.get(ONCE)), 201)

    def read(journey_id: str, customer_id: str) -> list[dict[str, Any]]:
        with database.read() as connection:
            must_find(connection, journey_id)
            return show_enrolments(connection, journey_id, present_id(connection, customer_id))

    @router.get("", dependencies=[guard.needs(*_READ)], responses=gives(EnrollmentsOut) | {404: {}})
    async def get_enrolments(
        journey_id: JourneyId, customer_id: Annotated[CustomerId, Query(description="Whose enrolments")]
    ) -> Response:
        """A customer's enrolments, the newest first: where they stand and what was sent."""
        return json_answer({"enrollments": await in_thread(read, journey_id, customer_id)})

    return router


def _figures(database: Database, guard: Guard, definitions: Definitions) -> APIRouter:
    router = APIRouter(prefix="/v1/journeys/{journey_id}")

    def read(journey_id: str, version: int | None) -> dict[str, Any]:
        with database.read() as connection:
            row = must_find(connection, journey_id)
            if version is not None and version > row.version:
                raise NotFound(f"journey {journey_id!r} has no version {version}; the newest is {row.version}")
            journey = definitions.get(connection, journey_id, version or row.version)
            return read_stats(connection, row, journey, version)

    @router.get("/stats", dependencies=[guard.needs(*_READ)], responses=gives(StatsOut) | {404: {}})
    async def get_stats(journey_id: JourneyId, version: Version = None) -> Response:
        """Per step: entered, waiting, sent, opened, clicked, converted, failed, stuck, first and last run."""
        return json_answer(await in_thread(read, journey_id, version))

    return router


def _tasks(database: Database, clock: Clock, guard: Guard, record_events: RecordEvents) -> APIRouter:
    router = APIRouter(prefix="/v1/journeys/{journey_id}/tasks", route_class=KeyFirst)

    def read(journey_id: str, state: str | None, limit: int) -> list[dict[str, Any]]:
        with database.read() as connection:
            must_find(connection, journey_id)
            return list_tasks(connection, journey_id, state, limit)

    @router.get("", dependencies=[guard.needs("review")], responses=gives(TasksOut) | {404: {}})
    async def get_tasks(
        journey_id: JourneyId,
        state: Literal["open", "done"] | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Response:
        """Calls for people to make, those due first first."""
        return json_answer({"tasks": await in_thread(read, journey_id, state, limit)})

    def finish(journey_id: str, key: str, body: TaskBody, once: Once | None) -> dict[str, Any]:
        with database.write() as connection:
            again = once is not None and once.again
            done = closed_task(connection, journey_id, key, body.outcome, body.note) if again else None
            if done is not None:  # by this very request, before its process died
                return done
            return close(connection, journey_id, key, body.outcome, body.note, clock.now(), record_events)

    @router.post("/{key}/close", dependencies=[guard.needs("review")], responses=gives(TaskOut) | {404: {}})
    async def close_one(request: Request, journey_id: JourneyId, key: TaskKey, body: TaskBody) -> Response:
        """Closes a task; its outcome becomes the event `Call Completed` of the customer."""
        return json_answer(await in_thread(finish, journey_id, key, body, request.scope.get(ONCE)))

    return router


def _read(database: Database, read: Any, *arguments: Any) -> Any:
    with database.read() as connection:
        return read(connection, *arguments)
