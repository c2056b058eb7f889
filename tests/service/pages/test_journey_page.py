"""Journeys are set up on the pages, too, by who may: as the API does it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from service.clock import SystemClock
from service.journeys.read_stats import LISTED
from service.pages.routes import reading
from service.storage.heartbeats import beat
from tests.service.pages.conftest import House, fill
from tests.service.pages.test_pages import hidden

SHORT = "name: Think\nentry: {event: Signed Up}\nsteps:\n  - {id: think, kind: wait, for: 1h}\n"


@pytest.fixture
async def admin(house: House) -> AsyncIterator[httpx.AsyncClient]:
    async with house.client("admin") as client:
        yield client


@pytest.mark.parametrize("template", ["welcome", "winback", "abandoned-cart", "post-purchase"])
async def test_a_template_can_be_saved_as_it_is_shown(admin: httpx.AsyncClient, template: str) -> None:
    page = (await admin.get("/journeys/new", params={"template": template})).text
    shown = page.partition("<textarea")[2].partition(">")[2].partition("</textarea>")[0]
    text = (
        shown.replace("&#39;", "'")
        .replace("&#34;", '"')
        .replace("&gt;", ">")
        .replace("&lt;", "<")
        .replace("&amp;", "&")
    )
    answer = await admin.post("/journeys/new", data={"journey": "mine", "text": text.replace("\n", "\r\n")})
    assert answer.status_code == 303, answer.text
    assert (await admin.get("/v1/journeys/mine")).json()["status"] == "draft"


async def test_a_journey_is_saved_activated_changed_and_paused(admin: httpx.AsyncClient) -> None:
    saved = await admin.post("/journeys/new", data={"journey": "think", "text": SHORT})
    assert saved.headers["location"] == "/journeys?done=saved#think"
    assert 'role="status"' in (await admin.get("/journeys?done=saved")).text
    for verb, status in (("activate", "active"), ("pause", "paused"), ("retry", "paused")):
        answer = await admin.post(f"/journeys/think/{verb}", data={})
        assert answer.status_code == 303
        assert (await admin.get("/v1/journeys/think")).json()["status"] == status
    page = (await admin.get("/journeys/new?journey=think")).text
    assert "for: PT1H" in page
    await admin.post("/journeys/new", data={"journey": "think", "text": SHORT.replace("1h", "2h")})
    assert (await admin.get("/v1/journeys/think")).json()["version"] == 2


@pytest.mark.parametrize(
    ("asked", "status", "told"),
    [
        ({"journey": "a b"}, 422, "begins with a letter"),
        ({"text": "steps: ["}, 400, "is not YAML that can be read"),
        ({"text": SHORT.replace("wait", "wiat")}, 422, "steps"),
    ],
)
async def test_what_is_wrong_is_told_and_what_was_typed_stays(
    admin: httpx.AsyncClient, asked: dict[str, str], status: int, told: str
) -> None:
    answer = await admin.post("/journeys/new", data={"journey": "think", "text": SHORT, **asked})
    assert answer.status_code == status
    assert told in answer.text
    assert "name: Think" in answer.text or "steps: [" in answer.text
    assert (await admin.get("/v1/journeys")).json()["journeys"] == []


async def test_a_template_takes_no_id_that_is_taken(admin: httpx.AsyncClient) -> None:
    for expected in ("welcome", "welcome-2", "welcome-3"):
        page = (await admin.get("/journeys/new?template=welcome")).text
        assert f'name="journey" value="{expected}"' in page
        await admin.post("/journeys/new", data={"journey": expected, "text": SHORT})


async def test_what_there_is_not_is_told(admin: httpx.AsyncClient) -> None:
    for path in ("/journeys/new?template=none", "/journeys/new?journey=none"):
        assert (await admin.get(path)).status_code == 404
    for path in ("/journeys/none/activate", "/journeys/none/explode"):
        assert (await admin.post(path, data={})).status_code == 404


async def test_reviewers_read_journeys_and_change_none(house: House, reader: httpx.AsyncClient) -> None:
    await fill(house)
    page = (await reader.get("/journeys")).text
    assert "/journeys/new" not in page
    assert "/sign-in?next=/journeys" in page, "who may change them is told"
    for path, form in (("/journeys/new", {"journey": "x", "text": SHORT}), ("/journeys/welcome/activate", {})):
        assert (await reader.post(path, data=form)).status_code == 403
    async with house.client() as client:
        await client.post("/sign-in", data={"key": house.keys["admin"]})
        assert (await client.post("/journeys/welcome/activate", data={})).status_code == 403  # without the form's token
        form = {"csrf": hidden((await client.get("/journeys")).text, "csrf")}
        assert (await client.post("/journeys/welcome/activate", data=form)).status_code == 303


async def test_who_is_in_a_journey_that_no_worker_moves_is_told(house: House, admin: httpx.AsyncClient) -> None:
    await admin.post("/journeys/new", data={"journey": "think", "text": SHORT})
    await admin.post("/journeys/think/activate", data={})
    assert "Nobody moves" not in (await admin.get("/journeys")).text, "nobody is in it"
    assert (await admin.post("/v1/journeys/think/enrollments", json={"customer_id": "c1"})).status_code == 201
    assert "No customer moves on in any journey: no worker has run yet" in (await admin.get("/journeys")).text
    now = SystemClock().now()
    for ago, told in ((timedelta(), False), (timedelta(minutes=5), True)):
        with house.parts.database.write() as connection:
            beat(connection, "journeys", now - ago, now - ago, {})
        assert ("no worker was seen since" in (await admin.get("/journeys")).text) is told
    await admin.post("/journeys/think/pause", data={})
    assert "no worker" not in (await admin.get("/journeys")).text, "nobody is to move"


async def test_many_journeys_have_a_list_at_the_top(admin: httpx.AsyncClient) -> None:
    for count, listed in ((3, False), (4, True)):
        for number in range(count):
            await admin.post("/journeys/new", data={"journey": f"j{number}", "text": SHORT})
        page = (await admin.get("/journeys")).text
        assert ('<li class="tag"><a href="#j2">Think</a> draft</li>' in page) is listed


async def test_of_two_tabs_the_second_saves_nothing_unseen(admin: httpx.AsyncClient) -> None:
    await admin.post("/journeys/new", data={"journey": "think", "text": SHORT})
    seen = hidden((await admin.get("/journeys/new?journey=think")).text, "version")
    one, two = SHORT.replace("1h", "2h"), SHORT.replace("1h", "3h")
    told = {"journey": "think", "version": seen}
    assert (await admin.post("/journeys/new", data={**told, "text": one})).status_code == 303
    answer = await admin.post("/journeys/new", data={**told, "text": two})
    assert answer.status_code == 412
    assert "somebody has saved version 2 since you opened this one" in answer.text
    assert "for: 3h" in answer.text
    assert (await admin.get("/v1/journeys/think")).json()["version"] == 2
    told["version"] = hidden(answer.text, "version")
    assert (await admin.post("/journeys/new", data={**told, "text": two})).status_code == 303
    assert (await admin.get("/v1/journeys/think")).json()["version"] == 3


@pytest.mark.parametrize(("count", "told"), [(2, "(2)"), (LISTED, f"(the oldest {LISTED})")])
async def test_whose_messages_are_uncertain_is_a_link_away(
    admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, count: int, told: str
) -> None:
    """More than are listed may be: their number is not that of the list."""
    await admin.post("/journeys/new", data={"journey": "think", "text": SHORT})
    view = reading.journeys_view
    unsure = {"customer_id": "a/b", "step": "write", "channel": "email", "detail": None}

    def shown(*of: Any) -> dict[str, Any]:
        journeys: dict[str, Any] = view(*of)
        journeys["journeys"][0]["stats"]["uncertain"] = [unsure] * count
        return journeys

    monkeypatch.setattr(reading, "journeys_view", shown)
    page = (await admin.get("/journeys")).text
    assert '<li><a href="/customers/a/b">a/b</a> at write by email: no answer</li>' in page
    assert f"<summary>Uncertain sends {told}</summary>" in page
