"""A request whose process died between its decision and the kept answer, and that comes again under its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from service.decisions.read_decision import DecisionReader
from service.decisions.routes import routes
from service.settings import Cap, Placement, Steer
from service.storage.database import Database
from service.web.auth import Guard, create_key
from service.web.middleware import Idempotent
from service.web.problems import install_problem_handlers
from tests.fakes.databases import sqlite_with_tables
from tests.fakes.decisions import NOON, Desk, NextOffer, settings
from tests.fakes.dying import Dying, KilledError, asked_again, five_minutes_later


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    database = sqlite_with_tables(tmp_path / "state.db")
    made = Desk(database, settings(caps=[Cap(channel=None, max=1, per_days=7)]))
    made.put(a={"channels": ["email"]})
    made.served.models["next-offer"] = NextOffer({"a": 0.9})
    return made


def app_of(desk: Desk) -> FastAPI:
    app = FastAPI()
    install_problem_handlers(app)
    app.include_router(routes(desk.decider, DecisionReader(desk.database, desk.served), Guard(desk.database)))
    return app


async def post(desk: Desk, middleware: type[Idempotent], key: str, path: str, body: Any) -> httpx.Response:
    app = app_of(desk)
    app.add_middleware(middleware, database=desk.database)
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "k"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.post(path, json=body, headers=headers)


def held(database: Database, query: str) -> list[Any]:
    with database.read() as connection:
        return list(connection.execute(text(query)).scalars())


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/decisions", {"customer_id": "c1"}),
        ("/v1/decisions/batch", {"requests": [{"customer_id": name} for name in ("c1", "c2", "c1")]}),
    ],
)
async def test_what_was_decided_is_answered_and_nothing_is_decided_again(desk: Desk, path: str, body: Any) -> None:
    key = create_key(desk.database, ("decide",), "test", NOON)
    with pytest.raises(KilledError):
        await post(desk, Dying, key, path, body)
    made = held(desk.database, "SELECT decision_id FROM decisions ORDER BY decision_id")
    counted = held(desk.database, "SELECT customer_id FROM ledger WHERE message ORDER BY customer_id")
    assert counted == ["c1", "c2"][: len(made)]
    assert (await post(desk, Idempotent, key, path, body)).status_code == 409  # it may still be running
    five_minutes_later(desk.database)
    again = await post(desk, Idempotent, key, path, body)
    assert again.status_code == 200, again.text
    told = again.json().get("decisions", [again.json()])
    assert sorted(one["decision_id"] for one in told) == made
    assert [len(one["actions"]) for one in told] == [1, 1, 0][: len(made)]
    assert held(desk.database, "SELECT decision_id FROM decisions ORDER BY decision_id") == made
    assert held(desk.database, "SELECT customer_id FROM ledger WHERE message ORDER BY customer_id") == counted
    assert (await post(desk, Idempotent, key, path, body)).content == again.content
    replay = DecisionReader(desk.database, desk.served).replay(made[0])
    assert replay["equal"] is True


SILENT = {"customer_id": "private", "explain": False}
ASKED: list[dict[str, Any]] = [
    {"customer_id": "known", "top_k": 5},
    {"customer_id": "known", "channels": ["sms"]},  # its only message of the week is taken: nothing to send
    {"customer_id": "new", "channels": ["push", "email"], "offers": ["late", "b", "a"]},
    {"customer_id": "private", "at": "2026-03-04T14:00:00.25+02:00"},
    {"customer_id": "away", "context": {"page": "cart"}},
    SILENT,
    {"customer_id": "nobody", "placement": "nothing.here"},
    {"customer_id": "usual", "placement": "random"},
]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        *(("/v1/decisions", one) for one in ASKED),
        ("/v1/decisions/batch", {"requests": ASKED}),
    ],
)
async def test_the_answer_is_the_one_that_was_not_given(desk: Desk, path: str, body: Any) -> None:
    """`excluded` was left out of it; times, numbers and order are those of then, whatever has changed since."""
    weekly = [Cap(channel=None, max=1, per_days=7)]
    desk.settings = settings(caps=weekly, arms={"model": 0.5, "random": 0.5, "business_as_usual": 0, "holdout": 0})
    rules = [Steer(name="none of these", do="exclude", tags=["old"])]
    desk.settings.placements["default"].rules = rules
    desk.settings.placements["default"].diversity.max_per_category = 1
    desk.settings.placements["nothing.here"] = Placement(channels=["call"])
    desk.put(
        a={"channels": ["email"], "category": "tea", "eligibility": "customer.features.orders_90d >= 1"},
        b={"category": "tea", "requires": [{"offer_id": "a"}]},
        c={"category": "tea", "facts": {"ends_at": "2026-03-04T12:00:01Z"}, "ends_at": "2026-03-04T12:00:01Z"},
        d={"category": "tea"},
        e={"category": "tea"},
        late={"starts_at": "2026-03-05T00:00:00.123Z", "channels": ["web", "email"]},
        old={"tags": ["old"]},
    )
    desk.people.add("known", locale="de", timezone="Asia/Kolkata", consents={"sms": {"marketing": False}})
    desk.people.add("private", profiling=False)
    desk.people.add("away")
    desk.rows.add("known", orders_90d=2)
    key = create_key(desk.database, ("decide",), "test", NOON)

    def meanwhile() -> None:
        desk.clock.forward(days=2)
        desk.put(a={"name": "Another"}, d={"channels": ["push"]}, new={})

    first, again = await asked_again(app_of(desk), desk.database, path, body, key, meanwhile)
    assert again.content == first
    told = orjson.loads(first)
    for asked, one in zip(body.get("requests", [body]), told.get("decisions", [told]), strict=True):
        assert bool(one.get("excluded")) == (asked is not SILENT)  # there is something to be equal in


async def test_what_died_before_it_decided_is_decided_then(desk: Desk) -> None:
    class DyingAtOnce(Dying):
        async def _first(self, *_: Any) -> None:
            raise KilledError

    key = create_key(desk.database, ("decide",), "test", NOON)
    for path, body in (
        ("/v1/decisions", {"customer_id": "c1"}),
        ("/v1/decisions/batch", {"requests": [{"customer_id": "c2"}]}),
    ):
        with pytest.raises(KilledError):
            await post(desk, DyingAtOnce, key, path, body)
        five_minutes_later(desk.database)
        again = (await post(desk, Idempotent, key, path, body)).json()
        assert again.get("decisions", [again])[0]["actions"]
    assert len(held(desk.database, "SELECT decision_id FROM decisions")) == 2
