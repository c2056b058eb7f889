"""How broadly a customer buys."""

from __future__ import annotations

from features.declare import Feature, over
from features.transforms.orders import ORDERS

FEATURES: tuple[Feature, ...] = (
    *over(
        (30, 90, 365),
        Feature(
            "categories",
            "distinct",
            "Product categories ordered {d}.",
            "bought from {name:.0f} categories {d}",
            "categories",
            events=ORDERS,
        ),
    ),
    *over(
        (90, 365),
        Feature(
            "top_category_share",
            "top_share",
            "Share of the most ordered category among all category orders {d}.",
            "{name:.0%} of what was bought {d} is one category",
            "share",
            events=ORDERS,
        ),
    ),
    Feature(
        "category_trend_90_365",
        "ratio",
        "Categories of the last 90 days as a share of those of the last 365.",
        "{category_trend_90_365:.0%} of the year's categories bought lately",
        "share",
        of=("categories_90d", "categories_365d"),
    ),
)
