"""`/docs` reads as people do: types in words, code as code."""

from __future__ import annotations

import pytest

from service.web.docs import code_marked, grouped


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": ["string", "null"]}, "string or null"),
        ({"type": "array", "items": {"type": "integer"}}, "list of integer"),
        ({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}, "date-time or null"),
        ({"type": "string", "const": "wait"}, "wait"),
        ({}, "any"),
    ],
)
def test_types_are_told_in_words(schema: dict[str, object], said: str) -> None:
    parameter = {"name": "x", "in": "query", "schema": schema}
    [[operation]] = grouped({"paths": {"/x": {"get": {"parameters": [parameter]}}}}).values()
    assert operation["parameters"][0]["type"] == said


def test_what_stands_between_backticks_is_code() -> None:
    assert code_marked("a `<b>` c") == "a <code>&lt;b&gt;</code> c"
