"""The demo's offers, made of Complete Journey's coupons: one offer for each category that coupons are for.

Real: which products a coupon is for, the discount that households got, what they spend on those products.
Assumed, and said in the offer's tags: a margin, the price of sending, that the offer runs for eight more weeks.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import polars as pl

OWN_OFFER = 90
PRODUCTS_AN_OFFER = 300
MARGIN = 0.30
COST_OF_SENDING = 0.02
WEEKS_TO_RUN = 8
TAGS = ["complete-journey", "assumed: margin 30%", "assumed: cost of sending", "assumed: end date"]

WORDS = {
    "FRZN": "frozen", "REFRGRATD": "refrigerated", "DRNKS": "drinks", "DRNK": "drink", "VEG": "vegetables",
    "MISC": "other", "MISC.": "other", "BKD": "baked", "FD": "food", "BRKFST": "breakfast", "WHLSM": "wholesome",
    "SALD": "salad", "DRSNG": "dressing", "SNDWCH": "sandwich", "SPRD": "spread", "SHERBTS": "sherbets",
    "PKLD": "pickled", "PNT": "peanut", "BTR": "butter", "BN": "beans", "MXS": "mixes", "MX": "mix",
    "JCE": "juice", "CONC": "concentrate", "WTR": "water", "CLEANG": "cleaning", "PWDR": "powdered",
    "CRYSTL": "crystal", "TISS": "tissues", "DNR": "dinner", "TRSH": "trash", "BG": "bags", "SPLY": "supplies",
    "FLVRD": "flavoured", "SWEETNERS": "sweeteners", "PKGD": "packaged", "PKG.SEAFOOD": "packaged seafood",
    "HBC": "care", "PROD": "produce", "GM": "general", "MW": "microwave", "MIXS": "mixes", "NDAIRY": "non-dairy",
    "SOD": "soda", "COCO": "cocoa", "SNKS": "snacks", "CKYS": "cookies", "CRKR": "crackers", "CNDY": "candy",
    "DSH": "dishes", "CEREAL": "cereal", "PCKGD": "packaged", "MEAT-PCKGD": "packaged meat",
    "SEAFOOD-PCKGD": "packaged seafood",
    "DISPOSIBLE": "disposable", "SUPPPLIES": "supplies",
}  # fmt: skip


def readable(category: str) -> str:
    """A category of the data in plain words: `FRZN MEAT/MEAT DINNERS` -> `Frozen meat, meat dinners`."""
    spaced = re.sub(r"\s+", " ", category.replace("/", ", ").replace("&", " and ").replace(":", ", ")).strip()
    words = re.split(r"([ ,]+)", spaced.replace(" - ", ", "))
    plain = "".join(WORDS.get(word, word.lower()) for word in words)
    return plain[:1].upper() + plain[1:]


def offer_of_coupons(tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """coupon_upc, offer_id, offer_category (null where the offer gathers a department's small categories)."""
    products = tables["products"].select("product_id", "category", "department")
    of_coupon = (
        tables["coupons"]
        .unique(["coupon_upc", "product_id"])
        .join(products, on="product_id", how="left")
        .group_by("coupon_upc", "category", "department")
        .len()
        .sort("len", "category", "department", descending=[True, False, False], nulls_last=True)
        .unique("coupon_upc", keep="first", maintain_order=True)
    )
    own = _own_categories(of_coupon, tables)
    name = pl.when(own).then("category").otherwise(pl.format("{} and more", _department()))
    return of_coupon.select(
        "coupon_upc",
        offer_id=pl.format("save-{}", _slug(name)),
        offer_name=name,
        offer_category=pl.when(own).then("category"),
    ).sort("coupon_upc")


def _own_categories(of_coupon: pl.DataFrame, tables: dict[str, pl.DataFrame]) -> pl.Expr:
    """True for the categories whose coupons were redeemed most; chosen on all households' redemptions."""
    ranked = (
        of_coupon.join(tables["redemption_counts"], on="coupon_upc", how="left")
        .group_by("category")
        .agg(redeemed=pl.sum("redeemed"), coupons=pl.len())
        .sort("redeemed", "coupons", "category", descending=[True, True, False])
    )
    return pl.col("category").is_in(ranked["category"].head(OWN_OFFER).implode())


def _department() -> pl.Expr:
    department = pl.col("department").fill_null("OTHER")
    return department.replace_strict(
        {name: readable(name) for name in DEPARTMENTS}, default=department.str.to_titlecase()
    )


DEPARTMENTS = ("GROCERY", "DRUG GM", "NUTRITION", "PASTRY", "DELI", "MEAT", "MEAT-PCKGD", "SEAFOOD-PCKGD", "FLORAL")


def _slug(text: pl.Expr) -> pl.Expr:
    return text.str.to_lowercase().str.replace_all(r"[^a-z0-9]+", "-").str.strip_chars("-")


def offers(tables: dict[str, pl.DataFrame], lines: pl.DataFrame, weeks: int, zone: str) -> list[dict[str, Any]]:
    """Contract-shaped offers with `offer_id`, in the order of their ids."""
    of_coupon = offer_of_coupons(tables)
    products = _products_of_offers(tables, of_coupon, lines)
    starts = _starts(tables, of_coupon, weeks, zone)
    last = lines["at"].max()
    assert isinstance(last, datetime)
    ends = (last + timedelta(weeks=WEEKS_TO_RUN)).replace(hour=4, minute=59, second=0, microsecond=0)
    names = of_coupon.group_by("offer_id").agg(pl.first("offer_name", "offer_category"), coupons=pl.len())
    rows = (
        names.join(products, on="offer_id")
        .join(starts, on="offer_id", how="left")
        .join(_money(lines, products), on="offer_id", how="left")
        .sort("offer_id")
    )
    return [_offer(row, ends) for row in rows.iter_rows(named=True)]


def _products_of_offers(tables: dict[str, pl.DataFrame], of_coupon: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """offer_id, products: those of its coupons and its category that sold, most sold first."""
    sold = lines.group_by("product_id").agg(sold=pl.len())
    return (
        tables["coupons"]
        .join(of_coupon, on="coupon_upc")
        .join(tables["products"].select("product_id", "category"), on="product_id")
        .filter(pl.col("offer_category").is_null() | (pl.col("offer_category") == pl.col("category")))
        .unique(["offer_id", "product_id"])
        .join(sold, on="product_id")
        .sort("sold", "product_id", descending=[True, False])
        .group_by("offer_id", maintain_order=True)
        .agg(products=pl.col("product_id").head(PRODUCTS_AN_OFFER), main_category=pl.first("category"))
    )


def _starts(tables: dict[str, pl.DataFrame], of_coupon: pl.DataFrame, weeks: int, zone: str) -> pl.DataFrame:
    start = pl.col("start_date").dt.cast_time_unit("us").dt.offset_by(f"{weeks}w").dt.replace_time_zone(zone)
    return (
        tables["coupons"]
        .select("coupon_upc", "campaign_id")
        .unique()
        .join(of_coupon, on="coupon_upc")
        .join(tables["campaign_descriptions"], on="campaign_id")
        .group_by("offer_id")
        .agg(starts=start.min().dt.convert_time_zone("UTC"))
    )


def _money(lines: pl.DataFrame, products: pl.DataFrame) -> pl.DataFrame:
    """offer_id, price (median shelf price), percent (what coupons took off), spend (mean, a basket that has any)."""
    of_product = products.select("offer_id", product_id="products").explode("product_id")
    sold = lines.join(of_product, on="product_id").with_columns(with_coupon=pl.col("coupon_disc") > 0)
    off = pl.col("coupon_disc").filter(pl.col("with_coupon")).sum()
    paid = pl.col("sales_value").filter(pl.col("with_coupon")).sum()
    return sold.group_by("offer_id").agg(
        price=pl.col("price").filter(pl.col("price") > 0).median().round(2),
        percent=(100 * off / paid).fill_nan(None),
        spend=pl.col("sales_value").sum() / pl.col("basket_id").n_unique(),
    )


def _offer(row: dict[str, Any], ends: datetime) -> dict[str, Any]:
    percent = int(5 * round(min(50.0, max(5.0, row["percent"] or 20.0)) / 5))
    name, identifier = row["offer_name"], row["offer_id"]
    until = ends.isoformat().replace("+00:00", "Z")
    return {
        "offer_id": identifier,
        "name": f"{percent}% off {name[:1].lower()}{name[1:]}",
        "description": f"{percent}% off selected products: {name[:1].lower()}{name[1:]}.",
        "category": row["offer_category"] or row["main_category"],
        "product_ids": [str(product) for product in row["products"]],
        "channels": ["email", "sms"],
        "facts": {
            "discount": {"percent": percent},
            "price": {"amount": f"{row['price']:.2f}", "currency": "USD"},
            "code": "".join(word[:4] for word in identifier.upper().split("-")[1:4]) + str(percent),
            "url": f"https://shop.example.org/offers/{identifier}",
            "ends_at": until,
        },
        "value": round(MARGIN * row["spend"], 4),
        "cost": COST_OF_SENDING,
        "starts_at": row["starts"].isoformat().replace("+00:00", "Z"),
        "ends_at": until,
        "tags": [*TAGS, f"made of {row['coupons']} coupons"],
        "requires_approval": True,
    }
