"""Ways to choose a message. A policy sees what a company would see, never the hidden traits (except `best`)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

import numpy as np

from training.world.catalogue import WorldOffer
from training.world.world import World

AWAKE = range(8, 21)
NOON = 12


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when a message may be sent within 24 hours from `at`."""

    customer_id: str
    at: datetime
    zone: str
    recent_sends: int
    channels: tuple[str, ...]
    bought: Mapping[str, int]
    offers: Sequence[WorldOffer]
    random: np.random.Generator


@dataclass(frozen=True, slots=True)
class Choice:
    """An offer on a channel at a time."""

    offer_id: str
    channel: str
    send_at: datetime


class Policy(Protocol):
    """Chooses, and hears what came of it: the money that a choice earned (0 where nothing was bought)."""

    def choose(self, situation: Situation) -> Choice | None: ...

    def learn(self, situation: Situation, choice: Choice, earned: float) -> None: ...


@dataclass
class Nothing:
    """Never sends."""

    def choose(self, situation: Situation) -> Choice | None:
        return None

    def learn(self, situation: Situation, choice: Choice, earned: float) -> None:
        """Nothing to learn."""


@dataclass
class Random(Nothing):
    """Any offer, any channel, any waking hour, all equally likely."""

    def choose(self, situation: Situation) -> Choice | None:
        offer = situation.offers[int(situation.random.integers(len(situation.offers)))]
        channels = [channel for channel in offer.channels if channel in situation.channels]
        if not channels:
            return None
        hour = AWAKE[int(situation.random.integers(len(AWAKE)))]
        channel = channels[int(situation.random.integers(len(channels)))]
        return Choice(offer.offer_id, channel, local_hour(situation, hour))


@dataclass
class Favourite(Nothing):
    """The largest discount in the category that the customer bought most, by e-mail at noon."""

    def choose(self, situation: Situation) -> Choice | None:
        usual = max(situation.offers, key=lambda offer: (situation.bought.get(offer.category, 0), offer.discount))
        if not situation.channels:
            return None
        channel = "email" if "email" in situation.channels else situation.channels[0]
        return Choice(usual.offer_id, channel, local_hour(situation, NOON))


@dataclass
class Thompson:
    """Learns the earning of each offer x channel, and of each hour, from its own results (gamma posteriors)."""

    earned: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    sends: Counter[tuple[str, str]] = field(default_factory=Counter)
    by_hour: dict[int, list[float]] = field(default_factory=lambda: defaultdict(lambda: [1.0, 20.0]))

    def choose(self, situation: Situation) -> Choice | None:
        arms = [(o, c) for o in situation.offers for c in o.channels if c in situation.channels]
        if not arms:
            return None
        draws = [
            o.value * situation.random.beta(1.0 + self.earned[o.offer_id, c], 20.0 + self.sends[o.offer_id, c])
            for o, c in arms
        ]
        offer, channel = arms[int(np.argmax(draws))]
        hours = [situation.random.beta(self.by_hour[hour][0], self.by_hour[hour][1]) for hour in AWAKE]
        return Choice(offer.offer_id, channel, local_hour(situation, AWAKE[int(np.argmax(hours))]))

    def learn(self, situation: Situation, choice: Choice, earned: float) -> None:
        bought = float(earned > 0)
        self.earned[choice.offer_id, choice.channel] += bought
        self.sends[choice.offer_id, choice.channel] += 1
        hour = choice.send_at.astimezone(ZoneInfo(situation.zone)).hour
        self.by_hour[hour][0] += bought
        self.by_hour[hour][1] += 1 - bought


@dataclass
class Knowing(Nothing):
    """Knows every hidden trait: the best there is, decision by decision."""

    world: World

    def choose(self, situation: Situation) -> Choice | None:
        best = self.world.best_action(situation.customer_id, situation.at)
        if best.offer_id is None or best.channel is None or best.send_at is None:
            return None
        return Choice(best.offer_id, best.channel, best.send_at)


@dataclass
class KnowingAtNoon(Knowing):
    """Knows everything but the hour: always at noon."""

    def choose(self, situation: Situation) -> Choice | None:
        noon = local_hour(situation, NOON)
        best = self.world.best_action(situation.customer_id, noon, hours=1)
        if best.offer_id is None or best.channel is None:
            return None
        return Choice(best.offer_id, best.channel, noon)


POLICIES: dict[str, Callable[[World], Policy]] = {
    "random": lambda world: Random(),
    "favourite": lambda world: Favourite(),
    "thompson": lambda world: Thompson(),
    "best-at-noon": KnowingAtNoon,
    "best": Knowing,
    "nothing": lambda world: Nothing(),
}


def local_hour(situation: Situation, hour: int) -> datetime:
    """The next time that it is `hour` in the customer's zone, at or after the situation's time."""
    local = situation.at.astimezone(ZoneInfo(situation.zone))
    then = local.replace(hour=hour, minute=0, second=0, microsecond=0)
    if then < local:
        then += timedelta(days=1)
    return then.astimezone(situation.at.tzinfo)
