from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.events.normalize import Rules, normalize
from service.offers.schemas import BulkOffer
from training.demo.catalogue import readable
from training.demo.complete_journey import (
    LAST_DAY,
    ZONE,
    Manifest,
    convert,
    data_folder,
    moved,
    read_manifest,
    weeks_to_yesterday,
)

TODAY = date(2026, 11, 22)
HOUSEHOLDS = 60


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    out = tmp_path_factory.mktemp("journey")
    return out, convert(out, TODAY, households=HOUSEHOLDS)


def messages(folder: Path, manifest: Manifest) -> list[dict[str, Any]]:
    return [json.loads(line) for name in manifest.files for line in (folder / name).read_text().splitlines()]


@given(st.dates(date(2020, 1, 1), date(2080, 1, 1)))
def test_the_year_ends_on_the_latest_sunday_before_today(today: date) -> None:
    end = LAST_DAY + timedelta(weeks=weeks_to_yesterday(today))
    assert end.weekday() == LAST_DAY.weekday() == 6
    assert 1 <= (today - end).days <= 7


@given(st.datetimes(datetime(2017, 1, 1), datetime(2017, 12, 31, 23)), st.integers(100, 2000))
def test_moving_keeps_weekday_and_local_hour_unless_a_clock_change_skips_it(local: datetime, weeks: int) -> None:
    at = pl.DataFrame({"local": [local]}).select(moved(pl.col("local"), weeks)).item().astimezone(ZoneInfo(ZONE))
    wanted = local + timedelta(weeks=weeks)
    assert at.weekday() == local.weekday()
    assert at.replace(tzinfo=None) in (wanted, wanted + timedelta(hours=1))
    if local.hour != 2:
        assert at.replace(tzinfo=None) == wanted


def test_every_message_is_one_that_segment_would_send(sample: tuple[Path, Manifest]) -> None:
    folder, manifest = sample
    sent = messages(folder, manifest)
    ids = [message["messageId"] for message in sent]
    assert len(ids) == len(set(ids))
    now = datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC)
    for message in sent:
        assert message["type"] in {"identify", "track"}
        assert message["userId"].startswith("household-")
        assert datetime.fromisoformat(message["timestamp"]) < now
    names = Counter(message.get("event", "identify") for message in sent)
    assert names["identify"] == manifest.households == HOUSEHOLDS
    assert names["Order Completed"] == manifest.baskets
    assert names["Email Delivered"] == manifest.deliveries
    assert names["Coupon Redeemed"] == manifest.redemptions


def test_orders_hold_every_transaction_and_its_money(sample: tuple[Path, Manifest]) -> None:
    folder, manifest = sample
    orders = [m["properties"] for m in messages(folder, manifest) if m.get("event") == "Order Completed"]
    products = [product for order in orders for product in order["products"]]
    assert len(products) == manifest.transactions
    assert sum(order["revenue"] for order in orders) == pytest.approx(manifest.revenue)
    assert all(product.keys() == {"product_id", "category", "price", "quantity", "discount"} for product in products)
    assert max(product["quantity"] for product in products) < 1000


def test_redemptions_name_an_offer_of_the_catalogue_and_an_order_of_the_same_household(
    sample: tuple[Path, Manifest],
) -> None:
    folder, manifest = sample
    sent = messages(folder, manifest)
    catalogue = {json.loads(line)["offer_id"] for line in (folder / manifest.offers_file).read_text().splitlines()}
    buyer = {m["properties"]["order_id"]: m["userId"] for m in sent if m.get("event") == "Order Completed"}
    redeemed = [m for m in sent if m.get("event") == "Coupon Redeemed"]
    assert redeemed
    for message in redeemed:
        assert message["properties"]["offer_id"] in catalogue
        assert buyer[message["properties"]["order_id"]] == message["userId"]


def test_a_campaign_of_type_a_does_not_claim_to_know_its_coupons(sample: tuple[Path, Manifest]) -> None:
    delivered = [m["properties"] for m in messages(*sample) if m.get("event") == "Email Delivered"]
    assert all(bool(p["offer_ids"]) == (p["campaign_name"] != "Type A") for p in delivered)


def test_a_finished_folder_is_left_as_it_is_and_an_unfinished_one_is_made_the_same(
    sample: tuple[Path, Manifest], tmp_path: Path
) -> None:
    folder, manifest = sample
    again = convert(tmp_path, TODAY, households=HOUSEHOLDS)
    assert again == manifest
    for name in (*manifest.files, manifest.offers_file):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "campaigns.jsonl").write_text("half")
    convert(tmp_path, TODAY, households=HOUSEHOLDS)
    assert (tmp_path / "campaigns.jsonl").read_bytes() == (folder / "campaigns.jsonl").read_bytes()
    assert convert(tmp_path, TODAY + timedelta(weeks=9), households=HOUSEHOLDS) == manifest
    assert not list(tmp_path.glob(".*"))


def test_offers_are_shaped_as_the_contract_says(sample: tuple[Path, Manifest]) -> None:
    folder, manifest = sample
    offers = [json.loads(line) for line in (folder / manifest.offers_file).read_text().splitlines()]
    assert manifest.offers == len(offers) == len({offer["offer_id"] for offer in offers})
    for offer in offers:
        assert offer["product_ids"]
        assert offer["value"] > 0
        assert 5 <= offer["facts"]["discount"]["percent"] <= 50
        assert offer["starts_at"] < offer["ends_at"]
    assert len({offer["facts"]["code"] for offer in offers}) == len(offers)


@pytest.mark.slow
def test_the_whole_year_has_the_sums_of_its_source(tmp_path: Path) -> None:
    manifest = convert(tmp_path, TODAY)
    assert replace(manifest, files=(), assumptions=(), examples={}, stopped=()) == Manifest(
        version=manifest.version, weeks=463, first_day="2025-11-16", last_day="2026-11-15",
        transactions=1_469_307, households=2_469, baskets=155_848, campaigns=27, deliveries=6_589,
        redemptions=2_102, demographics=801, revenue=4_596_039.58, offers=100, files=(),
        offers_file="offers.jsonl", assumptions=(), examples={}, stopped=(),
    )  # fmt: skip
    source = pl.read_parquet(data_folder() / "transactions.parquet")
    assert round(source["sales_value"].sum(), 2) == manifest.revenue
    assert read_manifest(tmp_path) == manifest
    assert len(manifest.examples) == len(set(manifest.examples.values())) == 4
    assert len(manifest.stopped) == 12


def test_categories_read_as_plain_words_and_stay_distinct() -> None:
    assert readable("FRZN MEAT/MEAT DINNERS") == "Frozen meat, meat dinners"
    names = pl.read_parquet(data_folder() / "products.parquet")["product_category"].unique().drop_nulls().to_list()
    assert len({readable(name) for name in names}) == len(names)


def test_the_service_takes_messages_and_offers_as_they_are(sample: tuple[Path, Manifest]) -> None:
    folder, manifest = sample
    now = datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC)
    rows = [normalize(message, Rules(), now, imported=True) for message in messages(folder, manifest)]
    assert {row["timezone"] for row in rows} == {ZONE}
    lines = (folder / manifest.offers_file).read_text().splitlines()
    assert [BulkOffer.model_validate(json.loads(line)) for line in lines]
