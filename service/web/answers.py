"""Answers in JSON, the same from every slice: UTF-8, times in UTC with their Z."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import Response


def json_answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """What a route gives back, written once: no `jsonable_encoder` and no model in between."""
    return Response(orjson.dumps(body, option=orjson.OPT_UTC_Z), status, headers, "application/json")
