"""How long a customer has been known, has ordered, and has been away."""

from __future__ import annotations

from features.declare import Events, Feature
from features.transforms.orders import ORDERS
from features.vocabulary import VERBS

FEATURES: tuple[Feature, ...] = (
    Feature(
        "tenure_days",
        "days_since_first",
        "Days since the first event of any kind.",
        "known for {tenure_days:.0f} days",
        "days",
        events=Events(VERBS),
    ),
    Feature(
        "days_since_last_event",
        "days_since_last",
        "Days since the last event of any kind.",
        "last heard of {days_since_last_event:.0f} days ago",
        "days",
        events=Events(VERBS),
    ),
    Feature(
        "days_since_first_order",
        "days_since_first",
        "Days since the first order.",
        "customer for {days_since_first_order:.0f} days",
        "days",
        events=ORDERS,
    ),
    Feature(
        "days_since_first_delivery",
        "days_since_first",
        "Days since the first message.",
        "first message {days_since_first_delivery:.0f} days ago",
        "days",
        events=Events(("delivered",)),
    ),
    Feature(
        "days_since_signup",
        "days_since_first",
        "Days since signing up.",
        "signed up {days_since_signup:.0f} days ago",
        "days",
        events=Events(("signed_up",)),
    ),
    Feature(
        "days_until_birthday",
        "days_until",
        "Days to the next birthday (trait `birthday`, a date with or without the year).",
        "birthday in {days_until_birthday:.0f} days",
        "days",
        column="birthday",
        also=("birth_date", "birthdate", "birthDate", "date_of_birth", "dateOfBirth", "dob"),
    ),
)
