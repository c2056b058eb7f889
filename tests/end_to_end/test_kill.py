"""Nothing that was answered with 200 is lost when the process is killed."""

from __future__ import annotations

import threading
from collections.abc import Callable

import httpx
import pytest

from tests.end_to_end.conftest import Service, answers, eventually

pytestmark = pytest.mark.slow


def test_kill_in_the_middle_of_a_thousand_events_loses_none(service: Service) -> None:
    key = service.key("admin")
    accepted: list[str] = []
    half = threading.Event()

    def send(part: int) -> None:
        with httpx.Client(base_url=service.url, auth=(key, ""), timeout=10, trust_env=False) as api:
            for number in range(part, 1000, 4):
                event = {"userId": f"c{number % 20}", "event": "Order Completed", "messageId": f"m{number}",
                         "properties": {"order_id": f"o{number}", "revenue": 1}}  # fmt: skip
                try:
                    answer = api.post("/v1/track", json=event)
                except httpx.TransportError:
                    return
                if answer.status_code == 200:
                    accepted.append(f"m{number}")
                if len(accepted) > 500:
                    half.set()

    senders = [threading.Thread(target=send, args=(part,)) for part in range(4)]
    for sender in senders:
        sender.start()
    assert half.wait(240)
    service.kill()
    for sender in senders:
        sender.join()
    assert 500 < len(accepted) < 1000

    service.start()
    with httpx.Client(base_url=service.url, auth=(key, ""), timeout=30, trust_env=False) as api:

        def found() -> set[str]:
            kept: set[str] = set()
            for customer in range(20):
                held = api.get(f"/v1/customers/c{customer}/export").json()
                kept |= {event["message_id"] for event in held["events"]}
            return kept

        def counted() -> float:
            customers = [api.get(f"/v1/customers/c{number}").json() for number in range(20)]
            return sum(customer["features"]["orders_30d"] for customer in customers)

        assert set(accepted) <= found()
        assert eventually(lambda: counted() == len(found()), seconds=20)  # each counted once, none twice


def test_workers_end_with_the_service_that_was_killed(make_service: Callable[..., Service]) -> None:
    service = make_service()
    service.start("--workers", "2")
    service.kill()
    assert eventually(lambda: not answers(service.url), seconds=20)
    service.start()
