"""What an address does not read is refused, parameters and bodies; pages and links are not so strict."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.end_to_end.test_openapi_words import operations
from tests.service.pages.conftest import House, make_house

UNKNOWN = "urn:opportune:invalid"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = make_house(tmp_path_factory.mktemp("parameters") / "home")
    yield made
    made.parts.close()


async def test_every_address_of_the_api_refuses_what_it_does_not_take(house: House) -> None:
    asked = [one[:2] for one in operations(house.app.openapi()) if one[1].startswith(("/v1/", "/ofrep/"))]
    assert len(asked) > 40
    async with house.client("admin") as admin, house.client() as nobody:
        for method, path in asked:
            answer = await admin.request(method, f"{path}?zzz=1")
            assert (answer.status_code, answer.json()["type"]) == (422, UNKNOWN), f"{method} {path}: {answer.text}"
            assert [one["field"] for one in answer.json()["errors"]] == ["zzz"]
            assert (await nobody.request(method, f"{path}?zzz=1")).status_code == 401  # tells nothing without a key


@pytest.mark.parametrize(
    ("path", "field", "detail"),
    [
        ("/v1/offers?limt=5", "limt", "unknown parameter; do you mean limit?"),
        ("/v1/content/variants?stat=pending", "stat", "unknown parameter; do you mean state?"),
        ("/v1/offers?LIMIT=5&limit=5", "LIMIT", "unknown parameter; this address takes after, limit"),
        ("/v1/experiments?&a=", "a", "unknown parameter; this address takes none"),
        ("/v1/customers/c1?scores", "scores", "unknown parameter; this address takes none"),
    ],
)
async def test_what_may_be_meant_is_said(house: House, path: str, field: str, detail: str) -> None:
    async with house.client("admin") as admin:
        answer = await admin.get(path)
    assert (answer.status_code, answer.json()["errors"]) == (422, [{"field": field, "detail": detail}])
    assert answer.json()["detail"] == f"{field}: {detail}"


async def test_all_that_are_unknown_are_told_at_once(house: House) -> None:
    async with house.client("admin") as admin:
        answer = await admin.get("/v1/offers?one=1&one=2&limit=3&two=4")
    assert [one["field"] for one in answer.json()["errors"]] == ["one", "two"]
    assert answer.json()["detail"].endswith("(and 1 more)")


@pytest.mark.parametrize(
    ("body", "field"),
    [(b'{"note":"ok"}', "note"), (b"[]", "body"), (b"note=ok", "body"), (b"", None), (b" {}\n", None), (b"null", None)],
)
async def test_a_body_where_none_is_read_is_refused_unless_it_says_nothing(
    house: House, body: bytes, field: str | None
) -> None:
    async with house.client("admin") as admin:
        decision = (await admin.post("/v1/decisions", json={"customer_id": "c1"})).json()["decision_id"]
        answer = await admin.post(f"/v1/decisions/{decision}/replay", content=body)
    assert answer.status_code == (422 if field else 200)
    assert [one["field"] for one in answer.json().get("errors", ())] == ([field] if field else [])


async def test_only_what_reads_none_takes_none(house: House) -> None:
    """A route that reads its body itself says so in the document, also where it is not shown there."""
    async with house.client("admin") as admin:
        told = {
            path: (await admin.post(path, json={"zzz": 1})).text
            for method, path, _ in operations(house.app.openapi())
            if method == "post" and path.startswith(("/v1/", "/ofrep/"))
        } | {path: (await admin.post(path, json={"zzz": 1})).text for path in ("/v1/import", "/v1/b")}
    alone = {path for path, text in told.items() if "this address takes no body" in text}
    assert {path.rsplit("/", 1)[-1] for path in alone} == {"replay", "approve", "activate", "pause", "archive", "retry"}
    assert [path for path, text in told.items() if "zzz" not in text] == []


async def test_a_decision_with_one_is_refused_in_front_of_the_routes_too(house: House) -> None:
    async with house.client("decide") as asker:
        refused = await asker.post("/v1/decisions?dry_run=true", json={"customer_id": "c1"})
        made = await asker.post("/v1/decisions?", json={"customer_id": "c1"})
    assert (refused.status_code, refused.json()["errors"][0]["field"], made.status_code) == (422, "dry_run", 200)


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs", "/offers"])
async def test_pages_and_probes_take_what_others_add(house: House, path: str) -> None:
    async with house.client("admin") as admin:
        assert (await admin.get(f"{path}?utm_source=mail")).status_code == 200


async def test_links_of_messages_take_what_mail_programs_add(house: House) -> None:
    async with house.client() as anybody:
        answers = [await anybody.request(method, "/u/odd?utm_source=mail") for method in ("GET", "POST")]
    assert [(answer.status_code, answer.headers["content-type"][:9]) for answer in answers] == [(404, "text/html")] * 2
