"""A complaint names an address or a name, seldom an id."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from tests.service.pages.conftest import House, make_house


@pytest.mark.parametrize("typed", ["ada@Example.org", " ada@example.org ", "030 901820", "+4930901820", "Łuczak", "c1"])
async def test_a_customer_is_found_by_what_a_complaint_names(tmp_path: Path, typed: str) -> None:
    house = make_house(tmp_path / "home", default_country="DE")
    traits = {"email": "ada@Example.org", "phone": "(030) 901820", "last_name": "Łuczak"}
    other = {"email": "ben@example.org", "last_name": "Ada", "nick": "email"}
    async with house.client("admin") as admin:
        batch = [
            {"type": "identify", "userId": "c1", "traits": traits},
            {"type": "identify", "userId": "c2", "traits": other},
        ]
        await admin.post("/v1/batch", json={"batch": batch})
        house.parts.events.run_pass()
        answer = await admin.post("/customers", data={"id": typed})
    house.parts.close()
    assert (answer.status_code, answer.headers.get("location")) == (303, "/customers/c1")


async def test_several_who_share_a_trait_are_listed(house: House, reader: httpx.AsyncClient) -> None:
    async with house.client("ingest") as client:
        people = [{"type": "identify", "userId": f"c{n}", "traits": {"last_name": "<Lee>"}} for n in range(23)]
        await client.post("/v1/batch", json={"batch": people})
    house.parts.events.run_pass()
    page = (await reader.post("/customers", data={"id": "<Lee>"})).text
    assert page.count(", <bdi>&lt;Lee&gt;</bdi></li>") == 20
    assert "And others" in page
    nobody = await reader.post("/customers", data={"id": "last_name"})
    assert nobody.status_code == 404, "a trait's name is no value"


async def test_what_is_typed_stands_in_no_address(house: House, reader: httpx.AsyncClient) -> None:
    """Addresses are kept by browsers and in the logs of proxies."""
    typed = "nobody@example.org"
    page = (await reader.get("/customers", params={"id": typed})).text
    forms = re.findall(r'<form[^>]*action="/customers"[^>]*>', page)
    assert len(forms) == 2
    assert all('method="post"' in form for form in forms)
    answer = await reader.post("/customers", data={"id": typed})
    assert (answer.status_code, "location" in answer.headers) == (404, False)
    assert "Nothing is known of a customer" in answer.text
    assert f'value="{typed}"' in answer.text, "what was typed stays, to be corrected"
    assert (await reader.post("/customers", data={"id": "x" * 2_000})).status_code == 400


async def test_somebody_unknown_is_found_by_their_decisions(house: House, reader: httpx.AsyncClient) -> None:
    async with house.client("decide") as client:
        await client.post("/v1/decisions", json={"customer_id": "stranger"})
    assert (await reader.post("/customers", data={"id": "stranger"})).headers["location"] == "/customers/stranger"


async def test_a_search_that_another_site_sends_is_refused(house: House) -> None:
    async with house.client() as browser:
        await browser.post("/sign-in", data={"key": house.keys["review"]})
        page = (await browser.get("/customers")).text
        token = re.findall(r'name="csrf" value="([^"]*)"', page)[0]
        assert (await browser.post("/customers", data={"id": "c1"})).status_code == 403
        assert (await browser.post("/customers", data={"id": "c1", "csrf": token})).status_code == 404
