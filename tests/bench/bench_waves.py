"""How long decisions take while a newsletter's deliveries come in: `make bench-waves`.

The real app (SQLite, one worker on one core) over a seeded home; a few clients ask again and again, resting a little in
between, first alone, then while thousands of deliveries of decisions made before are posted and applied.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

import httpx
import numpy as np

from service.storage.database import Database
from service.web.auth import create_key
from tests.bench.decision_home import CHANNELS, CUSTOMERS, customer_ids, make_home
from tests.bench.loads import opportune, serving, settings_of
from tests.fakes.postgres_server import free_port

CLIENTS, REST_S, QUIET_S, AT_ONCE = 4, 0.02, 8.0, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deliveries", type=int, default=6_000)
    parser.add_argument("--rounds", type=int, default=1, help="of both loads")
    options = parser.parse_args()
    with TemporaryDirectory() as scratch:
        home = Path(scratch)
        make_home(home)
        database = Database(f"sqlite:///{home / 'state.db'}")
        key = create_key(database, ("decide", "ingest"), "bench", datetime.now(UTC))
        database.close()
        port = free_port()
        with serving(
            opportune(sys.executable), port, "/health/live", settings_of(home) | {"OPPORTUNE_PORT": str(port)}
        ):
            print("| | decisions | p50 ms | p90 ms | p99 ms | longest |\n|---|---|---|---|---|---|", flush=True)
            for number in range(options.rounds):
                _measure(f"http://127.0.0.1:{port}", key, options.deliveries, number)


def _measure(address: str, key: str, deliveries: int, number: int) -> None:
    with _client(address, key) as api:
        messages = _deliveries(api, deliveries, number)
        _show("alone", _while(address, key, lambda: time.sleep(QUIET_S)))
        _show(f"{len(messages):,} deliveries", _while(address, key, lambda: _post(api, messages)))


def _client(address: str, key: str) -> httpx.Client:
    return httpx.Client(base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=60, trust_env=False)


def _asked(number: int) -> dict[str, Any]:
    customer = customer_ids()[number * 7919 % CUSTOMERS]
    return {"customer_id": customer, "placement": "email.weekly", "channels": list(CHANNELS), "top_k": 3}


def _deliveries(api: httpx.Client, many: int, number: int) -> list[dict[str, Any]]:
    """Deliveries of decisions that are made for it."""
    told = []
    for start in range(number * many, (number + 1) * many, AT_ONCE):
        asked = [_asked(place) for place in range(start, start + AT_ONCE)]
        answer = api.post("/v1/decisions/batch", json={"requests": asked})
        answer.raise_for_status()
        told += [made for made in answer.json()["decisions"] if made["actions"]]
    return [
        {
            "type": "track",
            "event": "Email Delivered",
            "userId": made["customer_id"],
            "messageId": f"{made['decision_id']}-delivered",
            "properties": {"decision_id": made["decision_id"], **_of_action(made["actions"][0])},
        }
        for made in told
    ]


def _of_action(action: dict[str, Any]) -> dict[str, str]:
    return {"offer_id": action["offer_id"], "channel": action["channel"]}


def _post(api: httpx.Client, messages: Sequence[dict[str, Any]]) -> None:
    """Posts them, and comes back when all are applied."""
    for start in range(0, len(messages), AT_ONCE):
        api.post("/v1/batch", json={"batch": messages[start : start + AT_ONCE]}).raise_for_status()
    while api.get("/health/ready").json()["heartbeats"]["events"]["pending"]:
        time.sleep(0.05)


def _while(address: str, key: str, work: Callable[[], None]) -> list[float]:
    """Seconds of each decision made while some work goes on."""
    over = Event()

    def ask(client: int) -> list[float]:
        took, number = [], client * CUSTOMERS // CLIENTS
        with _client(address, key) as api:
            while not over.wait(REST_S):
                began = time.perf_counter()
                api.post("/v1/decisions", json=_asked(number)).raise_for_status()
                took.append(time.perf_counter() - began)
                number += 1
        return took

    with ThreadPoolExecutor(CLIENTS) as pool:
        asked = [pool.submit(ask, client) for client in range(CLIENTS)]
        try:
            work()
        finally:
            over.set()
        return [one for some in asked for one in some.result()]


def _show(name: str, took: Sequence[float]) -> None:
    p50, p90, p99, longest = 1_000 * np.percentile(took, (50, 90, 99, 100))
    print(f"| {name} | {len(took):,} | {p50:.1f} | {p90:.1f} | {p99:.1f} | {longest:.1f} |", flush=True)


if __name__ == "__main__":
    main()
