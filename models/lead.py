"""Lead: has been reached by a campaign and never redeemed; will the first redemption come within 28 days?"""

from models.declaration import TIERS, Declaration, Goal, Rule

DECLARATION = Declaration(
    name="lead",
    title="First redemption within 28 days",
    population=(
        Rule("deliveries_total > 0", "no campaign has reached this customer yet"),
        Rule("redeemed_total = 0", "is no lead any more: has redeemed {redeemed_total:.0f} times"),
    ),
    goal=Goal("redeemed", noun="first redemptions"),
    horizon_days=28,
    baseline="days_since_last_order",
    purpose="Scores customers whom a campaign reached and who never redeemed. Shown to people, used in journeys.",
    tiers=TIERS,
)
