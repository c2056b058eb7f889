"""The rhythm of orders: days between days with an order, over the last 365 days."""

from __future__ import annotations

from features.declare import Feature
from features.transforms.orders import ORDERS

FEATURES: tuple[Feature, ...] = (
    Feature(
        "order_days_365d",
        "active_days",
        "Days (UTC) with an order in the last 365 days.",
        "ordered on {order_days_365d:.0f} days of the last 365",
        "days",
        events=ORDERS,
        window_days=365,
    ),
    Feature(
        "order_gap_mean_days",
        "gap_mean",
        "Mean days from one day with an order to the next, last 365 days.",
        "orders about every {order_gap_mean_days:.0f} days",
        "days",
        events=ORDERS,
        window_days=365,
    ),
    Feature(
        "order_gap_std_days",
        "gap_std",
        "Spread (standard deviation) of the days between days with an order, last 365 days.",
        "gaps between orders vary by {order_gap_std_days:.0f} days",
        "days",
        events=ORDERS,
        window_days=365,
    ),
    Feature(
        "current_gap_ratio",
        "ratio",
        "Days since the last order, as a multiple of the usual gap.",
        "last order {days_since_last_order:.0f} days ago, usually every {order_gap_mean_days:.0f}",
        "ratio",
        of=("days_since_last_order", "order_gap_mean_days"),
    ),
    Feature(
        "order_gap_regularity",
        "ratio",
        "Spread of the gaps between orders as a share of the usual gap.",
        "gaps between orders vary by {order_gap_std_days:.0f} days around {order_gap_mean_days:.0f}",
        "ratio",
        of=("order_gap_std_days", "order_gap_mean_days"),
    ),
)
