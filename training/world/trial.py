"""Tries a policy on the world for some days and tells what it is truly worth."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from training.world.messages import Message
from training.world.policies import POLICIES, Choice, Policy, Situation
from training.world.population import POLICY
from training.world.world import HISTORY_DAYS, Action, World

EVERY_DAYS = 4


@dataclass(frozen=True, slots=True)
class Trial:
    """What a policy was worth. `value` is the mean true expected value of a decision (not of what happened to sell)."""

    policy: str
    decisions: int
    sent: int
    value: float
    conversions: int
    unsubscribed: int


def try_policy(name: str, days: int = 30, customers: int = 500, seed: int = 7) -> Trial:
    """A fresh world with its history, then `days` days in which each customer gets a decision every fourth day."""
    world = World(seed, customers)
    return run(world, name, POLICIES[name](world), days)


def value_of(policy: Callable[[World], Policy], days: int = 30, customers: int = 500, seed: int = 7) -> float:
    """Mean true expected value of a decision of your own policy, in the world's currency."""
    world = World(seed, customers)
    return run(world, "own", policy(world), days).value


def run(world: World, name: str, policy: Policy, days: int) -> Trial:
    """Drives the policy through an existing world."""
    bought: dict[str, Counter[str]] = defaultdict(Counter)
    _remember(bought, world.history(HISTORY_DAYS))
    values: list[float] = []
    sent = conversions = unsubscribed = 0
    for day in range(days):
        _remember(bought, world.daily_events(day))
        for index, customer in enumerate(world.customers):
            if (index + day) % EVERY_DAYS:
                continue
            situation = _situation(world, index, customer, day, bought[customer])
            choice = policy.choose(situation)
            if choice is None:
                values.append(0.0)
                continue
            action = Action(customer, choice.offer_id, choice.channel)
            values.append(world.expected_value(action, choice.send_at))
            events = world.respond(action, choice.send_at)
            sent += 1
            converted = any(event["event"] == "Order Completed" for event in events)
            conversions += converted
            unsubscribed += any(event["event"] == "Unsubscribed" for event in events)
            policy.learn(situation, choice, _value(world, choice) if converted else 0.0)
            _remember(bought, events)
    return Trial(name, len(values), sent, float(np.mean(values)) if values else 0.0, conversions, unsubscribed)


def _situation(world: World, index: int, customer: str, day: int, bought: Counter[str]) -> Situation:
    at = world.start + timedelta(days=day)
    return Situation(
        customer_id=customer,
        at=at,
        zone=world.zone(customer),
        recent_sends=world.recent_sends(customer, at),
        channels=world.subscribed(customer),
        bought=bought,
        offers=world.offers,
        random=np.random.default_rng([world.seed, POLICY, index, day]),
    )


def _value(world: World, choice: Choice) -> float:
    return world.offers[world.offer[choice.offer_id]].value


def _remember(bought: dict[str, Counter[str]], events: list[Message]) -> None:
    for event in events:
        if event.get("event") == "Order Completed":
            bought[event["userId"]].update(line["category"] for line in event["properties"]["products"])
