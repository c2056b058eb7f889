"""How a customer truly responds: pure functions of hidden traits, offer, channel, hour and recent messages.

log-odds(convert) = base + affinity(category) + channel + hour + thrift x discount + audience - fatigue x recent.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from training.world.catalogue import CATEGORIES, CHANNELS, WorldOffer
from training.world.population import KINDS, Floats, Ints, Population

HOURS_A_WEEK = 168
AFFINITY_STRENGTH = 0.9
DISCOUNT_STRENGTH = 3.0
RIGHT_AUDIENCE, WRONG_AUDIENCE, NOT_ACTIVE = 0.9, -0.8, -0.5


@lru_cache(maxsize=1)
def hour_shapes() -> Floats:
    """(4, 168): how four kinds of days move the log-odds over the local hours of a week, Monday 00 first."""
    hour = np.arange(HOURS_A_WEEK) % 24
    weekend = np.arange(HOURS_A_WEEK) >= 5 * 24
    peaks = np.where(weekend, [[10.0], [13.0], [20.0], [15.0]], [[8.0], [12.5], [19.0], [21.0]])
    width = np.array([[1.8], [1.6], [1.8], [2.5]])
    bump = np.exp(-0.5 * ((hour - peaks) / width) ** 2)
    asleep = np.where((hour < 7) | (hour > 22), -0.6, 0.0)
    shapes: Floats = bump - 0.5 + asleep
    shapes[3] += np.where(weekend, 0.4, -0.2)
    return shapes


def hour_effect(people: Population, customers: Ints, hours: Ints) -> Floats:
    """(len(customers), …hours): the effect of local hours of the week; `hours` has a row a customer, or is one row."""
    curves: Floats = people.chronotype[customers] @ hour_shapes() * people.hour_strength[customers, None]
    return np.take_along_axis(curves, np.broadcast_to(hours, (len(customers), hours.shape[-1])), axis=1)


def fixed_effect(people: Population, customers: Ints, offers: Sequence[WorldOffer]) -> Floats:
    """(customers, offers, channels): all of the log-odds that neither the hour nor recent messages move."""
    category = np.array([CATEGORIES.index(offer.category) for offer in offers])
    discount = np.array([offer.discount / 100 - 0.2 for offer in offers])
    liked = AFFINITY_STRENGTH * np.log(people.affinity[customers][:, category] * len(CATEGORIES) + 0.1)
    priced = DISCOUNT_STRENGTH * people.thrift[customers, None] * discount
    person = people.base[customers, None] + np.where(people.kind[customers] > 0, NOT_ACTIVE, 0.0)[:, None]
    of_offer = person + liked + priced + _audience(people, customers, offers)
    effect: Floats = of_offer[:, :, None] + people.channel[customers][:, None, :]
    offered = np.array([[channel in offer.channels for channel in CHANNELS] for offer in offers])
    return np.where(offered[None], effect, -np.inf)


def _audience(people: Population, customers: Ints, offers: Sequence[WorldOffer]) -> Floats:
    wanted = np.array([KINDS.index(offer.audience) if offer.audience in KINDS else -1 for offer in offers])
    right = people.kind[customers, None] == wanted[None]
    return np.where(wanted[None] < 0, 0.0, np.where(right, RIGHT_AUDIENCE, WRONG_AUDIENCE))


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    result: Floats = 0.5 * (1.0 + np.tanh(0.5 * x))
    return result


def funnel(convert: float, recent: int) -> tuple[float, float, float]:
    """Probabilities of a human open, a human click and an unsubscription, given that of converting.

    Nested: whoever converts clicked, whoever clicked opened.
    """
    click = convert + (1 - convert) * min(0.9, 1.5 * convert)
    opened = click + (1 - click) * (0.02 + 0.6 * convert**0.5)
    return min(opened, 0.98), click, float(1 / (1 + np.exp(6.5 - 0.5 * recent)))
