"""Churn: an active customer (an order in the last 56 days); will no order come in the next 56?"""

from models.declaration import TIERS, Declaration, Goal, Rule

DECLARATION = Declaration(
    name="churn",
    title="No order within 56 days",
    population=(
        Rule("orders_total >= 1", "has not ordered yet"),
        Rule("days_since_last_order < 56", "has lapsed already: last order {days_since_last_order:.0f} days ago"),
    ),
    goal=Goal("ordered", happens=False, noun="churned customers"),
    horizon_days=56,
    baseline="days_since_last_order",
    tiers=TIERS,
    purpose="Scores active customers. Shown to people, used in journeys' branches.",
)
