"""What an offer is and how people answered to it. Its events are those that name it, or a decision for it.

Its facts are traits of its own: each version of the catalogue is an `identify` event of the offer (offer_events.py).
Machine opens and scanner clicks count nowhere.
"""

from __future__ import annotations

from features.declare import Events, Feature, over
from features.texts import DIMENSIONS
from features.vocabulary import VERBS

_PUT = Events(("identified",))
_KINDS: tuple[tuple[str, str, Events], ...] = (
    ("delivered", "deliveries", Events(("delivered",))),
    ("opens_human", "human opens", Events(("opened",), human=True)),
    ("clicks_human", "human clicks", Events(("clicked",), human=True)),
    ("redeemed", "redemptions", Events(("redeemed",))),
    ("orders", "orders that name it", Events(("ordered",))),
    ("unsubscribes", "unsubscribes that name it", Events(("unsubscribed",))),
)
_RATES = (
    ("open", "opens_human", "human opens"),
    ("click", "clicks_human", "human clicks"),
    ("redemption", "redeemed", "redemptions"),
    ("order", "orders", "orders"),
    ("unsubscribe", "unsubscribes", "unsubscribes"),
)


def _fact(name: str, column: str, words: str, unit: str, says: str) -> Feature:
    return Feature(name, "last", f"{words}, as the catalogue said.", says, unit, column=column)


HIDDEN: tuple[Feature, ...] = (
    _fact("_ends_day", "ends_day", "The end, in days since 1970", "days", ""),
    _fact("_starts_day", "starts_day", "The start, in days since 1970", "days", ""),
    _fact("_text_key", "text_key", "The key of name and description", "key", ""),
    Feature("_heard_days", "days_since_first", "Since the first event.", "", "days", events=Events(VERBS)),
)
"""What the others are made of."""

FEATURES: tuple[Feature, ...] = (
    _fact("offer_price_cents", "price_cents", "The price", "cents", "priced at {offer_price_cents:.0f}"),
    _fact("offer_discount_percent", "discount_percent", "The discount", "percent", "{offer_discount_percent:.0f}% off"),
    _fact("offer_value", "value", "What a conversion is worth", "currency", "worth {offer_value:.2f}"),
    _fact("offer_cost", "cost", "What showing it costs", "currency", "costs {offer_cost:.2f}"),
    _fact("offer_products", "products", "How many products it covers", "products", "{offer_products:.0f} products"),
    _fact("offer_channels", "channels", "How many channels it may use", "channels", "{offer_channels:.0f} channels"),
    _fact("offer_live", "live", "1 while it is in the catalogue, 0 once it was taken out", "flag", "{offer_live:.0f}"),
    _fact(
        "offer_category_code", "category_code", "A number that stands for its category, without order", "category",
        "of category no. {offer_category_code:.0f}",
    ),
    Feature(
        "offer_age_days", "days_since_first", "Days since it first came into the catalogue.",
        "offered for {offer_age_days:.0f} days", "days", events=_PUT,
    ),
    Feature(
        "offer_days_since_change", "days_since_last", "Days since its last change in the catalogue.",
        "changed {offer_days_since_change:.0f} days ago", "days", events=_PUT,
    ),
    Feature(
        "offer_days_left", "days_to", "Days to its end; negative after it.", "ends in {offer_days_left:.0f} days",
        "days", column="_ends_day",
    ),
    Feature(
        "offer_days_to_start", "days_to", "Days to its start; negative after it.",
        "starts in {offer_days_to_start:.0f} days", "days", column="_starts_day",
    ),
    *(
        feature
        for name, words, events in _KINDS
        for feature in over(
            (7, 30, 90, 365),
            Feature(
                f"offer_{name}", "count", f"{words[0].upper()}{words[1:]} {{d}}.", f"{{name:.0f}} {words} {{d}}",
                "events", events=events,
            ),
        )
    ),
    *over(
        (365,),
        Feature(
            "offer_revenue_cents", "sum", "Revenue of orders that name it {d}.", "{name:.0f} of orders {d}", "cents",
            events=Events(("ordered",)), column="revenue_cents",
        ),
    ),
    Feature(
        "offer_delivery_trend_7_30", "ratio", "Deliveries a day in the last 7 days, as a multiple of the last 30's.",
        "delivered {offer_delivery_trend_7_30:.1f} times as often as usual", "ratio",
        of=("offer_delivered_7d", "offer_delivered_30d"), scale=30 / 7,
    ),
    *(
        Feature(
            f"offer_{name}_rate_{days}d", "shrunk_rate",
            f"{words[0].upper()}{words[1:]} a delivery, last {days} days; of few deliveries, near its category's rate.",
            f"{words} after {{offer_{name}_rate_{days}d:.1%}} of deliveries", "share",
            of=(f"offer_{counted}_{days}d", f"offer_delivered_{days}d"),
        )
        for name, counted, words in _RATES
        for days in (90, 365)
    ),
    *(
        Feature(
            f"offer_text_{place}", "text",
            f"Number {place} of {DIMENSIONS} that tell what its name and description are about (texts.py).",
            f"text number {{offer_text_{place}:.2f}}", "number", column="_text_key", place=place,
        )
        for place in range(DIMENSIONS)
    ),
)  # fmt: skip
