"""Holds what routes answer in any test to the shapes that they tell OpenAPI, and to one way of writing times.

Answers are not checked when serving.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

_API = ("/v1/", "/ofrep/", "/health/")
_answer = Response.__call__


def fault_of(route: Any, status: int, body: bytes) -> str | None:
    """What is wrong with an answer of a route; None where it is as told, or a problem."""
    told: dict[str, Any] = route.responses.get(status, {})
    model: type[BaseModel] | None = told.get("model")
    if model is None:
        return f"answers {status} without a shape" if status < 300 and body else None
    if re.search(rb'_at":"[^"]*[+]00:00"', body):
        return "times in UTC end in Z"
    try:
        model.model_validate_json(body, strict=True)
    except ValidationError as wrong:
        return str(wrong)
    return None


@pytest.fixture(autouse=True)
def _answers_have_their_shapes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    wrong = []

    async def checked(self: Response, scope: Any, receive: Any, send: Any) -> None:
        path = str(getattr(scope.get("route"), "path", ""))
        if path.startswith(_API) and self.media_type == "application/json":
            fault = fault_of(scope["route"], self.status_code, bytes(self.body))
            wrong.extend([f"{scope['method']} {path}: {fault}"] if fault else ())
        await _answer(self, scope, receive, send)

    monkeypatch.setattr(Response, "__call__", checked)
    yield
    assert not wrong, "\n".join(wrong)
