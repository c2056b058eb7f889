"""Offers' features through the parts of a process: catalogue and events go in, and what is served is what is built."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.explain import explain
from features.offer_features import OFFERS
from features.row_stores import StoreAway
from features.texts import Texts
from models import embedding
from service import doctor
from service.decisions.decision_store import decisions
from service.events.inbox_store import add_events
from service.offers.offers_store import delete_offer, put_offers
from service.offers.schemas import OfferIn
from service.settings import Settings
from service.wiring import offer_features
from service.wiring.offer_features import build_offer_tables
from service.wiring.parts import Parts, build
from tests.fakes.events import row

PUT, NOW = datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parts]:
    monkeypatch.setattr(embedding, "model_folder", lambda: tmp_path)
    monkeypatch.setattr(embedding, "_encode", lambda folder, texts: np.eye(len(texts), 16, dtype=np.float32))
    made = build(Settings(home=tmp_path))
    yield made
    made.close()


def put(parts: Parts, at: datetime = PUT, price: str = "9.90", currency: str = "USD", **categories: str) -> None:
    offers = {
        name: OfferIn.model_validate({"name": name, "category": category, "channels": ["email"], "facts": {
            "price": {"amount": price, "currency": currency}}})
        for name, category in categories.items()
    }  # fmt: skip
    with parts.database.write() as connection:
        put_offers(connection, {name: offer.document() for name, offer in offers.items()}, at)


def respond(parts: Parts) -> None:
    """A delivery and a click of tea, the click named by its decision alone; a redemption of wine."""
    decision = {
        "decision_id": "d1", "customer_id": "c1", "decided_at": NOW, "placement": "p", "arm": "model", "policy": "p",
        "policy_version": "1", "offer_id": "tea", "channel": "email", "candidates": b"", "record": b"",
    }  # fmt: skip
    events = [
        row("m-delivered", "c1", "Email Delivered", properties={"offer_id": "tea"}),
        row("m-clicked", "c1", "Email Link Clicked", properties={"decision_id": "d1"}),
        row("m-redeemed", "c2", "Coupon Redeemed", properties={"offer_id": "wine"}),
        row("m-elsewhere", "c2", "Product Viewed"),
    ]
    with parts.database.write() as connection:
        connection.execute(decisions.insert(), [decision])
        add_events(connection, events, NOW)
    parts.events.finish()


def build_tables(parts: Parts, as_of: datetime) -> pl.DataFrame:
    home = parts.settings.home.absolute()
    build_offer_tables(
        parts.database, parts.event_log, parts.offers_online, home, [as_of], lambda done, all_: None
    )  # fmt: skip
    return pl.read_parquet(sorted((home / "offer_features").glob("as_of=*/*.parquet"))[-1])


def test_what_is_served_is_what_is_built(parts: Parts) -> None:
    put(parts, tea="drinks", wine="drinks", rope="tools")
    parts.events.finish()
    put(parts, PUT + timedelta(days=3), "7.50", tea="drinks")
    with parts.database.write() as connection:
        delete_offer(connection, "rope", PUT + timedelta(days=4))
    respond(parts)
    later, names = NOW + timedelta(hours=1), ["rope", "tea", "wine"]
    served = parts.offers_online.read(names, later, Texts(parts.settings.home).read())
    told = dict(zip(OFFERS.names, served.T, strict=True))
    assert told["offer_price_cents"].tolist() == [990, 750, 990]
    assert told["offer_live"].tolist() == [0, 1, 1]
    assert told["offer_clicks_human_30d"].tolist() == [0, 1, 0]
    assert told["offer_redeemed_30d"].tolist() == [0, 0, 1]
    table = build_tables(parts, later)
    assert table["offer_id"].to_list() == names
    known = [place for place, name in enumerate(OFFERS.names) if not name.startswith("offer_text")]
    batch = table.select(OFFERS.names).to_numpy()
    assert np.array_equal(batch[:, known], served[:, known], equal_nan=True)
    now = parts.offers_online.read(names, later, Texts(parts.settings.home).read())
    assert np.array_equal(batch, now, equal_nan=True)  # with the texts that were made with the tables
    assert not np.isnan(told["offer_age_days"]).any()


def test_tables_explain_themselves(parts: Parts) -> None:
    put(parts, tea="drinks")
    home = parts.settings.home.absolute()
    assert "no feature table is built yet" in "\n".join(explain(home, "offer_price_cents"))
    respond(parts)
    build_tables(parts, NOW + timedelta(hours=1))
    told = "\n".join(explain(home, "offer_click_rate_90d"))
    assert "drawn to the rate of the offer's category" in told
    assert "2 of 2 offers have it" in told  # wine is known by its event alone
    assert "fact price_cents" in "\n".join(explain(home, "offer_price_cents"))
    assert "trait country (else address.country" in "\n".join(explain(home, "country_code"))
    assert "categories ordered" in "\n".join(explain(home, "interest_text_0"))
    with pytest.raises(KeyError, match="do you mean offer_price_cents"):
        list(explain(home, "ofer_price_cents"))


def test_the_catalogue_waits_while_the_store_is_away(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    put(parts, tea="drinks")
    feed = offer_features.FeatureFeed(parts.database, parts.online, parts.offers_online, 16)

    def away(_: object) -> None:
        raise StoreAway("away")

    with monkeypatch.context() as patch:
        patch.setattr(parts.offers_online, "put", away)
        assert not feed.take_up_catalogue()
    assert parts.offers_online.catalogue_change() == 0
    feed.take_up_catalogue()
    assert parts.offers_online.catalogue_change() > 0


def test_without_an_embedder_the_rest_is_built(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise embedding.EmbeddingMissing("install it")

    monkeypatch.setattr(embedding, "model_folder", missing)
    put(parts, tea="drinks")
    parts.events.finish()
    table = build_tables(parts, NOW)
    assert table["offer_price_cents"].to_list() == [990]
    assert table["offer_text_0"].is_nan().all()


def test_a_price_without_a_rate_is_told_to_no_model_and_named(parts: Parts) -> None:
    put(parts, tea="drinks")
    put(parts, currency="CHF", wine="drinks")
    parts.events.finish()
    prices = dict(build_tables(parts, NOW).select("offer_id", "offer_price_cents").iter_rows())
    assert prices["tea"] == 990
    assert np.isnan(prices["wine"])
    assert any("prices in CHF" in finding.detail for finding in doctor._catalogue(parts))
