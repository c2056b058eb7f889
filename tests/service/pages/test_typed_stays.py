"""What was typed into a form is not lost with the session in which it was sent. In a real browser."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from service.pages.sign_in import COOKIE
from tests.fakes.browsing import CHROMIUM, chromium, served
from tests.service.pages.conftest import OFFER, House, make_house

AGAIN = "What you typed is here again. It was not saved yet."

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium (see .ci/run)"),
]


async def put(house: House, offer: dict[str, Any]) -> None:
    async with house.client("admin") as admin:
        assert (await admin.put("/v1/offers/o1", json=offer)).status_code == 200


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = make_house(tmp_path / "home")
    with ThreadPoolExecutor(1) as aside:
        aside.submit(asyncio.run, put(made, OFFER)).result()
    yield made
    made.parts.close()


def sign_in(page: Any, key: str) -> None:
    page.get_by_label("Key").fill(key)
    with page.expect_navigation():
        page.keyboard.press("Enter")


def save(page: Any) -> None:
    with page.expect_navigation():
        page.get_by_role("button", name="Save").click()


def test_a_form_that_was_sent_in_vain_is_filled_again_until_it_is_saved(house: House) -> None:
    with served(house.app) as address, chromium() as browser:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{address}/offers/new?offer=o1")
        sign_in(page, house.keys["admin"])
        for _ in range(2):
            page.get_by_label("Description").fill("Lange getippt.\nZweite Zeile")
            page.get_by_label("web", exact=True).check()
            context.add_cookies([{"name": COOKIE, "value": "of-yesterday", "url": address}])
            save(page)
            assert "Your session has ended" in page.inner_text("main")
            sign_in(page, house.keys["admin"])
            assert page.inner_text(".again") == AGAIN
            assert page.get_by_label("Description").input_value() == "Lange getippt.\nZweite Zeile"
            assert page.get_by_label("web", exact=True).is_checked()
        save(page)
        assert page.locator("[role=status]").inner_text().startswith("Saved.")
        page.goto(f"{address}/offers/new?offer=o1")
        assert page.locator(".again").count() == 0
        page.get_by_label("Description").fill("Another")
        context.add_cookies([{"name": COOKIE, "value": "of-yesterday", "url": address}])
        save(page)
        with ThreadPoolExecutor(1) as aside:
            aside.submit(asyncio.run, put(house, {**OFFER, "description": "By somebody else"})).result()
        sign_in(page, house.keys["admin"])
        assert page.get_by_label("Description").input_value() == "By somebody else", "nothing of others is written over"
