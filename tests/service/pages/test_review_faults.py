"""What a reviewer may do with a text, and what they are told where it does not go."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from service.pages import review_page
from tests.service.pages.conftest import OFFER, House, fill
from tests.service.pages.test_review_place import form_of, shown

WRONG = {"field.subject": "Only 5 € today", "field.body": "Hi"}


def card(page: str, variant_id: str) -> str:
    return page[page.index(f'id="v-{variant_id}"') :].partition("</article>")[0]


def alert_of(page: str) -> str:
    (found,) = re.findall(r'role="alert"[^>]*>(.*?)</div>', page, re.DOTALL)
    return str(found)


@pytest.fixture
async def wanted(house: House) -> dict[str, Any]:
    """A pending text of the offer o1."""
    return dict((await fill(house))["variants"][1])


async def put_offer(house: House, **changed: Any) -> None:
    async with house.client("admin") as admin:
        assert (await admin.put("/v1/offers/o1", json={**OFFER, **changed})).status_code == 200


async def first_comes_admin(house: House, variant_id: str, verb: str, body: dict[str, Any]) -> None:
    async with house.client("admin") as admin:
        path = f"/v1/content/variants/{variant_id}/{verb}"
        assert (await admin.post(path, json=body, headers={"If-Match": "*"})).status_code == 200


async def test_a_text_whose_checks_failed_has_no_button_but_a_reason(
    reader: httpx.AsyncClient, wanted: dict[str, Any]
) -> None:
    variant_id = wanted["variant_id"]
    assert ">Approve" in card((await reader.get("/review")).text, variant_id)
    moved = await reader.post(f"/review/{variant_id}/edit", data={"etag": wanted["etag"], **WRONG})
    page = (await reader.get(moved.headers["location"])).text
    assert "Saved. It cannot be approved yet, since these checks fail: prices." in page
    form = (await reader.get(f"/review/{variant_id}/edit")).text
    assert re.findall(r'name="field.(\w+)"', form)[:1] == ["subject"]
    assert re.findall(r'id="field-(\w+)"[^>]* aria-invalid="true" aria-describedby="wrong-', form) == ["subject"]
    told_there = form.partition('id="wrong-subject"')[2].partition("</ul>")[0]
    assert "5 € is not a price of the offer" in told_there
    told = card((await reader.get("/review")).text, variant_id)
    assert f"/review/{variant_id}/approve" not in told
    assert "data-approve" not in told
    assert "It cannot be approved while a check fails. Edit it" in told
    assert f"/review/{variant_id}/edit" in told


async def test_a_text_whose_offer_has_changed_is_checked_and_approved_again(
    house: House, reader: httpx.AsyncClient, wanted: dict[str, Any]
) -> None:
    variant_id = wanted["variant_id"]
    page = (await reader.get("/review")).text
    await reader.post(f"/review/{variant_id}/approve", data=form_of(page, variant_id, "approve"))
    page = (await reader.get("/review?state=approved")).text
    assert "/approve" not in card(page, variant_id)
    await put_offer(house, description="Finer coffee.")
    page = (await reader.get("/review?state=approved")).text
    told = card(page, variant_id)
    assert "not in use: the offer has changed since" in told
    assert '<span class="tag">all checks passed before</span>' in told
    assert "Check and approve" in told
    moved = await reader.post(f"/review/{variant_id}/approve", data=form_of(page, variant_id, "approve"))
    assert moved.status_code == 303
    assert "the offer has changed" not in card((await reader.get("/review?state=approved")).text, variant_id)


async def test_approved_texts_whose_offer_has_changed_are_a_queue_of_their_own(
    house: House, reader: httpx.AsyncClient, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review_page, "PAGE", 1)
    page = (await reader.get(f"/review?after={wanted['variant_id'][:-1]}")).text
    await reader.post(f"/review/{wanted['variant_id']}/approve", data=form_of(page, wanted["variant_id"], "approve"))
    assert "No text is like that" in (await reader.get("/review?state=outdated")).text
    assert "again</a>" not in (await reader.get("/")).text
    await put_offer(house, description="Finer coffee.")
    assert '<a href="/review?state=outdated">Approve 2 texts again</a>' in (await reader.get("/")).text
    page = (await reader.get("/review?state=outdated")).text
    (first,) = shown(page)
    assert "No text is like that" in (await reader.get("/review?state=outdated&channel=sms")).text
    later = re.findall(r'href="([^"]+)" rel="next"', page)[0].replace("&amp;", "&")
    assert shown((await reader.get(later)).text) == [wanted["variant_id"]]
    moved = await reader.post(f"/review/{first}/approve", data=form_of(page, first, "approve"))
    assert "state=outdated" in moved.headers["location"]
    assert shown((await reader.get(moved.headers["location"])).text) == [wanted["variant_id"]]
    async with house.client("admin") as admin:
        await admin.delete("/v1/offers/o1")  # what can only be rejected is nothing to approve
    assert "again</a>" not in (await reader.get("/")).text


async def test_words_that_an_offer_no_longer_bears_out_are_refused_with_the_reason(
    house: House, reader: httpx.AsyncClient, wanted: dict[str, Any]
) -> None:
    variant_id = wanted["variant_id"]
    edited = {"etag": wanted["etag"], "field.subject": "20% off", "field.body": "Hi"}
    await reader.post(f"/review/{variant_id}/edit", data=edited)
    await put_offer(house, facts={**OFFER["facts"], "discount": {"percent": 10}})  # type: ignore[dict-item]
    page = (await reader.get("/review")).text
    refused = await reader.post(f"/review/{variant_id}/approve", data=form_of(page, variant_id, "approve"))
    assert refused.status_code == 422
    told = alert_of(refused.text)
    assert re.search(r"The text was not approved, since a check fails. subject: .*20%", told)
    assert f'data-about="v-{variant_id}"' in refused.text


async def test_an_offer_that_changes_while_a_text_is_read_is_not_approved_with_it(
    house: House, reader: httpx.AsyncClient, wanted: dict[str, Any]
) -> None:
    variant_id = wanted["variant_id"]
    form = form_of((await reader.get("/review")).text, variant_id, "approve")
    await put_offer(house, facts={**OFFER["facts"], "price": {"amount": "99.00", "currency": "EUR"}})  # type: ignore[dict-item]
    refused = await reader.post(f"/review/{variant_id}/approve", data=form)
    assert refused.status_code == 412
    assert "The offer was changed after the text was shown" in alert_of(refused.text)
    assert (await reader.get(f"/v1/content/variants/{variant_id}")).json()["state"] == "pending"


async def test_a_text_without_an_offer_can_only_be_rejected(
    house: House, reader: httpx.AsyncClient, wanted: dict[str, Any]
) -> None:
    async with house.client("admin") as admin:
        await admin.delete("/v1/offers/o1")
    page = (await reader.get("/review")).text
    told = card(page, wanted["variant_id"])
    assert "can only be rejected" in told
    assert re.findall(r"/review/\w+/(\w+)", told) == ["reject", "comment"]


async def test_who_is_second_is_told_who_was_first_and_what_they_did(
    house: House, reader: httpx.AsyncClient, wanted: dict[str, Any]
) -> None:
    variant_id = wanted["variant_id"]
    form = form_of((await reader.get("/review")).text, variant_id, "approve")
    await first_comes_admin(house, variant_id, "reject", {"reason": "dull"})
    late = await reader.post(f"/review/{variant_id}/approve", data=form)
    assert late.status_code == 412
    told = alert_of(late.text)
    assert "Nothing was changed: admin key has rejected this text since you opened it." in told
    again = re.findall(r'href="([^"]+)" data-again', told)[0].replace("&amp;", "&")
    assert shown((await reader.get(again)).text)[0] == variant_id


async def test_what_a_colleague_remarked_is_in_sight(
    house: House, reader: httpx.AsyncClient, wanted: dict[str, Any]
) -> None:
    variant_id = wanted["variant_id"]
    await first_comes_admin(house, variant_id, "edit", {"fields": {"subject": "Hello"}})
    assert "<details><summary>History" in card((await reader.get("/review")).text, variant_id)
    await first_comes_admin(house, variant_id, "comment", {"text": "not before Monday"})
    told = card((await reader.get("/review")).text, variant_id).partition("<details open><summary>History")[2]
    assert "<b>admin key</b> edited subject</li>" in told
    assert "<b>admin key</b> commented: not before Monday</li>" in told.partition("</details>")[0]


async def test_an_edit_that_comes_second_keeps_what_was_typed_beside_what_is_there(
    house: House, reader: httpx.AsyncClient, wanted: dict[str, Any]
) -> None:
    variant_id = wanted["variant_id"]
    await first_comes_admin(house, variant_id, "edit", {"fields": {"subject": "Admin's words"}})
    typed = {"etag": wanted["etag"], "field.subject": "my words", "field.body": "Hi"}
    late = await reader.post(f"/review/{variant_id}/edit", data=typed)
    assert late.status_code == 412
    assert "admin key has edited this text since you opened it" in alert_of(late.text)
    assert 'value="my words"' in late.text
    assert "Admin&#39;s words</pre>" in late.text


async def test_who_may_not_review_gets_no_buttons(house: House, wanted: dict[str, Any]) -> None:
    async with house.client("decide") as visitor:
        told = card((await visitor.get("/review")).text, wanted["variant_id"])
    assert "<form" not in told
    assert "a key of the scope <code>review</code>" in told


@pytest.mark.parametrize(
    ("scope", "forms"),
    [
        ("decide", {"/review/new": False, "/journeys/new": False, "/experiments/new": False}),
        ("review", {"/review/new": True, "/journeys/new": False, "/experiments/new": False}),
        ("admin", {"/review/new": True, "/journeys/new": True, "/experiments/new": True}),
    ],
)
async def test_nobody_fills_in_a_form_that_they_may_not_send(house: House, scope: str, forms: dict[str, bool]) -> None:
    async with house.client(scope) as client:
        for path, may in forms.items():
            page = (await client.get(path)).text
            assert ('<button class="primary">' in page, "It takes a key of the scope" in page) == (may, not may)


async def test_each_button_names_the_text_it_acts_on(reader: httpx.AsyncClient, wanted: dict[str, Any]) -> None:
    told = card((await reader.get("/review")).text, wanted["variant_id"])
    named = re.findall(r'<(?:button|a class="button")[^>]* aria-labelledby="(\S+) (\S+)"', told)
    assert len(named) == 4
    assert all(f'id="{own}"' in told and title == f"t-{wanted['variant_id']}" for own, title in named)


async def test_texts_of_one_offer_and_those_that_fail_a_check_are_found(
    house: House, reader: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review_page, "LOOKED_THROUGH", 1)
    made = (await fill(house))["variants"][1]
    async with house.client("admin") as admin:
        order = {"offer_id": "o2", "channel": "push", "locale": "de", "n": 1}
        assert (await admin.post("/v1/content/generate", json=order)).status_code == 201
    of_tea = (await reader.get("/review?state=&offer=o2")).text
    assert re.findall(r"<bdi>(\w+)", of_tea) == ["Tea"]
    assert "offer=o2" in re.findall(r'name="back" value="([^"]*)"', of_tea)[0], "and the list stays that of the offer"
    assert "No text is like that" in (await reader.get("/review?state=failing")).text
    path = f"/v1/content/variants/{made['variant_id']}/edit"
    wrong = {"fields": {**made["fields"], "subject": "90% off"}}
    assert (await reader.post(path, json=wrong, headers={"If-Match": made["etag"]})).status_code == 200
    failing = (await reader.get("/review?state=failing&locale=en")).text
    assert re.findall(r'id="v-([^"]*)"', failing) == [made["variant_id"]]
    assert "No text is like that" in (await reader.get("/review?state=failing&locale=de")).text


async def test_a_language_is_asked_for_with_all_its_regions(house: House, reader: httpx.AsyncClient) -> None:
    await fill(house)
    async with house.client("admin") as admin:
        for locale in ("de", "de-AT", "dsb"):
            order = {"offer_id": "o1", "channel": "push", "locale": locale, "n": 1}
            assert (await admin.post("/v1/content/generate", json=order)).status_code == 201
        found = re.findall(r"push · ([\w-]+)", (await reader.get("/review?locale=DE")).text)
        assert found == ["de", "de-AT"]
        assert re.findall(r"push · ([\w-]+)", (await reader.get("/review?locale=de-AT")).text) == ["de-AT"]
        told = (await admin.get("/v1/content/variants?locale=de")).json()["variants"]
        assert [one["locale"] for one in told] == ["de"], "the API names one locale"
        for one in (await admin.get("/v1/content/variants?channel=push")).json()["variants"]:
            path = f"/v1/content/variants/{one['variant_id']}/approve"
            assert (await admin.post(path, headers={"If-Match": one["etag"]})).status_code == 200
        await admin.put("/v1/offers/o1", json={**OFFER, "name": "Coffee Silver"})
    outdated = re.findall(r"push · ([\w-]+)", (await reader.get("/review?state=outdated&locale=de")).text)
    assert outdated == ["de", "de-AT"]
