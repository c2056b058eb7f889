"""Customers with hidden traits, drawn from a seed: customer i of a seed is the same in a world of any size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.world.catalogue import CATEGORIES, CHANNELS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

ZONES = ("America/New_York", "America/Chicago", "Europe/London", "Europe/Berlin")
KINDS = ("active", "lapsed", "lead")
SHARES = (0.62, 0.23, 0.15)
AGE_BANDS = ("18-24", "25-34", "35-44", "45-54", "55-64", "65+")
TASTES = 6
CHRONOTYPES = 4
NEVER = 1_000_000

# Streams of randomness: each purpose has its own, so that none disturbs another.
PEOPLE, BACKGROUND, RESPONSE, POLICY = 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Population:
    """Hidden traits, one row a customer. Effects are on the log-odds of converting.

    `affinity` (n, categories) sums to 1; `channel` (n, channels); `chronotype` (n, 4) sums to 1; `churn_day` is the
    day on which a customer stops ordering (`NEVER` where he does not); `private` mail programs open by machine;
    `scanned` mailboxes have every link followed by a scanner.
    """

    kind: Ints
    zone: Ints
    age: Ints
    base: Floats
    affinity: Floats
    channel: Floats
    chronotype: Floats
    hour_strength: Floats
    thrift: Floats
    fatigue: Floats
    order_rate: Floats
    churn_day: Ints
    private: Bools
    scanned: Bools

    def __len__(self) -> int:
        return len(self.kind)


def draw(seed: int, size: int) -> Population:
    """`size` customers of the seed."""
    rows = [_person(np.random.default_rng([seed, PEOPLE, index])) for index in range(size)]
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else _nobody()
    return Population(**columns)


def _nobody() -> dict[str, npt.NDArray[np.generic]]:
    person = _person(np.random.default_rng(0))
    return {name: np.array([value])[:0] for name, value in person.items()}


def _person(random: np.random.Generator) -> dict[str, object]:
    taste = int(random.integers(TASTES))
    loves = np.full(len(CATEGORIES), 0.5)
    loves[taste] += 4.0
    loves[(taste + 2) % len(CATEGORIES)] += 1.5
    kind = int(random.choice(len(KINDS), p=SHARES))
    age = int(np.clip(random.normal(taste, 1.3), 0, len(AGE_BANDS) - 1))
    main = np.full(CHRONOTYPES, 0.3)
    main[int(random.integers(CHRONOTYPES))] += 4.0
    favourite = int(random.integers(len(CHANNELS)))
    channel = random.normal(-0.3, 0.3, len(CHANNELS))
    channel[favourite] += 0.9
    churns = kind == 0 and random.random() < 0.25
    return {
        "kind": np.int64(kind),
        "zone": np.int64(random.integers(len(ZONES))),
        "age": np.int64(age),
        "base": random.normal(-2.2, 0.35),
        "affinity": random.dirichlet(2.0 * loves),
        "channel": channel,
        "chronotype": random.dirichlet(main),
        "hour_strength": random.uniform(1.3, 2.2),
        "thrift": max(0.0, random.normal(1.0, 0.6)),
        "fatigue": random.gamma(2.0, 0.1),
        "order_rate": random.gamma(3.0, 0.012) + 0.005,
        "churn_day": np.int64(random.integers(-20, 40) if churns else NEVER),
        "private": random.random() < 0.5,
        "scanned": random.random() < 0.08,
    }
