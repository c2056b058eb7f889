"""How often a customer orders, and whether that changes."""

from __future__ import annotations

from features.declare import Events, Feature, over

ORDERS = Events(("ordered",))

FEATURES: tuple[Feature, ...] = (
    *over(
        (1, 7, 30, 90, 365, None),
        Feature("orders", "count", "Orders {d}.", "{name:.0f} orders {d}", "orders", events=ORDERS),
    ),
    *over(
        (90, 365),
        Feature(
            "quantity",
            "sum",
            "Items bought {d}.",
            "{name:.0f} items bought {d}",
            "items",
            events=ORDERS,
            column="quantity",
        ),
    ),
    *over(
        (365, None),
        Feature(
            "refunds",
            "count",
            "Refunds {d}.",
            "{name:.0f} refunds {d}",
            "refunds",
            events=Events(("refunded",)),
        ),
    ),
    Feature(
        "items_per_order_365d",
        "ratio",
        "Items in a usual order of the last 365 days.",
        "usually {items_per_order_365d:.1f} items an order",
        "items",
        of=("quantity_365d", "orders_365d"),
    ),
    Feature(
        "order_trend_30_90",
        "ratio",
        "Orders a day in the last 30 days, as a multiple of those in the last 90 (1: steady).",
        "orders run at {order_trend_30_90:.1f} times their usual pace",
        "ratio",
        of=("orders_30d", "orders_90d"),
        scale=3.0,
    ),
    Feature(
        "order_trend_90_365",
        "ratio",
        "Orders a day in the last 90 days, as a multiple of those in the last 365 (1: steady).",
        "this quarter orders run at {order_trend_90_365:.1f} times the year's pace",
        "ratio",
        of=("orders_90d", "orders_365d"),
        scale=365 / 90,
    ),
)
