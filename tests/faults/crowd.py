"""Many requests at the same moment, each on a connection of its own; by hand with 5,000 of them on Postgres or SQLite.

    python -m tests.faults.crowd --requests 5000 [--database postgresql://…]

starts a service with an offer of which 100 may go, asks for a decision for as many customers, and tells what came of
it: answers by status, how many got the offer, and the most connections to Postgres that were open (without
`--database`: on SQLite). Ends with 1 where one failed, or another number than 100 got the offer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.end_to_end.conftest import BEST_ONLY, Service

PLACES = 100
CONNECTING = 500
"""Connections that are opened at a time, so that the queue of the listening socket does not run over."""
EVERYBODY = '{"default": {"arms": {"model": 1, "random": 0, "business_as_usual": 0, "holdout": 0}}}'
UNCAPPED = json.dumps(BEST_ONLY | {"caps": [], "time_budget_ms": 0})


def ask_at_once(port: int, key: str, bodies: Sequence[dict[str, Any]]) -> list[tuple[int, Any]]:
    """Status and body of each answer; all are connected before the first one asks. Status 0: no answer."""
    return asyncio.run(_all(port, key, bodies))


async def _all(port: int, key: str, bodies: Sequence[dict[str, Any]]) -> list[tuple[int, Any]]:
    gate = asyncio.Semaphore(CONNECTING)

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with gate:
            return await asyncio.open_connection("127.0.0.1", port)

    lines = await asyncio.gather(*(connect() for _ in bodies))
    return await asyncio.gather(*(_ask(*line, key, body) for line, body in zip(lines, bodies, strict=True)))


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str, body: dict[str, Any]
) -> tuple[int, Any]:
    told = json.dumps(body).encode()
    head = (
        "POST /v1/decisions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {key}\r\nContent-Length: {len(told)}\r\n\r\n"
    )
    try:
        writer.write(head.encode() + told)
        answer = await asyncio.wait_for(reader.read(), 120)
    except (OSError, TimeoutError):
        return 0, None
    finally:
        writer.close()
    first, _, content = answer.partition(b"\r\n\r\n")
    return int(first.split()[1]), json.loads(content)


def crowd(service: Service, requests: int) -> list[tuple[int, Any]]:
    """Answers to as many requests at once for an offer of which `PLACES` may go, each for a customer of its own."""
    offer = {
        "name": "Rare",
        "channels": ["sms"],
        "value": 10.0,
        "requires_approval": False,
        "caps": [{"max": PLACES, "per_days": 7, "per": "everyone"}],
    }
    assert service.client("admin").put("/v1/offers/rare", json=offer).status_code == 200
    bodies = [{"customer_id": f"c{n}", "channels": ["sms"], "offers": ["rare"]} for n in range(requests)]
    return ask_at_once(service.port, service.key("decide"), bodies)


def took(answers: Sequence[tuple[int, Any]]) -> int:
    """How many of these answers have an action."""
    return sum(bool(body["actions"]) for status, body in answers if status == 200)


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--requests", type=int, default=5_000)
    asked.add_argument("--database")
    given = asked.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65_536, most), most))
    with tempfile.TemporaryDirectory() as folder:
        told = {"OPPORTUNE_DATABASE_URL": given.database} if given.database else {}
        service = Service(Path(folder), OPPORTUNE_PLACEMENTS=EVERYBODY, OPPORTUNE_DECISIONS=UNCAPPED, **told)
        service.start()
        try:
            answers = crowd(service, given.requests)
        finally:
            service.stop()
    statuses = Counter(status for status, _ in answers)
    degraded = Counter(part for status, body in answers if status == 200 for part in body["degraded"])
    print(f"answers {dict(statuses)}, with the offer {took(answers)} of {PLACES}, degraded {dict(degraded)}")
    return int(set(statuses) != {200} or took(answers) > PLACES)


if __name__ == "__main__":
    sys.exit(main())
