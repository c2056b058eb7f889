"""Offers' features: what they say, that only what was known counts, and that batch and online agree to the bit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.event_log import EventLog
from features.files import write_parquet
from features.offer_events import about_offers, offer_history, several_offers, unnamed_decisions
from features.offer_features import (
    BASE,
    OFFERS,
    OnlineOffers,
    build_offer_snapshot,
    offer_features,
    open_online_offers,
)
from features.offer_log import OfferLog, together
from features.rows import OnlineFeatures
from features.tables import OFFER_VERSIONS, UTC_TIME
from features.text_keys import offer_text, text_key
from features.texts import TextVectors
from features.transforms.offers import FEATURES
from tests.fakes.event_streams import START, frame, streams
from tests.fakes.row_store import MemoryRows

JUNE, DAY = datetime(2026, 6, 1, tzinfo=UTC), timedelta(days=1)
DECIDED = {"d1": "tea", "d2": "wine"}
NO_TEXTS = TextVectors.none()


def version(offer: str, number: int, at: datetime, **told: Any) -> dict[str, Any]:
    plain = {
        "offer_id": offer, "version": number, "at": at, "deleted": False, "name": offer, "description": "good",
        "category": "drinks", "product_ids": ["p1"], "channels": ["email"], "discount_percent": None,
        "price_cents": None, "value": 5.0, "cost": 0.1, "starts_at": None, "ends_at": None,
    }  # fmt: skip
    return {**plain, **told}


def table(versions: list[dict[str, Any]]) -> pl.DataFrame:
    return OFFER_VERSIONS.validate(pl.DataFrame(versions, schema=OFFER_VERSIONS.schema))


def event(number: int, name: str, at: datetime, **told: Any) -> dict[str, Any]:
    plain = {
        "message_id": f"m{number}", "type": "track", "event": name, "customer_id": f"c{number}", "timestamp": at,
        "received_at": at, "offer_id": None, "decision_id": None, "machine": None, "revenue_cents": None,
        "properties": "{}",
    }  # fmt: skip
    return {**plain, **told}


def about(events: list[dict[str, Any]]) -> pl.DataFrame:
    return about_offers(frame(events).lazy())


def as_of(*times: datetime, offers: tuple[str, ...] = ("tea",)) -> pl.DataFrame:
    rows = [(offer, time) for time in times for offer in offers]
    return pl.DataFrame(rows, schema={"offer_id": pl.String, "as_of": UTC_TIME}, orient="row")


@pytest.mark.parametrize("one", FEATURES, ids=lambda f: f.name)
def test_every_feature_speaks(one: Any) -> None:
    assert one.description.endswith(".")
    assert one.unit
    spoken = OFFERS.sentence(one.name, dict.fromkeys(OFFERS.names, 0.25))
    assert spoken
    assert "{" not in spoken


def test_facts_are_those_of_the_version_in_force() -> None:
    versions = table(
        [
            version("tea", 1, JUNE, price_cents=990, ends_at=JUNE + timedelta(days=30)),
            version("tea", 2, JUNE + timedelta(days=5), discount_percent=20.0),
            version("tea", 2, JUNE + timedelta(days=9), deleted=True),
        ]
    )
    history = offer_history(about([]), versions, {})
    cuts = as_of(JUNE, JUNE + timedelta(days=1), JUNE + timedelta(days=6), JUNE + timedelta(days=10))
    before, first, second, gone = offer_features(history, cuts, NO_TEXTS).to_dicts()
    assert np.isnan([before["offer_price_cents"], before["offer_live"], before["offer_age_days"]]).all()
    assert (first["offer_price_cents"], first["offer_days_left"]) == (990, 29)
    assert np.isnan(first["offer_discount_percent"])
    assert np.isnan([second["offer_price_cents"], second["offer_days_left"]]).all()  # the second version has none
    assert (second["offer_discount_percent"], second["offer_live"], gone["offer_live"]) == (20, 1, 0)
    assert second["offer_age_days"] == pytest.approx(6, abs=1e-6)
    assert second["offer_days_since_change"] == pytest.approx(1, abs=1e-6)


def test_rates_count_people_and_what_was_known_by_then() -> None:
    delivered = [event(i, "Email Delivered", JUNE + timedelta(hours=i), offer_id="tea") for i in range(40)]
    clicks = [
        event(100, "Email Link Clicked", JUNE + timedelta(days=3), offer_id="tea"),
        event(101, "Email Link Clicked", JUNE + timedelta(days=3), offer_id="tea", machine=True),
        event(102, "Email Link Clicked", JUNE + timedelta(days=3), decision_id="d1"),  # names only its decision
        event(103, "Email Link Clicked", JUNE + timedelta(days=3), offer_id="tea",
              received_at=JUNE + timedelta(days=8)),
    ]  # fmt: skip
    events = about([*delivered, *clicks])
    assert unnamed_decisions(events) == ["d1"]
    history = offer_history(events, table([version("tea", 1, JUNE)]), DECIDED)
    early, late = offer_features(
        history, as_of(JUNE + timedelta(days=5), JUNE + timedelta(days=9)), NO_TEXTS
    ).to_dicts()
    assert (early["offer_clicks_human_30d"], late["offer_clicks_human_30d"]) == (2, 3)
    assert early["offer_delivered_90d"] == 40
    assert 0.02 < early["offer_click_rate_90d"] < late["offer_click_rate_90d"] < 0.1


def test_a_message_with_several_offers_delivers_each_of_them() -> None:
    assert several_offers('{"offer_ids":["","a\\u0000b","' + "x" * 1025 + '","e\u0301",7,"\u00e9"]}') == ["\u00e9"]
    both = event(1, "Email Delivered", JUNE, properties='{"offer_ids":["tea","wine"]}')
    told = offer_features(
        offer_history(about([both, both]), table([]), {}), as_of(JUNE + DAY, offers=("tea", "wine", "rope")), NO_TEXTS
    )
    assert told["offer_delivered_7d"].to_list() == [1, 1, 0]


def test_a_new_offer_has_its_categorys_rate() -> None:
    days = [JUNE + timedelta(minutes=i) for i in range(200)]
    events = [event(i, "Offer Delivered", at, offer_id="tea" if i % 2 else "rope") for i, at in enumerate(days)]
    events += [event(500 + i, "Coupon Redeemed", at, offer_id="tea") for i, at in enumerate(days[:50])]
    versions = [version("tea", 1, JUNE), version("wine", 1, JUNE), version("rope", 1, JUNE, category="tools"),
                version("nail", 1, JUNE, category="tools")]  # fmt: skip
    history = offer_history(about(events), table(versions), {})
    cuts = as_of(JUNE + timedelta(days=2), offers=("tea", "wine", "rope", "nail"))
    rate = dict(
        zip(cuts["offer_id"], offer_features(history, cuts, NO_TEXTS)["offer_redemption_rate_90d"], strict=True)
    )
    assert rate["tea"] > rate["wine"] > 0.3
    assert rate["rope"] < rate["nail"] < 0.2


def test_texts_are_told_where_they_have_a_vector() -> None:
    keys = np.array([text_key(offer_text("tea", "good"))])
    texts = TextVectors.of("v", keys, np.eye(1, 16, dtype=np.float32))
    history = offer_history(about([]), table([version("tea", 1, JUNE), version("wine", 1, JUNE)]), {})
    cuts = as_of(JUNE + timedelta(days=2), offers=("tea", "wine"))
    tea, wine = offer_features(history, cuts, texts).select(pl.col("^offer_text_.*$")).to_numpy()
    assert np.abs(tea) == pytest.approx(np.full(8, 1 / np.sqrt(8)), abs=1e-5)
    assert np.isnan(wine).all()


@st.composite
def offer_streams(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = draw(streams(30))
    offers, decisions = st.sampled_from([None, "tea", "wine", "rope"]), st.sampled_from([None, None, "d1", "d2", "d3"])
    carried = st.sampled_from(["{}", '{"offer_ids":["tea","wine","tea",7]}', '{"offer_ids":"tea"}'])
    named = {
        one["message_id"]: {"offer_id": draw(offers), "decision_id": draw(decisions), "properties": draw(carried)}
        for one in found
    }
    return [{**one, **named[one["message_id"]]} for one in found]


@settings(max_examples=30, deadline=None)
@given(events=offer_streams(), days=st.lists(st.integers(0, 400), max_size=4), cut=st.integers(-3600, 86_400 * 60),
       split=st.floats(0, 1), loaded=st.booleans())  # fmt: skip
def test_batch_and_online_agree_to_the_bit(
    events: list[dict[str, Any]], days: list[int], cut: int, split: float, loaded: bool
) -> None:
    versions = [
        version(offer, number + 1, START + timedelta(days=day), price_cents=100 * day, category=category)
        for offer, category in (("tea", "drinks"), ("rope", None))
        for number, day in enumerate(sorted(days))
    ]
    history = offer_history(about(events), table(versions), DECIDED)
    last = max([START, *(one["received_at"] for one in events), *(one["at"] for one in versions)])
    online = OnlineOffers(OnlineFeatures(MemoryRows(), BASE), MemoryRows(), MemoryRows())
    at = int(len(events) * split)
    if loaded:
        online.load(offer_history(about(events[:at]), table(versions), DECIDED))
        online.apply(events[at:], DECIDED)
    else:
        online.apply(events[:at], DECIDED)
        online.put(versions)
        online.apply(events[max(at - 3, 0) :], DECIDED)  # some of them again
        online.put(versions)
    moment = last + timedelta(seconds=cut)
    cuts = as_of(moment, offers=("wine", "tea", "nobody", "rope"))
    batch = offer_features(history, cuts, NO_TEXTS).select(OFFERS.names).to_numpy()
    served = online.read(cuts["offer_id"].to_list(), moment, NO_TEXTS)
    same = (batch.view(np.int64) == served.view(np.int64)) | (np.isnan(batch) & np.isnan(served))
    assert same.all(), [name for name, fine in zip(OFFERS.names, same.all(axis=0), strict=True) if not fine]


def test_rows_stand_beside_the_customers(tmp_path: Path) -> None:
    online = open_online_offers(str(tmp_path / "online.db"))
    assert online.catalogue_change() == 0
    online.put([version("tea", 1, JUNE, price_cents=990)])
    online.note_catalogue_change(7)
    online.close()
    again = open_online_offers(str(tmp_path / "online.db"))
    told = again.read(["tea"], JUNE + timedelta(days=1), NO_TEXTS)[0]
    assert told[OFFERS.names.index("offer_price_cents")] == 990
    assert again.catalogue_change() == 7
    again.close()


def test_a_snapshot_has_the_offers_heard_of(tmp_path: Path) -> None:
    versions = table([version("tea", 1, JUNE), version("wine", 1, JUNE + timedelta(days=9))])
    events = about([event(1, "Offer Delivered", JUNE, offer_id="old")])
    history = offer_history(events, versions, {})
    told = pl.read_parquet(build_offer_snapshot(history, JUNE + timedelta(days=1), tmp_path, NO_TEXTS))
    assert told["offer_id"].to_list() == ["old", "tea"]
    assert told.columns == ["offer_id", "as_of", "created", *OFFERS.names]


def test_a_daily_run_reads_new_files_alone(tmp_path: Path) -> None:
    log, read = EventLog(tmp_path / "events", buckets=2), list[Path]()
    log.append(frame([event(n, "Offer Delivered", JUNE, offer_id="tea") for n in range(4)]), "a")
    first = OfferLog(log, read.append).read()
    assert (together([*first.values()]).height, len(read)) == (4, len(log.files(0)) + len(log.files(1)))
    log.append(frame([event(9, "Offer Clicked", JUNE, offer_id="tea"), event(8, "Product Viewed", JUNE)]), "b")
    read.clear()
    second = OfferLog(log, read.append).read()
    assert together([*second.values()]).height == 5
    assert {path.name for path in read} == {"part-b.parquet"}
    log.erase(["c0"])
    assert "m0" not in together([*OfferLog(log, read.append).read().values()])["message_id"]
    assert all("m0" not in pl.read_parquet(path)["message_id"] for path in tmp_path.glob("events/**/*.parquet"))


def test_who_is_erased_while_a_file_is_read_does_not_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, write = EventLog(tmp_path / "events", buckets=2), write_parquet

    def erase_then_write(frame: pl.DataFrame, path: Path, *more: Any) -> None:
        if "m0" in frame["message_id"]:
            log.erase(["c0"])
        write(frame, path, *more)

    log.append(frame([event(n, "Offer Delivered", JUNE, offer_id="tea") for n in range(4)]), "a")
    monkeypatch.setattr("features.offer_log.write_parquet", erase_then_write)
    assert "m0" not in together([*OfferLog(log).read().values()])["message_id"]
    assert all("m0" not in pl.read_parquet(path)["message_id"] for path in tmp_path.glob("events/**/*.parquet"))


def test_only_offers_with_something_new_are_loaded(tmp_path: Path) -> None:
    online = open_online_offers(str(tmp_path / "online.db"))
    versions = table([version("tea", 1, JUNE), version("wine", 1, JUNE)])
    old = {"old": about([event(1, "Offer Delivered", JUNE, offer_id="tea")])}
    new = {"new": about([event(2, "Offer Delivered", JUNE + timedelta(hours=1), offer_id="wine")])}
    assert online.load_new(offer_history(together([*old.values()]), versions, {}), old) == 2
    assert online.load_new(offer_history(together([*old.values()]), versions, {}), old) == 0
    both = {**old, **new}
    assert online.load_new(offer_history(together([*both.values()]), versions, {}), both) == 1
    told = online.read(["tea", "wine"], JUNE + timedelta(days=1), NO_TEXTS)
    assert told[:, OFFERS.names.index("offer_delivered_7d")].tolist() == [1, 1]
    online.close()


def test_a_table_is_made_once_of_the_same(tmp_path: Path) -> None:
    versions = table([version("tea", 1, JUNE)])
    deliveries = [event(n, "Offer Delivered", JUNE, offer_id="tea") for n in range(3)]
    path = build_offer_snapshot(offer_history(about(deliveries), versions, {}), JUNE + DAY, tmp_path, NO_TEXTS)
    made = path.stat().st_mtime_ns
    later = event(9, "Offer Delivered", JUNE + 2 * DAY, offer_id="tea")  # after the table's time
    history = offer_history(about([later, *reversed(deliveries)]), versions, {})
    assert build_offer_snapshot(history, JUNE + DAY, tmp_path, NO_TEXTS).stat().st_mtime_ns == made
    changed = offer_history(about(deliveries[1:]), versions, {})
    assert build_offer_snapshot(changed, JUNE + DAY, tmp_path, NO_TEXTS).stat().st_mtime_ns > made
