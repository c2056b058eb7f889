"""`/docs` reads as people do: types in words, code as code."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI

from service.web.docs import code_marked, grouped, linked_to, routes, shapes


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": ["string", "null"]}, "string or null"),
        ({"type": "array", "items": {"type": "integer"}}, "list of integer"),
        ({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}, "date-time or null"),
        ({"type": "string", "const": "wait"}, "wait"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "object of number"),
        ({}, "any"),
    ],
)
def test_types_are_told_in_words(schema: dict[str, object], said: str) -> None:
    parameter = {"name": "x", "in": "query", "schema": schema}
    [[operation]] = grouped({"paths": {"/x": {"get": {"parameters": [parameter]}}}}).values()
    assert operation["parameters"][0]["type"] == said


def test_what_stands_between_backticks_is_code() -> None:
    assert code_marked("a `<b>` c") == "a <code>&lt;b&gt;</code> c"


def test_names_of_shapes_in_a_type_are_links() -> None:
    told = linked_to({"OfferOut"}, "list of OfferOut or <null>")
    assert told == 'list of <a href="#shape-OfferOut">OfferOut</a> or &lt;null&gt;'


def test_a_shape_of_any_names_says_what_stands_under_them() -> None:
    scores = {"title": "Scores", "type": "object", "additionalProperties": {"type": "number"}}
    [shape] = shapes({"paths": {}, "components": {"schemas": {"Scores": scores}}})
    assert shape["fields"] == [
        {"name": "…", "type": "number", "required": False, "default": "", "description": "Under any name"}
    ]


async def test_who_came_to_the_api_finds_back_to_the_pages() -> None:
    app = FastAPI(docs_url=None, openapi_url=None)
    app.include_router(routes(app))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        assert '<a href="/">pages</a>' in (await client.get("/docs")).text
