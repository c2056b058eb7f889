"""The HTTP app: every slice's routes, health, metrics and docs over one set of collaborators."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from multiprocessing import parent_process

import anyio
import anyio.to_thread
import orjson
from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import PlainTextResponse

from service import tracing
from service.content import routes as content_routes
from service.customers import routes as customer_routes
from service.decisions import routes as decision_routes
from service.decisions.check_skew import latest_report
from service.decisions.fast_route import FastDecisions
from service.decisions.together import Together
from service.events import routes as event_routes
from service.events.inbox_writer import InboxWriter
from service.events.record_events import record_events
from service.experiments import routes as experiment_routes
from service.journeys import routes as journey_routes
from service.loops import end_with_parent
from service.memory import keep_freed_memory, leave_alone_what_stays
from service.offers import routes as offer_routes
from service.pages import routes as page_routes
from service.pages.sign_in import Sessions
from service.settings import Settings
from service.telemetry import App, CountRequests, exposition, set_up_logs, silence_dependencies
from service.web import docs
from service.web.middleware import AnswerHead, Idempotent, LimitBody, PlainAddress, PlainBody
from service.web.openapi import install_openapi
from service.web.paths import NameRoute
from service.web.problems import AnswerFailures, install_problem_handlers
from service.web.shapes import gives
from service.web.threads import in_thread
from service.wiring import Parts, build, get_ready, readiness, start_loops, stop_loops, try_the_way_in
from service.wiring.health_schemas import LiveOut, ReadyOut

THREADS, LOOKS = 64, 8


def app_from_settings() -> App:
    """The app of this process (uvicorn's factory)."""
    if parent_process() is not None:  # of several workers each has logs of its own
        set_up_logs()
    end_with_parent()
    keep_freed_memory()
    silence_dependencies()
    front = create_front(build(Settings()))
    leave_alone_what_stays()
    return front


def create_front(parts: Parts) -> App:
    """The whole service as ASGI: plain decisions at once, all else by the app's routes."""
    together = Together(parts.steady)
    front = FastDecisions(create_app(parts, together), together, parts.guard)
    return tracing.TraceRequests(front) if tracing.is_configured() else front


def create_app(parts: Parts, together: Together | None = None) -> FastAPI:
    """The app over given collaborators; its loops start and stop with it."""

    deciding = together or Together(parts.steady)
    writer = InboxWriter(parts.database, parts.clock, parts.events_loop.wake)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        placements = parts.settings.placements
        await in_thread(get_ready, parts.database, parts.catalogue, parts.library, parts.steady, placements)
        await try_the_way_in(parts.guard, deciding)
        loops = start_loops(parts)
        try:
            yield
        finally:
            await in_thread(writer.close)
            await in_thread(deciding.close)
            await in_thread(stop_loops, loops)
            await in_thread(parts.close)

    app = FastAPI(
        title="Opportune",
        version="0.1.0",
        description="The right offer, at the opportune moment, in words that a person approved.",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=[{"url": parts.settings.base_url}],
        generate_unique_id_function=lambda route: "_".join([*map(str, route.tags), route.name]),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # it led to http:// behind a proxy with TLS, and from /v1/customers to an empty id
        lifespan=lifespan,
    )
    pages = _pages(parts)
    install_problem_handlers(app, pages.problem)
    for router in _slices(parts, writer, deciding):
        app.include_router(router)
    app.include_router(page_routes.routes(pages))
    app.include_router(_health(parts))
    app.include_router(docs.routes(app))
    install_openapi(app)
    budget_s = parts.settings.decisions.time_budget_ms / 1_000
    app.add_middleware(
        Idempotent,
        database=parts.database,
        going_on=decision_routes.GOING_ON,
        answers=parts.steady.database_answers,
        patience_s=budget_s or None,
        too_slow=parts.steady.too_slow,
        here=parts.kept_here,
        identify=parts.guard.identify,
    )
    app.add_middleware(PlainBody, inflated=event_routes.INFLATED)
    app.add_middleware(LimitBody)
    app.add_middleware(PlainAddress)
    app.add_middleware(NameRoute)
    app.add_middleware(AnswerFailures)
    app.add_middleware(CountRequests)
    app.add_middleware(AnswerHead)
    return app


def _slices(parts: Parts, writer: InboxWriter, together: Together) -> list[APIRouter]:
    """Every slice's routes."""
    return [
        event_routes.routes(writer, parts.rules, parts.clock, parts.guard),
        event_routes.report_routes(parts.database, parts.clock, parts.guard, {"skew": latest_report}),
        customer_routes.routes(
            parts.database,
            parts.clock,
            parts.guard,
            parts.customers,
            parts.eraser,
            parts.events.exclusively,
            parts.unsubscriber,
            parts.speech,
        ),
        offer_routes.routes(parts.database, parts.clock, parts.guard),
        decision_routes.routes(parts.steady, parts.decisions, parts.guard, together),
        decision_routes.impact_routes(parts.database, parts.guard),
        content_routes.routes(parts.desk, parts.guard),
        journey_routes.routes(parts.database, parts.clock, parts.guard, partial(record_events, rules=parts.rules)),
        experiment_routes.routes(parts.database, parts.clock, parts.guard, parts.covariate),
    ]


def _pages(parts: Parts) -> page_routes.Pages:
    sources = page_routes.Sources(
        database=parts.database,
        clock=parts.clock,
        desk=parts.desk,
        customers=parts.customers,
        decisions=parts.decisions,
        models=parts.models,
        decide=parts.decider.decide,
        home=parts.settings.home.absolute(),
        secure_cookies=parts.settings.base_url.startswith("https:"),
        country=parts.settings.default_country,
    )
    return page_routes.Pages(sources, Sessions(parts.database, open_to_all=parts.settings.pages.open))


def _health(parts: Parts) -> APIRouter:
    router = APIRouter(tags=["running"])
    looks = anyio.CapacityLimiter(LOOKS)  # its own: all other threads may be waiting for a part that hangs

    @router.get("/health/live", summary="The process answers", responses=gives(LiveOut))
    async def live() -> Response:
        return Response(b'{"status":"ok"}', media_type="application/json")

    @router.get("/health/ready", summary="What is ready, and what is not", responses=gives(ReadyOut, 200, 503))
    async def ready() -> Response:
        """200 when decisions can be made and kept (without the database: on the disk), 503 otherwise.

        Names every part that is away or late.
        """
        is_ready, report = await anyio.to_thread.run_sync(readiness, parts, limiter=looks)
        return Response(orjson.dumps(report), 200 if is_ready else 503, media_type="application/json")

    @router.get("/metrics", summary="Metrics for Prometheus", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(exposition(), media_type="text/plain; version=0.0.4")

    return router
