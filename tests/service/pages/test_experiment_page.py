"""Experiments are set up on the pages, too, by who may: as the API does it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx
import pytest

from service.pages.routes import reading
from tests.service.pages.conftest import House, fill
from tests.service.pages.test_pages import hidden

FORM = {"id": "hour", "name": "Hour", "hypothesis": "", "variants": "ten, own", "event": "Order Completed", "days": "7"}


@pytest.fixture
async def admin(house: House) -> AsyncIterator[httpx.AsyncClient]:
    async with house.client("admin") as client:
        yield client


async def test_an_experiment_is_saved_started_and_stopped(admin: httpx.AsyncClient) -> None:
    assert (await admin.post("/experiments/new", data=FORM)).headers["location"] == "/experiments?done=saved#hour"
    saved = (await admin.get("/v1/experiments/hour")).json()
    assert (saved["status"], saved["control"], saved["metric"]["window_days"]) == ("draft", None, 7)
    assert [(one["key"], one["weight"]) for one in saved["variants"]] == [("ten", 0.5), ("own", 0.5)]
    page = (await admin.get("/experiments?done=saved")).text
    assert 'action="/experiments/hour/start"' in page
    assert 'role="status"' in page
    await admin.post("/experiments/hour/start", data={})
    assert (await admin.get("/v1/experiments/hour")).json()["status"] == "running"
    assert (await admin.post("/experiments/hour/stop", data={"ship": "own"})).status_code == 303
    stopped = (await admin.get("/v1/experiments/hour")).json()
    assert (stopped["status"], stopped["ship"]) == ("stopped", "own")
    assert 'action="/experiments/hour/' not in (await admin.get("/experiments")).text


@pytest.mark.parametrize(("winner", "offered"), [(None, "ten"), ("own", "own")])
async def test_the_winner_is_offered_to_everybody_where_there_is_one(
    admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, winner: str | None, offered: str
) -> None:
    """A test that was won ended with the control for everybody, unless one looked at the small print."""
    await admin.post("/experiments/new", data=FORM)
    await admin.post("/experiments/hour/start", data={})
    view = reading.experiments_view
    monkeypatch.setattr(reading, "experiments_view", lambda *of: [{**one, "winner": winner} for one in view(*of)])
    page = (await admin.get("/experiments")).text
    assert re.findall(r"<option selected>(\w+)</option>", page) == [offered]


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        ({"id": "a b"}, 422, "begins with a letter"),
        ({"variants": "one"}, 422, "<p>Variants: List should have at least 2 items"),
        ({"variants": "old words, new"}, 422, "<p>Variants: each begins with a letter"),
        ({"variants": "a, a"}, 422, "<p>Variants: two variants have the same key"),
        ({"days": "soon"}, 422, "<p>Days: Input should be a valid number"),
        ({"days": "0", "name": "x" * 300}, 422, "<p>This is to be mended.</p><ul><li><code>Name</code>"),
        ({"id": "test"}, 409, "give this one another id"),
    ],
)
async def test_what_is_wrong_is_told_and_what_was_typed_stays(
    house: House, admin: httpx.AsyncClient, change: dict[str, str], status: int, told: str
) -> None:
    await fill(house)  # with an experiment called test
    answer = await admin.post("/experiments/new", data=FORM | change)
    assert answer.status_code == status
    assert told in answer.text
    for name, typed in (FORM | change).items():
        assert f'name="{name}" value="{typed}"' in answer.text
    assert [one["id"] for one in (await admin.get("/v1/experiments")).json()["experiments"]] == ["test"]


async def test_reviewers_read_experiments_and_change_none(house: House, reader: httpx.AsyncClient) -> None:
    await fill(house)
    page = (await reader.get("/experiments")).text
    assert "/experiments/new" not in page
    assert "/sign-in?next=/experiments" in page, "who may change them is told"
    for path in ("/experiments/new", "/experiments/test/stop"):
        assert (await reader.post(path, data=FORM)).status_code == 403
    async with house.client() as client:
        await client.post("/sign-in", data={"key": house.keys["admin"]})
        assert (await client.post("/experiments/test/stop", data={})).status_code == 403  # without the form's token
        form = {"csrf": hidden((await client.get("/experiments")).text, "csrf")}
        assert (await client.post("/experiments/test/explode", data=form)).status_code == 404
        assert (await client.post("/experiments/none/stop", data=form)).status_code == 404
        assert (await client.post("/experiments/test/stop", data=form)).status_code == 303


async def test_many_experiments_have_a_list_at_the_top(admin: httpx.AsyncClient) -> None:
    for count, listed in ((3, False), (4, True)):
        for number in range(count):
            await admin.post("/experiments/new", data=FORM | {"id": f"e{number}"})
        page = (await admin.get("/experiments")).text
        assert ('<li class="tag"><a href="#e2">Hour</a> draft</li>' in page) is listed
