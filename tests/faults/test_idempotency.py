"""`Idempotency-Key` holds across two server processes on one state, for every POST that makes something."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from tests.end_to_end.conftest import Service
from tests.faults.conftest import OFFER, MakeService, Place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
JOURNEY = {"name": "Calls", "steps": [{"id": "w", "kind": "wait", "for": "90d"}, {"id": "e", "kind": "exit"}]}
MAKING: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/decisions", {"customer_id": "c1"}, "decisions"),
    ("/v1/decisions/batch", {"requests": [{"customer_id": "c1"}, {"customer_id": "c2"}]}, "decisions"),
    ("/v1/content/generate", {"offer_id": "thanks", "channel": "sms", "n": 2}, "content_variants"),
    ("/v1/track", {"userId": "c1", "event": "Played"}, "message_ids"),
    ("/v1/journeys/calls/enrollments", {"customer_id": "c1"}, "journey_enrolments"),
]


@pytest.fixture
def pair(make_service: MakeService, place: Place) -> Iterator[list[httpx.Client]]:
    """A client of each of two servers that share one state; the same key."""
    first: Service = make_service("first", **place.settings)
    second: Service = make_service("second", **place.settings)
    first.start()
    second.start()
    headers = {"Authorization": f"Bearer {first.key('admin')}"}
    clients = [
        httpx.Client(base_url=service.url, headers=headers, timeout=60, trust_env=False) for service in (first, second)
    ]
    assert clients[0].put("/v1/offers/thanks", json=OFFER | {"channels": ["sms", "web"]}).status_code == 200
    assert clients[0].put("/v1/journeys/calls", json=JOURNEY).status_code == 201
    assert clients[0].post("/v1/journeys/calls/activate").status_code == 200
    yield clients
    for client in clients:
        client.close()


def count(place: Place, table: str) -> int:
    with place.database.read() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_idempotency_across_two_processes(pair: list[httpx.Client], place: Place) -> None:
    """One pair of servers for all three: it takes its time to start."""
    the_other_process_repeats_the_first_answer(pair, place)
    sixteen_at_once_make_one_thing(pair, place)
    a_refused_request_frees_nothing_it_should_keep(pair)


def the_other_process_repeats_the_first_answer(pair: list[httpx.Client], place: Place) -> None:
    for number, (path, body, table) in enumerate(MAKING):
        headers = {"Idempotency-Key": f"once-{number}"}
        first = pair[0].post(path, json=body, headers=headers)
        assert first.status_code in {200, 201}, first.text
        made = count(place, table)
        assert made > 0
        again = pair[1].post(path, json=body, headers=headers)
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again.headers["idempotent-replay"] == "true"
        assert again.headers["content-type"] == first.headers["content-type"]
        other = pair[1].post(path, json=body | {"surprise": 1}, headers=headers)
        assert (other.status_code, other.headers["content-type"]) == (422, "application/problem+json")
        assert count(place, table) == made


def sixteen_at_once_make_one_thing(pair: list[httpx.Client], place: Place) -> None:
    gate = threading.Barrier(16)

    def post(number: int) -> httpx.Response:
        gate.wait(60)
        return pair[number % 2].post("/v1/decisions", json={"customer_id": "c9"}, headers={"Idempotency-Key": "k"})

    before = count(place, "decisions")
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(post, range(16)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    done = {answer.content for answer in answers if answer.status_code == 200}
    assert len(done) == 1
    assert count(place, "decisions") == before + 1
    again = pair[1].post("/v1/decisions", json={"customer_id": "c9"}, headers={"Idempotency-Key": "k"})
    assert again.content in done


def a_refused_request_frees_nothing_it_should_keep(pair: list[httpx.Client]) -> None:
    """A 422 is an answer like another and comes again; a missing key to the API is none, and is not kept."""
    headers = {"Idempotency-Key": "wrong"}
    wrong = pair[0].post("/v1/decisions", json={"customer_id": ""}, headers=headers)
    again = pair[1].post("/v1/decisions", json={"customer_id": ""}, headers=headers)
    assert (wrong.status_code, again.status_code, again.content) == (422, 422, wrong.content)
    stranger = {"Authorization": "Bearer nobody", "Idempotency-Key": "mine"}
    assert pair[0].post("/v1/decisions", json={"customer_id": "c1"}, headers=stranger).status_code == 401
    own = pair[1].post("/v1/decisions", json={"customer_id": "c1"}, headers={"Idempotency-Key": "mine"})
    assert own.status_code == 200
