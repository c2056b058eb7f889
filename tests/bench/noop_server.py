"""The floor to measure against: FastAPI that takes the same request and gives an answer of the same size."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson
from fastapi import FastAPI, Response

from service.decisions.answer_schemas import DecisionOut
from service.decisions.schemas import DecisionIn

ANSWER: dict[str, Any] = orjson.loads(Path(os.environ["NOOP_ANSWER"]).read_bytes())
app = FastAPI()


@app.post("/v1/decisions")
async def decide(request: DecisionIn) -> dict[str, Any]:
    """FastAPI's usual way: the body checked by Pydantic, a dict out."""
    return ANSWER


@app.post("/bytes")
async def decide_bytes(request: DecisionIn) -> Response:
    """Without FastAPI's own serialization."""
    return Response(orjson.dumps(ANSWER), media_type="application/json")


@app.post("/typed")
async def decide_typed(request: DecisionIn) -> DecisionOut:
    """With the answer's model, as FastAPI recommends it: the answer is checked, too."""
    return ANSWER  # type: ignore[return-value]
