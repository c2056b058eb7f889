"""What was shown is learnt with the offer as it was then, whatever the catalogue says of it since."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from features.event_log import EventLog
from features.offers import OfferInfo
from features.products import PRODUCTS_AT, ManyProducts
from features.tables import DECISIONS, EVENTS, OFFER_VERSIONS, OUTCOMES
from models.offer_features import CUSTOMER, PAIR, OfferKnowledge
from training.datasets import Period, fingerprint
from training.exposures import KNOWN, Exposures
from training.next_offer import learnt_from
from training.offer_data import HORIZON, SALES, Market, Versions, gather, offer_at, read_versions
from training.offer_fit import _log_pairs
from training.tracking import Tracking
from training.train import Job

FIRST, SECOND, GONE = (datetime(2026, month, 1, tzinfo=UTC) for month in (3, 4, 5))
HOUR = timedelta(hours=1)
NOW = OfferInfo("tea", "Tea", frozenset({"p2"}), discount_percent=30.0, price_cents=900)


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    """A tenth off, then a third, then taken out."""
    same: dict[str, Any] = {"offer_id": "tea", "name": "Tea", "description": "", "category": "Tea",
                            "product_ids": ["p1"], "channels": ["email"], "price_cents": 800, "value": 1.0,
                            "cost": 0.0}  # fmt: skip
    told = [(1, FIRST, 10.0, False), (2, SECOND, 30.0, False), (2, GONE, 30.0, True)]
    rows = [{**same, "version": n, "at": at, "discount_percent": off, "deleted": gone} for n, at, off, gone in told]
    (tmp_path / "tables").mkdir()
    OFFER_VERSIONS.conform(pl.DataFrame(rows)).write_parquet(tmp_path / "tables" / "offer_versions.parquet")
    return read_versions(tmp_path)


def test_an_offer_is_what_it_was_then(versions: Versions) -> None:
    moments = (FIRST - HOUR, FIRST, SECOND - HOUR, SECOND, GONE + HOUR)
    assert [offer_at(NOW, versions, at).discount_percent for at in moments] == [10.0, 10.0, 10.0, 30.0, 30.0]
    assert offer_at(NOW, {}, FIRST) is NOW


def test_homes_of_before_have_no_past_of_their_catalogue(tmp_path: Path) -> None:
    assert read_versions(tmp_path) == {}


def test_what_was_shown_is_learnt_with_the_facts_of_then(versions: Versions) -> None:
    times = [FIRST + HOUR, SECOND + HOUR, FIRST + 2 * HOUR]
    rows = pl.DataFrame({"customer_id": ["c"] * 3, "as_of": times, "offer_id": ["tea"] * 3, PRODUCTS_AT: [0, 1, 2]})
    rows = rows.with_columns(pl.lit(True).alias(KNOWN), *(pl.lit(0.0).alias(name) for name in CUSTOMER))
    liked = pl.DataFrame(
        schema={"customer_id": pl.String, "as_of": rows.schema["as_of"], "category": pl.String}
        | dict.fromkeys(("orders_90d", "orders_365d", "days_since_last", "views_365d"), pl.Float64)
    )
    nothing = ManyProducts(np.zeros(4, np.int64), np.empty(0, np.int64), np.empty(0, np.int64))
    shown = Exposures(rows, liked, pl.DataFrame(), nothing)
    known = OfferKnowledge(("Tea",), {}, {}, {}, -2.0, np.zeros((0, 0)), {})
    pairs = _log_pairs(known, shown, rows, {"tea": NOW}, versions)
    assert pairs[:, PAIR.index("offer_discount_percent")].tolist() == [10.0, 30.0, 10.0]


def test_offers_at_a_cut_have_the_facts_of_then_and_the_products_of_now(versions: Versions) -> None:
    none, products = pl.DataFrame(), ManyProducts.of([])
    unread: Any = None
    market = Market((NOW,), {}, none, none, none, none, products, none, unread, unread, versions)
    (then,) = market.offers_at(FIRST + HOUR, np.array([0]))
    assert (then.discount_percent, then.price_cents, then.product_ids) == (10.0, 800, {"p2"})


def test_the_digest_tells_of_all_that_is_learnt_from() -> None:
    """Clicks, features and prices make another model, of the same sales."""
    one = {"customer": [0, 1], "timestamp": [FIRST, SECOND]}
    frame = pl.DataFrame(one)
    shown = frame.with_columns(label=pl.lit(0.0), clicked=pl.lit(0.0))
    nothing: Any = ManyProducts.of([])
    exposures = Exposures(shown, frame, frame, nothing)
    unread: Any = None
    market = Market((NOW,), {}, frame, frame, frame, frame, nothing, frame, exposures, unread)
    clicked = replace(exposures, rows=shown.with_columns(clicked=pl.lit(1.0)))
    others = [
        replace(market, exposures=clicked),
        replace(market, rows=frame.with_columns(orders_30d=pl.lit(1.0))),
        replace(market, offers=(replace(NOW, price_cents=1),)),
        replace(market, offers=(replace(NOW, product_ids=frozenset({"p3"})),)),
        replace(market, sales=frame.head(1)),
    ]
    told = {fingerprint(*learnt_from(one)) for one in (market, *others)}
    assert len(told) == 6
    turned = replace(market, sales=frame.reverse())
    assert fingerprint(*learnt_from(turned)) == fingerprint(*learnt_from(market)), "in whatever order it was read"


def test_popularity_knows_no_order_that_came_late() -> None:
    """A till that tells its orders a week later: of the last days before a cut they are not known, as when serving."""
    cut, day = SECOND, timedelta(days=1)
    sales = pl.DataFrame(
        [
            (number, cut - 10 * day, cut - 10 * day if number < 20 else cut + day, number % 2 if number < 20 else 0)
            for number in range(40)
        ],
        schema=SALES,
        orient="row",
    )
    none, unread = pl.DataFrame(), ManyProducts.of([])
    rest: Any = None
    offers = (NOW, replace(NOW, offer_id="coffee"))
    covered = Period(FIRST, GONE, GONE, 0)
    market = Market(offers, {}, sales, none, none, none, unread, none, rest, covered)
    told = replace(market, sales=sales.head(20))
    assert market.popularity(cut).tolist() == told.popularity(cut).tolist()
    assert market.popularity(cut, cut + 2 * day).tolist() != told.popularity(cut).tolist()
    place = {str(number): number for number in range(40)}
    rows = pl.DataFrame({"customer": np.arange(40)})
    before = replace(market, place=place).bought_before(cut, rows, np.arange(2))
    assert before.sum() == 20
    assert replace(market, place=place).bought(cut - 11 * day, rows, np.arange(2)).sum() == 40, "outcomes may come late"


def _market(sales: list[tuple[int, datetime, datetime, int]]) -> Market:
    """Of two offers and of orders (customer, at, received, offer)."""
    nothing, products, unread = pl.DataFrame(), ManyProducts.of([]), pl.DataFrame()
    rest: Any = None
    frame = pl.DataFrame(sales, schema=SALES, orient="row")
    place = {str(number): number for number in range(10)}
    offers = (NOW, replace(NOW, offer_id="coffee"))
    covered = Period(FIRST, GONE, GONE, 0)
    return Market(offers, place, frame, frame, unread, nothing, products, nothing, rest, covered)


def test_what_counts_as_bought_lies_between_the_cut_and_its_horizon() -> None:
    """To the microsecond, and what came before it does not: a purchase is either known or an outcome."""
    moment, rows = timedelta(microseconds=1), pl.DataFrame({"customer": [4, 3, 2, 1]})
    times = {1: SECOND - moment, 2: SECOND, 3: SECOND + HORIZON - moment, 4: SECOND + HORIZON}
    market = _market([(customer, at, at, 1) for customer, at in times.items()])
    both = np.array([0, 1])
    assert market.bought(SECOND, rows, both)[:, 1].tolist() == [False, True, True, False]
    assert market.bought(SECOND, rows, both, market.redeemed)[:, 1].tolist() == [False, True, True, False]
    assert market.bought_before(SECOND, rows, both)[:, 1].tolist() == [0, 0, 0, 1]
    assert not market.bought(SECOND, rows, both)[:, 0].any()


def test_popularity_at_a_cut_is_of_the_two_horizons_before_it() -> None:
    moment = timedelta(microseconds=1)

    def popular(*more: tuple[int, datetime]) -> list[float]:
        usual = [(number, SECOND - HORIZON, SECOND - HORIZON, 0) for number in range(5)]
        return _market([*usual, *((number, at, at, 1) for number, at in more)]).popularity(SECOND).tolist()

    assert popular((1, SECOND), (2, SECOND + HORIZON - moment)) == popular(), "of the future nothing is known"
    assert popular((1, SECOND - 2 * HORIZON - moment)) == popular(), "nor does what is older count"
    for within in (SECOND - moment, SECOND - HORIZON - moment, SECOND - 2 * HORIZON):
        assert popular((1, within))[1] > popular()[1]


def test_orders_are_read_once_as_far_as_they_had_arrived(tmp_path: Path) -> None:
    """`late` came after the time asked about, `slow` after the last cut, `new` is heard of after the first."""
    log, cuts = EventLog(tmp_path / "events"), [FIRST + 5 * HOUR, SECOND]
    product = {"product_id": "p2", "category": "Tea", "price_cents": 900, "quantity": 1}
    times = {"c": (FIRST, FIRST), "new": (FIRST + 9 * HOUR, FIRST + 9 * HOUR), "slow": (FIRST, SECOND + HOUR),
             "after": (SECOND, SECOND), "late": (FIRST, GONE + HOUR)}  # fmt: skip
    orders = [
        {"message_id": name, "type": "track", "event": "Order Completed", "customer_id": name, "properties": "{}",
         "timestamp": at, "received_at": received, "products": [product, product]}
        for name, (at, received) in times.items()
    ]  # fmt: skip
    log.append(EVENTS.conform(pl.DataFrame(orders, schema_overrides={"products": EVENTS.schema["products"]})), "p")
    job = Job(tmp_path, log, Tracking("unread"), GONE, lambda what, share: None)
    market = gather(job, Period(FIRST, GONE, GONE, 0), [NOW, replace(NOW, offer_id="coffee")], cuts)
    names = {number: name for name, number in market.place.items()}
    sold = [(names[customer], offer) for customer, offer in market.sales.select("customer", "offer").iter_rows()]
    assert sorted(sold) == [(name, offer) for name in ("after", "c", "new", "slow") for offer in (0, 1)]
    assert market.parts.rows() == [("Tea", None, 2), ("Tea", 0, 2), ("Tea", 1, 2)], "of c and new alone"
    seen = market.rows.select("customer_id", "as_of").rows()
    assert sorted(seen) == [("c", cuts[0]), ("c", SECOND), ("new", SECOND)]


def test_who_was_shown_something_and_never_heard_of_counts_too(tmp_path: Path) -> None:
    """Of strangers only those who came back were learnt from: as if every stranger answered."""
    log, tables = EventLog(tmp_path / "events"), tmp_path / "tables"
    tables.mkdir()
    order = {"message_id": "m", "type": "track", "event": "Order Completed", "customer_id": "buyer", "properties": "{}",
             "timestamp": SECOND + HOUR, "received_at": SECOND + HOUR}  # fmt: skip
    log.append(EVENTS.conform(pl.DataFrame([order, order | {"message_id": "n", "customer_id": "refuser"}])), "p")
    decision: dict[str, Any] = {
        "decided_at": SECOND, "placement": "p", "arm": "model", "policy": "default", "policy_version": "1",
        "channel": "email", "offer_id": "tea", "rank": 1, "chosen": True, "propensity": 0.5,
    }  # fmt: skip
    who = ["buyer", "gone", "refuser", "unseen-refuser"]
    shown = [decision | {"decision_id": f"d-{name}", "customer_id": name} for name in who]
    DECISIONS.conform(pl.DataFrame(shown)).write_parquet(tables / "decisions.parquet")
    bought = {"decision_id": "d-buyer", "customer_id": "buyer", "channel": "email", "machine": False, "offer_id": "tea",
              "kind": "converted", "at": SECOND + HOUR, "message_id": "m"}  # fmt: skip
    OUTCOMES.conform(pl.DataFrame([bought])).write_parquet(tables / "outcomes.parquet")
    profiling = pl.DataFrame({"customer_id": who, "profiling": ["refuser" not in name for name in who]})
    profiling.write_parquet(tables / "customers.parquet")
    job = Job(tmp_path, log, Tracking("unread"), GONE, lambda what, share: None)
    market = gather(job, Period(FIRST, GONE, GONE, 0), [NOW], [SECOND - HOUR])
    rows = market.exposures.rows.select("customer_id", "label", KNOWN)
    assert rows.rows() == [("buyer", 1.0, False), ("gone", 0.0, False)]


def test_a_delivery_that_names_no_decision_is_learnt_from_once(tmp_path: Path) -> None:
    """The service put it down to its decision, whose log tells of it."""
    log, tables = EventLog(tmp_path / "events"), tmp_path / "tables"
    tables.mkdir()
    told = {"type": "track", "event": "Email Delivered", "customer_id": "c", "properties": "{}", "channel": "email",
            "offer_id": "tea", "timestamp": SECOND + HOUR, "received_at": SECOND + HOUR}  # fmt: skip
    later = told | {"message_id": "another", "timestamp": SECOND + 5 * HOUR, "received_at": SECOND + 5 * HOUR}
    log.append(EVENTS.conform(pl.DataFrame([told | {"message_id": "m"}, later])), "p")
    decision: dict[str, Any] = {
        "decision_id": "d", "customer_id": "c", "decided_at": SECOND, "placement": "p", "arm": "model",
        "policy": "default", "policy_version": "1", "channel": "email", "offer_id": "tea", "rank": 1, "chosen": True,
        "propensity": 0.5,
    }  # fmt: skip
    DECISIONS.conform(pl.DataFrame([decision])).write_parquet(tables / "decisions.parquet")
    came = {"decision_id": "d", "customer_id": "c", "channel": "email", "machine": False, "offer_id": "tea",
            "kind": "delivered", "at": SECOND + HOUR, "message_id": "m"}  # fmt: skip
    OUTCOMES.conform(pl.DataFrame([came])).write_parquet(tables / "outcomes.parquet")
    job = Job(tmp_path, log, Tracking("unread"), GONE, lambda what, share: None)
    market = gather(job, Period(FIRST, GONE, GONE, 0), [NOW], [SECOND - HOUR])
    assert market.exposures.rows["as_of"].to_list() == [SECOND, SECOND + 5 * HOUR]
