"""The HTTP app: every slice's routes, health, metrics and docs over one set of collaborators."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
import orjson
from fastapi import APIRouter, FastAPI, Response

from service.settings import Settings
from service.telemetry import CountRequests, exposition, silence_dependencies
from service.web import docs
from service.web.middleware import Idempotent, LimitBody
from service.web.problems import install_problem_handlers
from service.web.threads import in_thread
from service.wiring import Parts, build, readiness, routers, start_loops

THREADS = 64


def app_from_settings() -> FastAPI:
    """The app of this process (uvicorn's factory)."""
    silence_dependencies()
    return create_app(build(Settings()))


def create_app(parts: Parts) -> FastAPI:
    """The app over given collaborators; its loops start and stop with it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        loops = start_loops(parts)
        try:
            yield
        finally:
            for loop in loops:
                await in_thread(loop.stop)
            await in_thread(parts.close)

    app = FastAPI(
        title="Opportune",
        version="0.1.0",
        description="The right offer, at the opportune moment, in words that a person approved.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    install_problem_handlers(app)
    for router in routers(parts):
        app.include_router(router)
    app.include_router(_health(parts))
    app.include_router(docs.routes(app))
    app.add_middleware(Idempotent, database=parts.database)
    app.add_middleware(LimitBody)
    app.add_middleware(CountRequests)
    return app


def _health(parts: Parts) -> APIRouter:
    router = APIRouter(tags=["running"])

    @router.get("/health/live", summary="The process answers")
    async def live() -> Response:
        return Response(b'{"status":"ok"}', media_type="application/json")

    @router.get("/health/ready", summary="What is ready, and what is not")
    async def ready() -> Response:
        """200 when decisions can be made and kept, 503 otherwise; names every part that is away or late."""
        is_ready, report = await in_thread(readiness, parts)
        return Response(orjson.dumps(report), 200 if is_ready else 503, media_type="application/json")

    @router.get("/metrics", summary="Metrics for Prometheus")
    async def metrics() -> Response:
        return Response(exposition(), media_type="text/plain; version=0.0.4")

    return router
