"""A cap of N is never N+1: decisions in parallel, in several processes, and around a kill -9."""

from __future__ import annotations

import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from tests.end_to_end.conftest import BEST_ONLY, Service, eventually
from tests.faults.conftest import OFFER, MakeService, Place
from tests.faults.crowd import PLACES, ask_at_once, crowd, took

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CAP = 3
CAPPED = json.dumps(BEST_ONLY | {"caps": [{"max": CAP, "per_days": 30}], "reservation_hours": 48, "time_budget_ms": 0})
TEXTED = OFFER | {"channels": ["sms"]}  # a channel that goes out: those a customer comes to have no caps over all
START = datetime(2026, 11, 20, 12, tzinfo=UTC)


def messages(place: Place) -> dict[str, int]:
    """Messages that the ledger holds, by customer."""
    with place.database.read() as connection:
        rows = connection.execute(text("SELECT customer_id, count(*) FROM ledger WHERE message GROUP BY customer_id"))
        return {row[0]: row[1] for row in rows}


def decide(service: Service, key: str, customer: str, times: int, offers: list[str]) -> list[httpx.Response]:
    """Answers until the server is gone."""
    body = {"customer_id": customer, "channels": ["sms"], "offers": offers}
    answers: list[httpx.Response] = []
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=60, trust_env=False) as api:
        for _ in range(times):
            try:
                answers.append(api.post("/v1/decisions", json=body))
            except httpx.TransportError:
                break
    return answers


def acting(answers: list[httpx.Response]) -> list[dict[str, Any]]:
    return [answer.json() for answer in answers if answer.json()["actions"]]


def together(
    service: Service, key: str, customers: list[str], times: int = 1, offers: list[str] | None = None
) -> list[httpx.Response]:
    """One client a customer named (a name may be there often), all at once."""
    gate = threading.Barrier(len(customers))

    def work(customer: str) -> list[httpx.Response]:
        gate.wait(60)
        return decide(service, key, customer, times, offers or ["thanks"])

    with ThreadPoolExecutor(len(customers)) as pool:
        return [answer for answers in pool.map(work, customers) for answer in answers]


def capped(make_service: MakeService, place: Place, *options: str, **settings: str) -> tuple[Service, str]:
    """A service with one offer, and an admin's key."""
    service = make_service(**place.settings, OPPORTUNE_DECISIONS=CAPPED, **settings)
    service.start(*options)
    assert service.client("admin").put("/v1/offers/thanks", json=TEXTED).status_code == 200
    return service, service.key("admin")


def test_64_decisions_at_once_for_one_customer(make_service: MakeService, place: Place) -> None:
    service, key = capped(make_service, place, "--workers", "2")
    answers = together(service, key, ["c1"] * 64)
    assert {answer.status_code for answer in answers} == {200}
    assert len(acting(answers)) == CAP
    assert messages(place) == {"c1": CAP}
    a_crowd_for_few_places(service, place)
    rules = [one["rule"] for answer in answers if not answer.json()["actions"] for one in answer.json()["excluded"]]
    assert set(rules) == {"frequency_cap"}


def a_crowd_for_few_places(service: Service, place: Place) -> None:
    """A limit that all customers share holds for all of them together; `crowd` does it with 5,000."""
    answers = crowd(service, 400)
    assert Counter(status for status, _ in answers) == {200: 400}
    assert took(answers) == PLACES
    with place.database.read() as connection:
        written = "SELECT count(*) FROM ledger WHERE offer_id = 'rare'"
        assert connection.execute(text(written)).scalar_one() == PLACES
        if not place.database.is_sqlite:
            mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            assert connection.execute(text(mine)).scalar_one() < 100


def test_a_kill_in_the_middle_of_decisions(make_service: MakeService, place: Place) -> None:
    clock = make_service("clock").home / "now"
    clock.write_text(START.isoformat())
    service, key = capped(make_service, place, OPPORTUNE_CLOCK=f"file:{clock}")
    customers = [f"c{number}" for number in range(12)]

    def kill_soon() -> None:
        assert eventually(lambda: len(messages(place)) >= 6, 60)
        service.kill()

    killer = threading.Thread(target=kill_soon)
    killer.start()
    before = together(service, key, customers * 2, times=40)
    killer.join()
    service.start()
    after = together(service, key, customers * 2, times=4)
    assert {answer.status_code for answer in before + after} == {200}
    assert messages(place) == dict.fromkeys(customers, CAP)  # not one more, and none lost to a decision half made

    api = service.client("decide")
    for answer in acting(before):  # what was answered is on record
        record = api.get(f"/v1/decisions/{answer['decision_id']}").json()
        assert record["customer_id"] == answer["customer_id"]
    with place.database.read() as connection:  # and every reservation belongs to a decision
        orphans = "SELECT count(*) FROM ledger WHERE decision_id NOT IN (SELECT decision_id FROM decisions)"
        assert connection.execute(text(orphans)).scalar_one() == 0

    later = clock.with_suffix(".new")
    later.write_text((START + timedelta(days=8)).isoformat())
    later.replace(clock)  # nothing was delivered, so that every reservation has ended
    again = acting(together(service, key, customers, times=4))
    assert {answer["customer_id"] for answer in again} == set(customers)


def test_budgets_hold_for_64_at_once_and_unused_money_comes_back(make_service: MakeService, place: Place) -> None:
    clock = make_service("clock").home / "now"
    clock.write_text(START.isoformat())
    service, key = capped(make_service, place, "--workers", "2", OPPORTUNE_CLOCK=f"file:{clock}")
    budgets = {
        "monthly": {"amount": 5.0, "per_days": 30},
        "even": {"amount": 48.0, "per_days": 1, "pacing": "even"},  # 2 an hour, and as much ahead
        "daily": {"amount": 24.0, "per": "calendar_day", "pacing": "even"},  # by noon half of it, and 1 ahead
    }
    may = {"monthly": 5, "even": 4, "daily": 13}
    for name, budget in budgets.items():
        offer = TEXTED | {"value": 1_000.0, "cost": 1.0, "budget": budget}
        assert service.client("admin").put(f"/v1/offers/{name}", json=offer).status_code == 200

    def taken(crowd: str) -> dict[str, int]:
        found = {}
        for name in budgets:
            bodies = [{"customer_id": f"{crowd}-{name}-{n}", "channels": ["sms"], "offers": [name]} for n in range(64)]
            answers = ask_at_once(service.port, key, bodies)
            assert {status for status, _ in answers} == {200}
            found[name] = took(answers)
        return found

    assert taken("first") == may
    assert taken("late") == dict.fromkeys(may, 0)
    later = clock.with_suffix(".new")
    later.write_text((START + timedelta(days=10)).isoformat())
    later.replace(clock)  # nothing was delivered within 48 hours of its time, which is a week ahead at most
    assert taken("again") == may
