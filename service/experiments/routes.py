"""HTTP of experiments: declare, read, results, and the same experiments as OpenFeature flags."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request, Response

from service.clock import Clock
from service.experiments.answer_schemas import (
    ExperimentOut,
    ExperimentsOut,
    FlagFaultOut,
    FlagOut,
    FlagsOut,
    ResultsOut,
)
from service.experiments.assign_customer import Covariate
from service.experiments.define_experiment import define_experiment, get_experiment, get_experiments
from service.experiments.evaluate_flags import Answer, entity_tag, evaluate_flag, evaluate_flags, matches
from service.experiments.read_results import read_results
from service.experiments.schemas import ExperimentIn, Key
from service.storage.database import Database
from service.web.answers import json_answer
from service.web.auth import Guard
from service.web.key_first import KeyFirst
from service.web.shapes import gives, tagged
from service.web.threads import in_thread

ExperimentId = Annotated[Key, Path(description="The experiment's id, also its flag's key")]
_FLAG_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["context"],
                    "examples": [{"context": {"targetingKey": "c42"}}],
                    "properties": {
                        "context": {
                            "type": "object",
                            "description": "As OpenFeature's: targetingKey is the customer's id",
                            "required": ["targetingKey"],
                            "properties": {"targetingKey": {"type": "string", "minLength": 1, "maxLength": 512}},
                        }
                    },
                }
            }
        },
    }
}
_FLAG_FAULTS = gives(FlagFaultOut, 400, 404)


def routes(database: Database, clock: Clock, guard: Guard, covariate: Covariate | None = None) -> APIRouter:
    """`covariate(customer_id, feature, at)` gives a feature's value before an exposure, for CUPED."""
    router = APIRouter()
    router.include_router(_experiments(database, clock, guard))
    router.include_router(_flags(database, clock, guard, covariate))
    return router


def _experiments(database: Database, clock: Clock, guard: Guard) -> APIRouter:
    router = APIRouter(prefix="/v1/experiments", tags=["experiments"], route_class=KeyFirst)

    @router.put(
        "/{experiment_id}", dependencies=[guard.needs("admin")], responses=gives(ExperimentOut, 200, 201) | {409: {}}
    )
    async def put_experiment(experiment_id: ExperimentId, body: ExperimentIn) -> Response:
        """Declares an experiment; 201 when it is new. What is fixed by exposures answers 409."""
        stored, new = await in_thread(_define, database, experiment_id, body, clock)
        return json_answer(stored, 201 if new else 200)

    @router.get("", dependencies=[guard.needs("decide", "review")], responses=gives(ExperimentsOut))
    async def get_all() -> Response:
        """Every experiment, by id."""
        return json_answer({"experiments": await in_thread(_read, database, get_experiments)})

    @router.get(
        "/{experiment_id}", dependencies=[guard.needs("decide", "review")], responses=gives(ExperimentOut) | {404: {}}
    )
    async def get_one(experiment_id: ExperimentId) -> Response:
        """One experiment."""
        return json_answer(await in_thread(_read, database, get_experiment, experiment_id))

    @router.get(
        "/{experiment_id}/results",
        dependencies=[guard.needs("decide", "review")],
        responses=gives(ResultsOut) | {404: {}},
    )
    async def get_results(experiment_id: ExperimentId) -> Response:
        """Arms, exposures, effect with an anytime-valid interval, the split's health, guardrails, a sentence."""
        return json_answer(await in_thread(_read, database, read_results, experiment_id, clock.now()))

    return router


def _flags(database: Database, clock: Clock, guard: Guard, covariate: Covariate | None) -> APIRouter:
    router = APIRouter(prefix="/ofrep/v1/evaluate/flags", tags=["flags"])
    needs = [guard.needs("decide")]

    @router.post(
        "", dependencies=needs, openapi_extra=_FLAG_BODY, responses=tagged(gives(FlagsOut) | {304: {}}) | _FLAG_FAULTS
    )
    async def post_flags(request: Request, if_none_match: Annotated[str | None, Header()] = None) -> Response:
        """All flags for one customer (OFREP bulk evaluation), with an ETag."""
        raw = await request.body()
        answer = await in_thread(evaluate_flags, database, raw, clock.now(), covariate)
        if answer.status != 200:
            return _answer(answer)
        tag = entity_tag(answer.body)
        if matches(if_none_match, tag):
            return Response(status_code=304, headers={"ETag": tag})
        return _answer(answer, {"ETag": tag})

    @router.post("/{key}", dependencies=needs, openapi_extra=_FLAG_BODY, responses=gives(FlagOut) | _FLAG_FAULTS)
    async def post_flag(key: Annotated[str, Path(min_length=1, max_length=512)], request: Request) -> Response:
        """One flag for one customer (OFREP); the first evaluation is the customer's exposure."""
        raw = await request.body()
        return _answer(await in_thread(evaluate_flag, database, key, raw, clock.now(), covariate))

    return router


def _define(database: Database, experiment_id: str, body: ExperimentIn, clock: Clock) -> tuple[dict[str, Any], bool]:
    with database.write() as connection:
        return define_experiment(connection, experiment_id, body, clock.now())


def _read(database: Database, function: Any, *args: Any) -> Any:
    with database.read() as connection:
        return function(connection, *args)


def _answer(answer: Answer, headers: dict[str, str] | None = None) -> Response:
    return json_answer(answer.body, answer.status, headers)
