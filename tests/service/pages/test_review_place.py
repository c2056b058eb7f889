"""A reviewer keeps the place: the next text comes after a decision, later pages stay, what was done is seen again."""

from __future__ import annotations

import re

import httpx
import pytest

from service.pages import review_page
from tests.service.pages.conftest import House, fill

FIELD = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')


def form_of(page: str, variant_id: str, verb: str) -> dict[str, str]:
    form = page[page.index(f"/review/{variant_id}/{verb}") :].partition("</form>")[0]
    return {name: value.replace("&#34;", '"').replace("&amp;", "&") for name, value in FIELD.findall(form)}


def shown(page: str) -> list[str]:
    return re.findall(r'id="v-(\w+)"', page)


async def test_after_a_decision_comes_the_next_and_a_way_back(house: House, reader: httpx.AsyncClient) -> None:
    await fill(house)
    page = (await reader.get("/review")).text
    first, second, third = shown(page)
    moved = await reader.post(f"/review/{second}/approve", data=form_of(page, second, "approve"))
    place, _, anchor = moved.headers["location"].partition("#")
    assert anchor == f"v-{third}"
    page = (await reader.get(place)).text
    assert shown(page) == [first, third]
    again = re.findall(r'href="([^"]+)" data-again', page)[0].replace("&amp;", "&")
    assert shown((await reader.get(again)).text)[0] == second
    moved = await reader.post(f"/review/{third}/reject", data=form_of(page, third, "reject"))
    assert "#" not in moved.headers["location"]  # there is no other after it
    page = (await reader.get(moved.headers["location"])).text
    again = re.findall(r'href="([^"]+)" data-again', page)[0].replace("&amp;", "&")
    assert shown((await reader.get(again)).text)[0] == third


async def test_who_looks_again_sees_that_text_alone_and_comes_back_to_the_list(
    house: House, reader: httpx.AsyncClient
) -> None:
    await fill(house)
    page = (await reader.get("/review?channel=email")).text
    first, second = shown(page)
    moved = await reader.post(f"/review/{first}/approve", data=form_of(page, first, "approve"))
    page = (await reader.get(moved.headers["location"])).text
    again = re.findall(r'href="([^"]+)" data-again', page)[0].replace("&amp;", "&")
    page = (await reader.get(again)).text
    assert shown(page) == [first]
    assert 'href="/review?state=pending&amp;channel=email&amp;locale=" data-next' in page
    moved = await reader.post(f"/review/{first}/reject", data=form_of(page, first, "reject"))
    page = (await reader.get(moved.headers["location"])).text
    assert shown(page) == [second]
    assert "There is no such text" in (await reader.get("/review?only=none")).text


async def test_a_decision_on_a_later_page_stays_there(
    house: House, reader: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(house)
    monkeypatch.setattr(review_page, "PAGE", 1)
    page = (await reader.get("/review")).text
    first = shown(page)
    later = re.findall(r'href="([^"]+)" rel="next"', page)[0].replace("&amp;", "&")
    page = (await reader.get(later)).text
    (second,) = shown(page)
    moved = await reader.post(f"/review/{second}/approve", data=form_of(page, second, "approve"))
    page = (await reader.get(moved.headers["location"])).text
    (third,) = shown(page)
    assert len({*first, second, third}) == 3
    moved = await reader.post(f"/review/{third}/approve", data=form_of(page, third, "approve"))
    page = (await reader.get(moved.headers["location"])).text
    assert "Nothing more here" in page
    back = re.findall(r'Nothing more here. <a href="([^"]+)"', page)[0].replace("&amp;", "&")
    assert shown((await reader.get(back)).text) == first
