"""Review over HTTP: ETags, checks that block, a trail; only copy approved for the same facts is ever chosen."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.content.choose_content import ContentLibrary
from service.content.content_desk import ContentDesk
from service.content.guardrails import Check, Rules
from service.content.routes import routes
from service.content.shelf import locales_in_order
from service.content.tried_copy import try_copy
from service.content.variant import said_hash
from service.offers.offers_store import put_offers, read_offers
from service.offers.schemas import OfferIn
from service.storage.database import Database
from service.web.auth import Guard, create_key
from service.web.problems import install_problem_handlers
from tests.fakes.dying import asked_again

FACTS = {"discount": {"percent": 20}, "price": {"amount": "9.90", "currency": "EUR"}, "url": "https://shop.example/x"}


class SteppingClock:
    def __init__(self) -> None:
        self.at = datetime(2026, 7, 1, tzinfo=UTC)

    def now(self) -> datetime:
        self.at += timedelta(milliseconds=5)
        return self.at


class Bench:
    """A desk over a database, its HTTP face, and the library that decisions use."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = SteppingClock()
        self.library = ContentLibrary(
            database, lambda customer, channel: f"https://h/u/{customer}.{channel}", recheck_s=60
        )
        desk = ContentDesk(database, self.clock, Rules(), None, "en", self.library.refresh)
        self.app = FastAPI()
        self.app.include_router(routes(desk, Guard(database)))
        install_problem_handlers(self.app)

    def put(self, offer_id: str, **offer: Any) -> dict[str, Any]:
        document = OfferIn(**{"name": "Tea", "facts": FACTS, **offer}).document()
        with self.database.write() as connection:
            put_offers(connection, {offer_id: document}, self.clock.now())
        return document

    def offer(self, offer_id: str) -> Any:
        with self.database.read() as connection:
            return read_offers(connection, [offer_id])[0].document

    def choose(self, channel: str = "email", offer_id: str = "o1", **customer: Any) -> dict[str, Any] | None:
        person = {"customer_id": "c1", **customer}
        return self.library.choose(offer_id, self.offer(offer_id), channel, person)

    def client(self, scope: str = "review", label: str = "ann") -> httpx.AsyncClient:
        key = create_key(self.database, (scope,), label, self.clock.now())
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://t", headers={"Authorization": f"Bearer {key}"})


@pytest.fixture
def bench(database: Database) -> Bench:
    made = Bench(database)
    made.put("o1")
    return made


@pytest.fixture
async def client(bench: Bench) -> AsyncIterator[httpx.AsyncClient]:
    async with bench.client() as client:
        yield client


async def generate(client: httpx.AsyncClient, **order: Any) -> list[dict[str, Any]]:
    answer = await client.post(
        "/v1/content/generate", json={"offer_id": "o1", "channel": "email", "locale": "en", **order}
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["variants"]


async def test_copy_asked_for_again_after_its_process_died_is_the_one_that_was_made(bench: Bench) -> None:
    """Reviewers found everything twice."""
    key = create_key(bench.database, ("review",), "ann", bench.clock.now())
    order = {"offer_id": "o1", "channel": "email", "locale": "en", "n": 2}
    first, again = await asked_again(bench.app, bench.database, "/v1/content/generate", order, key)
    assert (again.status_code, again.content) == (201, first)
    async with bench.client() as client:
        assert (await client.get("/v1/content/variants")).json()["variants"] == again.json()["variants"]


async def act(
    client: httpx.AsyncClient, variant: dict[str, Any], verb: str, etag: str | None = None, **body: Any
) -> httpx.Response:
    headers = {"If-Match": etag or variant["etag"]}
    return await client.post(f"/v1/content/variants/{variant['variant_id']}/{verb}", json=body or None, headers=headers)


async def test_generated_variants_are_pending_with_checks_and_lineage(client: httpx.AsyncClient) -> None:
    made = await generate(client, n=4, segment="lapsed")
    assert [variant["state"] for variant in made] == ["pending"] * 4
    for variant in made:
        assert all(check["passed"] for check in variant["checks"])
        assert {"name", "passed", "detail", "span"} <= set(variant["checks"][0])
        assert {"prompt_version", "model", "offer_hash"} <= set(variant["lineage"])
    listed = (await client.get("/v1/content/variants?state=pending&channel=email&locale=en")).json()["variants"]
    assert [variant["variant_id"] for variant in listed] == [variant["variant_id"] for variant in made]
    assert (await client.get("/v1/content/variants?state=approved")).json()["variants"] == []
    assert (await client.get("/v1/content/variants?state=&channel=&locale=")).json()["variants"] == listed


async def test_nothing_is_chosen_before_approval_and_all_of_it_after(bench: Bench, client: httpx.AsyncClient) -> None:
    (variant,) = await generate(client, n=1)
    assert bench.choose() is None
    answer = await act(client, variant, "approve")
    assert answer.status_code == 200
    assert answer.headers["etag"] == answer.json()["etag"] == '"2"'
    chosen = bench.choose(traits={"first_name": "Ada"})
    assert chosen is not None
    assert (chosen["variant_id"], chosen["locale"]) == (variant["variant_id"], "en")
    assert "20%" in chosen["subject"]
    assert "Ada" in chosen["body"]
    assert "https://h/u/c1.email" in chosen["body"]
    assert bench.choose("sms") is None


@pytest.mark.parametrize(
    "change",
    [{"name": "Green tea"}, {"facts": {**FACTS, "discount": {"percent": 30}}}, {"ends_at": "2027-01-01T00:00:00Z"}],
)
async def test_copy_approved_for_other_facts_is_never_chosen(
    bench: Bench, client: httpx.AsyncClient, change: dict
) -> None:
    (variant,) = await generate(client, n=1)
    await act(client, variant, "approve")
    bench.put("o1", **change)
    assert bench.choose() is None
    bench.put("o1")  # as it was: the approval holds again
    assert bench.choose() is not None
    bench.put("o1", value=99.0)  # worth is not said in copy
    assert bench.choose() is not None


async def test_editing_and_rejecting_take_copy_out_at_once(bench: Bench, client: httpx.AsyncClient) -> None:
    (variant,) = await generate(client, n=1)
    approved = (await act(client, variant, "approve")).json()
    assert bench.choose() is not None
    edited = (await act(client, approved, "edit", fields={"subject": "Tea, 20% off"})).json()
    assert edited["state"] == "pending"
    assert bench.choose() is None
    approved = (await act(client, edited, "approve")).json()
    assert bench.choose()["subject"] == "Tea, 20% off"
    await act(client, approved, "reject", reason="dull")
    assert bench.choose() is None


@pytest.mark.parametrize(("verb", "body"), [("approve", {}), ("edit", {"fields": {"subject": "Tea"}})])
async def test_nobody_waits_while_copy_is_checked(
    bench: Bench, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, verb: str, body: Any
) -> None:
    """A long mail takes half a second, in which no decision could be written."""
    variant, wrote = (await generate(client, n=1))[0], threading.Event()

    def write() -> None:
        with bench.database.write():
            wrote.set()

    def checked(*copy: Any) -> list[Check]:
        threading.Thread(target=write, daemon=True).start()
        assert wrote.wait(10)
        return try_copy(*copy)

    monkeypatch.setattr("service.content.review_variant.try_copy", checked)
    assert (await act(client, variant, verb, **body)).status_code == 200


async def test_an_offer_that_changes_while_its_copy_is_checked_has_it_checked_again(
    bench: Bench, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant, seen = (await generate(client, n=1))[0], []

    def checked(channel: str, locale: str, fields: Any, offer: Any, rules: Any) -> list[Check]:
        seen.append(offer["name"])
        if len(seen) == 1:
            bench.put("o1", name="Coffee")
        return try_copy(channel, locale, fields, offer, rules)

    monkeypatch.setattr("service.content.review_variant.try_copy", checked)
    answer = await act(client, variant, "approve")
    assert (answer.status_code, seen) == (200, ["Tea", "Coffee"])
    assert answer.json()["lineage"]["offer_hash"] == said_hash(bench.offer("o1"))


async def test_copy_whose_checks_fail_is_refused_with_the_checks_named(client: httpx.AsyncClient) -> None:
    (variant,) = await generate(client, n=1)
    edited = (await act(client, variant, "edit", fields={"subject": "Tea, 30% off, free"})).json()
    failed = [(c["name"], edited["fields"][c["field"]][slice(*c["span"])]) for c in edited["checks"] if not c["passed"]]
    assert failed == [("percents", "30%"), ("claims", "free")]
    refused = await act(client, edited, "approve")
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["failed_checks"] == ["percents", "claims"]
    assert {error["field"] for error in refused.json()["errors"]} == {"fields.subject"}


@pytest.mark.parametrize("verb", ["approve", "reject", "edit", "comment"])
async def test_stale_and_missing_etags_are_refused(client: httpx.AsyncClient, verb: str) -> None:
    (variant,) = await generate(client, n=1)
    body = {"edit": {"fields": {"subject": "x"}}, "comment": {"text": "x"}}.get(verb, {})
    stale = await act(client, variant, verb, etag='"77"', **body)
    assert stale.status_code == 412
    missing = await client.post(f"/v1/content/variants/{variant['variant_id']}/{verb}", json=body or None)
    assert missing.status_code == 428
    assert [error["field"] for error in missing.json()["errors"]] == ["If-Match"]
    first = await act(client, variant, verb, **body)
    assert first.status_code == 200
    again = await act(client, variant, verb, **body)
    assert again.status_code == 412
    unknown = await client.post(f"/v1/content/variants/nope/{verb}", json=body or None, headers={"If-Match": "*"})
    assert unknown.status_code == 404


async def test_the_trail_says_who_did_what(bench: Bench, client: httpx.AsyncClient) -> None:
    (variant,) = await generate(client, n=1)
    async with bench.client(label="bob") as bob:
        remarked = (await act(bob, variant, "comment", text="softer, please")).json()
        edited = (await act(bob, remarked, "edit", fields={"subject": "Tea", "preheader": None})).json()
    await act(client, edited, "approve")
    trail = (await client.get(f"/v1/content/variants/{variant['variant_id']}")).json()["trail"]
    assert [(entry["who"], entry["action"]) for entry in trail] == [
        ("ann", "generate"), ("bob", "comment"), ("bob", "edit"), ("ann", "approve"),
    ]  # fmt: skip
    assert trail[1]["text"] == "softer, please"
    assert trail[2]["after"] == {"subject": "Tea", "preheader": None}


async def test_an_offer_that_needs_no_approval_has_its_copy_at_once(bench: Bench, client: httpx.AsyncClient) -> None:
    bench.put("o1", requires_approval=False)
    (variant,) = await generate(client, n=1)
    assert variant["state"] == "approved"
    assert bench.choose() is not None


async def test_check_tells_of_copy_written_elsewhere(client: httpx.AsyncClient) -> None:
    body = {
        "channel": "push",
        "locale": "de",
        "offer_id": "o1",
        "fields": {"title": "Tee", "body": "20 % auf alles, 9,90 €"},
    }
    assert (await client.post("/v1/content/check", json=body)).json()["passed"] is True
    body["fields"]["body"] = "30 % auf alles"
    found = [c for c in (await client.post("/v1/content/check", json=body)).json()["checks"] if not c["passed"]]
    assert [(c["name"], c["field"], c["span"]) for c in found] == [("percents", "body", [0, 4])]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("generate", {"offer_id": "nope", "channel": "email"}, 404),
        ("generate", {"offer_id": "o1", "channel": "fax"}, 422),
        ("generate", {"offer_id": "o1", "channel": "email", "n": 0}, 422),
        ("generate", {"offer_id": "o1", "channel": "email", "n": 1000}, 422),
        ("generate", {"offer_id": "o1", "channel": "email", "locale": "no such"}, 422),
        ("generate", {"offer_id": "o1", "channel": "email", "colour": "red"}, 422),
        ("check", {"channel": "push", "fields": {"title": 5}}, 422),
        ("check", {"channel": "push", "fields": {"title": "a\x00"}}, 422),
        ("check", {"channel": "push", "offer_id": "nope", "fields": {}}, 404),
        ("check", {"channel": "push", "fields": {"title": "x" * 60_000}}, 422),
    ],
)
async def test_bad_requests_are_problems(client: httpx.AsyncClient, path: str, body: dict, status: int) -> None:
    answer = await client.post(f"/v1/content/{path}", json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_review_needs_its_scope(bench: Bench) -> None:
    async with bench.client("decide") as other:
        assert (await other.get("/v1/content/variants")).status_code == 403


async def test_a_customer_gets_their_language_and_always_the_same_variant(
    bench: Bench, client: httpx.AsyncClient
) -> None:
    for locale in ("en", "ms", "th"):
        for variant in await generate(client, n=3, locale=locale):
            assert (await act(client, variant, "approve")).status_code == 200
    for wanted, got in (("ms-MY", "ms"), ("th", "th"), ("de-DE", "en"), (None, "en"), ("en-GB", "en")):
        assert bench.choose(locale=wanted)["locale"] == got
    chosen = {number: bench.choose(customer_id=f"c{number}")["variant_id"] for number in range(40)}
    assert chosen == {number: bench.choose(customer_id=f"c{number}")["variant_id"] for number in range(40)}
    assert len(set(chosen.values())) == 3


async def test_copy_for_a_segment_is_for_its_members(bench: Bench, client: httpx.AsyncClient) -> None:
    (general,) = await generate(client, n=1)
    (special,) = await generate(client, n=1, segment="lapsed")
    for variant in (general, special):
        await act(client, variant, "approve")
    assert bench.choose(segments=["lapsed", "vip"])["variant_id"] == special["variant_id"]
    assert bench.choose(segments=["vip"])["variant_id"] == general["variant_id"]


async def test_a_name_that_makes_a_text_too_long_is_left_out(bench: Bench, client: httpx.AsyncClient) -> None:
    (variant,) = await generate(client, n=1, channel="push")
    title = "x" * 38 + ' {{ customer.first_name | default: "you" }}'
    edited = (await act(client, variant, "edit", fields={"title": title})).json()
    assert (await act(client, edited, "approve")).status_code == 200
    assert bench.choose("push", traits={"first_name": "Ada"})["title"].endswith(" Ada")
    assert bench.choose("push", traits={"first_name": "Wolfeschlegelsteinhausen"})["title"].endswith(" you")


async def test_a_change_made_elsewhere_is_seen_after_a_recheck(bench: Bench, client: httpx.AsyncClient) -> None:
    other = ContentLibrary(bench.database, lambda *_: "https://h/u/x", recheck_s=0.0)
    (variant,) = await generate(client, n=1)
    person = {"customer_id": "c1"}
    assert other.choose("o1", bench.offer("o1"), "email", person) is None
    approved = (await act(client, variant, "approve")).json()
    assert other.choose("o1", bench.offer("o1"), "email", person) is not None
    await act(client, approved, "reject")
    assert other.choose("o1", bench.offer("o1"), "email", person) is None


@pytest.mark.parametrize(
    ("offered", "wanted", "default", "order"),
    [
        (["en", "ms"], "ms-MY", "en", ("ms", "en")), (["ms-SG", "ms-MY", "en"], "ms", "en", ("ms-MY", "ms-SG", "en")),
        (["de", "en"], "fr", "de-AT", ("de", "en")),
        (["en"], "th", "de", ("en",)), (["th"], "en", "en", ()), (["en-GB"], "th", "en", ("en-GB",)),
        (["en-GB", "de", "de-CH", "th"], "de-AT", "en-GB", ("de", "de-CH", "en-GB")), ([], "en", "en", ()),
    ],
)  # fmt: skip
def test_locales_fall_back_step_by_step(offered: list[str], wanted: str, default: str, order: tuple[str, ...]) -> None:
    assert locales_in_order(offered, wanted, default) == order


@pytest.mark.parametrize(
    ("channel", "broken", "mended"),
    [
        (
            "webhook",
            {"payload": '{"price": {{ offer.price.amount }} }'},
            {"payload": '{"price": "{{ offer.price.amount }}"}'},
        ),
        (
            "push",
            {"title": "Tea", "body": "{% if offer.discount == nil %}Tea {{ offer.discount }}{% endif %}"},
            {"title": "Tea", "body": "{% if offer.discount %}{{ offer.discount }}{% else %}Tea{% endif %}"},
        ),
    ],
)
def test_copy_that_could_never_be_rendered_does_not_pass(
    channel: str, broken: dict[str, str], mended: dict[str, str]
) -> None:
    offer = {"name": "Tea", "facts": {"price": {"amount": "9.90", "currency": "EUR"}}}
    checks = [check for check in try_copy(channel, "en", broken, offer) if not check.passed]
    assert [check.name for check in checks] == ["merge_tags"]
    assert checks[0].detail.startswith("cannot be filled in: ")
    assert all(check.passed for check in try_copy(channel, "en", mended, offer))
