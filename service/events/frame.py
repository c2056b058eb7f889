"""EVENTS-shaped rows as a Polars frame, quickly: the products of all rows are built as flat columns first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from features.tables import EVENTS, PRODUCT


def events_frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """A frame of the EVENTS table from its rows (as `normalize` makes them); other keys are left out."""
    columns = {
        name: pl.Series(name, [row[name] for row in rows], dtype=dtype)
        for name, dtype in EVENTS.schema.items()
        if name != "products"
    }
    frame = pl.DataFrame(columns).with_columns(_products([row["products"] for row in rows]))
    return frame.select(EVENTS.schema.names())


def _products(lists: Sequence[Sequence[Mapping[str, Any]] | None]) -> pl.Series:
    sizes = [0 if products is None else len(products) for products in lists]
    flat = [product for products in lists if products for product in products]
    fields = {
        field.name: pl.Series(field.name, [product[field.name] for product in flat], dtype=field.dtype)
        for field in PRODUCT.fields
    }
    places = pl.DataFrame({"row": pl.Series(range(len(lists)), dtype=pl.UInt32), "size": sizes})
    owners = places.select(pl.col("row").repeat_by("size").explode(empty_as_null=False)).to_series()
    grouped = (
        pl.DataFrame({"row": owners, "products": pl.DataFrame(fields).to_struct("products")})
        .group_by("row", maintain_order=True)
        .agg("products")
    )
    absent = pl.Series("absent", [products is None for products in lists], dtype=pl.Boolean)
    empty = pl.lit([], dtype=pl.List(PRODUCT))
    joined = places.with_columns(absent).join(grouped, on="row", how="left", maintain_order="left")
    filled = pl.when("absent").then(None).otherwise(pl.col("products").fill_null(empty))
    return joined.select(filled.alias("products")).to_series()
