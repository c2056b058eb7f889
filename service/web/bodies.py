"""The body of a request, as the shape that a route asks for."""

from __future__ import annotations

from typing import TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from service.errors import BadRequest, FieldError
from service.web.problems import invalid_from

Model = TypeVar("Model", bound=BaseModel)


def parse(model: type[Model], body: bytes) -> Model:
    """The model in a body of JSON; a problem that names the field otherwise."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        detail = f"is not JSON: {fault.msg} (line {fault.lineno}, column {fault.colno})"
        raise BadRequest(f"the body {detail}", [FieldError("body", detail)]) from None
    try:
        return model.model_validate(value)
    except ValidationError as fault:
        raise invalid_from(fault) from None
