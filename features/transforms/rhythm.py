"""When in the day and the week, by the customer's local time (the event's zone, else the last known, else UTC)."""

from __future__ import annotations

from features.declare import Events, Feature, over
from features.transforms.orders import ORDERS

_ANSWERS = Events(("opened", "clicked"), human=True)

FEATURES: tuple[Feature, ...] = (
    *over(
        (365,),
        Feature(
            "weekend_orders",
            "sum",
            "Orders on a local Saturday or Sunday {d}.",
            "{name:.0f} weekend orders {d}",
            "orders",
            events=ORDERS,
            column="weekend",
        ),
    ),
    Feature(
        "weekend_share_365d",
        "ratio",
        "Share of orders on a local Saturday or Sunday, last 365 days.",
        "{weekend_share_365d:.0%} of orders at the weekend",
        "share",
        of=("weekend_orders_365d", "orders_365d"),
    ),
    *over(
        (365,),
        Feature(
            "answers",
            "count",
            "Human opens and clicks {d}.",
            "{name:.0f} answers {d}",
            "events",
            events=_ANSWERS,
        ),
    ),
    *over(
        (365,),
        Feature(
            "weekend_answers",
            "sum",
            "Human opens and clicks on a local Saturday or Sunday {d}.",
            "{name:.0f} weekend answers {d}",
            "events",
            events=_ANSWERS,
            column="weekend",
        ),
    ),
    Feature(
        "weekend_answer_share_365d",
        "ratio",
        "Share of human opens and clicks on a local Saturday or Sunday, last 365 days.",
        "{weekend_answer_share_365d:.0%} of answers at the weekend",
        "share",
        of=("weekend_answers_365d", "answers_365d"),
    ),
    Feature(
        "preferred_order_hour",
        "peak_hour",
        "Local hour of the day with most orders (the earliest, if several).",
        "mostly orders around {preferred_order_hour:.0f} o'clock",
        "hour",
        events=ORDERS,
    ),
    Feature(
        "preferred_order_weekday",
        "peak_weekday",
        "Local day of the week with most orders, 0 is Monday (the earliest, if several).",
        "mostly orders on {preferred_order_weekday:.0f}s",
        "day",
        events=ORDERS,
    ),
    Feature(
        "order_hour_concentration",
        "hour_concentration",
        "How much orders gather around one local hour: 0 spread over the day, 1 always the same hour.",
        "orders gather around {preferred_order_hour:.0f} o'clock",
        "share",
        events=ORDERS,
    ),
    Feature(
        "preferred_response_hour",
        "peak_hour",
        "Local hour of the day with most human opens and clicks.",
        "mostly answers around {preferred_response_hour:.0f} o'clock",
        "hour",
        events=_ANSWERS,
    ),
    Feature(
        "preferred_response_weekday",
        "peak_weekday",
        "Local day of the week with most human opens and clicks, 0 is Monday.",
        "mostly answers on {preferred_response_weekday:.0f}s",
        "day",
        events=_ANSWERS,
    ),
    Feature(
        "response_hour_concentration",
        "hour_concentration",
        "How much human opens and clicks gather around one local hour, 0 to 1.",
        "answers gather around {preferred_response_hour:.0f} o'clock",
        "share",
        events=_ANSWERS,
    ),
)
