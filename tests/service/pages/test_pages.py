"""Pages read by form alone: who may, what they show, and that a review does what the API would do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from sqlalchemy import text

from features.row_stores import StoreAway
from service.errors import Unavailable
from service.pages.customer_page import offer_names
from service.pages.sign_in import COOKIE, is_loopback, local_path
from service.pages.site import Site
from tests.fakes.demo_report import DEMO_REPORT
from tests.service.pages.conftest import House, fill, make_house

PATHS = ["/", "/impact", "/review", "/customers", "/offers", "/journeys", "/experiments", "/models", "/data"]


def hidden(page: str, name: str, variant_id: str = "") -> str:
    """The value of a hidden field, of the form about a variant."""
    form = page[page.index(f"/review/{variant_id}/approve") :] if variant_id else page
    return re.findall(rf'name="{name}" value="([^"]*)"', form)[0].replace("&#34;", '"').replace("&amp;", "&")


@pytest.mark.parametrize("path", [*PATHS, "/customers/c1", "/review/x/edit"])
async def test_nobody_reads_without_a_key(house: House, path: str) -> None:
    async with house.client() as client:
        answer = await client.get(path)
    assert answer.status_code == 401
    assert 'action="/sign-in"' in answer.text
    assert "script-src 'self'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", PATHS)
async def test_every_page_reads_in_an_empty_home(reader: httpx.AsyncClient, path: str) -> None:
    answer = await reader.get(path)
    assert answer.status_code == 200
    assert "<h1" in answer.text
    assert 'aria-current="page"' in answer.text


async def test_a_key_may_come_as_basic_and_needs_a_reading_scope(house: House) -> None:
    async with house.client() as client:
        assert (await client.get("/offers", auth=(house.keys["decide"], ""))).status_code == 200
        assert (await client.get("/offers", auth=(house.keys["ingest"], ""))).status_code == 403
        assert (await client.get("/offers", auth=("op_wrong", ""))).status_code == 401


async def test_signing_in_by_form_lasts_until_signing_out(house: House) -> None:
    async with house.client() as client:
        wrong = await client.post("/sign-in", data={"key": "op_wrong", "next": "/offers"})
        assert wrong.status_code == 401
        assert 'role="alert"' in wrong.text
        answer = await client.post("/sign-in", data={"key": house.keys["review"], "next": "/offers"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/offers")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert house.keys["review"] not in cookie
        page = await client.get("/offers")
        assert page.status_code == 200
        for wrong_token in ("wrong", "wröng"):
            assert (await client.post("/sign-out", data={"csrf": wrong_token})).status_code == 403
        left = await client.post("/sign-out", data={"csrf": hidden(page.text, "csrf")})
        assert left.status_code == 303
        assert (await client.get("/offers")).status_code == 401


async def test_who_comes_for_the_first_time_has_done_nothing_wrong(house: House) -> None:
    async with house.client() as client:
        assert 'role="alert"' not in (await client.get("/offers")).text
        assert 'role="alert"' not in (await client.get("/offers", headers={"Cookie": "another=1"})).text
        assert 'role="alert"' in (await client.get("/offers", headers={"Authorization": "Bearer op_wrong"})).text
        ended = await client.get("/offers", headers={"Cookie": f"{COOKIE}=ended"})
        assert "<p>Your session has ended, as each does after 12 hours. Sign in again.</p>" in ended.text


BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def test_a_browser_at_an_unknown_address_gets_a_page_and_a_program_a_problem(house: House) -> None:
    async with house.client("review") as client:
        page = await client.get("/<nowhere>", headers=BROWSER)
        assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert "There is no page at /&lt;nowhere&gt;" in page.text
        assert 'href="/journeys"' in page.text
        for address, headers in (("/nowhere", {"Accept": "*/*"}), ("/v1/nowhere", BROWSER)):
            answer = await client.get(address, headers=headers)
            assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
        long = await client.get("/sign-in", params={"next": "x" * 3_000}, headers=BROWSER)
        assert (long.status_code, "<h1>A field is not valid</h1>" in long.text) == (422, True)
        assert (await client.get("/sign-out", headers=BROWSER)).headers["Allow"] == "POST"
    async with house.client() as nobody:
        page = await nobody.get("/nowhere", headers=BROWSER)
        assert (page.status_code, 'href="/journeys"' in page.text) == (404, False)


async def test_what_fails_on_a_page_is_told_on_a_page(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object, __: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr("service.pages.routes.reading.journeys_view", fail)
    async with house.client("review") as client:
        page = await client.get("/journeys", headers=BROWSER)
    assert (page.status_code, "<h1>Internal error</h1>" in page.text, "secret" in page.text) == (500, True, False)


async def test_a_page_whose_part_is_away_is_tried_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise Unavailable("the database does not answer now; try again in a few seconds")

    monkeypatch.setattr("service.pages.routes.reading.offers_view", away)
    async with house.client("review") as client:
        page = await client.get("/offers?named=a&after=b")
    assert page.status_code == 503
    assert "<p>The database does not answer now; try again in a few seconds.</p>" in page.text
    assert '<a href="/offers?named=a&amp;after=b">Try again</a>' in page.text


async def test_a_forged_cookie_is_nobody(house: House) -> None:
    async with house.client() as client:
        client.cookies.set(COOKIE, "0" * 64 + ".aaaa.bbbb")
        assert (await client.get("/offers")).status_code == 401


@pytest.mark.parametrize(
    ("before", "back"),
    [
        ("http://localhost/review?state=&after=a", "/review?state=&amp;after=a"),
        ("http://x//evil", "/"), ("http://[", "/"), (None, "/"),
    ],
)  # fmt: skip
async def test_whose_session_ended_comes_back_to_the_page_of_the_form(
    house: House, before: str | None, back: str
) -> None:
    async with house.client() as client:
        page = await client.post("/review/x/approve", data={}, headers={"Referer": before} if before else {})
    assert page.status_code == 401
    assert f'name="next" value="{back}"' in page.text


async def test_open_pages_are_for_this_machine_only(tmp_path: Path) -> None:
    house = make_house(tmp_path / "open", open_pages=True)
    async with house.client() as client:
        assert (await client.get("/offers")).status_code == 200
        assert (await client.get("/offers", headers={"Host": "evil.example"})).status_code == 401
    away = httpx.ASGITransport(app=house.app, client=("10.1.2.3", 50_000))
    async with httpx.AsyncClient(transport=away, base_url="http://localhost") as client:
        assert (await client.get("/offers")).status_code == 401
    house.parts.close()


async def test_review_shows_each_pending_variant_and_approves_by_form(house: House, reader: httpx.AsyncClient) -> None:
    made = (await fill(house))["variants"]
    page = (await reader.get("/review")).text
    assert page.count("data-variant>") == 3  # two e-mails, one SMS; the first was approved
    assert "all checks passed" in page
    wanted = made[1]["variant_id"]
    form = {"csrf": hidden(page, "csrf", wanted), "etag": hidden(page, "etag", wanted), "back": "channel=email"}
    answer = await reader.post(f"/review/{wanted}/approve", data=form)
    assert answer.status_code == 303
    assert "channel=email" in answer.headers["location"]
    after = (await reader.get(answer.headers["location"])).text
    assert 'role="status"' in after
    assert f"v-{wanted}" not in after
    stored = (await reader.get(f"/v1/content/variants/{wanted}")).json()
    assert stored["state"] == "approved"
    assert stored["trail"][-1]["who"] == "review key"


async def test_a_stale_form_is_told_so(house: House, reader: httpx.AsyncClient) -> None:
    made = (await fill(house))["variants"]
    form = {"csrf": "", "etag": '"9"', "back": ""}
    answer = await reader.post(f"/review/{made[1]['variant_id']}/reject", data={**form, "reason": "dull"})
    assert answer.status_code == 412
    assert 'role="alert"' in answer.text
    assert "data-variant>" in answer.text


async def test_editing_shows_where_the_copy_fails_and_keeps_it_from_approval(
    house: House, reader: httpx.AsyncClient
) -> None:
    variant = (await fill(house))["variants"][1]
    path = f"/review/{variant['variant_id']}"
    page = (await reader.get(f"{path}/edit")).text
    assert "{{ offer.price }}" in page
    form = {
        "etag": variant["etag"],
        "field.subject": "Only 5 € <today>",
        "field.body": "Hi\r\nyou",
        "field.preheader": "",
    }
    answer = await reader.post(f"{path}/edit", data=form)
    assert answer.status_code == 303
    page = (await reader.get("/review")).text
    assert '<mark title="prices: 5 € is not a price of the offer' in page
    assert "&lt;today&gt;" in page
    stored = (await reader.get(f"/v1/content/variants/{variant['variant_id']}")).json()
    assert stored["fields"] == {"subject": "Only 5 € <today>", "body": "Hi\nyou"}
    refused = await reader.post(f"{path}/approve", data={"etag": stored["etag"]})
    assert refused.status_code == 422
    assert "prices" in refused.text


async def test_forms_of_other_sites_and_readers_without_the_scope_are_refused(house: House) -> None:
    variant = (await fill(house))["variants"][1]
    path, form = f"/review/{variant['variant_id']}/approve", {"etag": variant["etag"]}
    async with house.client() as client:
        assert (await client.post(path, data=form, auth=(house.keys["review"], ""))).status_code == 403
        await client.post("/sign-in", data={"key": house.keys["review"]})
        assert (await client.post(path, data=form)).status_code == 403
        page = (await client.get("/review")).text
        full = form | {"csrf": hidden(page, "csrf")}
        assert (await client.post(path, data=full, headers={"Sec-Fetch-Site": "cross-site"})).status_code == 403
        old = await client.post(path, data=form, headers={"Referer": "http://localhost/review?state="})
        assert "<h1>Not allowed</h1>" in old.text
        assert '<a href="/review?state=">Back to the page before</a>' in old.text
        assert (await client.post(path, data=full)).status_code == 303
    async with house.client("decide") as reader:
        assert (await reader.get("/review")).status_code == 200
        assert (await reader.post(path, data=form)).status_code == 403


async def test_the_preview_is_a_document_that_can_do_nothing(house: House, reader: httpx.AsyncClient) -> None:
    variant = (await fill(house))["variants"][0]
    answer = await reader.get(f"/review/{variant['variant_id']}/preview")
    assert "Hi Alex," in answer.text
    assert "sandbox" in answer.headers["content-security-policy"]
    assert (await reader.get("/review/nope/preview")).status_code == 404


async def test_a_customer_is_explained(house: House, reader: httpx.AsyncClient) -> None:
    await fill(house)
    page = (await reader.get("/customers/c1")).text
    assert "Why this customer gets what" in page
    assert "Coffee Gold" in page
    assert "Order Completed" in page
    assert "&lt;b&gt;x" in page
    assert ">nan<" not in page
    assert (await reader.get("/customers/nobody")).status_code == 404
    async with house.client("decide") as client:
        await client.post("/v1/decisions", json={"customer_id": "a/b?c"})
    found = await reader.post("/customers", data={"id": " a/b?c "})
    assert found.headers["location"] == "/customers/a%2Fb%3Fc"


async def test_an_icon_is_there_for_who_asks_where_no_page_names_it(house: House) -> None:
    async with house.client() as nobody:
        icon = await nobody.get("/favicon.ico")
    assert (icon.status_code, icon.headers["content-type"]) == (200, "image/svg+xml")


async def test_a_customer_is_shown_while_the_online_store_is_away(
    house: House, reader: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise StoreAway("the online store does not answer: ConnectionError")

    await fill(house)
    assert "cannot be read now" not in (await reader.get("/customers/c1")).text
    monkeypatch.setattr(house.parts.online, "read", away)
    page = (await reader.get("/customers/c1")).text
    assert "scores cannot be read now: the online store does not answer" in page
    assert "Order Completed" in page


async def test_orders_are_told_in_units_of_their_currency(house: House, reader: httpx.AsyncClient) -> None:
    async with house.client("ingest") as sender:
        for code, revenue in (("JPY", 5000), ("USD", 1234.5), ("KWD", 12.5), ("EUR", 0)):
            order = {"order_id": code, "currency": code, "revenue": revenue}
            await sender.post("/v1/track", json={"userId": "c1", "event": "Order Completed", "properties": order})
    house.parts.events.run_pass()
    page = (await reader.get("/customers/c1")).text
    assert re.findall(r"order \w+ · ([^<]+)</td>", page) == ["0.00 EUR", "12.500 KWD", "1,234.50 USD", "5,000 JPY"]


async def test_times_of_a_customer_are_by_their_clock_too(house: House, reader: httpx.AsyncClient) -> None:
    async with house.client("admin") as admin:
        event = {"type": "track", "event": "Signed Up", "userId": "c1", "timestamp": "2026-07-01T20:00:00Z"}
        await admin.post("/v1/batch", json={"batch": [{**event, "context": {"timezone": "Asia/Bangkok"}}]})
        house.parts.events.run_pass()
        await admin.post("/v1/decisions", json={"customer_id": "c1"})
    page = (await reader.get("/customers/c1")).text
    assert "by the customer's clock in Asia/Bangkok" in page
    assert "<time>2026-07-02 03:00 local</time> <time>(2026-07-01 20:00 UTC)</time>" in page
    assert page.count("<time>") == 2 * page.count(" local</time>")
    assert " local</time>" in (await reader.get("/customers")).text


async def test_an_id_in_the_address_means_what_events_mean_by_it(house: House, reader: httpx.AsyncClient) -> None:
    async with house.client("ingest") as sender:
        await sender.post("/v1/identify", json={"userId": "rene\u0301", "traits": {"name": "René"}})
    house.parts.events.run_pass()
    assert "<h1>Customer <bdi>rené</bdi></h1>" in (await reader.get("/customers/rene%CC%81")).text


async def test_a_former_id_shows_its_customer(house: House, reader: httpx.AsyncClient) -> None:
    async with house.client("ingest") as sender:
        await sender.post("/v1/alias", json={"previousId": "visitor", "userId": "c1"})
    house.parts.events.run_pass()
    page = (await reader.get("/customers/visitor")).text
    assert "<h1>Customer <bdi>c1</bdi></h1>" in page
    assert "Also: visitor" in page


async def test_a_decision_whose_record_is_damaged_is_named_beside_the_others(
    house: House, reader: httpx.AsyncClient
) -> None:
    await fill(house)
    with house.parts.database.write() as connection:
        newest = connection.execute(text("SELECT decision_id FROM decisions ORDER BY decided_at DESC LIMIT 1")).scalar()
        broken = text("UPDATE decisions SET record = :none WHERE decision_id = :id")
        connection.execute(broken, {"none": b"\x03damaged", "id": newest})
    page = await reader.get("/customers/c1")
    assert page.status_code == 200
    assert f"The record of decision &#39;{newest}&#39; is damaged" in page.text
    assert "Earlier decisions (1)" in page.text
    assert page.text.count('<article class="card">') == 2
    told = await reader.get(f"/v1/decisions/{newest}")
    assert (told.status_code, told.json()["type"]) == (500, "urn:opportune:damaged")


async def test_customers_decided_for_lately_are_listed_once(house: House, reader: httpx.AsyncClient) -> None:
    assert "No decision has been made yet" in (await reader.get("/customers")).text
    await fill(house)  # two decisions for c1
    async with house.client("decide") as asker:
        for customer in ("a/b?c", "<i>"):
            await asker.post("/v1/decisions", json={"customer_id": customer, "channels": ["email"]})
    page = (await reader.get("/customers")).text
    links = re.findall(r'<a href="(/customers/[^"]+)">([^<]+)</a>', page)
    assert links == [("/customers/%3Ci%3E", "&lt;i&gt;"), ("/customers/a/b%3Fc", "a/b?c"), ("/customers/c1", "c1")]
    assert (await reader.get("/customers/a/b%3Fc")).status_code == 200


async def test_offers_are_called_by_their_names_also_when_they_are_gone(house: House) -> None:
    await fill(house)
    async with house.client("admin") as admin:
        assert (await admin.delete("/v1/offers/o1")).status_code < 300
    with house.parts.database.read() as connection:
        names = offer_names(connection, ["o1", None, "never"])
    assert names == {"o1": "Coffee Gold"}
    one = {"customer_id": "c1", "channel": "email", "placement": "weekly", "arm": "model", "decided_at": None}
    lately = [{**one, "offer_id": "o1"}, {**one, "offer_id": "never"}]
    page = Site().render("customers.html", None, lately=lately, names=names, zones={}, asked=None)
    assert re.findall(r"<bdi>([^<]*)</bdi> by email</td>", page) == ["Coffee Gold", "never"]


async def test_a_machine_s_click_says_how_it_was_known(house: House, reader: httpx.AsyncClient) -> None:
    click = {"userId": "c1", "event": "Email Link Clicked", "properties": {"method": "HEAD"}}
    async with house.client("ingest") as sender:
        assert (await sender.post("/v1/track", json=click)).status_code == 200
    house.parts.events.run_pass()
    assert '<span class="tag">machine: head request</span>' in (await reader.get("/customers/c1")).text


async def test_a_customer_s_way_through_journeys_is_shown(house: House, reader: httpx.AsyncClient) -> None:
    await fill(house)
    steps = [{"id": "rest", "kind": "wait", "for": "9d"}, {"id": "end", "kind": "exit"}]
    async with house.client("admin") as admin:
        await admin.put("/v1/journeys/calm", json={"name": "Calm", "steps": steps})
        await admin.post("/v1/journeys/calm/activate")
        made = await admin.post("/v1/journeys/calm/enrollments", json={"customer_id": "c1"})
    assert made.status_code == 201
    page = (await reader.get("/customers/c1")).text
    assert '<a href="/journeys#calm">calm</a>' in page
    assert "At the beginning, next look" in page


async def test_lists_show_what_there_is(house: House, reader: httpx.AsyncClient) -> None:
    await fill(house)
    offers = (await reader.get("/offers")).text
    assert "<li>email: en</li>" in offers
    assert "<li>sms, push: none</li>" in offers
    assert "no approved copy for sms, push" in offers
    assert "Nobody was exposed yet" in (await reader.get("/experiments")).text
    assert "What it may do" in (await reader.get("/models")).text


async def test_the_report_says_what_is_real_and_what_is_simulated(house: House, reader: httpx.AsyncClient) -> None:
    assert "The last 7 days" in (await reader.get("/")).text
    reports = house.parts.settings.home / "reports"
    reports.mkdir(parents=True)
    (reports / "demo.json").write_bytes(orjson.dumps(DEMO_REPORT))
    page = (await reader.get("/")).text
    assert page.count('kind-real">real') > 8
    assert "unknown_customer" not in page
    assert "Nothing is known of this customer yet" in page
    assert page.count('kind-simulated">simulated') >= 3
    assert page.count('<svg class="chart"') == 4
    assert "/customers/somebody%20new/%3F" in page
    (reports / "demo.json").write_text("{half")
    assert (await reader.get("/")).status_code == 200


async def test_nothing_is_praised_of_which_nothing_is_known(house: House, reader: httpx.AsyncClient) -> None:
    await fill(house)
    page = (await reader.get("/experiments")).text
    assert "Nobody was exposed yet." in page
    assert "split as planned" not in page
    page = (await reader.get("/models")).text
    assert "nothing serves: nobody has this score" in page
    assert "nothing serves: messages go at the next allowed hour" in page


async def test_models_show_the_gates_verdict_beside_rivals(house: House, reader: httpx.AsyncClient) -> None:
    folder = house.parts.settings.home / "reports" / "training"
    folder.mkdir(parents=True)
    result = {"name": "churn", "version": "3", "promoted": True, "verdict": "better than recency by 0.05",
              "metrics": {"auc": 0.91, "ece": 0.01}, "rivals": {"recency": {"auc": 0.86}}}  # fmt: skip
    (folder / "churn.json").write_bytes(orjson.dumps(result))
    page = (await reader.get("/models")).text
    assert "better than recency by 0.05" in page
    assert "churn, Area under the ROC curve: higher is better: opportune" in page


async def test_data_shows_what_came_in_and_what_is_wrong(house: House, reader: httpx.AsyncClient) -> None:
    empty = (await reader.get("/data")).text
    assert "Nothing came in" in empty
    assert "No decision has been checked yet" in empty
    await fill(house)
    event = {"type": "track", "event": "Order <b>Completd", "userId": "c1", "messageId": "odd"}
    contact = {"type": "identify", "userId": "c1", "messageId": "mail", "traits": {"email": "nobody", "phone": "1"}}
    async with house.client("admin") as admin:
        (await admin.post("/v1/batch", json={"batch": [event, event, contact]})).raise_for_status()
    house.parts.events.run_pass()
    house.parts.skew.run()
    page = (await reader.get("/data", params={"days": "7"})).text
    assert "4 events of the last 7 days" in page
    assert "Order &lt;b&gt;Completd" in page
    assert "like Order Completed?" in page
    assert "repeats dropped 1" in page
    assert "2 decisions checked" in page
    assert "values differ" in page
    assert (await reader.get("/data", params={"days": "-1 or 1"})).status_code == 200


async def test_the_data_report_is_for_those_who_review(house: House, reader: httpx.AsyncClient) -> None:
    await fill(house)
    report = (await reader.get("/v1/data-report")).json()
    assert (report["events"], report["skew"]) == (2, None)
    assert {one["event"] for one in report["by_event"]} == {"identify", "Order Completed"}
    assert (await reader.get("/v1/data-report", params={"days": 0})).status_code in {400, 422}
    async with house.client("ingest") as ingest:
        assert (await ingest.get("/v1/data-report")).status_code == 403
    async with house.client() as nobody:
        assert (await nobody.get("/v1/data-report")).status_code == 401


async def test_static_files_may_be_kept_and_nothing_else_is_served(reader: httpx.AsyncClient) -> None:
    answer = await reader.get("/static/pages.css")
    assert "immutable" in answer.headers["cache-control"]
    assert (await reader.get("/static/..%2Froutes.py")).status_code == 404


@pytest.mark.parametrize(
    ("path", "kept"),
    [("/offers?x=1", "/offers?x=1"), ("//evil.com", "/"), ("https://evil.com", "/"), ("/\\evil.com", "/"), ("", "/"),
     ("/a\r\nb", "/"), (None, "/")],
)  # fmt: skip
def test_going_back_stays_on_this_site(path: str | None, kept: str) -> None:
    assert local_path(path) == kept


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("", False), (None, False)],
)
def test_this_machine_is_known(host: str | None, own: bool) -> None:
    assert is_loopback(host) is own
