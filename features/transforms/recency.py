"""How long ago something last happened."""

from __future__ import annotations

from features.declare import Events, Feature

_THINGS: tuple[tuple[str, str, Events], ...] = (
    ("order", "order", Events(("ordered",))),
    ("delivery", "message", Events(("delivered",))),
    ("open", "message opened", Events(("opened",), human=True)),
    ("click", "message clicked", Events(("clicked",), human=True)),
    ("redemption", "coupon redeemed", Events(("redeemed",))),
    ("visit", "visit", Events(("page_viewed", "app_opened", "product_viewed", "cart_viewed"))),
    ("product_view", "product looked at", Events(("product_viewed",))),
    ("cart_add", "product put into the cart", Events(("product_added",))),
    ("form", "form sent", Events(("form_submitted",))),
    ("refund", "refund", Events(("refunded",))),
)

FEATURES: tuple[Feature, ...] = tuple(
    Feature(
        name=f"days_since_last_{name}",
        aggregate="days_since_last",
        events=events,
        unit="days",
        description=f"Days since the last {words}.",
        sentence=(
            "last order {days_since_last_order:.0f} days ago, usually every {order_gap_mean_days:.0f}"
            if name == "order"
            else f"last {words} {{days_since_last_{name}:.0f}} days ago"
        ),
    )
    for name, words, events in _THINGS
)
