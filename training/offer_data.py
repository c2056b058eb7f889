"""What next-offer training looks at: who bought from which offer when, and customers as of each cut."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from features.build import compute, interest
from features.event_log import bucket_of
from features.forgotten import forgotten_before
from features.offers import OfferInfo, offer_infos
from features.products import PRODUCTS_AT, ManyProducts, ProductOrders, product_key, products
from features.vocabulary import NAMES
from models.calibration import logit
from models.offer_features import CUSTOMER, Customers, OfferKnowledge, products_signature
from training.consent_store import unprofiled
from training.datasets import Period, known_since
from training.exposures import KNOWN, Exposures, exposures_of, put_down, read_log
from training.train import Job
from training.week_hours import chosen

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

HORIZON = timedelta(days=14)
CUSTOMERS = 16_000
OFFERS_A_CUT = 2_000
POPULARITY_PRIOR = 20.0
UTC_TIME = pl.Datetime("us", "UTC")
NEEDED = (
    "message_id", "type", "event", "customer_id", "timestamp", "received_at", "channel", "machine", "timezone",
    "currency", "revenue_cents", "discount_cents", "products", "traits", "context", "offer_id",
    "decision_id",
)  # fmt: skip
Versions = Mapping[str, Sequence[tuple[datetime, OfferInfo]]]
"""What the catalogue said of each offer, and from when on, oldest first."""
SALES = pl.Schema({"customer": pl.Int64(), "timestamp": UTC_TIME, "received_at": UTC_TIME, "offer": pl.Int64()})
PARTS = pl.Schema({"category": pl.String(), "offer": pl.Int64(), "orders": pl.Int64()})


@dataclass(frozen=True, slots=True)
class Market:
    """Offers and what happened to them. `place` numbers customers in the rows of everything else.

    `sales` and `redeemed`: SALES (customers and offers by number), an order or redemption each. `rows`: customer, as_of
    and features of everyone known at each cut; `liked`: the same customers' orders by category; `bought_products`:
    by product of the offers, at the rows' PRODUCTS_AT. `parts`: orders by category (offer null), and those of them
    with an offer's products.
    """

    offers: tuple[OfferInfo, ...]
    place: dict[str, int]
    sales: pl.DataFrame
    redeemed: pl.DataFrame
    rows: pl.DataFrame
    liked: pl.DataFrame
    bought_products: ManyProducts
    parts: pl.DataFrame
    exposures: Exposures
    covered: Period
    versions: Versions = field(default_factory=dict)

    def at(self, cut: datetime) -> pl.DataFrame:
        """Customers known at the cut, with their features, by number."""
        return self.rows.filter(pl.col("as_of") == cut)

    def bought(self, cut: datetime, rows: pl.DataFrame, columns: Ints, what: pl.DataFrame | None = None) -> Bools:
        """Whether each of `rows` bought from (or redeemed) each of the offers at `columns` in [cut, cut + horizon),
        (customers, columns)."""
        return self._counts(rows, columns, self.sales if what is None else what, cut, cut + HORIZON) > 0

    def bought_before(self, cut: datetime, rows: pl.DataFrame, columns: Ints) -> Floats:
        """How many orders each of `rows` had with products of each offer before the cut, as known then, (customers,
        columns)."""
        return self._counts(rows, columns, self._told_by(cut), self.covered.first, cut)

    def products_at(self, cut: datetime) -> ManyProducts:
        """What everybody known at the cut had bought by then."""
        return self.bought_products.take(self.at(cut)[PRODUCTS_AT].to_numpy())

    def offers_at(self, cut: datetime, columns: Ints) -> list[OfferInfo]:
        """These offers with the discount and the price of then; what counts as bought from them are products of now."""
        pairs = [(self.offers[place], offer_at(self.offers[place], self.versions, cut)) for place in columns.tolist()]
        return [
            replace(now, discount_percent=then.discount_percent, price_cents=then.price_cents) for now, then in pairs
        ]

    def columns(self, cut: datetime) -> Ints:
        """The offers that are looked at for a cut: all, or of a large catalogue a sample, another one each time."""
        every = np.arange(len(self.offers))
        if len(every) <= OFFERS_A_CUT:
            return every
        return np.sort(np.random.default_rng(int(cut.timestamp())).permutation(every)[:OFFERS_A_CUT])

    def _counts(self, rows: pl.DataFrame, columns: Ints, what: pl.DataFrame, start: datetime, end: datetime) -> Floats:
        row_of, column_of = np.full(len(self.place), -1, np.int64), np.full(len(self.offers), -1, np.int64)
        row_of[rows["customer"].to_numpy()] = np.arange(rows.height)
        column_of[columns] = np.arange(len(columns))
        inside = what.filter((pl.col("timestamp") >= start) & (pl.col("timestamp") < end))
        place, offer = row_of[inside["customer"].to_numpy()], column_of[inside["offer"].to_numpy()]
        counts = np.zeros((rows.height, len(columns)))
        known = (place >= 0) & (offer >= 0)
        np.add.at(counts, (place[known], offer[known]), 1.0)
        return counts

    def _told_by(self, time: datetime) -> pl.DataFrame:
        """Sales that had been received by then: of the days before it some always come later."""
        return self.sales.filter(pl.col("received_at") <= time)

    def popularity(self, cut: datetime, known_by: datetime | None = None) -> Floats:
        """Log-odds (offers,) that an active customer buys from the offer in a horizon, from the two before `cut`, as
        known by then (or by another time)."""
        sales = self._told_by(known_by or cut)
        active = sales.filter(pl.col("timestamp") < cut)["customer"].n_unique()
        shares = np.zeros(len(self.offers))
        for back in (1, 2):
            start = cut - back * HORIZON
            inside = (pl.col("timestamp") >= start) & (pl.col("timestamp") < start + HORIZON)
            buyers = sales.filter(inside).group_by("offer").agg(n=pl.col("customer").n_unique())
            shares[buyers["offer"].to_numpy()] += buyers["n"].to_numpy() / 2
        usual = shares.sum() / max(active * len(self.offers), 1)
        return logit((shares + POPULARITY_PRIOR * max(usual, 1e-4)) / (active + POPULARITY_PRIOR))


def offered_products(offers: Sequence[OfferInfo]) -> Ints:
    """Hashes of all products that the offers name, ascending."""
    return np.unique([product_key(name) for offer in offers for name in offer.product_ids]).astype(np.int64)


def read_offers(job: Job) -> tuple[OfferInfo, ...]:
    """The catalogue as the service exported it; none where there is none yet."""
    path = job.home / "tables" / "offers.parquet"
    return tuple(offer_infos(pl.read_parquet(path).sort("offer_id").iter_rows(named=True))) if path.exists() else ()


def read_versions(home: Path) -> Versions:
    """The catalogue's past as the service exported it; none where it did not yet."""
    path = home / "tables" / "offer_versions.parquet"
    found: dict[str, list[tuple[datetime, OfferInfo]]] = {}
    if path.exists():
        for row in pl.read_parquet(path).filter(~pl.col("deleted")).sort("at", "version").iter_rows(named=True):
            found.setdefault(row["offer_id"], []).append((row["at"], OfferInfo.from_row(row)))
    return found


def offer_at(offer: OfferInfo, versions: Versions, moment: datetime) -> OfferInfo:
    """An offer as the catalogue had it at a time, from its first version on; as it is now where no version is known."""
    told = versions.get(offer.offer_id, ())
    return told[max(bisect_right(told, moment, key=lambda one: one[0]) - 1, 0)][1] if told else offer


def gather(job: Job, covered: Period, offers: Sequence[OfferInfo], cuts: Sequence[datetime]) -> Market:
    """Reads the log bucket by bucket, for at most CUSTOMERS customers who may be profiled."""
    excluded = list(unprofiled(job.home))
    gone = forgotten_before(job.log.root)
    log_rows = read_log(job.home, covered.end - HORIZON).filter(~pl.col("customer_id").is_in(excluded))
    lines_of = _lines_of(offers)
    numbers = {offer.offer_id: number for number, offer in enumerate(offers)}
    names: list[str] = []
    sales, redeemed, rows, liked, parts, seen = [], [], [], [], [], []
    bought: list[ProductOrders] = []
    keys = offered_products(offers)
    for bucket in range(job.log.buckets):
        found = job.log.scan(buckets=[bucket], before=covered.end).select(NEEDED)
        known = found.filter((pl.col("received_at") <= job.as_of) & ~pl.col("customer_id").is_in(excluded)).collect()
        mine = log_rows.filter(_in_bucket(log_rows["customer_id"], bucket, job.log.buckets))
        # Also who was shown something and never heard of: else of strangers only those who then did something count.
        customers = chosen(pl.concat([known["customer_id"], mine["customer_id"]]), CUSTOMERS // job.log.buckets)
        known = known.filter(pl.col("customer_id").is_in(customers.implode()))
        place = pl.DataFrame({"customer_id": customers, "customer": np.arange(len(names), len(names) + len(customers))})
        names += customers.to_list()
        sold, part = _sales(known, lines_of, place, cuts[-1])
        sales.append(sold)
        parts.append(part)
        redeemed.append(_redeemed(known, numbers, place))
        wanted = _cuts(known, place, cuts)
        found_rows = compute(known, wanted).select(
            "customer", "customer_id", "as_of", pl.lit(True).alias(KNOWN), *CUSTOMER
        )
        rows.append(found_rows.with_columns((pl.int_range(pl.len()) + len(bought)).alias(PRODUCTS_AT)))
        bought += [one.of(keys) for one in products(known, wanted).each()]
        liked.append(interest(known, wanted))
        mine = mine.filter(pl.col("customer_id").is_in(customers.implode()))
        seen.append(exposures_of(put_down(known, job.home), mine, covered.end - HORIZON, HORIZON, keys, gone))
        job.progress("next-offer: reading", (bucket + 1) / job.log.buckets)
    return Market(
        tuple(offers),
        {name: number for number, name in enumerate(names)},
        pl.concat(sales),
        pl.concat(redeemed),
        pl.concat(rows).sort("as_of", "customer"),
        pl.concat(liked),
        ManyProducts.of(bought),
        pl.concat(parts).group_by("category", "offer").agg(pl.sum("orders")).sort("category", "offer"),
        Exposures.joined(seen),
        covered,
        read_versions(job.home),
    )


def _in_bucket(names: pl.Series, bucket: int, buckets: int) -> pl.Series:
    return pl.Series([bucket_of(name, buckets) == bucket for name in names], dtype=pl.Boolean)


def _cuts(events: pl.DataFrame, place: pl.DataFrame, cuts: Sequence[datetime]) -> pl.DataFrame:
    """Every customer at every cut as of which they were known."""
    first = events.group_by("customer_id").agg(first=known_since()).join(place, on="customer_id")
    dates = pl.DataFrame({"as_of": list(cuts)}, schema={"as_of": UTC_TIME})
    pairs = first.join(dates, how="cross").filter(pl.col("first") <= pl.col("as_of"))
    return pairs.sort("customer", "as_of").select("customer", "customer_id", "as_of")


def _lines_of(offers: Sequence[OfferInfo]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """product_id -> offer, and for offers that name no products category -> offer."""
    products = [(product, number) for number, offer in enumerate(offers) for product in sorted(offer.product_ids)]
    categories = [
        (offer.category, number) for number, offer in enumerate(offers) if not offer.product_ids and offer.category
    ]
    return (
        pl.DataFrame(products, schema={"product_id": pl.String, "offer": pl.Int64}, orient="row"),
        pl.DataFrame(categories, schema={"category": pl.String, "offer": pl.Int64}, orient="row"),
    )


def _verb(verb: str) -> pl.Expr:
    names = [name for name, meaning in NAMES.items() if meaning.verb == verb]
    return (pl.col("type") == "track") & pl.col("event").is_in(names)


def _sales(
    events: pl.DataFrame, lines_of: tuple[pl.DataFrame, pl.DataFrame], place: pl.DataFrame, until: datetime
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """SALES of orders with an offer's products, and PARTS (orders by category and offer) of those before `until`."""
    lines = (
        events.filter(_verb("ordered") & pl.col("products").is_not_null())
        .select("message_id", "customer_id", "timestamp", "received_at", "products")
        .explode("products", empty_as_null=False)
        .unnest("products")
        .select("message_id", "customer_id", "timestamp", "received_at", "product_id", "category")
        .sort("received_at")
    )
    by_product, by_category = lines_of
    matched = pl.concat(
        [
            lines.join(by_product, on="product_id").select([*lines.columns, "offer"]),
            lines.join(by_category, on="category").select([*lines.columns, "offer"]),
        ]
    )
    sales = (
        matched.unique(["message_id", "offer"], keep="first", maintain_order=True)
        .join(place, on="customer_id")
        .select(list(SALES))
        .cast(SALES)
    )
    early = (pl.col("timestamp") < until) & (pl.col("received_at") <= until)
    whole = lines.filter(early).unique(["message_id", "category"]).with_columns(offer=pl.lit(None, pl.Int64))
    part = matched.filter(early).unique(["message_id", "category", "offer"])
    counted = [frame.group_by("category", "offer").agg(orders=pl.len()) for frame in (whole, part)]
    counts = pl.concat([frame.select(list(PARTS)).cast(PARTS) for frame in counted])
    return sales, counts.filter(pl.col("category").is_not_null())


def _redeemed(events: pl.DataFrame, numbers: dict[str, int], place: pl.DataFrame) -> pl.DataFrame:
    known = pl.DataFrame(list(numbers.items()), schema={"offer_id": pl.String, "offer": pl.Int64}, orient="row")
    found = events.filter(_verb("redeemed")).select("customer_id", "timestamp", "received_at", "offer_id")
    return found.join(known, on="offer_id").join(place, on="customer_id").select(list(SALES)).cast(SALES)


def knowledge(
    market: Market, popularity: Floats, categories: Floats, offers: Floats, names: Sequence[str]
) -> OfferKnowledge:
    """What the model keeps of offers. `categories` and `offers` are text vectors of `names` and of the offers."""
    whole = {row[0]: row[2] for row in market.parts.filter(pl.col("offer").is_null()).iter_rows()}
    parts: dict[int, list[tuple[str, float]]] = {}
    for category, offer, orders in market.parts.filter(pl.col("offer").is_not_null()).iter_rows():
        parts.setdefault(offer, []).append((category, orders / whole[category]))
    mixes = {}
    by_category: dict[str, list[float]] = {}
    for number, offer in enumerate(market.offers):
        mix = sorted(parts.get(number, []), key=lambda pair: (-pair[1] * whole[pair[0]], pair[0]))
        if mix:
            mixes[offer.offer_id] = (products_signature(offer), tuple(mix[:6]))
        if offer.category:
            by_category.setdefault(offer.category, []).append(float(popularity[number]))
    vectors = (
        {offer.offer_id: vector for offer, vector in zip(market.offers, offers, strict=True)} if offers.size else {}
    )
    return OfferKnowledge(
        tuple(names),
        mixes,
        {offer.offer_id: float(value) for offer, value in zip(market.offers, popularity, strict=True)},
        {category: float(np.mean(values)) for category, values in by_category.items()},
        float(np.median(popularity)) if len(popularity) else float(logit(0.01)),
        categories,
        vectors,
    )


def category_names(market: Market) -> list[str]:
    """Every category that is ordered or offered, sorted."""
    offered = {offer.category for offer in market.offers if offer.category}
    return sorted(offered | set(market.liked["category"].unique()) | set(market.parts["category"].unique()))


def as_customers(
    rows: pl.DataFrame, liked: pl.DataFrame, bought: ManyProducts, known: OfferKnowledge, keys: Sequence[str]
) -> Customers:
    """Rows (with the CUSTOMER features, KNOWN and PRODUCTS_AT) and their orders by category and product as arrays.

    `keys` name a row in `rows` and `liked`; PRODUCTS_AT is its place in `bought`.
    """
    values = np.column_stack([rows[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in CUSTOMER])
    numbers = pl.DataFrame({"category": list(known.categories), "number": np.arange(len(known.categories))},
                           schema={"category": pl.String, "number": pl.Int64})  # fmt: skip
    places = rows.select(keys).with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    found = liked.join(places, on=list(keys)).join(numbers, on="category")
    grid, views = np.zeros((rows.height, known.width, 3)), np.zeros((rows.height, known.width))
    grid[:, :, 2] = np.nan
    at = found["row"].to_numpy(), found["number"].to_numpy()
    for column, name in enumerate(("orders_90d", "orders_365d", "days_since_last")):
        grid[at[0], at[1], column] = found[name].to_numpy()
    views[at] = found["views_365d"].to_numpy()
    return Customers(values, grid, rows[KNOWN].to_numpy(), bought.take(rows[PRODUCTS_AT].to_numpy()), views)
