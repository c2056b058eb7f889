"""Customers over HTTP: what is known, answers, everything held, and nothing after an erasure."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from fastapi import FastAPI
from sqlalchemy import update

from features.event_log import EventLog
from features.row_stores import StoreAway, open_store
from features.rows import CustomerRow, OnlineFeatures, open_online
from features.store.vectors import erase_materialized, row_key
from features.tables import CUSTOMERS
from models.propensity import Score
from models.reasons import Reason
from models.versions import VERSIONS_FILE
from service.clock import SystemClock
from service.customers import erase_customer
from service.customers.customer_store import consents_told
from service.customers.erase_customer import CustomerEraser
from service.customers.export_tables import export_customers
from service.customers.join_histories import JoinHistories
from service.customers.link_identities import LinkedIdentities
from service.customers.link_words import Speech, read_words
from service.customers.look_up import CustomerReader
from service.customers.routes import routes
from service.customers.unsubscribe import Unsubscriber
from service.customers.update_customers import update_customers
from service.decisions.drift_store import add_shadow_scores, erase_shadow, read_shadow
from service.errors import Unavailable
from service.events import inbox_store
from service.events.apply_events import Applier
from service.events.events_lease import EventsLease
from service.events.flush_events import Flusher
from service.events.quality_store import add_counts, read_counts
from service.events.rebuild_store import asked_for, changed_since, note_changed
from service.events.run_events import EventsRunner
from service.events.tally import Key
from service.settings import QuietHours
from service.storage.database import Connection, Database
from service.storage.lease import leases
from service.web.auth import Guard, create_key
from service.web.problems import install_problem_handlers
from tests.fakes.events import FixedClock, row

CLOCK = FixedClock()


class Churn:
    """A served model."""

    version = "4"
    trained = {"labels_until": "2026-02-20T00:00:00"}  # noqa: RUF012

    def score(self, row: CustomerRow) -> Score:
        orders = row.values["orders_30d"]
        return Score(0.25, "B", (Reason("orders_30d", f"{orders:.0f} orders", 0.5),), None, self.version)


class Models:
    """`ServedModels` with churn alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str, alias: str = "champion") -> Any:
        return Churn() if (name, alias) == ("churn", "champion") else None

    def status(self) -> list[dict[str, Any]]:
        return [
            {"name": "churn", "alias": "champion", "version": "4", "wanted": "4", "problem": None},
            {"name": "sync", "alias": None, "version": None, "wanted": None, "problem": "away"},
        ]


@dataclass
class Stage:
    """A database, a log, features and the routes over them."""

    database: Database
    log: EventLog
    online: OnlineFeatures
    runner: EventsRunner
    unsubscriber: Unsubscriber
    eraser: CustomerEraser
    api: httpx.AsyncClient
    home: Path

    def put(self, *rows: dict[str, Any], flush: bool = False) -> None:
        with self.database.write() as connection:
            inbox_store.add_events(connection, rows, CLOCK.now())
        if flush:
            self.runner.finish()
        else:
            while self.runner.run_pass():
                pass

    async def get(self, path: str, status: int = 200) -> Any:
        answer = await self.api.get(f"/v1/customers/{path}")
        assert answer.status_code == status, answer.text
        return answer.json()


def feast_key(name: str, value: str) -> bytes:
    """An entity key as Feast serializes it, version 3 (tests/features/store/test_feast_home.py compares)."""
    parts = [name.encode(), value.encode()]
    return struct.pack("<I", 1) + b"".join(struct.pack("<II", 2, len(part)) + part for part in parts)


def decisions_erased(connection: Connection, ids: Any) -> int:
    return len(ids)


@pytest.fixture
async def stage(database: Database, tmp_path: Path) -> AsyncIterator[Stage]:
    log, online = EventLog(tmp_path / "events"), open_online(str(tmp_path / "online.db"))
    lease, models = EventsLease(database), Models(tmp_path / "served")
    eraser = CustomerEraser(
        database, log, CLOCK, lease, online, tmp_path, models,  # type: ignore[arg-type]
        {"decisions": decisions_erased, "shadow_scores": erase_shadow},
        partial(erase_materialized, str(tmp_path / "online.db")),
        stores=[database.engine.url.render_as_string(hide_password=False), str(tmp_path / "online.db")],
    )  # fmt: skip
    applier = Applier(database, CLOCK, lease, [update_customers], online, LinkedIdentities())
    joining = JoinHistories(database, log, lease, online)
    runner = EventsRunner(applier, Flusher(database, log, CLOCK, lease), lease, [joining, eraser.finish_open])
    exporters = {"decisions": lambda _, ids: [{"of": list(ids)}]}
    reader = CustomerReader(database, log, online, models, CLOCK, QuietHours(), "UTC", exporters)  # type: ignore[arg-type]
    unsubscriber = Unsubscriber(database, CLOCK)
    app = FastAPI()
    install_problem_handlers(app)
    others = reader, eraser, runner.exclusively, unsubscriber, Speech(read_words(), "nl")
    app.include_router(routes(database, CLOCK, Guard(database), *others))
    key = create_key(database, ("admin",), "test", CLOCK.now())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", headers={"Authorization": f"Bearer {key}"}
    ) as api:
        yield Stage(database, log, online, runner, unsubscriber, eraser, api, tmp_path)
    online.close()


def order(message_id: str, customer: str | None = "c1", **message: Any) -> dict[str, Any]:
    fields = {"properties": {"order_id": message_id, "revenue": 20}, "timestamp": "2026-03-01T11:00:00Z"}
    return row(message_id, customer, "Order Completed", **{**fields, **message})


async def test_an_erasure_that_outlives_its_lease_leaves_the_files_to_the_next_holder(
    stage: Stage, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process may be joining small files: it would write what is being taken out once more."""
    for month in (1, 2):
        stage.put(order(f"o{month}", timestamp=f"2026-0{month}-01T11:00:00Z"), flush=True)
    changed: list[Path] = []
    really = EventLog._replace

    def slow(log: EventLog, path: Path, rows: Any) -> None:
        really(log, path, rows)
        if not changed:  # it took longer than a lease
            with database.write() as connection:
                connection.execute(leases.delete())
            EventsLease(database).claim()
            monkeypatch.setattr(EventsLease, "held_lately", lambda _: False)
        changed.append(path)

    monkeypatch.setattr(EventLog, "_replace", slow)
    monkeypatch.setattr("service.customers.erase_customer._WAIT_S", 0.0)
    answer = await stage.api.delete("/v1/customers/c1")
    assert not answer.json()["complete"]
    assert len(changed) == 1
    monkeypatch.undo()
    with database.write() as connection:
        connection.execute(leases.delete())
    stage.runner.run_pass()
    assert stage.log.scan().collect().is_empty()


async def test_a_customer_is_shown_with_features_scores_and_timeline(stage: Stage) -> None:
    stage.put(row("i", type="identify", event=None, traits={"name": "Ann"}), order("o1"), flush=True)
    stage.put(order("o2"))
    shown = await stage.get("c1")
    assert shown["traits"] == {"name": "Ann"}
    assert shown["consents"] == {"profiling": True}
    assert shown["features"]["orders_30d"] == 2
    assert shown["scores"]["churn"] == {
        "probability": 0.25, "tier": "B", "model_version": "4", "why": None,
        "reasons": [{"feature": "orders_30d", "text": "2 orders", "effect": 0.5}],
    }  # fmt: skip
    assert shown["scores"]["lead"]["probability"] is None
    assert "lead" in shown["scores"]["lead"]["why"]
    assert {entry["message_id"] for entry in shown["timeline"]} == {"i", "o1", "o2"}
    assert await stage.get("c1/scores") == shown["scores"]


async def test_while_the_online_store_is_away_the_rest_is_shown(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.put(row("i", type="identify", event=None, traits={"name": "Ann"}), order("o1"), flush=True)
    assert (await stage.get("c1"))["degraded"] == []

    def away(*_: Any) -> None:
        raise StoreAway("the online store does not answer: ConnectionError")

    monkeypatch.setattr(stage.online, "read", away)
    shown = await stage.get("c1")
    assert (shown["traits"], shown["features"], shown["degraded"]) == ({"name": "Ann"}, {}, ["features"])
    assert {entry["message_id"] for entry in shown["timeline"]} == {"i", "o1"}
    assert shown["scores"]["churn"]["probability"] is None
    assert "online store" in shown["scores"]["churn"]["why"]
    assert await stage.get("c1/scores") == shown["scores"]
    assert "features" in (await stage.get("c1/send-times?channel=email"))["degraded"]
    await stage.get("c1/export", 503)


async def test_the_timeline_has_the_last_hundred(stage: Stage) -> None:
    def at(number: int) -> str:
        return (CLOCK.now() - timedelta(minutes=number)).isoformat()

    stage.put(*(row(f"m{number}", timestamp=at(number)) for number in range(80)), flush=True)
    stage.put(*(row(f"m{number}", timestamp=at(number)) for number in range(80, 150)))
    timeline = (await stage.get("c1"))["timeline"]
    assert [entry["message_id"] for entry in timeline] == [f"m{number}" for number in range(100)]


async def test_ids_may_be_anything(stage: Stage) -> None:
    stage.put(order("o1", "a/b é"))
    assert (await stage.get("a%2Fb%20%C3%A9"))["customer_id"] == "a/b é"
    assert (await stage.get("a%2Fb%20e%CC%81/scores"))["churn"]["probability"] == 0.25
    assert (await stage.get("nobody", 404))["type"] == "urn:opportune:not-found"
    await stage.get("x" * 2000, 422)
    await stage.get("a%00b", 422)
    for path in ("%0Aa", "%0Aa/scores", "a%0A/send-times", "a%0D%0Ab/export"):
        assert (await stage.get(path, 422))["errors"][0]["field"] == "customer_id"
    assert (await stage.api.put("/v1/customers/%0Aa/consents", json={"email": {}})).status_code == 422


async def test_answers(stage: Stage) -> None:
    body = {"email": {"marketing": True}, "profiling": False}
    answer = await stage.api.put("/v1/customers/new/consents", json=body)
    assert answer.json() == {"customer_id": "new", "consents": body}
    again = await stage.api.put("/v1/customers/new/consents", json={"sms": {"marketing": False}})
    assert again.json()["consents"] == {**body, "sms": {"marketing": False}}
    assert (await stage.get("new"))["scores"]["churn"]["why"] == "the customer has opted out of profiling"
    for wrong in ({"fax": {}}, {"email": {"marketing": "yes"}}, {"email": True}, {"email": {"A B": True}}, []):
        refused = await stage.api.put("/v1/customers/new/consents", json=wrong)
        assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")
        assert refused.json()["errors"]


async def test_send_times_are_allowed_hours_of_the_customers_zone(stage: Stage) -> None:
    stage.put(order("o1", context={"timezone": "Asia/Tokyo"}))
    path = "c1/send-times?channel=email&from=2026-03-02T00:00:00Z&to=2026-03-03T00:00:00Z&n=24"
    told = await stage.get(path)
    assert (told["timezone"], told["degraded"]) == ("Asia/Tokyo", ["no_model", "little_data"])
    with_offset = "c1/send-times?channel=email&from=2026-03-02T09:00:00+09:00&to=2026-03-03T09:00:00%2B09:00&n=24"
    assert (await stage.get(with_offset))["send_times"] == told["send_times"]  # a + of an address comes as a blank
    stage.put(*(order(f"many{n}", "c2", context={"timezone": "Asia/Tokyo"}) for n in range(60)))
    assert "little_data" not in (await stage.get(path.replace("c1/", "c2/")))["degraded"]
    spring = "channel=email&from=2026-03-28T23:00:00Z&to=2026-03-29T22:00:00Z&n=24"
    stage.put(order("b", "c3", context={"timezone": "Europe/Berlin"}))
    shown = [one["start"][11:16] for one in (await stage.get(f"c3/send-times?{spring}"))["send_times"]]
    assert sorted(shown) == [f"{hour:02}:00" for hour in range(8, 21)]
    stage.put(order("m", "c4", context={"timezone": "Mars/Olympus"}))
    assert "default_timezone" in (await stage.get("c4/send-times?channel=email"))["degraded"]
    hours = [datetime.fromisoformat(time["start"]) for time in told["send_times"]]
    assert {hour.utcoffset() for hour in hours} == {timedelta(hours=9)}
    assert {hour.hour for hour in hours} == set(range(8, 21))
    assert set(told["send_times"][0]) >= {"start", "probability", "lift_over_default", "confidence"}
    both = await stage.get(f"{path}&compare=sms&compare=email&value=2&cost=sms:1.5")
    assert [one["channel"] for one in both["channels"]] == ["email", "sms"]
    assert both["channels"][0]["expected_value"] == pytest.approx(2 * both["channels"][0]["probability"])
    assert both["channels"][1]["expected_value"] < 2 - 1.5
    assert "channels" not in await stage.get(path)
    for cost in ("sms", "sms:", "sms:-1", "fax:1", "sms:nan", "sms:1e9"):
        assert (await stage.get(f"{path}&compare=sms&cost={cost}", 422))["errors"]
    assert (await stage.get("nobody/send-times?channel=web"))["degraded"][:2] == [
        "unknown_customer",
        "default_timezone",
    ]
    backwards = "channel=email&from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z"
    far, never = "channel=email&from=0001-01-01T00:00:00Z", "channel=email&from=never"
    moment, years = backwards.replace("03-01", "03-02"), "channel=email&from=2026-03-02&to=2036-03-02"
    for wrong in (
        "",
        "channel=fax",
        "channel=email&n=0",
        "channel=email&n=10000",
        backwards,
        far,
        never,
        moment,
        years,
    ):
        assert (await stage.get(f"c1/send-times?{wrong}", 422))["errors"]


async def test_unsubscribing_by_link(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.put(order("o1"))
    token = stage.unsubscriber.make_token("c1", "email")
    shown = await stage.api.get(f"/u/{token}")
    assert (shown.status_code, shown.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "<form method=" in shown.text
    assert (await stage.get("c1"))["consents"] == {"profiling": True}
    for _ in range(2):
        done = await stage.api.post(f"/u/{token}", content=b"List-Unsubscribe=One-Click")
        assert done.status_code == 200
        assert (await stage.get("c1"))["consents"]["email"] == {"marketing": False}  # at once, before the event is seen
    stage.runner.run_pass()
    monkeypatch.setattr(CLOCK, "time", CLOCK.now() + timedelta(minutes=1))
    after = await stage.get("c1")
    assert after["consents"]["email"] == {"marketing": False}
    assert [entry["event"] for entry in after["timeline"]].count("Unsubscribed") == 1
    assert after["features"]["unsubscribes_365d"] == 1
    for wrong in ("x", token[:-1] + ("A" if token[-1] != "A" else "B"), token.replace(".", ""), "é", "a.b"):
        assert (await stage.api.get(f"/u/{wrong}")).status_code == 404
        assert (await stage.api.post(f"/u/{wrong}")).status_code == 404


async def test_who_unsubscribes_reads_their_own_language(stage: Stage) -> None:
    traits = {"locale": "fr-CA", "first_name": "Zoé"}
    stage.put(row("i", type="identify", event=None, userId="zoe", traits=traits))
    known, unknown = (stage.unsubscriber.make_token(each, "email") for each in ("zoe", "nobody"))
    asked = {"Accept-Language": "pl-PL,pl;q=0.9,en;q=0.5"}
    for method, heading, words in (
        ("GET", "Se désabonner", "Ne plus recevoir de messages publicitaires par e-mail\u202f?"),
        ("POST", "Désabonnement confirmé", "Vous ne recevrez plus de messages publicitaires par e-mail."),
    ):
        page = (await stage.api.request(method, f"/u/{known}", headers=asked)).text
        assert '<html lang="fr">' in page
        assert f"<h1>{heading}</h1><p>{words}</p>" in page
    assert "wiadomości marketingowych e-mailem?" in (await stage.api.get(f"/u/{unknown}", headers=asked)).text
    assert '<html lang="pl">' in (await stage.api.get("/u/wrong", headers=asked)).text
    assert '<html lang="nl">' in (await stage.api.get(f"/u/{unknown}")).text
    assert "reclameberichten per e-mail meer" in (await stage.api.post(f"/u/{unknown}")).text


async def test_who_unsubscribes_while_the_database_is_away_reads_a_page(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: object, __: object) -> None:
        raise Unavailable("the database is away")

    token = stage.unsubscriber.make_token("c1", "email")
    monkeypatch.setattr(Unsubscriber, "unsubscribe", away)
    answer = await stage.api.post(f"/u/{token}", headers={"Accept-Language": "en"})
    assert (answer.status_code, answer.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert "Nothing was changed" in answer.text


async def test_a_token_holds_over_restarts(stage: Stage) -> None:
    token = stage.unsubscriber.make_token("ü/1", "sms")
    link = Unsubscriber(stage.database, CLOCK).read_token(token)
    assert link is not None
    assert (link.customer_id, link.channel) == ("ü/1", "sms")


async def test_history_of_a_visitor_joins_everywhere(stage: Stage) -> None:
    stage.put(order("o1", None, userId=None, anonymousId="visitor"), flush=True)
    stage.put(order("o2", None, userId=None, anonymousId="visitor"))
    stage.put(row("i", type="identify", event=None, anonymousId="visitor", traits={"a": 1}))
    stage.put(order("o3", None, userId=None, anonymousId="visitor"))
    shown = await stage.get("visitor")
    assert (shown["customer_id"], shown["other_ids"]) == ("c1", ["visitor"])
    assert shown["features"]["orders_30d"] == 3
    assert {entry["message_id"] for entry in shown["timeline"]} == {"o1", "o2", "o3", "i"}
    stage.runner.finish()
    assert set(stage.log.scan().collect()["customer_id"]) == {"c1"}
    assert stage.online.read(["visitor"], CLOCK.now()) == [None]


async def test_histories_joined_by_who_stood_still_for_longer_than_a_lease_are_made_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.put(order("o1", None, userId=None, anonymousId="visitor"), flush=True)
    made = OnlineFeatures.rebuild_all

    def stood_still(online: OnlineFeatures, *told: Any) -> None:
        made(online, *told)
        with stage.database.write() as connection:
            until = SystemClock().now() + timedelta(seconds=30)
            connection.execute(update(leases).values(holder="another", until=until))

    monkeypatch.setattr(OnlineFeatures, "rebuild_all", stood_still)
    stage.put(row("i", type="identify", event=None, anonymousId="visitor"))
    with stage.database.read() as connection:
        assert asked_for(connection, ["c1", "visitor"]) == {"c1"}


async def test_the_export_has_everything(stage: Stage) -> None:
    stage.put(row("u", event="Unsubscribed"), order("o1"), flush=True)
    stage.put(order("o2"))
    export = await stage.get("c1/export")
    assert {event["message_id"] for event in export["events"]} == {"u", "o1", "o2"}
    assert export["events"][0]["properties"] is not None
    assert export["consent_record"][0]["channel"] == "email"
    assert export["decisions"] == [{"of": ["c1"]}]


async def test_erasure_leaves_nothing(stage: Stage) -> None:
    stage.put(order("o0", None, userId=None, anonymousId="visitor"), order("other", "c2"), flush=True)
    stage.put(row("i", type="identify", event=None, anonymousId="visitor"), row("u", event="Unsubscribed"))
    tables = stage.home / "tables"
    assert export_customers(stage.database, tables / "customers.parquet") == 2
    vectors = open_store(str(stage.home / "online.db"), "vectors")
    mine, other = (row_key("opportune", feast_key("customer_id", name)) for name in ("c1", "c2"))
    vectors.change([mine, other], lambda _: [b"x", b"x"])  # what `feast materialize` leaves
    answer = await stage.api.delete("/v1/customers/c1")
    assert answer.status_code == 200
    assert vectors.read([mine, other]) == [None, b"x"]
    vectors.close()
    erased = answer.json()
    assert erased["complete"] is True
    assert erased["models"] == []  # first seen after the training data ended
    counts = erased["erased"]
    assert (counts["profile"], counts["consents"], counts["decisions"], counts["tables"]) == (1, 1, 2, 1)
    assert counts["materialized"] == 1
    assert counts["events"] + counts["inbox"] == 3
    await stage.get("c1", 404)
    await stage.get("visitor", 404)
    assert stage.log.scan().collect()["customer_id"].to_list() == ["c2"]
    assert stage.online.read(["c1", "visitor"], CLOCK.now()) == [None, None]
    assert pl.read_parquet(tables / "customers.parquet")["customer_id"].to_list() == ["c2"]
    with stage.database.read() as connection:
        for table in inbox_store.metadata.tables.values():
            kept = repr(connection.execute(table.select()).all())
            assert "visitor" not in kept, table.name
    files = [stage.home / "online.db", stage.home / "online.db-wal"]
    if stage.database.is_sqlite:
        files += [Path(f"{stage.database.engine.url.database}{end}") for end in ("", "-wal")]
    for file in files:
        assert b"visitor" not in file.read_bytes(), file
    again = await stage.api.delete("/v1/customers/c1")
    assert again.json()["erased"]["profile"] == 0


async def test_an_erasure_takes_the_person_out_of_the_names_of_counted_events(stage: Stage) -> None:
    stage.put(row("i", "customer-7", type="identify", event=None, traits={"email": "anna@example.org"}))
    named = ("Called Anna@Example.org", "Wrote to customer-7", "Wrote to customer-77", "Called ben@example.org")
    with stage.database.write() as connection:
        for source in ("api", "file"):
            add_counts(connection, source, {Key("2026-03-01", "event", name): 2 for name in named})
        add_counts(connection, "api", {Key("2026-03-01", "event", "Called …"): 1})
    erased = (await stage.api.delete("/v1/customers/customer-7")).json()["erased"]
    assert erased["names_of_counts"] == 4
    with stage.database.read() as connection:
        counts = read_counts(connection, "2026-03-01")
    assert {key.name: count for key, count in counts.items() if key.kind == "event" and key.name != "identify"} == {
        "Called …": 5, "Wrote to …": 4, "Wrote to customer-77": 4, "Called ben@example.org": 4,
    }  # fmt: skip


async def test_an_erasure_takes_what_waits_to_be_brought_in(stage: Stage) -> None:
    stage.put(order("o1"))

    def bring_in() -> None:
        with stage.database.write() as connection:
            inbox_store.add_events(connection, [order("o2")], CLOCK.now())

    stage.eraser.bring_in = bring_in
    assert (await stage.api.delete("/v1/customers/c1")).json()["erased"]["inbox"] == 2


async def test_an_erasure_takes_what_was_under_way(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.put(order("o1"), flush=True)
    erase, score = stage.log.erase, {"model": "churn", "version": "1", "decision_id": "d", "customer_id": "c1"}

    def meanwhile(ids: Any, *more: Any) -> int:
        with stage.database.write() as connection:
            add_shadow_scores(connection, [{**score, "decided_at": CLOCK.now(), "score": 0.5}])
        return erase(ids, *more)

    monkeypatch.setattr(stage.log, "erase", meanwhile)
    assert (await stage.api.delete("/v1/customers/c1")).json()["complete"]
    with stage.database.read() as connection:
        assert read_shadow(connection, "churn", "1", CLOCK.now() + timedelta(days=1), 10) == []


async def test_an_erasure_takes_what_events_and_joining_left_in_the_state_meanwhile(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Postgres a pass over events may have begun before the state went, and end after it; so may joining."""
    stage.put(row("i", type="identify", event=None, anonymousId="visitor"), flush=True)
    erase = stage.log.erase

    def meanwhile(ids: Any, *more: Any) -> int:
        with stage.database.write() as connection:
            update_customers(connection, [inbox_store.unpack(1, inbox_store.pack(row("u", event="Unsubscribed")))])
            note_changed(connection, ["c1"], CLOCK.now())
        return erase(ids, *more)

    monkeypatch.setattr(stage.log, "erase", meanwhile)
    assert (await stage.api.delete("/v1/customers/c1")).json()["complete"]
    await stage.get("c1", 404)
    with stage.database.read() as connection:
        assert changed_since(connection, ["c1"]) == {}
        assert consents_told(connection, ["c1"]) == []


async def test_an_erasure_knows_of_ids_that_were_joined_by_events_still_waiting(stage: Stage) -> None:
    stage.put(order("o0", None, userId=None, anonymousId="visitor"), flush=True)
    with stage.database.write() as connection:
        claim = row("i", type="identify", event=None, anonymousId="visitor")
        inbox_store.add_events(connection, [claim], CLOCK.now())
    applied = threading.Timer(0.1, stage.runner.run_pass)  # the service's loop, which is woken by the event
    applied.start()
    assert (await stage.api.delete("/v1/customers/c1")).json()["complete"]
    applied.join()
    await stage.get("visitor", 404)
    assert stage.log.scan().collect().is_empty()


async def test_an_erasure_takes_the_history_of_a_device_that_is_anothers_before_it_was_joined(stage: Stage) -> None:
    """It stayed in the log under the device's id, and nobody knew any more whose it was."""
    stage.put(order("o0", None, userId=None, anonymousId="device"), flush=True)
    claims = [row(f"is-{name}", name, type="identify", event=None, anonymousId="device") for name in ("c1", "c2")]
    with stage.database.write() as connection:
        inbox_store.add_events(connection, claims, CLOCK.now())
        waits = inbox_store.waiting(connection, 2)
        inbox_store.replace_rows(connection, LinkedIdentities().give_owners(connection, waits))
        update_customers(connection, waits)
        inbox_store.mark_applied(connection, [event["seq"] for event in waits], CLOCK.now())
    assert (await stage.api.delete("/v1/customers/c1")).json()["complete"]
    stage.put(flush=True)
    assert set(stage.log.scan().collect()["customer_id"]) == {"c2"}


async def test_a_table_that_becomes_whole_meanwhile_is_met_all_the_same(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft, whole = (stage.home / name / "as_of=x" for name in ("features.draft", "features"))
    draft.mkdir(parents=True)
    pl.DataFrame({"customer_id": ["c1", "c2"]}).write_parquet(draft / "bucket=00.parquet")
    erase = erase_customer.erase_from_tables

    def then_publish(folder: Path, ids: Any) -> int:
        gone = erase(folder, ids)
        if folder.name.startswith("features") and draft.exists():
            whole.parent.mkdir(exist_ok=True)
            draft.rename(whole)
        return gone

    monkeypatch.setattr(erase_customer, "erase_from_tables", then_publish)
    stage.put(order("o1"))
    assert (await stage.api.delete("/v1/customers/c1")).json()["complete"]
    assert pl.read_parquet(whole / "*.parquet")["customer_id"].to_list() == ["c2"]


async def test_scores_in_the_home_are_looked_through_and_the_answer_says_what_is_not(stage: Stage) -> None:
    """`opportune score --out` into the home, which in a container is all that lasts, kept whoever was erased."""
    scored = pl.DataFrame({"customer_id": ["c1", "c2"], "actions": [[{"rank": 1}], []]})
    parts = stage.home / "next.parquet.parts"
    parts.mkdir()
    files = [stage.home / "scores.parquet", stage.home / "scores.pq", parts / "part-000000.parquet"]
    for file in files:
        scored.write_parquet(file)
    pl.DataFrame({"x": [1]}).write_parquet(stage.home / "of-somebody.parquet")
    stage.put(order("o1"))
    erased = (await stage.api.delete("/v1/customers/c1")).json()
    assert (erased["complete"], erased["erased"]["tables"]) == (True, 3)
    assert [pl.read_parquet(file)["customer_id"].to_list() for file in files] == [["c2"]] * 3
    assert "files outside of the home (such as those of 'opportune score'), are not looked through" in erased["kept"]


async def test_an_erasure_names_the_models_that_had_learnt(stage: Stage) -> None:
    stage.put(order("o1", timestamp="2026-01-01T00:00:00Z"))
    erased = (await stage.api.delete("/v1/customers/c1")).json()
    assert erased["models"] == [{"name": "churn", "version": "4", "alias": "champion"}]


async def test_an_erasure_names_versions_that_may_serve_again(stage: Stage) -> None:
    """A rollback brings one back that had learnt from who was erased since."""
    days = {"2": "2025-12-31", "3": "2026-01-02", "4": "2026-02-20"}
    told = {"churn": {version: f"{day}T00:00:00+00:00" for version, day in days.items()}}
    (stage.home / "served").mkdir()
    (stage.home / "served" / VERSIONS_FILE).write_text(json.dumps(told))
    stage.put(order("o1", timestamp="2026-01-01T00:00:00Z"))
    erased = (await stage.api.delete("/v1/customers/c1")).json()
    assert [(one["version"], one["alias"]) for one in erased["models"]] == [("4", "champion"), ("3", None)]


async def test_an_erasure_that_died_is_finished_by_the_next_process(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.put(order("o1"), flush=True)

    def killed(_: Any) -> int:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(stage.log, "erase", killed)
        assert (await stage.api.delete("/v1/customers/c1")).status_code == 500
    assert stage.log.scan().collect().height == 1
    stage.runner.run_pass()
    assert stage.log.scan().collect().height == 0


async def test_customers_are_exported_as_training_reads_them(stage: Stage) -> None:
    stage.put(row("i", type="identify", event=None, traits={"segments": ["vip"], "locale": "de-AT"}), order("o", "c2"))
    path = stage.home / "tables" / "customers.parquet"
    assert export_customers(stage.database, path) == 2
    table = CUSTOMERS.validate(pl.read_parquet(path))
    assert table["segments"].to_list() == [["vip"], []]
