"""What customers do without being asked: visits, orders, forms. One stream of randomness a customer and day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from training.world.catalogue import CATEGORIES, products_of
from training.world.messages import BROWSERS, Message, basket, order, track
from training.world.population import BACKGROUND, KINDS, Population
from training.world.response import hour_shapes

LAPSED_SINCE = 70
DAYS_BEFORE = 200  # keeps the days' seeds positive
FORMS_A_DAY, LEAD_VISITS = 0.02, 0.25
VISITS_AN_ORDER = 3.0


def orders_then(people: Population, index: int, day: int, revived_on: int | None) -> bool:
    """Whether the customer orders of himself on `day`: the lapsed did long ago, leads not yet, the churned no more.

    `revived_on` is the day on which an offer won him (back).
    """
    if revived_on is not None and day > revived_on:
        return True
    if people.kind[index] == KINDS.index("lapsed"):
        return day < -LAPSED_SINCE - index % 20
    return bool(people.kind[index] == KINDS.index("active") and day < people.churn_day[index])


@dataclass(frozen=True, slots=True)
class Visitor:
    """A customer on a day: his number and id, where his local day begins (UTC) and its weekday, whether he buys."""

    index: int
    customer: str
    midnight: datetime
    weekday: int
    buys: bool


def day_of(people: Population, visitor: Visitor, seed: int, day: int) -> list[Message]:
    """The visitor's own events of the day."""
    index, customer, buys = visitor.index, visitor.customer, visitor.buys
    random = np.random.default_rng([seed, BACKGROUND, index, day + DAYS_BEFORE])
    rate = float(people.order_rate[index]) if buys else 0.0
    orders = int(random.poisson(rate))
    lead = people.kind[index] == KINDS.index("lead") and not buys
    visits = int(random.poisson(LEAD_VISITS if lead else rate * VISITS_AN_ORDER))
    if not orders and not visits and not lead:
        return []
    made: list[Message] = []
    for number in range(visits):
        made += _visit(random, people, index, customer, _moment(random, people, visitor), number)
    for number in range(orders):
        at = _moment(random, people, visitor) + timedelta(minutes=number)
        chosen = sorted({_category(random, people, index) for _ in range(1 + int(random.integers(3)))})
        made.append(order(customer, at, basket(random, chosen, {}), {}))
    if lead and random.random() < FORMS_A_DAY:
        at = _moment(random, people, visitor)
        made.append(track("Form Submitted", customer, at, "f", {"form": "newsletter"}, BROWSERS[0]))
    return made


def _visit(
    random: np.random.Generator, people: Population, index: int, customer: str, at: datetime, number: int
) -> list[Message]:
    viewed = []
    for page in range(1 + int(random.integers(3))):
        category = _category(random, people, index)
        ids = products_of(category)
        properties = {"product_id": ids[int(random.integers(len(ids)))], "category": category}
        moment = at + timedelta(seconds=40 * page)
        viewed.append(track("Product Viewed", customer, moment, f"v{number}{page}", properties, BROWSERS[0]))
    return viewed


def _category(random: np.random.Generator, people: Population, index: int) -> str:
    return CATEGORIES[int(random.choice(len(CATEGORIES), p=people.affinity[index]))]


def _moment(random: np.random.Generator, people: Population, visitor: Visitor) -> datetime:
    """A second of the day, at the hours that suit the customer."""
    index, start = visitor.index, visitor.weekday * 24
    curve = people.chronotype[index] @ hour_shapes()[:, start : start + 24] * people.hour_strength[index]
    weight = np.exp(2.0 * curve)
    hour = int(random.choice(24, p=weight / weight.sum()))
    return visitor.midnight + timedelta(hours=hour, seconds=int(random.integers(3600)))
