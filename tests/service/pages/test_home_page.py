"""The first page of a home that no demo made: what happened lately, and what waits for a person."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import httpx
from sqlalchemy import text

from service.events.quality_store import API, add_counts
from service.events.tally import Key
from service.pages.home_page import home_view
from tests.service.pages.conftest import House, fill


def figures(page: str) -> dict[str, str]:
    return {what: count for count, what in re.findall(r'<p class="big">([^<]+)</p><p>([^<]+)</p>', page)}


async def test_an_empty_home_says_what_to_begin_with(reader: httpx.AsyncClient) -> None:
    page = (await reader.get("/")).text
    assert set(figures(page).values()) == {"0"}
    assert "Put offers into the catalogue" in page
    assert "Train the models" in page
    assert "none came in the last 7 days" in page


async def test_what_happened_and_what_waits(house: House, reader: httpx.AsyncClient) -> None:
    await fill(house)
    async with house.client("ingest") as client:
        told = [
            {"type": "track", "userId": "c1", "event": "Email Delivered"},
            {"type": "track", "userId": "c1", "event": "Order Completed", "timestamp": "2020-01-01T00:00:00Z"},
            {
                "type": "track",
                "userId": "c1",
                "event": "Order Completed",
                "properties": {"revenue": 9, "currency": "GBP"},
            },
        ]
        await client.post("/v1/batch", json={"batch": told})
    house.parts.events.run_pass()
    page = (await reader.get("/")).text
    shown = figures(page)
    assert (shown["decisions"], shown["messages delivered"], shown["orders"]) == ("2", "1", "2")
    assert '<a href="/review">Review 3 texts</a>' in page
    assert "Give GBP a rate" in page
    assert "Put offers" not in page
    assert "none came in" not in page


def test_the_last_days_are_those_of_the_data_page_and_machines_answer_nothing(house: House) -> None:
    now = datetime(2026, 3, 4, 23, 30, tzinfo=UTC)
    counts: dict[Key, int] = {}
    for day in ("2026-03-04", "2026-02-26", "2026-02-25"):
        for name in ("Email Opened", "Push Notification Tapped"):
            counts |= {Key(day, "event", name): 5, Key(day, "machine", name): 3}
    with house.parts.database.write() as connection:
        add_counts(connection, API, counts)
    shown = home_view(house.parts.database, house.parts.models, now)
    assert [(count, what) for count, what in shown["lately"] if count] == [(4, "opened"), (4, "clicked")]


async def test_who_is_stuck_in_a_journey_waits_for_a_person(house: House, reader: httpx.AsyncClient) -> None:
    await fill(house)
    async with house.client("admin") as admin:
        await admin.post("/v1/journeys/welcome/activate")
        for customer in ("c1", "c2"):
            await admin.post("/v1/journeys/welcome/enrollments", json={"customer_id": customer})
    assert "stuck" not in (await reader.get("/")).text
    with house.parts.database.write() as connection:
        connection.execute(text("UPDATE journey_enrolments SET status = 'stuck', due_at = NULL"))
    page = (await reader.get("/")).text
    assert '<a href="/journeys#welcome">Look at 2 customers who are stuck in welcome</a>' in page
