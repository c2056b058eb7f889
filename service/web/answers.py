"""The shapes of answers, for the OpenAPI document alone: answers are written without them, tests hold them to them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Told(BaseModel):
    """An answer or a part of one; a field that it does not name is a fault."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


def gives(model: type[BaseModel], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """The answer of a route in OpenAPI, under 200 or the statuses given."""
    return {status: {"model": model, "description": model.__doc__ or ""} for status in statuses or (200,)}
