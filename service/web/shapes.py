"""Shapes of bodies for the OpenAPI document alone: of answers, which tests hold to them, and of requests that a route
reads from bytes itself.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

PART = "#/components/schemas/"


class Told(BaseModel):
    """An answer or a part of one; a field that it does not name is a fault."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


def gives(model: type[BaseModel], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """The answer of a route in OpenAPI, under 200 or the statuses given."""
    return {status: {"model": model, "description": model.__doc__ or ""} for status in statuses or (200,)}


def tagged(answers: dict[int | str, dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    """Answers that come with the ETag of what they show."""
    header = {"ETag": {"description": "Its version, for If-Match or If-None-Match", "schema": {"type": "string"}}}
    return {status: {**answer, "headers": header} for status, answer in answers.items()}


def takes(model: type[BaseModel]) -> dict[str, Any]:
    """The body of a route in OpenAPI, as JSON: some generators leave out operations that may be sent another kind, too.

    `name_parts` brings its parts to where they are referred to.
    """
    schema = model.model_json_schema(ref_template=PART + "{model}")
    parts = {**schema.pop("$defs", {}), model.__name__: schema}
    body = {"$ref": PART + model.__name__, "$defs": parts}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": body}}}}


def name_parts(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Moves the parts of an operation's body among the document's schemas."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schemas.update(content["schema"].pop("$defs", {}))
