"""Winback: a lapsed customer (no order for 56 days); will an order come within the next 56?"""

from models.declaration import TIERS, Declaration, Goal, Rule

DECLARATION = Declaration(
    name="winback",
    title="Orders again within 56 days",
    population=(
        Rule("orders_total >= 1", "has not ordered yet"),
        Rule("days_since_last_order >= 56", "is active: last order {days_since_last_order:.0f} days ago"),
    ),
    goal=Goal("ordered", noun="returns"),
    horizon_days=56,
    baseline="days_since_last_order",
    tiers=TIERS,
    purpose="Scores lapsed customers. Shown to people, used in journeys' branches.",
    # The lapsed are few; those on the way there teach too.
    learns_from=(Rule("orders_total >= 1", ""), Rule("days_since_last_order >= 14", "")),
)
