"""Offers on the pages: put, changed and switched off by form, by who may; what the form does not show stays."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from features.channels import CHANNELS
from service.offers.schemas import OfferIn
from service.pages.offer_form import changed, shown
from tests.service.pages.conftest import JOURNEY, OFFER, House, fill

RICH = {
    **OFFER, "description": "First line.\nSecond line. ", "product_ids": ["p1", "p2"], "tags": ["new", "for him, her"],
    "starts_at": "2026-01-01T05:00:30Z", "value": 1.25449, "priority": 2.5,
    "caps": [{"max": 3, "per": "calendar_week"}, {"max": 1, "per_days": 7},
             {"max": 9, "per_days": 1, "per": "everyone"}],
    "budget": {"amount": 100, "per_days": 1},
}  # fmt: skip


@pytest.fixture
async def admin(house: House) -> AsyncIterator[httpx.AsyncClient]:
    await fill(house)
    async with house.client("admin") as client:
        yield client


async def form_of(client: httpx.AsyncClient, query: str) -> dict[str, Any]:
    """What a browser would send of the form as it is shown."""
    page = (await client.get(f"/offers/new{query}")).text
    form = page[page.index('action="/offers/new"') :]
    texts = re.findall(r'<input[^>]*name="(\w+)" value="([^"]*)"', form)
    texts += re.findall(r'<textarea[^>]*name="(\w+)"[^>]*>\n?(.*?)</textarea>', form, re.DOTALL)
    asked: dict[str, Any] = {name: html.unescape(text) for name, text in texts if name != "channels"}
    asked["channels"] = re.findall(r'name="channels" value="(\w+)" checked', form)
    return asked


async def stored(client: httpx.AsyncClient, offer_id: str) -> dict[str, Any]:
    told: dict[str, Any] = (await client.get(f"/v1/offers/{offer_id}")).json()
    return told


def test_a_form_that_is_sent_as_it_was_shown_changes_nothing() -> None:
    document = OfferIn(**RICH).document()
    assert changed(document, shown(document), list(reversed(document["channels"]))) == document


async def test_what_is_changed_by_form_changes_and_nothing_else(admin: httpx.AsyncClient) -> None:
    await admin.put("/v1/offers/rich", json=RICH)
    before, asked = await stored(admin, "rich"), await form_of(admin, "?offer=rich")
    assert "version 1" in (await admin.get("/offers/new?offer=rich")).text
    assert (asked["cap"], asked["cap_days"], asked["starts_at"]) == ("1", "7", "2026-01-01T05:00:30")
    answer = await admin.post(
        "/offers/new", data={**asked, "cap": "2", "channels": ["email", "web"], "tags": "new\r\nold"}
    )
    assert answer.headers["location"] == "/offers?named=rich&done=saved"
    page = (await admin.get(answer.headers["location"])).text
    assert "It holds from the next decision on." in page
    caps = [before["caps"][0], {**before["caps"][1], "max": 2}, before["caps"][2]]
    after = {**before, "caps": caps, "channels": ["email", "web"], "tags": ["new", "old"], "version": 2}
    told = await stored(admin, "rich")
    moved = {"hash", "updated_at"}
    assert {name: told[name] for name in told.keys() - moved} == {name: after[name] for name in after.keys() - moved}


async def test_the_copy_of_an_offer_whose_facts_change_is_told_to_be_out_of_use(admin: httpx.AsyncClient) -> None:
    asked = await form_of(admin, "?offer=o1")
    answer = await admin.post("/offers/new", data={**asked, "discount": "25.5", "valid_until": "2031-01-31T22:00"})
    assert answer.status_code == 303, answer.text[answer.text.index('alert"') :][:500]
    assert answer.headers["location"] == "/offers?named=o1&done=outdated"
    facts = (await stored(admin, "o1"))["facts"]
    assert (facts["discount"], facts["ends_at"]) == ({"percent": 25.5}, "2031-01-31T22:00:00Z")
    page = (await admin.get(answer.headers["location"])).text
    link = re.findall(r'<a href="([^"]*)">Approve it again</a>', page)[0]
    assert (await admin.get(html.unescape(link))).text.count("data-variant>") == 1


async def test_a_new_offer_is_put_also_like_another(admin: httpx.AsyncClient) -> None:
    await admin.put("/v1/offers/rich", json=RICH)
    empty = await form_of(admin, "")
    assert empty["channels"] == []
    mine = {"id": "mine", "name": "Müsli 🥣", "channels": ["sms"], "price": "9.90", "currency": "eur"}
    answer = await admin.post("/offers/new", data={**empty, **mine})
    assert answer.headers["location"] == "/offers?named=mine&done=new"
    told = await stored(admin, "mine")
    assert (told["name"], told["channels"], told["value"]) == ("Müsli 🥣", ["sms"], 1.0)
    assert told["facts"]["price"] == {"amount": "9.90", "currency": "EUR"}
    like = await form_of(admin, "?like=rich")
    assert (await admin.post("/offers/new", data={**like, "id": "twin"})).status_code == 303
    rich, twin = await stored(admin, "rich"), await stored(admin, "twin")
    assert {name for name in rich if rich[name] != twin[name]} <= {"offer_id", "created_at", "updated_at"}


@pytest.mark.parametrize(
    ("wrong", "status", "told", "at"),
    [
        ({"id": "o1"}, 409, "There is an offer &#39;o1&#39;", ["id"]),
        ({"id": ""}, 422, "Id: it is empty", ["id"]),
        ({"discount": "12,5"}, 422, "Discount: must be a number such as 12.5", ["discount"]),
        ({"value": ""}, 422, "Earns: must be a number such as 12.5", ["value"]),
        ({"valid_until": "tomorrow"}, 422, "Valid until: ", ["valid_until"]),
        ({"starts_at": "2027-02-01T00:00", "ends_at": "2027-01-01T00:00"}, 422, "ends_at is not after", ["ends_at"]),
        ({"eligibility": "customer.featurs.x"}, 422, "Only for: ", ["eligibility"]),
        ({"cap": "2"}, 422, "At most: ", ["cap"]),
        ({"channels": []}, 422, "Channels: ", []),
    ],
)
async def test_what_is_wrong_is_told_by_its_label_with_what_was_typed(
    admin: httpx.AsyncClient, wrong: dict[str, Any], status: int, told: str, at: list[str]
) -> None:
    typed = {"id": "mine", "name": "A long name", "channels": list(CHANNELS)}
    answer = await admin.post("/offers/new", data={**await form_of(admin, ""), **typed, **wrong})
    assert answer.status_code == status
    assert told in answer.text, answer.text[answer.text.index('alert"') :][:600]
    assert 'value="A long name"' in answer.text
    assert re.findall(r'name="(\w+)"[^>]* aria-describedby="alert" autofocus>', answer.text) == at
    assert (await admin.get("/v1/offers/mine")).status_code == 404


async def test_of_two_tabs_the_second_is_shown_what_the_first_has_changed(admin: httpx.AsyncClient) -> None:
    one, two = await form_of(admin, "?offer=o1"), await form_of(admin, "?offer=o1")
    assert (await admin.post("/offers/new", data={**one, "priority": "3"})).status_code == 303
    answer = await admin.post("/offers/new", data={**two, "value": "7"})
    assert answer.status_code == 412
    assert "<dt>priority</dt><dd>3</dd>" in answer.text
    assert 'name="value" value="7"' in answer.text
    assert (await stored(admin, "o1"))["priority"] == 3
    seen = re.findall(r'name="version" value="(\d+)"', answer.text)[0]
    assert (await admin.post("/offers/new", data={**two, "value": "7", "version": seen})).status_code == 303
    after = await stored(admin, "o1")
    assert (after["priority"], after["value"]) == (1, 7)


async def test_an_offer_is_switched_off_at_once_and_on_again_as_it_was(admin: httpx.AsyncClient) -> None:
    await admin.put("/v1/offers/o1", json={**OFFER, "priority": 2.5})
    asked = {"customer_id": "c9", "placement": "p", "channels": ["email"], "offers": ["o1"], "dry_run": True}
    for to, priority, rules in (("off", 0, {"priority"}), ("on", 2.5, set())):
        answer = await admin.post("/offers/switch", data={"offer": "o1", "to": to, "named": "o1", "after": ""})
        assert answer.headers["location"] == f"/offers?named=o1&after=&done={to}#o-o1"
        page = (await admin.get(answer.headers["location"])).text
        assert 'id="o-o1"' in page
        assert f"Switch {'on' if to == 'off' else 'off'}</button>" in page
        assert (await stored(admin, "o1"))["priority"] == priority
        told = (await admin.post("/v1/decisions", json=asked)).json()
        assert {one["rule"] for one in told["excluded"]} == rules


async def test_journeys_that_send_an_offer_stand_beside_it(house: House, admin: httpx.AsyncClient) -> None:
    step = {"id": "d", "kind": "decide", "placement": "p", "channels": ["push"]}
    for name, offers in (("one", ["o2"]), ("all", None), ("still", ["o2"])):
        steps = [{**step, "offers": offers}, {"id": "end", "kind": "exit"}]
        assert (await admin.put(f"/v1/journeys/{name}", json={**JOURNEY, "steps": steps})).status_code == 201
        if name != "still":
            assert (await admin.post(f"/v1/journeys/{name}/activate")).status_code == 200
    page = (await admin.get("/offers?named=o2")).text
    assert 'Any offer may be sent by <a href="/journeys#all">all</a>.' in page
    assert '<br>by <a href="/journeys#one">one</a></td>' in page
    assert "still" not in page


async def test_who_may_not_change_offers_sees_no_button(house: House, admin: httpx.AsyncClient) -> None:
    async with house.client("review") as reviewer:
        page = (await reviewer.get("/offers")).text
        assert "/offers/switch" not in page
        assert "/offers/new" not in page
        assert "with a key of the scope <code>admin</code>" in page
        for path in ("/offers/new", "/offers/switch"):
            assert (await reviewer.post(path, data={"offer": "o1", "to": "off"})).status_code == 403
    assert (await stored(admin, "o1"))["priority"] == 1


async def test_small_and_large_amounts_keep_what_they_tell(admin: httpx.AsyncClient) -> None:
    rich = {**RICH, "value": 1234.5, "cost": 0.0004, "budget": {"amount": 2500.75, "per_days": 1}}
    assert (await admin.put("/v1/offers/rich", json=rich)).status_code == 200
    page = (await admin.get("/offers?named=rich")).text
    assert '<td class="n">1,234.50<br><small>costs 0.0004</small></td>' in page
    assert "budget 2,500.75 " in page
