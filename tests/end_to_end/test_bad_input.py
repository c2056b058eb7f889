"""Whatever is sent, the answer is a decision or a problem that names what is wrong; never a 500."""

from __future__ import annotations

import gzip
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from service.errors import Problem
from tests.end_to_end.api_home import OFFER, ApiHome, api_home
from tests.end_to_end.conftest import eventually
from tests.fakes.databases import new_database

pytestmark = pytest.mark.slow
HUGE = 10**30
TEN_MB = b'{"customer_id":"' + b"x" * (10 * 1024 * 1024) + b'"}'


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiHome]:
    folder = tmp_path_factory.mktemp("home")
    if request.param == "sqlite":
        with api_home(folder) as made:
            yield made
    else:
        server = request.getfixturevalue("postgres_server")
        with new_database(server) as url, api_home(folder, url) as made:
            yield made


@pytest.fixture
def api(home: ApiHome) -> httpx.Client:
    return home.api


def refused(answer: httpx.Response, *statuses: int) -> dict[str, Any]:
    """The problem in an answer that has one of these statuses."""
    assert answer.status_code in statuses, (answer.status_code, answer.text[:500])
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert {"type", "title", "status", "detail"} <= set(problem)
    assert problem["status"] == answer.status_code
    return dict(problem)


def fields(problem: dict[str, Any]) -> list[str]:
    return [error["field"] for error in problem.get("errors", [])]


DECISION: dict[str, Any] = {"customer_id": "c1"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"customer_id": 7}, "customer_id"),
        ({"customer_id": None}, "customer_id"),
        ({"customer_id": ""}, "customer_id"),
        ({"customer_id": "a\x00b"}, "customer_id"),
        ({"customer_id": "a\x1bb"}, "customer_id"),
        ({"customer_id": "x" * 1025}, "customer_id"),
        ({"customer_id": "ก" * 1000}, "customer_id"),
        ({"placement": "a b"}, "placement"),
        ({"placement": {"a": 1}}, "placement"),
        ({"channels": ["pigeon"]}, "channels[0]"),
        ({"channels": "email"}, "channels"),
        ({"channels": []}, "channels"),
        ({"offers": ["nowhere"]}, "offers[0]"),
        ({"offers": [1]}, "offers[0]"),
        ({"top_k": 10**9}, "top_k"),
        ({"top_k": HUGE}, "top_k"),
        ({"top_k": 0}, "top_k"),
        ({"top_k": 1.5}, "top_k"),
        ({"top_k": "5"}, "top_k"),
        ({"at": "1969-12-31T23:59:59Z"}, "at"),
        ({"at": "2101-01-01T00:00:00Z"}, "at"),
        ({"at": "yesterday"}, "at"),
        ({"at": "2026-01-01T00:00:00"}, "at"),
        ({"at": 1}, "at"),
        ({"dry_run": "yes"}, "dry_run"),
        ({"context": {"a": "\x00"}}, "context"),
        ({"context": [1]}, "context"),
        ({"context": {"a": "x" * 40_000}}, "context"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_a_wrong_field_of_a_decision_is_named(api: httpx.Client, change: dict[str, Any], field: str) -> None:
    problem = refused(api.post("/v1/decisions", json=DECISION | change), 400, 422)
    assert fields(problem) == [field], problem
    batch = api.post("/v1/decisions/batch", json={"requests": [DECISION, DECISION | change]})
    assert fields(refused(batch, 400, 422)) == [f"requests[1].{field}"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"customer_id":NaN}', b'"x"', b"[" * 5000])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/decisions"),
        ("POST", "/v1/decisions/batch"),
        ("POST", "/v1/batch"),
        ("POST", "/v1/track"),
        ("PUT", "/v1/offers/o1"),
        ("PUT", "/v1/offers"),
        ("PUT", "/v1/customers/c1/consents"),
        ("POST", "/v1/content/generate"),
        ("POST", "/v1/content/check"),
        ("PUT", "/v1/experiments/e1"),
        ("PUT", "/v1/journeys/j1"),
        ("POST", "/v1/journeys/winback/enrollments"),
    ],
)
def test_a_body_that_is_none_is_refused(api: httpx.Client, method: str, path: str, body: bytes) -> None:
    answer = api.request(method, path, content=body, headers={"Content-Type": "application/json"})
    assert fields(refused(answer, 400, 422)) != []


def test_a_body_of_ten_megabytes_is_refused(api: httpx.Client) -> None:
    for path in ("/v1/decisions", "/v1/batch", "/v1/track", "/v1/content/check"):
        refused(api.post(path, content=TEN_MB), 413)
    refused(api.put("/v1/offers", content=TEN_MB), 413)
    assert api.post("/v1/decisions", json=DECISION).status_code == 200


def test_a_name_of_another_script_is_decided_for(api: httpx.Client) -> None:
    for customer in ("สมชาย", "山田/太郎", "a b", "é", "c%20d", "😀", "a..b/c.", "ก" * 341):
        answer = api.post("/v1/decisions", json={"customer_id": customer})
        assert answer.status_code == 200, answer.text
        assert answer.json()["customer_id"] == customer
        assert api.get(f"/v1/decisions/{answer.json()['decision_id']}").json()["customer_id"] == customer


def test_a_name_that_no_address_can_hold_is_refused_by_its_field(api: httpx.Client) -> None:
    for customer in ("..", "../etc/passwd"):
        answer = api.post("/v1/decisions", json={"customer_id": customer})
        assert answer.status_code == 422, answer.text
        assert [error["field"] for error in answer.json()["errors"]] == ["customer_id"]


def test_limits_that_hold_are_taken(api: httpx.Client) -> None:
    for change in ({"top_k": 100}, {"at": "1970-01-01T00:00:00Z"}, {"at": "2100-12-31T23:59:59Z"}, {"offers": []}):
        answer = api.post("/v1/decisions", json=DECISION | change | {"dry_run": True})
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": 1}, "name"),
        ({"name": "a\x00"}, "name"),
        ({"channels": ["pigeon"]}, "channels[0]"),
        ({"value": "NaN"}, "value"),
        ({"value": 1e300}, "value"),
        ({"value": -1}, "value"),
        ({"caps": [{"max": HUGE, "per_days": 1}]}, "caps[0].max"),
        ({"caps": [{"max": 1, "per_days": 0}]}, "caps[0].per_days"),
        ({"caps": [{"max": 1, "per_days": 7, "per": "everybody"}]}, "caps[0].per"),
        ({"facts": {"price": {"amount": 9.9, "currency": "EUR"}}}, "facts.price.amount"),
        ({"facts": {"price": {"amount": "1e5", "currency": "EUR"}}}, "facts.price.amount"),
        ({"facts": {"url": "javascript:alert(1)"}}, "facts.url"),
        ({"starts_at": "1950-01-01T00:00:00Z"}, "starts_at"),
        ({"ends_at": "2500-01-01T00:00:00Z"}, "ends_at"),
        ({"eligibility": "customer.features.orders_90d >="}, "eligibility"),
        ({"eligibility": "((((((" * 300}, "eligibility"),
        ({"requires": [{"offer_id": "o1"}]}, "requires"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_field_of_an_offer_is_named(api: httpx.Client, change: dict[str, Any], field: str) -> None:
    assert fields(refused(api.put("/v1/offers/o1", json=OFFER | change), 422)) == [field]


@pytest.mark.parametrize(("kind", "key"), [("track", "properties"), ("identify", "traits"), ("track", "context")])
def test_what_is_taken_however_deep_can_be_shown(api: httpx.Client, kind: str, key: str) -> None:
    """A customer with properties of 250 levels could be neither shown nor exported."""
    for levels, status in ((190, 200), (250, 400), (900, 400)):
        deep = "[" * levels + "]" * levels
        body = f'{{"userId":"deep","event":"E","{key}":{{"x":{deep}}}}}'.encode()
        answer = api.post(f"/v1/{kind}", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == status, answer.text
    assert eventually(lambda: api.get("/v1/customers/deep").status_code != 404)
    assert [api.get(f"/v1/customers/deep{part}").status_code for part in ("", "/export")] == [200, 200]


def test_a_payload_is_checked_however_deep_it_is(api: httpx.Client) -> None:
    for levels, passed in ((100, True), (300, False), (1_000, False)):
        payload = "[" * levels + "]" * levels
        copy = {"channel": "webhook", "locale": "en", "fields": {"payload": payload}}
        checked = api.post("/v1/content/check", json=copy)
        assert (checked.status_code, checked.json()["passed"]) == (200, passed)


def test_a_wrong_name_in_a_table_is_told_by_itself(api: httpx.Client) -> None:
    answer = refused(api.put("/v1/customers/c1/consents", json={"email": {"Marketing": True}}), 422)
    assert fields(answer) == ["email.Marketing"]


def test_infinite_values_are_refused_where_the_parser_lets_them_in(api: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}
    offer = api.put("/v1/offers/o1", content=b'{"name":"x","value":Infinity}', headers=headers)
    assert fields(refused(offer, 400, 422)) in (["value"], ["body"])
    experiment = b'{"variants":[{"key":"a","weight":NaN},{"key":"b","value":NaN}]}'
    assert refused(api.put("/v1/experiments/e1", content=experiment, headers=headers), 400, 422)["errors"]


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"userId": 7}, "userId"),
        ({"userId": "a\x00"}, "userId"),
        ({"timestamp": "1912-06-23T00:00:00Z"}, "timestamp"),
        ({"timestamp": "2200-01-01T00:00:00Z"}, "timestamp"),
        ({"timestamp": 5}, "timestamp"),
        ({"event": ""}, "event"),
        ({"event": "Order\x00"}, "event"),
        ({"properties": []}, "properties"),
        ({"properties": {"revenue": "lots"}}, "properties.revenue"),
        ({"properties": {"revenue": 1e300}}, "properties.revenue"),
        ({"properties": {"products": 7}}, "properties.products"),
        ({"surprise": 1}, "surprise"),
        ({"type": []}, "type"),
        ({"type": "identity"}, "type"),
    ],
)
def test_a_wrong_field_of_an_event_is_named(api: httpx.Client, message: dict[str, Any], field: str) -> None:
    good = {"userId": "c1", "event": "Order Completed", "properties": {"order_id": "o"}}
    assert fields(refused(api.post("/v1/track", json=good | message), 400)) == [field]
    batch = {"batch": [{"type": "track", **good}, {"type": "track", **good, **message}]}
    assert fields(refused(api.post("/v1/batch", json=batch), 400)) == [f"batch[1].{field}"]


def test_strange_properties_are_kept_or_refused_and_harm_nothing(api: httpx.Client) -> None:
    strange = [
        {"text": "a\x00b"},
        {"number": HUGE},
        {"deep": {"a": {"b": {"c": [[[[[[1]]]]]]}}}},
        {"emoji": "👨‍👩‍👧‍👦", "rtl": "\u202eabc", "": 1},
        {"products": [{"product_id": "p1", "quantity": -1}]},
        {"currency": "XXXX"},
        {"decision_id": "a\x00b", "offer_id": "a\x00b"},
        {"order_id": "o" * 2000},
    ]
    zones = ["x/" * 700 + "y", "x" * 5_000, "America", "Mars/Olympus", "../etc", ""]
    sent = [{"properties": properties} for properties in strange] + [{"context": {"timezone": zone}} for zone in zones]
    for fields_of in sent:
        event = {"userId": "odd", "event": "Order Completed", **fields_of}
        answer = api.post("/v1/track", json=event)
        if answer.status_code != 200:
            refused(answer, 400)
    assert api.post("/v1/decisions", json={"customer_id": "odd"}).status_code == 200
    assert api.get("/health/ready").json()["heartbeats"]["events"]["set_aside"] == 0


@pytest.mark.parametrize(
    "path",
    [
        "/v1/customers/{}",
        "/v1/customers/{}/scores",
        "/v1/customers/{}/export",
        "/v1/customers/{}/send-times?channel=email",
        "/v1/offers/{}",
        "/v1/decisions/{}",
        "/v1/content/variants/{}",
        "/v1/journeys/{}",
        "/v1/journeys/{}/stats",
        "/v1/experiments/{}",
        "/v1/experiments/{}/results",
        "/v1/offers?after={}",
        "/v1/content/variants?offer_id={}",
        "/v1/content/variants?after={}",
        "/v1/journeys/winback/enrollments?customer_id={}",
    ],
)
@pytest.mark.parametrize("name", ["a\x00b", "a\x1fb", "\ud800", "x" * 5000, "%", "'; DROP TABLE offers;--", "ÿ\n"])
def test_a_strange_name_in_the_address_is_not_found_or_refused(api: httpx.Client, path: str, name: str) -> None:
    answer = api.get(path.format(quote(name, safe="", errors="surrogatepass")))
    if answer.status_code != 200:
        refused(answer, 400, 404, 422)


@pytest.mark.parametrize("offer_id", ["spring/tea", "50% off?", "cafe\u0301"])
def test_an_offer_may_be_called_anything(api: httpx.Client, offer_id: str) -> None:
    name, path = unicodedata.normalize("NFC", offer_id), f"/v1/offers/{quote(offer_id, safe='')}"
    assert api.put("/v1/offers", json={"offers": [{"offer_id": offer_id, "name": "Tea"}]}).status_code == 200
    assert api.put(path, json={"name": "Green tea"}).json()["version"] == 2
    assert api.get(path).json()["offer_id"] == name
    asked = {"customer_id": "anybody", "offers": [offer_id], "dry_run": True}
    assert api.post("/v1/decisions", json=asked).status_code == 200
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/customers/c1/send-times", "channel"),
        ("/v1/customers/c1/send-times?channel=pigeon", "channel"),
        ("/v1/customers/c1/send-times?channel=email&n=1000000", "n"),
        ("/v1/customers/c1/send-times?channel=email&from=1960-01-01T00:00:00Z", "from"),
        ("/v1/customers/c1/send-times?channel=email&to=2960-01-01T00:00:00Z", "to"),
        ("/v1/customers/c1/send-times?channel=email&from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "to"),
        (f"/v1/offers?limit={HUGE}", "limit"),
        ("/v1/content/variants?state=odd", "state"),
        ("/v1/content/variants?locale=not%20a%20tag", "locale"),
        (f"/v1/journeys/winback?version={HUGE}", "version"),
        (f"/v1/journeys/winback/stats?version={HUGE}", "version"),
        ("/v1/journeys?status=odd", "status"),
        ("/v1/journeys/winback/enrollments", "customer_id"),
        (f"/v1/journeys/winback/tasks?limit={HUGE}", "limit"),
    ],
)
def test_a_wrong_question_is_named(api: httpx.Client, path: str, field: str) -> None:
    assert fields(refused(api.get(path), 422)) == [field]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/content/generate", {"offer_id": "thanks", "channel": "pigeon"}),
        ("/v1/content/generate", {"offer_id": "thanks", "channel": "email", "n": 10**6}),
        ("/v1/content/generate", {"offer_id": "thanks", "channel": "email", "locale": "klingon!"}),
        ("/v1/content/generate", {"offer_id": "thanks", "channel": "email", "angles": ["\x00"]}),
        ("/v1/content/generate", {"offer_id": "a\x00", "channel": "email"}),
        ("/v1/content/check", {"channel": "sms", "fields": {"body": "\x00"}}),
        ("/v1/content/check", {"channel": "sms", "fields": {"body": "x" * 60_000}}),
        ("/v1/journeys/winback/enrollments", {"customer_id": "a\x00b"}),
        ("/v1/journeys/winback/enrollments", {"customer_id": 5}),
        ("/v1/journeys/winback/tasks/a/close", {"outcome": "\x00"}),
        ("/v1/decisions/batch", {"requests": []}),
        ("/v1/decisions/batch", {"requests": [DECISION] * 1001}),
        ("/ofrep/v1/evaluate/flags", {"context": {"targetingKey": "a\x00b"}}),
        ("/ofrep/v1/evaluate/flags/winback-hour", {"context": {"targetingKey": "a\x00b"}}),
        ("/ofrep/v1/evaluate/flags/winback-hour", {"context": {"targetingKey": 5}}),
        ("/ofrep/v1/evaluate/flags/a%00b", {"context": {"targetingKey": "c1"}}),
    ],
)
def test_a_wrong_body_is_refused(api: httpx.Client, path: str, body: dict[str, Any]) -> None:
    answer = api.post(path, json=body)
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:300])
    if not path.startswith("/ofrep"):
        assert fields(refused(answer, 400, 404, 422)) != [] or answer.status_code == 404


def test_a_wrong_experiment_or_journey_names_its_fault(api: httpx.Client) -> None:
    two = [{"key": "a"}, {"key": "b"}]
    for body in (
        {"variants": [{"key": "a"}]},
        {"variants": two, "coverage": 2},
        {"variants": [{"key": "a", "value": HUGE}, {"key": "b"}]},
        {"variants": [{"key": "a", "value": "\x00"}, {"key": "b"}]},
        {"variants": two, "metric": {"event": "x", "window_days": -1}},
        {"variants": two, "starts_at": "0001-01-01T00:00:00Z"},
        {"variants": two, "starts_at": "9999-12-31T23:59:59Z"},
        {"variants": two, "tuning": 1e300},
        {"variants": two, "surprise": 1},
    ):
        assert fields(refused(api.put("/v1/experiments/e1", json=body), 422)) != [], body
    for text in (
        b"name: x\nsteps: []",
        b"name: x\nsteps: [{id: a, kind: nonsense}]",
        b"name: x\nsteps: [{id: a, kind: wait, for: 3}]",
        b"name: x\nsteps: [{id: a, kind: wait, for: " + b"9" * 5000 + b"}]",
        b"a: &a [1]\nb: *a",
        b"!!python/object/apply:os.system ['true']",
        b"\xff\xfe\x00",
        b'name: "a\\0b"\nsteps: [{id: a, kind: exit}]',
    ):
        answer = api.put("/v1/journeys/j1", content=text, headers={"Content-Type": "application/yaml"})
        refused(answer, 400, 422)


def test_an_unknown_method_address_or_key_is_a_problem(api: httpx.Client) -> None:
    refused(api.get("/v1/nowhere"), 404)
    wrong = api.patch("/v1/offers/thanks")
    refused(wrong, 405)
    assert wrong.headers["Allow"] == "DELETE, GET, PUT"
    assert api.patch("/v1/customers/c1").headers["Allow"] == "DELETE, GET"
    refused(api.get("/v1/offers", headers={"Authorization": b"Bearer \xff\xfe"}), 401)
    refused(api.get("/v1/offers", headers={"Authorization": "Basic " + "A" * 5000}), 401)
    refused(api.post("/v1/decisions", json=DECISION, headers={"Idempotency-Key": "x" * 300}), 400)
    refused(api.post("/v1/content/check", content=b"a=b", headers={"Content-Type": "text/plain"}), 400, 415, 422)


def test_head_is_answered_as_get_without_the_body(api: httpx.Client) -> None:
    for path in ("/health/live", "/health/ready", "/v1/offers/thanks", "/v1/offers/none", "/docs"):
        got, head = api.get(path), api.head(path)
        assert (head.status_code, head.content) == (got.status_code, b"")
        assert head.headers["Content-Type"] == got.headers["Content-Type"]
    assert api.head("/v1/decisions").headers["Allow"] == "POST"


def test_no_offer_at_all_still_gives_a_decision(tmp_path: Path) -> None:
    with api_home(tmp_path) as home:
        assert home.api.delete("/v1/offers/thanks").status_code == 204
        answer = home.api.post("/v1/decisions", json=DECISION)
        assert (answer.status_code, answer.json()["actions"]) == (200, [])
        record = home.api.get(f"/v1/decisions/{answer.json()['decision_id']}").json()
        assert record["candidates"][0]["propensity"] == 1.0


def test_every_problem_has_a_type_of_its_own() -> None:
    """`type` is stable and says which problem it is; only what is unexpected has none."""

    def kinds(kind: type[Problem]) -> list[type[Problem]]:
        return [kind, *(each for child in kind.__subclasses__() for each in kinds(child))]

    types = [kind.type for kind in kinds(Problem) if kind is not Problem]
    assert all(name.startswith("urn:opportune:") for name in types)


def test_only_events_may_be_compressed(api: httpx.Client) -> None:
    headers = {"Content-Encoding": "gzip"}
    packed = gzip.compress(b'{"customer_id":"c1"}')
    for path in ("/v1/decisions", "/v1/decisions/batch", "/v1/journeys"):
        problem = refused(api.post(path, content=packed, headers=headers), 415)
        assert "Content-Encoding 'gzip'" in problem["detail"]
    packed = gzip.compress(b'{"userId":"c1","event":"Played"}')
    assert api.post("/v1/track", content=packed, headers=headers).status_code == 200
