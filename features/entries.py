"""From facts to the entries of a state: many events at once, and one."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from features.facts import Fact, Facts, fact_of
from features.finalize import NEVER, Ints
from features.forgetting import weight, weights
from features.histogram import BINS, bin_of, bins_of
from features.plan import ORDERED, VIEW, VIEWED, WEEK, Plan
from features.prefix import SQUARE_LIMIT, squared
from features.products import product_key
from features.state import SEEN, Entries, State


def entries_of(facts: Facts, plan: Plan) -> tuple[Ints, Entries, Ints]:
    """(customer, entries, category): all contributions, sorted by customer. A category entry has the key
    `category_base` and its place in the caller's list of names; others have -1."""
    parts: list[tuple[Ints, Ints | int, Ints]] = []
    for key, wanted in enumerate(plan.sums):
        rows = np.flatnonzero(plan.matches(wanted.events)[facts.code])
        parts.append((rows, key, _values(facts, rows, wanted.column, wanted.square)))
    for place, source in enumerate(plan.histograms):
        rows = np.flatnonzero(plan.matches(source.events)[facts.code])
        bins: Ints = bins_of(facts.columns[source.column][rows]) + plan.histogram_base + BINS * place
        parts.append((rows, bins, np.ones(len(rows), dtype=np.int64)))
    for place, extreme in enumerate(plan.maxima):
        rows = np.flatnonzero(plan.matches(extreme.events)[facts.code])
        sign = -1 if extreme.negative else 1
        parts.append((rows, plan.maximum_base + place, facts.columns[extreme.column][rows] * sign))
    for base, group in zip(plan.hour_bases, plan.hours, strict=True):
        rows = np.flatnonzero(plan.matches(group.events, group.channel)[facts.code])
        counted = weights(facts.time[rows]) if group.cells == WEEK else np.ones(len(rows), dtype=np.int64)
        parts.append((rows, base + group.cell(facts.hour[rows]), counted))
    parts.append((facts.traits.rows(), plan.trait_base + facts.traits.key, facts.traits.value.view(np.int64)))
    owner = facts.categories.rows()
    bought, viewed = (plan.matches(events)[facts.code][owner] for events in (ORDERED, VIEWED))
    told = np.flatnonzero(bought | viewed)
    parts.append((owner[told], plan.category_base, np.where(bought[told], 1, VIEW)))
    row = np.concatenate([rows for rows, _, _ in parts])
    keys = np.concatenate([np.broadcast_to(np.asarray(at, dtype=np.int64), len(rows)) for rows, at, _ in parts])
    category = np.full(len(row), -1)
    category[len(row) - len(told) :] = facts.categories.key[told]
    value = np.concatenate([values for _, _, values in parts])
    order = np.argsort(facts.customer[row], kind="stable")
    row = row[order]
    entries = Entries(keys[order], facts.time[row], facts.known[row], value[order])
    return facts.customer[row], entries, category[order]


def _values(facts: Facts, rows: Ints, column: str | None, square: bool) -> Ints:
    if column is None:
        return np.ones(len(rows), dtype=np.int64)
    told = facts.columns[column][rows]
    return squared(told) if square else told


_FEW = 32
"""So many marks are compared with all seen ones by brute force, which is faster than sorting."""


class OneEvent:
    """Adds single events to a state."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._codes: dict[int, tuple[tuple[int, str | None, str], ...]] = {}
        self._ordered, self._viewed = plan.matches(ORDERED), plan.matches(VIEWED)

    def add(self, state: State, events: list[Mapping[str, Any]]) -> bool:
        """Adds events in the order of their receipt; repeats are left out. Says whether anything was new."""
        marked = _unseen(state.seen, sorted(events, key=_arrival))
        if not marked:
            return False
        found: list[tuple[int, int, int, int]] = []
        for event in marked.values():
            state.applied += 1
            fact, state.zone = fact_of(event, state.zone, self._plan)
            state.watermark = max(state.watermark, fact.known)
            found += [(key, fact.time, fact.known, value) for key, value in self._contributions(fact, state)]
            if self._ordered[fact.code]:
                named = {product_key(p["product_id"]) for p in event.get("products") or () if p.get("product_id")}
                if named:
                    state.bought = state.bought.and_(sorted(named), fact.time, fact.known)
        state.seen = np.concatenate([state.seen, np.array([*marked], dtype=np.uint64)])[-SEEN:]
        if found:
            state.young = state.young.and_(Entries(*np.array(found, dtype=np.int64).T))
        return True

    def _contributions(self, fact: Fact, state: State) -> list[tuple[int, int]]:
        found = []
        for key, column, kind in self._recipe(fact.code):
            value = 1 if column is None else fact.columns[column]
            if kind == "square":
                value = min(max(value, -SQUARE_LIMIT), SQUARE_LIMIT) ** 2
            elif kind == "negative":
                value = -value
            elif kind == "histogram":
                key, value = key + bin_of(value), 1
            elif kind == "hour":
                key += fact.hour % 24
            elif kind == "weekday":
                key += fact.hour // 24
            elif kind == "week":
                key, value = key + fact.hour, weight(fact.time)
            found.append((key, value))
        for place, number in fact.traits:
            found.append((self._plan.trait_base + place, struct.unpack("<q", struct.pack("<d", number))[0]))
        if self._ordered[fact.code]:
            found += [(key, 1) for key in self._category_keys(fact.categories, state)]
        elif self._viewed[fact.code]:
            found += [(key, VIEW) for key in self._category_keys(fact.categories, state)]
        return found

    def _category_keys(self, names: tuple[str, ...], state: State) -> list[int]:
        fresh = [name for name in names if name not in state.categories]
        fresh = fresh[: max(self._plan.categories - len(state.categories), 0)]
        if fresh:
            state.categories = [*state.categories, *fresh]
            state.category_last = np.append(state.category_last, np.full(len(fresh), NEVER))
        return [self._plan.category_base + state.categories.index(n) for n in names if n in state.categories]

    def _recipe(self, code: int) -> tuple[tuple[int, str | None, str], ...]:
        """(key, column, what to do with it) of every partial sum that an event with this code adds to."""
        if code not in self._codes:
            self._codes[code] = tuple(self._recipe_of(code))
        return self._codes[code]

    def _recipe_of(self, code: int) -> list[tuple[int, str | None, str]]:
        plan = self._plan
        found: list[tuple[int, str | None, str]] = []
        for key, one in enumerate(plan.sums):
            if plan.matches(one.events)[code]:
                found.append((key, one.column, "square" if one.square else "plain"))
        for place, source in enumerate(plan.histograms):
            if plan.matches(source.events)[code]:
                found.append((plan.histogram_base + BINS * place, source.column, "histogram"))
        for place, extreme in enumerate(plan.maxima):
            if plan.matches(extreme.events)[code]:
                found.append((plan.maximum_base + place, extreme.column, "negative" if extreme.negative else "plain"))
        for base, group in zip(plan.hour_bases, plan.hours, strict=True):
            if plan.matches(group.events, group.channel)[code]:
                found.append((base, None, "weekday" if group.weekday else "week" if group.cells == WEEK else "hour"))
        return found


def _unseen(seen: NDArray[np.uint64], events: Sequence[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    """The events that are no repeats, in their order, by the hash of their message id."""
    marked: dict[int, Mapping[str, Any]] = {}
    for event in events:
        marked.setdefault(xxh3_64_intdigest(event["message_id"].encode()), event)
    marks = np.array([*marked], dtype=np.uint64)
    old = (seen == marks[:, None]).any(axis=1) if len(marks) <= _FEW else np.isin(marks, seen)
    if not old.any():
        return marked
    return {mark: event for (mark, event), again in zip(marked.items(), old.tolist(), strict=True) if not again}


def _arrival(event: Mapping[str, Any]) -> tuple[Any, Any, str]:
    return event.get("received_at") or event["timestamp"], event["timestamp"], event["message_id"]
