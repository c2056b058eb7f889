"""The pages in a real browser: no violation that axe finds, nothing blocked or loaded from elsewhere, keys work."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.decisions.drift_store import add_drift_check
from tests.fakes.browsing import CHROMIUM, chromium, served
from tests.fakes.demo_report import DEMO_REPORT
from tests.fakes.impact import arms_measured
from tests.fakes.model_reports import drift_report, write_uplift
from tests.service.pages.conftest import House, fill, make_house

LONG = "l" * 250
ONE_COLUMN = """[...document.querySelectorAll('.table')].some(table => {
  const second = table.querySelector('thead th:nth-child(2)');
  return second && second.getBoundingClientRect().left > table.getBoundingClientRect().right - 20;
})"""
# Without frames: a mail's preview runs no scripts, and axe complains on the console where one has loaded. Only
# violations are described: to describe all that passes took half a minute for /docs.
AXE = "axe.run({iframes: false, resultTypes: ['violations'], rules: {'target-size': {enabled: true}}})"
IMPACT = {"model": 500, "random": 200, "holdout": 300}, {"model": 1_000.0, "random": 990.0, "holdout": 600.0}
PATHS = [
    "/", "/impact", "/review", "/customers", "/customers/c1", "/customers/c1?placement=weekly", f"/customers/{LONG}",
    "/offers", "/offers/new", "/offers/new?offer=o1", "/journeys", "/journeys/new?template=welcome", "/experiments",
    "/experiments/new", "/models", "/data", "/docs", "/review/new",
]  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium (see .ci/run)"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A filled service with open pages."""
    house = make_house(tmp_path_factory.mktemp("browser") / "home", open_pages=True)
    reports = house.parts.settings.home / "reports"
    reports.mkdir(parents=True)
    (reports / "demo.json").write_bytes(orjson.dumps(DEMO_REPORT))
    write_uplift(house.parts.settings.home)
    arms_measured(house.parts.database, *IMPACT)
    with house.parts.database.write() as connection:
        add_drift_check(connection, house.parts.clock.now(), drift_report())
    with ThreadPoolExecutor(1) as aside:  # the browser's own loop may be running in this thread
        aside.submit(asyncio.run, fill(house)).result()
        aside.submit(asyncio.run, know_somebody_of_long_words(house)).result()
    with served(house.app) as found:
        yield found
    house.parts.close()


async def know_somebody_of_long_words(house: House) -> None:
    words = {"type": "identify", "userId": LONG, "messageId": "long-words", "traits": {"name": "w" * 500, "t" * 60: 1}}
    event = {"type": "track", "userId": LONG, "messageId": "long-event", "event": "z" * 200}
    async with house.client("admin") as sender:
        assert (await sender.post("/v1/batch", json={"batch": [words, event]})).status_code == 200
        offer = {"name": "o" * 200, "facts": {}, "channels": ["push"]}
        assert (await sender.put("/v1/offers/long", json=offer)).status_code == 200
    house.parts.events.run_pass()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


def axe_source() -> str:
    import axe_playwright_python

    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 320)])
def test_every_page_is_accessible_and_keeps_to_itself(browser: Any, address: str, scheme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=False)
    faults: dict[str, list[str]] = {}
    for path in PATHS:
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message, said=said: said.append(message.text))
        page.on("request", lambda request, said=said: said.append(request.url) if address not in request.url else None)
        assert page.goto(address + path).status == 200
        page.evaluate(axe_source())
        found = page.evaluate(AXE)["violations"]
        said += [f"{each['id']}: {each['nodes'][0]['html']}" for each in found]
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            said.append("wider than the window")
        if page.evaluate(ONE_COLUMN):
            said.append("a table of whose columns only the first is in sight")
        if said:
            faults[path] = said
        page.close()
    context.close()
    assert faults == {}


def test_copy_is_reviewed_by_keys_alone(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}/review")
    cards = page.locator("[data-variant]")
    before = cards.count()
    focused = "document.activeElement.id"
    first = page.evaluate(focused)
    page.keyboard.press("j")
    second = page.evaluate(focused)
    page.keyboard.press("k")
    assert page.evaluate(focused) == first != second
    page.keyboard.press("?")
    assert page.locator("dialog[open]").count() == 1
    page.keyboard.press("Escape")
    page.keyboard.press("k")
    page.keyboard.press("Tab")  # into the preview of a mail, where keys do nothing else than scroll
    page.wait_for_selector("iframe.entered")
    page.keyboard.press("Shift+Tab")
    page.wait_for_selector("iframe.entered", state="detached")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.wait_for_selector("[data-seen]")
    with page.expect_navigation():
        page.keyboard.press("a")
    assert page.locator("[role=status]").inner_text().startswith("Approved")
    assert (cards.count(), page.locator(f"#{second}").count()) == (before - 1, 0)
    assert page.evaluate(focused) not in (first, second)  # the one after it
    page.keyboard.press("r")
    page.keyboard.type("jak e?")  # typing is no command
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.locator("[role=status]").inner_text().startswith("Rejected.")
    with page.expect_navigation():
        page.keyboard.press("u")
    assert page.locator("[data-variant]").first.locator(".state-rejected").count() == 1
    with page.expect_navigation():
        page.keyboard.press("e")
    assert "/edit" in page.url
    assert page.evaluate("document.activeElement.name").startswith("field.")  # typing begins at once
    page.keyboard.press("Escape")
    page.goto(f"{address}/offers")
    page.keyboard.press("/")
    assert page.evaluate(focused) == "go-id"
    page.close()


def test_review_works_without_javascript(browser: Any, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/review?state=")
    card = page.locator("[data-variant]").first
    card.get_by_label("Comment", exact=True).fill("softer, please")
    with page.expect_navigation():
        card.get_by_role("button", name="Add comment").click()
    assert page.locator("[role=status]").inner_text() == "Comment added."
    assert page.locator(".needs-js:visible").count() == 0
    context.close()
