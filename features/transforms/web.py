"""Visits, product views, carts and forms."""

from __future__ import annotations

from features.declare import Events, Feature, over


def _count(name: str, verb: str, words: str, *windows: float | None) -> tuple[Feature, ...]:
    told = Feature(
        name,
        "count",
        f"{words[0].upper()}{words[1:]} {{d}}.",
        f"{{name:.0f}} {words} {{d}}",
        "events",
        events=Events((verb,)),
    )
    return over(windows, told)


FEATURES: tuple[Feature, ...] = (
    *_count("pages", "page_viewed", "pages or screens seen", 1, 7, 30),
    *_count("product_views", "product_viewed", "products looked at", 1, 7, 30),
    *_count("cart_adds", "product_added", "products put into the cart", 1, 7, 30),
    *_count("cart_views", "cart_viewed", "looks into the cart", 30),
    *_count("checkouts", "checkout_started", "checkouts begun", 30),
    *_count("app_opens", "app_opened", "times the app was opened", 7, 30),
    *_count("forms", "form_submitted", "forms sent", 90, 365),
    Feature(
        "page_trend_7_30",
        "ratio",
        "Pages a day in the last 7 days, as a multiple of the last 30's.",
        "visits run at {page_trend_7_30:.1f} times their usual pace",
        "ratio",
        of=("pages_7d", "pages_30d"),
        scale=30 / 7,
    ),
    Feature(
        "orders_per_view_30d",
        "ratio",
        "Orders a product looked at, last 30 days.",
        "{orders_30d:.0f} orders after {product_views_30d:.0f} products looked at",
        "ratio",
        of=("orders_30d", "product_views_30d"),
    ),
)
