"""A queue of texts by keys alone, in a real browser: held keys, double presses, the last text, faults."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from service.content.variant_store import count_states
from service.pages import review_page
from tests.fakes.browsing import CHROMIUM, chromium, served
from tests.service.pages.conftest import OFFER, House, make_house

COUNT, ON_A_PAGE = 7, 4
FOCUSED = "document.activeElement.id"
SEEN = "[data-seen]"  # a key that approves counts only once the text was there to be seen

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium (see .ci/run)"),
]


async def fill(house: House) -> None:
    async with house.client("admin") as admin:
        assert (await admin.put("/v1/offers/o1", json=OFFER)).status_code == 200
        order = {"offer_id": "o1", "channel": "push", "locale": "en", "n": COUNT}
        made = await admin.post("/v1/content/generate", json=order)
        assert len(made.json()["variants"]) == COUNT


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(review_page, "PAGE", ON_A_PAGE)
    made = make_house(tmp_path / "home", open_pages=True)
    with ThreadPoolExecutor(1) as aside:
        aside.submit(asyncio.run, fill(made)).result()
    yield made
    made.parts.close()


@pytest.fixture
def page(house: House) -> Iterator[Any]:
    with served(house.app) as address, chromium() as browser:
        shown = browser.new_page()
        shown.goto(f"{address}/review")
        yield shown


def states(house: House) -> dict[str, int]:
    with house.parts.database.read() as connection:
        return count_states(connection)


def press(page: Any, key: str) -> None:
    page.wait_for_selector(SEEN, state="attached")
    with page.expect_navigation():
        page.keyboard.press(key)


def test_all_texts_are_decided_by_one_key(page: Any, house: House) -> None:
    for _ in range(COUNT):
        press(page, "a")
    assert states(house) == {"approved": COUNT}
    assert "Nothing waits for review" in page.inner_text("main")
    press(page, "u")
    assert page.locator("[data-variant]").first.locator(".state-approved").count() == 1


def test_one_press_approves_one_text(page: Any, house: House) -> None:
    page.wait_for_selector(SEEN, state="attached")
    page.keyboard.down("a")
    for _ in range(20):  # as a key does that is held down
        page.wait_for_timeout(30)
        page.keyboard.down("a")
    page.keyboard.up("a")
    page.wait_for_load_state()
    assert states(house)["approved"] == 1
    page.wait_for_selector(SEEN, state="attached")
    page.keyboard.press("a")
    page.keyboard.press("a")
    page.wait_for_timeout(1_000)
    assert states(house)["approved"] == 2
    assert page.locator("[role=alert]").count() == 0
    page.locator("[data-approve] button").first.dblclick()
    page.wait_for_timeout(1_000)
    assert page.locator("[role=alert]").count() == 0


def test_the_last_text_leads_to_the_next_page_and_back(page: Any) -> None:
    for _ in range(ON_A_PAGE):
        page.keyboard.press("j")
    assert page.evaluate("document.activeElement.hasAttribute('data-next')")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.locator("[data-variant]").count() == COUNT - ON_A_PAGE
    for _ in range(COUNT):
        page.keyboard.press("j")
    assert page.evaluate(FOCUSED) == page.locator("[data-variant]").last.get_attribute("id")


def test_the_key_of_a_button_that_is_not_there_says_why(page: Any, house: House) -> None:
    variant = page.locator("[data-variant]").first
    with page.expect_navigation():
        page.keyboard.press("e")
    page.locator("[name='field.body']").fill("Only 5 € today")
    with page.expect_navigation():
        page.get_by_role("button", name="Save").click()
    assert page.evaluate(FOCUSED) == variant.get_attribute("id")
    page.wait_for_selector(SEEN, state="attached")
    page.keyboard.press("a")
    assert page.evaluate("document.activeElement.textContent").startswith("It cannot be approved")
    page.keyboard.press("j")
    assert page.evaluate(FOCUSED) == page.locator("[data-variant]").nth(1).get_attribute("id")
    assert states(house) == {"pending": COUNT}


def test_keys_can_be_switched_off(page: Any, house: House) -> None:
    page.keyboard.press("?")
    page.get_by_label("These keys work").uncheck()
    page.keyboard.press("Escape")
    page.reload()
    page.wait_for_selector(SEEN, state="attached")
    page.keyboard.press("a")
    page.keyboard.press("?")
    assert page.locator("dialog[open]").count() == 0
    assert states(house) == {"pending": COUNT}
    page.get_by_role("button", name="Keys").click()
    assert not page.get_by_label("These keys work").is_checked()


def test_after_a_fault_the_key_is_about_the_same_text_or_none(page: Any, house: House) -> None:
    first, second = (page.locator("[data-variant]").nth(n).get_attribute("id") for n in (0, 1))
    desk = {"If-Match": "*", "Authorization": f"Bearer {house.keys['review']}"}
    told = f"{page.url.rpartition('/')[0]}/v1/content/variants"
    page.request.post(f"{told}/{second[2:]}/comment", data={"text": "softer"}, headers=desk)
    page.keyboard.press("j")
    press(page, "a")
    assert "review key has commented on this text" in page.inner_text("[role=alert]")
    assert page.evaluate(FOCUSED) == second
    page.wait_for_selector("[data-live]:not(:empty)", state="attached")  # told to screen readers
    heard = "Nothing was changed: review key has commented on this text since you opened it. Look at it again"
    assert page.locator("[data-live]").text_content().strip() == heard
    press(page, "a")  # seen now
    assert states(house)["approved"] == 1
    page.request.post(f"{told}/{first[2:]}/reject", data={}, headers=desk)
    page.keyboard.press("k")
    page.keyboard.press("k")
    press(page, "a")
    assert page.evaluate("document.activeElement.role") == "alert"
    page.wait_for_selector(SEEN, state="attached")
    page.keyboard.press("a")
    assert states(house) == {"approved": 1, "rejected": 1, "pending": COUNT - 2}


def test_without_a_network_nothing_is_sent_or_lost(page: Any, house: House) -> None:
    told: list[str] = []
    page.on("dialog", lambda dialog: (told.append(dialog.message), dialog.dismiss()))
    page.wait_for_selector(SEEN, state="attached")
    page.context.set_offline(True)
    page.keyboard.press("a")
    assert told == ["There is no network now. Nothing was sent, and nothing is lost: try again later."]
    page.context.set_offline(False)
    press(page, "a")
    assert states(house)["approved"] == 1
    page.go_back()  # the list as it is now, not as it was
    press(page, "a")
    assert page.locator("[role=alert]").count() == 0
    assert states(house)["approved"] == 2


def test_what_was_typed_is_not_left_by_a_click_beside_it(page: Any) -> None:
    told: list[str] = []
    page.on("dialog", lambda dialog: (told.append(dialog.type), dialog.dismiss()))
    with page.expect_navigation():
        page.keyboard.press("e")
    form = page.url
    page.locator("[name='field.body']").fill("Words that took an hour")
    page.get_by_role("link", name="Offers").click(no_wait_after=True)
    page.wait_for_timeout(200)
    assert (told, page.url) == (["beforeunload"], form)
    with page.expect_navigation():
        page.get_by_role("button", name="Save").click()
    assert told == ["beforeunload"]
