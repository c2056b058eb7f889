"""What a decision costs beside deciding, in CPU µs, in this process: the way in and out over HTTP, and its words.

`python -m tests.bench.bench_front --home DIR`: the home of `bench_decisions.py --home DIR`, or a new one.
The way in and out: 16 askers in turn at the whole ASGI service, whose decider sleeps 2 ms and gives canned answers;
beside it an ASGI app that reads the JSON and gives the same answer. uvicorn is left out of both. Words: 5 actions a
customer on 2 channels, nothing else in between.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import MutableMapping, Sequence
from typing import Any

import orjson

from tests.bench.decision_home import CUSTOMERS
from tests.bench.homes import home_by_argument

ASKERS, EACH, ROUNDS = 16, 60, 7
CONTEXT = {
    "page": "cart", "campaign": "autumn", "device": "mobile", "items": 3, "total": 41.9, "referrer": "newsletter",
    "session": "5f0c9a7e-1f5b-4a0e-9a51-0d4b7f0f8a11", "language": "en",
}  # fmt: skip


def main() -> None:
    with home_by_argument(__doc__) as home:
        _measure((home / "key").read_text())


def _measure(key: str) -> None:
    from service.decisions.schemas import DecisionIn
    from service.main import create_front
    from service.settings import Settings
    from service.web.bodies import parse
    from service.wiring import build

    parts = build(Settings())
    told = parts.steady.decide_each([parse(DecisionIn, request_body(n, True)) for n in range(16)])
    print(f"words of 5 actions: {_words(parts):.1f} µs")
    answer = sorted((one for one in told if isinstance(one, dict)), key=lambda one: len(one["actions"]))[8]

    def canned(requests: Sequence[Any]) -> list[Any]:
        time.sleep(0.002)
        return [answer for _ in requests]

    parts.steady.decide_each = canned  # type: ignore[method-assign,assignment]
    header = [(b"authorization", b"Bearer " + key.encode()), (b"content-type", b"application/json")]

    async def floor(scope: Any, receive: Any, send: Any) -> None:
        orjson.loads((await receive())["body"])
        body = orjson.dumps(answer, option=orjson.OPT_UTC_Z)
        headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    for name, app in (("the way in and out", create_front(parts)), ("a bare ASGI app", floor)):
        best, middle = asyncio.run(_rounds(app, header))
        print(f"{name}: {best:.1f} µs at best, {middle:.1f} in the median of {ROUNDS} rounds")
    parts.close()


async def _rounds(app: Any, header: list[tuple[bytes, bytes]]) -> tuple[float, float]:
    async def asker(first: int) -> None:
        for number in range(first, first + EACH):
            await _ask(app, header, request_body(number))

    spent = []
    for _ in range(ROUNDS + 1):
        before = time.process_time()
        await asyncio.gather(*(asker(number * EACH) for number in range(ASKERS)))
        spent.append((time.process_time() - before) / ASKERS / EACH * 1e6)
    spent = sorted(spent[1:])
    return spent[0], spent[len(spent) // 2]


async def _ask(app: Any, header: list[tuple[bytes, bytes]], body: bytes) -> None:
    scope: MutableMapping[str, Any] = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": "/v1/decisions",
        "raw_path": b"/v1/decisions", "query_string": b"", "root_path": "", "scheme": "http", "state": {},
        "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1),
        "headers": [*header, (b"content-length", str(len(body)).encode())],
    }  # fmt: skip
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    if sent[0]["status"] != 200:
        raise RuntimeError(f"refused: {sent}")


def request_body(number: int, dry_run: bool = False) -> bytes:
    asked = {
        "customer_id": f"customer-{number * 7919 % CUSTOMERS:05}", "placement": "email.weekly",
        "channels": ["email", "sms"], "offers": None, "context": CONTEXT, "top_k": 5, "at": None, "dry_run": dry_run,
        "explain": True,
    }  # fmt: skip
    return orjson.dumps(asked)


def _words(parts: Any) -> float:
    with parts.database.read() as connection:
        offers = parts.catalogue.current(connection).offers
        people = _people(connection, [f"customer-{number:05}" for number in range(1_000)])
    best = float("inf")
    for _ in range(ROUNDS):
        before = time.process_time()
        for turn, person in enumerate(people):
            reader = parts.library.for_customer(**person)
            for place in range(5):
                offer = offers[(turn + place) % len(offers)]
                if reader.choose(offer.offer_id, offer.document, ("email", "sms")[place % 2]) is None:
                    raise RuntimeError(f"no words for {offer.offer_id}")
        best = min(best, (time.process_time() - before) / len(people))
    return best * 1e6


def _people(connection: Any, ids: Sequence[str]) -> list[dict[str, Any]]:
    from service.customers.customer_store import read_customers

    return [
        {
            "customer_id": one.customer_id, "locale": one.locale, "timezone": one.timezone, "traits": one.traits,
            "segments": one.segments,
        }
        for one in read_customers(connection, ids).values()
    ]  # fmt: skip


if __name__ == "__main__":
    main()
