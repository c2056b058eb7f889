from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from service.decisions.schemas import BatchIn, DecisionIn
from service.errors import Problem
from service.web.bodies import parse

FIELDS = ["customer_id", "placement", "channels", "offers", "context", "top_k", "at", "dry_run", "explain", "other"]
scalars: Any = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(allow_nan=False), st.text())
values: Any = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner), max_leaves=6
)


@given(st.dictionaries(st.sampled_from(FIELDS), values), st.booleans())
@settings(max_examples=300)
def test_anything_is_a_request_or_a_problem_that_names_a_field(fields: dict[str, Any], batch: bool) -> None:
    body = orjson.dumps({"requests": [fields]} if batch else fields)
    problem = refused(BatchIn if batch else DecisionIn, body)
    assert problem is None or (problem.status in {400, 422} and problem.errors)


def refused(model: Any, body: bytes) -> Problem | None:
    try:
        parse(model, body)
    except Problem as problem:
        return problem
    return None


def test_ids_are_written_as_events_write_them() -> None:
    request = parse(DecisionIn, orjson.dumps({"customer_id": "Cafe\u0301"}))
    assert request.customer_id == "Caf\u00e9"
    assert (request.top_k, request.placement, request.explain, request.dry_run) == (5, "default", True, False)


def test_channels_and_offers_are_asked_for_once_each() -> None:
    request = DecisionIn(customer_id="c", channels=["sms", "email", "sms"], offers=["b", "a", "b"])
    assert (request.channels, request.offers) == (["sms", "email"], ["b", "a"])
