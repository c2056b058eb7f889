"""From partial sums to features: the last step, shared by batch and online, so that equal sums give equal features."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.declare import DAY, DeclarationError, Feature
from features.histogram import quantile
from features.plan import Plan

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
NEVER = -(2**62)
"""A time or maximum that there is not."""
FAR = 2**62
"""A first time, or an end, that there is not yet."""
_ANGLES = 2 * np.pi * np.arange(24) / 24
_DIRECTIONS: Floats = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)])


@dataclass(frozen=True, slots=True)
class Partials:
    """Everything that n feature rows are made of; see Plan for what each column means."""

    as_of: Ints  # (n,) microseconds
    cells: Ints  # (n, cells)
    first: Ints  # (n, tracked), NEVER where none
    last: Ints  # (n, tracked)
    histograms: Ints  # (n, histogram cells, BINS)
    maxima: Ints  # (n, maximum cells), NEVER where none
    days: Ints  # (n, day specs, 3): days, sum of gaps, sum of squared gaps
    hours: Ints  # (n, 24-cell hour groups, 24)
    categories: Ints  # (n, category windows, 3): distinct, largest, sum
    traits: Floats  # (n, traits), NaN where unknown


class Base:
    """Names the columns of the base matrix: everything in Partials that is one number a row, side by side."""

    def __init__(self, plan: Plan) -> None:
        sizes = {
            "cells": len(plan.cells),
            "categories": 3 * len(plan.category_windows),
            "days": 3 * len(plan.days),
            "maxima": len(plan.maximum_cells),
            "last": len(plan.tracked),
            "first": len(plan.tracked),
            "traits": len(plan.traits),
        }
        starts: list[int] = np.cumsum([0, *sizes.values()]).tolist()
        self._start = dict(zip(sizes, starts, strict=False))

    def column(self, kind: str, place: int) -> int:
        return self._start[kind] + place

    def matrix(self, partials: Partials) -> Floats:
        """(n, columns). Times become days to `as_of`; NEVER becomes NaN."""
        exact = (partials.cells, _flat(partials.categories), _flat(partials.days))
        maxima = np.where(partials.maxima > NEVER, partials.maxima, np.nan)
        times = np.concatenate([partials.last, partials.first], axis=1)
        return np.concatenate([*exact, maxima, days_since(partials.as_of[:, None], times), partials.traits], axis=1)


@dataclass(slots=True)
class Recipes:
    """Which features are made in which way: (place of the feature, base columns …)."""

    copies: list[tuple[int, int, float]] = field(default_factory=list)  # column, factor
    located: list[tuple[int, int]] = field(default_factory=list)  # column, where the copy is unknown
    means: list[tuple[int, int, int, int]] = field(default_factory=list)  # numerator, denominator, taken off it
    spreads: list[tuple[int, int, int, int, int]] = field(default_factory=list)  # sum, squares, count, taken off it
    quantiles: list[tuple[int, int, float]] = field(default_factory=list)  # histogram cell, share
    peaks: list[tuple[int, int]] = field(default_factory=list)  # hour group
    gathered: list[tuple[int, int]] = field(default_factory=list)
    until: list[tuple[int, int]] = field(default_factory=list)  # trait
    ratios: list[tuple[int, Feature]] = field(default_factory=list)
    since: list[tuple[int, int]] = field(default_factory=list)  # place among last times, then first times


Level = tuple[Ints, Ints, Ints, Floats]
"""Ratios that are made at one time: their places, tops, bottoms and scales."""


class Finalizer:
    """Turns partials into the (n, features) matrix, column order as the feature set's. Built once a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._base = Base(plan)
        self._places = {name: i for i, name in enumerate(plan.features.names)}
        self._hour_groups = [i for i, group in enumerate(plan.hours) if group.cells == 24]
        self._recipes = Recipes()
        for place, feature in enumerate(plan.features.features):
            self._write(place, feature)
        self._copy_to, self._copy_from = _columns(self._recipes.copies, 2)
        self._factors = np.array([factor for *_, factor in self._recipes.copies])
        self._located = _columns(self._recipes.located, 2)
        self._means = _columns(self._recipes.means, 4)
        self._spreads = _columns(self._recipes.spreads, 5)
        self._peaks, self._gathered = _columns(self._recipes.peaks, 2), _columns(self._recipes.gathered, 2)
        self._levels = self._ratio_levels(self._recipes.ratios)
        self._since, self._time_of = _columns(self._recipes.since, 2)
        self._until, _ = _columns(self._recipes.until, 2)
        self._moving = self._moving_levels()

    def __call__(self, partials: Partials) -> Floats:
        values = np.full((len(partials.as_of), len(self._places)), np.nan)
        base = self._base.matrix(partials)
        with np.errstate(divide="ignore", invalid="ignore"):
            values[:, self._copy_to] = base[:, self._copy_from] * self._factors + 0.0
            if (lacking := np.isnan(values[:, self._located[0]])).any():
                place, seen = self._located
                values[:, place] = np.where(lacking, base[:, seen], values[:, place])
            place, top, below, less = self._means
            values[:, place] = base[:, top] / _some(base[:, below] - less, 1)
            place, total, squares, below, less = self._spreads
            count = _some(base[:, below] - less, 2)
            values[:, place] = _spread(base[:, total], base[:, squares], count)
            self._by_hour(values, partials.hours)
            for target, cell, share in self._recipes.quantiles:
                values[:, target] = quantile(partials.histograms[:, cell], share)
            for target, trait in self._recipes.until:
                _write_days_until(values[:, target], partials.as_of, partials.traits[:, trait])
            _write_ratios(values, self._levels)
        return values

    def still(self, partials: Partials) -> tuple[Floats, Ints]:
        """The matrix with what moves by itself held still, and (n,) from when on `at` gives something else.

        Days since a moment hold that moment, days until a date hold its day since 1970, both as the bits of an
        integer (NEVER if unknown); ratios of those are made by `at`.
        """
        values = self(partials)
        bits, today = values.view(np.int64), partials.as_of // DAY
        coming = values[:, self._until]
        known = coming == coming
        days = today[:, None] + np.where(known, coming, 0.0).astype(np.int64)
        bits[:, self._until] = np.where(known, days, NEVER)
        bits[:, self._since] = np.concatenate([partials.last, partials.first], axis=1)[:, self._time_of]
        passed = np.where(known, (days + 1) * DAY, FAR)
        return values, passed.min(axis=1, initial=FAR)

    def at(self, still: Floats, as_of: int) -> None:
        """Turns what `still` gave into features as of a time (microseconds), in place; the same bits as all anew."""
        bits = still.view(np.int64)
        still[:, self._since] = days_since(as_of, bits[:, self._since])
        if len(self._until):
            day = bits[:, self._until]
            still[:, self._until] = np.where(day > NEVER, day - as_of // DAY, np.nan)
        if self._moving:
            with np.errstate(divide="ignore", invalid="ignore"):
                _write_ratios(still, self._moving)

    def _write(self, place: int, f: Feature) -> None:
        plan, column, recipes = self._plan, self._base.column, self._recipes
        match f.aggregate:
            case "count" | "sum":
                recipes.copies.append((place, column("cells", plan.cell(f)), 1.0))
            case "days_since_last":
                recipes.copies.append((place, column("last", plan.track(f)), 1.0))
                recipes.since.append((place, plan.track(f)))
            case "days_since_first":
                recipes.copies.append((place, column("first", plan.track(f)), 1.0))
                recipes.since.append((place, len(plan.tracked) + plan.track(f)))
            case "last":
                recipes.copies.append((place, column("traits", plan.trait(f)), 1.0))
                if f.located is not None:
                    recipes.located.append((place, column("traits", plan.seen(f))))
            case "max" | "min":
                factor = -1.0 if f.aggregate == "min" else 1.0
                recipes.copies.append((place, column("maxima", plan.maximum(f)), factor))
            case "distinct":
                recipes.copies.append((place, column("categories", 3 * plan.category(f)), 1.0))
            case "active_days":
                recipes.copies.append((place, column("days", 3 * plan.day(f)), 1.0))
            case "ratio":
                recipes.ratios.append((place, f))
            case "quantile":
                recipes.quantiles.append((place, plan.histogram(f), f.quantile))
            case "days_until":
                recipes.until.append((place, plan.trait(f)))
            case "peak_hour" | "peak_weekday":
                recipes.peaks.append((place, self._hour_groups.index(plan.hour(f))))
            case "hour_concentration":
                recipes.gathered.append((place, self._hour_groups.index(plan.hour(f))))
            case _:
                self._write_mean(place, f)

    def _write_mean(self, place: int, f: Feature) -> None:
        plan, column, recipes = self._plan, self._base.column, self._recipes
        match f.aggregate:
            case "mean":
                cells = column("cells", plan.cell(f)), column("cells", plan.cell(f, counted=True))
                recipes.means.append((place, *cells, 0))
            case "top_share":
                at = column("categories", 3 * plan.category(f))
                recipes.means.append((place, at + 1, at + 2, 0))
            case "gap_mean":
                at = column("days", 3 * plan.day(f))
                recipes.means.append((place, at + 1, at, 1))
            case "gap_std":
                at = column("days", 3 * plan.day(f))
                recipes.spreads.append((place, at + 1, at + 2, at, 1))
            case "std":
                total, squares = plan.cell(f), plan.cell(f, square=True)
                count = column("cells", plan.cell(f, counted=True))
                recipes.spreads.append((place, column("cells", total), column("cells", squares), count, 0))
            case _:
                raise DeclarationError(f"{f.name}: no way to make {f.aggregate}")

    def _by_hour(self, values: Floats, counts: Ints) -> None:
        """Peak hour, and the length of the mean direction, from (n, groups, 24)."""
        total = _some(counts.sum(axis=2), 1)
        place, group = self._peaks
        values[:, place] = np.where(total > 0, counts.argmax(axis=2), np.nan)[:, group]
        # Added up in order, so that one row and many rows give the same bits.
        sides = (counts[:, :, None] * _DIRECTIONS).cumsum(axis=3)[:, :, :, -1]
        sides *= sides
        place, group = self._gathered
        values[:, place] = (np.sqrt(sides[:, :, 0] + sides[:, :, 1]) / total)[:, group]

    def _ratio_levels(self, ratios: list[tuple[int, Feature]]) -> list[Level]:
        """Ratios in rounds, each needing only what the rounds before it made."""
        waiting, levels = dict(ratios), []
        open_names = {f.name for f in waiting.values()}
        while waiting:
            ready = {p: f for p, f in waiting.items() if not open_names & set(f.of or ())}
            if not ready:
                raise DeclarationError(f"ratios that need one another: {', '.join(sorted(open_names))}")
            sides = np.array([[self._places[n] for n in f.of or ()] for f in ready.values()])
            scale = np.array([f.scale for f in ready.values()])
            levels.append((np.array(list(ready)), sides[:, 0], sides[:, 1], scale))
            open_names -= {f.name for f in ready.values()}
            waiting = {p: f for p, f in waiting.items() if p not in ready}
        return levels

    def _moving_levels(self) -> list[Level]:
        """Ratios of what moves by itself, and ratios of those."""
        moving = {*self._since.tolist(), *self._until.tolist()}
        levels: list[Level] = []
        for place, top, below, scale in self._levels:
            here = np.isin(top, list(moving)) | np.isin(below, list(moving))
            moving |= set(place[here].tolist())
            if here.any():
                levels.append((place[here], top[here], below[here], scale[here]))
        return levels


def days_since(as_of: Ints | int, moment: Ints) -> Floats:
    """Days from moments to a time, both in microseconds; NaN from NEVER."""
    return np.where(moment > NEVER, (as_of - moment) / DAY, np.nan)


def _write_ratios(values: Floats, levels: list[Level]) -> None:
    for place, top, below, scale in levels:
        under = values[:, below]
        values[:, place] = np.where(under > 0, values[:, top] * scale / under, np.nan)


def _flat(table: Ints) -> Ints:
    return table.reshape(len(table), table.shape[1] * table.shape[2])


def _columns(rows: list[Any], width: int) -> tuple[Ints, ...]:
    """The first `width` numbers of each row, as one array a column."""
    table = np.array([row[:width] for row in rows], dtype=np.int64).reshape(-1, width)
    return tuple(np.ascontiguousarray(column) for column in table.T)


def _some(count: Floats | Ints, least: int) -> Floats:
    return np.where(count >= least, count, np.nan)


def _spread(total: Floats, squares: Floats, n: Floats) -> Floats:
    """Population standard deviation from sums; NaN where the squares are too small to be true (overflow)."""
    mean = total / n
    square = mean * mean
    variance = squares / n - square
    return np.where(variance >= -1e-9 * np.maximum(square, 1.0), np.sqrt(np.maximum(variance, 0.0)), np.nan)


def _write_days_until(out: Floats, as_of: Ints, month_day: Floats) -> None:
    known = np.flatnonzero(month_day == month_day)
    if len(known):
        out[known] = _days_until(as_of[known], month_day[known].astype(np.int64))


def _days_until(as_of: Ints, month_day: Ints) -> Floats:
    """Whole days from the UTC date of as_of to the next date with that month * 100 + day (29 Feb: 1 Mar)."""
    today = as_of // DAY
    year = today.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64)

    this, following = (_date(year + more, month_day) for more in (0, 1))
    coming = np.where(this >= today, this, following)
    days: Floats = (coming - today).astype(np.float64)
    return days


def _date(year: Ints, month_day: Ints) -> Ints:
    """Days since 1970; `year` counts from 1970."""
    month = np.asarray(year * 12 + month_day // 100 - 1, dtype="datetime64[M]")
    return month.astype("datetime64[D]").astype(np.int64) + (month_day % 100 - 1)
