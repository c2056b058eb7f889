"""Requests that wait together are decided together: same answers, caps hold, and one that is wrong fails alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI

from features.row_stores import StoreAway
from service.decisions.answers import Reply, json_of
from service.decisions.fast_route import FastDecisions, answer_of
from service.decisions.read_decision import DecisionReader
from service.decisions.routes import routes
from service.decisions.schemas import DecisionIn
from service.decisions.together import Together
from service.errors import Invalid, Unavailable
from service.telemetry import CountRequests, registry
from service.web.auth import Guard, create_key
from service.web.problems import install_problem_handlers
from tests.fakes.databases import sqlite_with_tables
from tests.fakes.decisions import NOON, Desk, NextOffer, settings


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    database = sqlite_with_tables(tmp_path / "state.db")
    desk = Desk(database, settings(caps=[{"max": 3, "per_days": 7}]))
    desk.put(a={}, b={"caps": [{"max": 5, "per_days": 1, "per": "everyone"}]})
    desk.served.models["next-offer"] = NextOffer({"a": 0.3, "b": 0.9})
    return desk


def test_an_answer_that_cannot_be_given_now_says_when_to_ask_again() -> None:
    status, headers, _ = answer_of(Unavailable("away"))
    assert (status, dict(headers)[b"retry-after"]) == (503, b"5")


async def _all(together: Together, requests: list[DecisionIn]) -> list[Any]:
    return await asyncio.gather(*(together.decide(request) for request in requests), return_exceptions=True)


async def test_a_cap_holds_however_many_ask_at_once(desk: Desk) -> None:
    together = Together(desk.decider, most=7, lanes=2)
    told = await _all(together, [DecisionIn(customer_id="one", top_k=1) for _ in range(64)])
    sent = [answer for answer in map(orjson.loads, told) if answer["actions"]]
    assert len(sent) == 3
    others = await _all(together, [DecisionIn(customer_id=f"c{n}", top_k=1, offers=["b"]) for n in range(40)])
    assert sum(len(orjson.loads(answer)["actions"]) for answer in others) <= 5
    together.close()


async def test_one_that_is_wrong_fails_alone(desk: Desk) -> None:
    together = Together(desk.decider, lanes=1)
    requests = [DecisionIn(customer_id=f"c{n}", offers=["gone"] if n % 5 == 0 else None) for n in range(20)]
    told = await _all(together, requests)
    assert [isinstance(answer, Invalid) for answer in told] == [n % 5 == 0 for n in range(20)]
    assert len({orjson.loads(answer)["decision_id"] for answer in told if isinstance(answer, bytes)}) == 16
    together.close()


async def test_one_that_breaks_does_not_break_the_others(desk: Desk) -> None:
    read = desk.people.read

    def broken(connection: Any, ids: Any) -> Any:
        if "c3" in ids:
            raise RuntimeError("a row that cannot be read")
        return read(connection, ids)

    desk.people.read = broken  # type: ignore[method-assign]
    together = Together(desk.decider, lanes=1)
    told = await _all(together, [DecisionIn(customer_id=f"c{n}") for n in range(8)])
    assert [isinstance(answer, RuntimeError) for answer in told] == [n == 3 for n in range(8)]
    together.close()


async def test_a_panic_of_an_engine_is_a_failure_and_its_lane_goes_on(desk: Desk) -> None:
    class Panic(BaseException):
        """As libraries in Rust raise it: no Exception."""

    class Panicking:
        def decide_each(self, requests: Sequence[DecisionIn]) -> list[Any]:
            if requests[0].customer_id == "c0":
                raise Panic("entered unreachable code")
            return desk.decider.decide_each(requests)

    together = Together(Panicking())  # type: ignore[arg-type]
    (told,) = await asyncio.wait_for(_all(together, [DecisionIn(customer_id="c0")]), 20)
    assert isinstance(told, RuntimeError)
    assert isinstance((await asyncio.wait_for(_all(together, [DecisionIn(customer_id="c1")]), 20))[0], bytes)
    together.close()


async def test_decided_together_is_replayed_alone(desk: Desk) -> None:
    desk.rows.add("c1", orders_90d=3.0)
    together = Together(desk.decider, lanes=1)
    told = await _all(together, [DecisionIn(customer_id=f"c{n}") for n in range(9)])
    reader = DecisionReader(desk.database, desk.served)
    assert all(reader.replay(orjson.loads(answer)["decision_id"])["equal"] for answer in told)
    together.close()


async def test_askers_in_turn_make_whole_batches(desk: Desk) -> None:
    sizes: list[int] = []

    class Counted:
        def decide_each(self, requests: Sequence[DecisionIn]) -> list[Any]:
            sizes.append(len(requests))
            return desk.decider.decide_each(requests)

    together = Together(Counted())  # type: ignore[arg-type]

    async def asker(name: str) -> None:
        for _ in range(4):
            await together.decide(DecisionIn(customer_id=name, dry_run=True))

    await asyncio.gather(*(asker(f"c{n}") for n in range(8)))
    assert sizes == [8, 8, 8, 8]
    await asyncio.gather(*(together.decide(DecisionIn(customer_id=f"c{n}", dry_run=True)) for n in range(4)))
    assert sum(sizes[4:]) == 4  # none of them asks again, and nobody waits for that
    together.close()


async def test_whoever_waits_is_kept_for_the_others_though_timers_come_too_early(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    clock = [100.0]
    monkeypatch.setattr("service.decisions.together.monotonic", lambda: clock[0])

    class Counted:
        def decide_each(self, requests: Sequence[DecisionIn]) -> list[Any]:
            sizes.append(len(requests))
            clock[0] += 0.004  # so that the next batch waits for 1 ms of this clock
            return desk.decider.decide_each(requests)

    together = Together(Counted())  # type: ignore[arg-type]

    async def ask(name: str) -> None:
        await together.decide(DecisionIn(customer_id=name, dry_run=True))

    await asyncio.gather(ask("a"), ask("b"))
    early = asyncio.create_task(ask("a"))
    await asyncio.sleep(0.02)  # timers go off, the clock stands still
    assert sizes == [2]
    await asyncio.gather(early, ask("b"))
    assert sizes == [2, 2]
    alone = asyncio.create_task(ask("a"))
    await asyncio.sleep(0.02)
    clock[0] += 0.002
    await alone
    assert sizes == [2, 2, 1]
    together.close()


BODIES: list[Any] = [
    b'{"customer_id":"c1"}',
    b'{"customer_id":"c1","offers":["gone"]}',
    b'{"customer_id":"c1","top_k":0}',
    b'{"customer_id":"c1","surprise":1}',
    b'{"customer_id":"c1","context":{"a":NaN}}',
    b"not json",
    b"",
    b"[]",
]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("key", ["right", "wrong", "none", "ingest"])
async def test_the_fast_way_answers_as_the_route_does(desk: Desk, body: bytes, key: str) -> None:
    database, guard = desk.database, Guard(desk.database)
    keys = {"right": create_key(database, ("decide",), "", NOON), "ingest": create_key(database, ("ingest",), "", NOON)}
    together = Together(desk.decider)
    app = FastAPI()
    install_problem_handlers(app)
    app.include_router(routes(desk.decider, DecisionReader(database, desk.served), guard, together))
    headers = {} if key == "none" else {"authorization": f"Bearer {keys.get(key, 'op_x')}"}
    told = [await _told(one, headers, body) for one in (app, FastDecisions(app, together, guard))]  # type: ignore[arg-type]
    assert told[0] == told[1]
    together.close()


async def _told(app: Any, headers: dict[str, str], body: bytes = b'{"customer_id":"c1"}') -> Any:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        answer = await client.post("/v1/decisions", content=body)
    content = answer.json()
    kept = {name: answer.headers.get(name) for name in ("content-type", "www-authenticate")}
    return answer.status_code, kept, sorted(content), content.get("errors"), content.get("detail")


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Unavailable("later"), 503),
        (StoreAway("the online store does not answer"), 503),
        (ValueError("a fault of ours"), 500),
    ],
)
async def test_failures_are_told_and_counted_the_same_in_both_ways(desk: Desk, failure: Exception, status: int) -> None:
    class Failing:
        def decide_each(self, requests: Sequence[DecisionIn]) -> list[Any]:
            return [failure for _ in requests]

    guard, together = Guard(desk.database), Together(Failing())  # type: ignore[arg-type]
    headers = {"authorization": f"Bearer {create_key(desk.database, ('decide',), '', NOON)}"}
    app = FastAPI()
    install_problem_handlers(app)
    app.include_router(routes(desk.decider, DecisionReader(desk.database, desk.served), guard, together))
    app.add_middleware(CountRequests)
    labels = {"method": "POST", "route": "/v1/decisions", "status": str(status)}
    told = []
    for one in (app, FastDecisions(app, together, guard)):  # type: ignore[arg-type]
        before = registry.get_sample_value("opportune_http_requests_total", labels) or 0.0
        told.append(await _told(one, headers))
        assert registry.get_sample_value("opportune_http_requests_total", labels) == before + 1
    assert told[0] == told[1]
    assert told[0][0] == status
    together.close()


async def test_what_takes_more_than_a_plain_post_goes_to_the_routes(desk: Desk) -> None:
    key = create_key(desk.database, ("decide",), "", NOON)
    reached: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["method"] + scope["query_string"].decode())
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    together = Together(desk.decider)
    front: Any = FastDecisions(app, together, Guard(desk.database))
    known = {"authorization": f"Bearer {key}"}

    async def part() -> Any:
        yield b'{"customer_id":"c1"}'

    transport = httpx.ASGITransport(front)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=known) as client:
        body = b'{"customer_id":"c1"}'
        assert (await client.post("/v1/decisions", content=body)).status_code == 200
        assert reached == []
        for answer in (
            await client.get("/v1/decisions"),
            await client.post("/v1/decisions?x=1", content=body),
            await client.post("/v1/decisions", content=body, headers={"idempotency-key": "k"}),
            await client.post("/v1/decisions", content=part()),
            await client.post("/v1/decisions", content=body, headers={"authorization": "Basic eDp5"}),
        ):
            assert answer.status_code == 204
    assert reached == ["GET", "POSTx=1", "POST", "POST", "POST"]
    together.close()


@pytest.mark.parametrize("durable", [True, False])
async def test_an_answer_is_on_record_whether_it_waits_for_the_disk_or_not(tmp_path: Path, durable: bool) -> None:
    database = sqlite_with_tables(tmp_path / "state.db")
    desk = Desk(database, settings(durable=durable))
    desk.put(a={})
    decided = desk.decider.decide(DecisionIn(customer_id="c"))
    assert DecisionReader(database, desk.served).read(decided["decision_id"])["customer_id"] == "c"
    with database.write() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_the_json_of_an_answer_is_that_of_its_parts(desk: Desk) -> None:
    desk.put(**{f"o{n}": {} for n in range(3)})
    asked = [DecisionIn(customer_id="c1"), DecisionIn(customer_id="c1", dry_run=True, explain=False)]
    for told in desk.decider.decide_each(asked):
        assert isinstance(told, Reply)
        assert json_of(told) == orjson.dumps(dict(told), option=orjson.OPT_UTC_Z)
        assert bool(told.actions_json) == ("excluded" in told)  # what is not recorded is not told before
