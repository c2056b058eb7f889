"""The customer's page tells what would be decided now or tomorrow, and leaves no trace of having asked."""

from __future__ import annotations

import re

import httpx

from service.decisions.decision_store import newest_heads
from service.pages.rehearsal import held
from tests.service.pages.conftest import House, fill


async def ask(client: httpx.AsyncClient, **query: str) -> str:
    answer = await client.get("/customers/c1", params={"placement": "weekly", **query})
    assert answer.status_code == 200
    return answer.text.partition('id="would"')[2]


async def test_a_customer_is_decided_for_without_a_trace(house: House, reader: httpx.AsyncClient) -> None:
    await fill(house)
    with house.parts.database.read() as connection:
        before = newest_heads(connection, 100)
    page = (await reader.get("/customers/c1")).text
    assert 'name="placement" value="weekly"' in page, "where they were decided for last"
    assert "As of" not in page
    assert re.findall(r"<h3>(?:<bdi>)?([\w ]+)", await ask(reader))[0] in ("Coffee Gold", "Tea", "Nothing")
    with house.parts.database.read() as connection:
        assert newest_heads(connection, 100) == before


async def test_nothing_now_nor_tomorrow_is_told_with_the_rule_that_holds_all_back(
    house: House, reader: httpx.AsyncClient
) -> None:
    await fill(house)
    async with house.client("admin") as admin:
        for offer in (await admin.get("/v1/offers")).json()["offers"]:
            await admin.post("/offers/switch", data={"offer": offer["offer_id"], "to": "off"})
    now, tomorrow = await ask(reader), await ask(reader, when="tomorrow")
    for told in (now, tomorrow):
        assert "<h3>Nothing</h3>" in told
        assert "Its priority is 0, by which it is off: " in told
    first, later = (re.findall(r"As of <time>(\S+)", told)[0] for told in (now, tomorrow))
    assert first < later
    assert '<option value="tomorrow" selected>' in tomorrow


async def test_a_placement_that_is_none_is_told(house: House, reader: httpx.AsyncClient) -> None:
    await fill(house)
    page = (await reader.get("/customers/c1", params={"placement": "a b"})).text
    assert "<p>Placement: " in page
    assert re.findall(
        r'name="placement" value="a b"[^>]* aria-invalid="true" aria-describedby="alert" autofocus>', page
    )


def test_what_one_reason_holds_back_stands_together() -> None:
    cap = {"rule": "frequency_cap", "detail": "2 of 2", "until": "2026-01-01T00:00:00Z"}
    off = {"rule": "priority", "detail": "it is off", "until": None}
    told = [{**off, "offer_id": "tea", "channel": "sms"}]
    told += [{**cap, "offer_id": offer, "channel": "email"} for offer in ("tea", "mug")]
    assert held(told, {"tea": "Tea"}) == [
        {**cap, "what": ["Tea by email", "mug by email"]},
        {**off, "what": ["Tea by sms"]},
    ]
