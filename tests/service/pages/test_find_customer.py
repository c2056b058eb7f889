"""A complaint names an address or a name, seldom an id."""

from __future__ import annotations

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
        answer = await admin.get("/customers", params={"id": typed})
    house.parts.close()
    assert (answer.status_code, answer.headers.get("location")) == (303, "/customers/c1")


async def test_several_who_share_a_trait_are_listed(house: House, reader: httpx.AsyncClient) -> None:
    async with house.client("ingest") as client:
        people = [{"type": "identify", "userId": f"c{n}", "traits": {"last_name": "<Lee>"}} for n in range(23)]
        await client.post("/v1/batch", json={"batch": people})
    house.parts.events.run_pass()
    page = (await reader.get("/customers", params={"id": "<Lee>"})).text
    assert page.count(", &lt;Lee&gt;</li>") == 20
    assert "And others" in page
    nobody = await reader.get("/customers", params={"id": "last_name"})
    assert nobody.headers["location"] == "/customers/last_name", "a trait's name is no value"
