"""Best send time in the simulated world, whose true hours are known: `make bench-sendtime`. Needs no data.

60 days of sending, after 120 days of the shop's life with an old mailing now and then, and from nothing at all: every
customer gets a message each fourth day, in the first two weeks at any waking hour, later at
the hour that a model fitted each week names, one in ten at any hour. Then each customer's hour is chosen once more for
every weekday and channel, and the world tells what the choices are truly worth: 0 is the best fixed hour of the day for
everybody, 1 the truly best hour of each customer. `in the band`: orders of the next 60 days of customers with 1 to 6
events, inside the three hours of the day that were named best, by the model, and by what is popular.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from models.send_time import SendTimeModel
from models.week import HOURS, after
from service.events.frame import events_frame
from service.events.normalize import Rules, normalize
from training.datasets import Period
from training.send_time import BAND, Floats, Week, choose, fit, in_band, known, units
from training.week_fit import people
from training.week_hours import counts_as_of, grids, moments
from training.world.response import fixed_effect, hour_effect, sigmoid
from training.world.world import AWAKE, CHANNELS, HISTORY_DAYS, Action, World

SEEDS, CUSTOMERS, DAYS, EVERY, RANDOM_DAYS, EXPLORED = (13, 14, 15, 16, 17, 18), 500, 60, 4, 14, 0.1
FEW = 6


@dataclass(frozen=True, slots=True)
class Found:
    """What one world gave: value of an hour chosen by each, and shares of orders in the band."""

    fixed: float
    ours: float
    best: float
    band: float
    popular: float
    few: int

    @property
    def recovered(self) -> float:
        return (self.ours - self.fixed) / (self.best - self.fixed)


def truth(world: World) -> Floats:
    """(customers, channels, 168): the true probability of converting on a message, over all offers."""
    everybody = np.arange(len(world.people))
    fixed = fixed_effect(world.people, everybody, world.offers)
    hours = hour_effect(world.people, everybody, np.arange(HOURS)[None])
    found = np.zeros((len(everybody), len(CHANNELS), HOURS))
    counts = np.isfinite(fixed[0]).sum(axis=0)
    for offer in range(len(world.offers)):
        found += sigmoid(fixed[:, offer, :, None] + hours[:, None, :])
    return found / counts[None, :, None]


def named(model: SendTimeModel, week: Week, until: datetime) -> Floats:
    """(customers, channels, 168): how good the model holds each hour to be, up to each customer's level."""
    grid = week.as_of[until]
    own = people(model.presence, *known(grid, model.presence))
    ratio = (after(own, model.presence.lag) / model.presence.met) ** model.sharpness
    return np.stack([model.curve(channel).rate * ratio for channel in CHANNELS], axis=1)


def daily_best(scores: Floats) -> np.ndarray:
    """(…, 7): the best waking hour of the week of each day."""
    days = scores.reshape(*scores.shape[:-1], 7, 24)[..., AWAKE.start : AWAKE.stop]
    return days.argmax(axis=-1) + AWAKE.start + 24 * np.arange(7)


def trained(
    events: list[dict[str, Any]], names: list[str], start: datetime, until: datetime
) -> tuple[SendTimeModel, Week]:
    """The model as `opportune train send-time` fits it, on what happened before `until`."""
    seen = events_frame([event for event in events if event["timestamp"] < until])
    customers = pl.Series(names)
    later = min(timedelta(days=28), (until - start) / 4)
    middle, last = until - 2 * later, until - later
    held = {cut: grids(counts_as_of(seen, customers, cut), names) for cut in (middle, last, until)}
    week = Week(moments(seen, customers), held, Period(start, until, until, 0), len(names))
    return fit(week, until, choose(week, middle, last)), week


def measure(seed: int, history: bool) -> Found:
    world = World(seed, CUSTOMERS)
    random = np.random.default_rng(seed)
    rules, names = Rules(), list(world.customers)
    events: list[dict[str, Any]] = []
    chosen: np.ndarray | None = None

    def happen(messages: list[dict[str, Any]]) -> None:
        events.extend(
            normalize(message, rules, world.start + timedelta(days=400), imported=True) for message in messages
        )

    happen(world.history() if history else world.identities())
    start = world.start - timedelta(days=HISTORY_DAYS if history else 0)
    for day in range(DAYS):
        now = world.start + timedelta(days=day)
        happen(world.daily_events(day))
        if day >= RANDOM_DAYS and (day - RANDOM_DAYS) % 7 == 0:
            model, week = trained(events, names, start, now)
            chosen = daily_best(named(model, week, now))
        for index, customer in enumerate(names):
            if (index + day) % EVERY:
                continue
            offer = world.offers[int(random.integers(len(world.offers)))]
            channel = offer.channels[int(random.integers(len(offer.channels)))]
            hour = int(random.choice(AWAKE))
            if chosen is not None and random.random() >= EXPLORED:
                hour = int(chosen[index, CHANNELS.index(channel), now.weekday()]) % 24
            moment = world.local_time(customer, day, hour) + timedelta(minutes=int(random.integers(60)))
            happen(world.respond(Action(customer, offer.offer_id, channel, {"decision_id": f"d{day}-{index}"}), moment))
    until = world.start + timedelta(days=DAYS)
    model, week = trained(events, names, start, until)
    true = truth(world)
    best = np.take_along_axis(true, daily_best(true), axis=2).mean()
    ours = np.take_along_axis(true, daily_best(named(model, week, until)), axis=2).mean()
    fixed = true.mean(axis=(0, 1)).reshape(7, 24)[:, AWAKE.start : AWAKE.stop].mean(axis=0).max()
    if history:  # nobody has few events then
        return Found(fixed, ours, best, float("nan"), float("nan"), 0)
    for day in range(DAYS, 2 * DAYS):
        happen(world.daily_events(day))
    return Found(fixed, ours, best, *bands(model, week, events, names, until))


def bands(
    model: SendTimeModel, week: Week, events: list[dict[str, Any]], names: list[str], until: datetime
) -> tuple[float, float, int]:
    """Later orders of customers with few events in the band that the model names, and in the popular one."""
    grid = week.as_of[until]
    seen = grid.orders.sum(axis=1) + grid.responses.sum(axis=1)
    later = Week(moments(events_frame(events), pl.Series(names)), week.as_of, week.covered, week.customers)
    orders = units(later, "order", until, until + timedelta(days=DAYS))
    few = (seen[orders.customer] >= 1) & (seen[orders.customer] <= FEW)
    own = people(model.presence, *known(grid, model.presence))
    everyone = np.broadcast_to(grid.orders.sum(axis=0) + 1e-9, own.shape)
    return (
        float(in_band(own, orders, BAND)[few].mean()),
        float(in_band(everyone, orders, BAND)[few].mean()),
        int(few.sum()),
    )


def main() -> None:
    before = time.process_time()
    print("| world | best fixed hour | model | best | recovered | in the band: model | popular | orders |")
    print("|---|---|---|---|---|---|---|---|")
    found = []
    for seed, history in [(seed, history) for history in (True, False) for seed in SEEDS]:
        one = measure(seed, history)
        found.append(one)
        cells = [f"{one.fixed:.4f}", f"{one.ours:.4f}", f"{one.best:.4f}", f"{one.recovered:.0%}"]
        cells += ["", "", ""] if history else [f"{one.band:.3f}", f"{one.popular:.3f}", str(one.few)]
        print(f"| {seed}{', with' if history else ', without'} 120 days before | {' | '.join(cells)} |", flush=True)
    for what, some in ((", with 120 days before", found[: len(SEEDS)]), (", without", found[len(SEEDS) :])):
        print(f"recovered on average{what}: {np.mean([one.recovered for one in some]):.0%}")
    print(f"{time.process_time() - before:.0f} CPU-s")


if __name__ == "__main__":
    main()
