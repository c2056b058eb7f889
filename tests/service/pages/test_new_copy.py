"""Copy is ordered on the pages, too, by who may review."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.service.pages.conftest import House, fill
from tests.service.pages.test_pages import hidden


async def test_copy_is_written_by_form_and_shown_first(house: House, reader: httpx.AsyncClient) -> None:
    await fill(house)
    assert 'href="/review/new?offer=o1"' in (await reader.get("/offers")).text
    page = (await reader.get("/review/new?offer=o2")).text
    assert page.index("<option>push</option>") < page.index("<option>email</option>"), "the offer's channels come first"
    asked = {"csrf": hidden(page, "csrf"), "offer": "o2", "channel": "push", "locale": "de", "n": "2"}
    answer = await reader.post("/review/new", data=asked)
    assert answer.status_code == 303
    shown = (await reader.get(answer.headers["location"])).text
    assert 'role="status"' in shown
    assert shown.count("data-variant>") == 2, "nothing that was there before stands above them"
    assert shown.count("push · de") == 2


@pytest.mark.parametrize(
    ("wrong", "status", "told"),
    [
        ({"offer": "none"}, 404, "There is no offer"),
        ({"n": "many"}, 422, "<p>How many texts: Input should be a valid integer."),
        ({"locale": "Deutsch!"}, 422, "<p>Language: must be a BCP 47 tag"),
    ],
)
async def test_an_order_of_copy_that_is_none_is_told_with_what_was_typed(
    house: House, reader: httpx.AsyncClient, wrong: dict[str, str], status: int, told: str
) -> None:
    await fill(house)
    asked = {"csrf": hidden((await reader.get("/review/new")).text, "csrf"), "offer": "o1", "channel": "sms"}
    answer = await reader.post("/review/new", data={**asked, "locale": "en", "n": "1", **wrong})
    assert answer.status_code == status
    assert told in answer.text
    assert f'value="{wrong.get("offer", "o1")}"' in answer.text
    assert 'id="alert"' in answer.text
    at_fault = re.findall(r'name="(\w+)"[^>]* aria-invalid="true" aria-describedby="alert" autofocus>', answer.text)
    assert at_fault == list(wrong)  # read out with the field, which has the focus


async def test_copy_is_ordered_by_reviewers_alone(house: House) -> None:
    asked = {"offer": "o1", "channel": "sms", "locale": "en", "n": "1"}
    async with house.client("decide") as client:
        assert (await client.post("/review/new", data=asked)).status_code == 403
    async with house.client() as client:
        await client.post("/sign-in", data={"key": house.keys["review"]})
        assert (await client.post("/review/new", data=asked)).status_code == 403  # without the form's token
