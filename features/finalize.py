"""From partial sums to features: the last step, shared by batch and online, so that equal sums give equal features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.declare import DAY, Feature
from features.histogram import quantile
from features.plan import Plan

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
NEVER = -(2**62)
"""A time or maximum that there is not."""
_ANGLES = 2 * np.pi * np.arange(24) / 24
_COSINES: Floats = np.cos(_ANGLES)
_SINES: Floats = np.sin(_ANGLES)


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


Step = Callable[[Floats, Partials], None]


class Finalizer:
    """Turns partials into the (n, features) matrix, column order as the feature set's. Built once a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._places = {name: i for i, name in enumerate(plan.features.names)}
        simple: dict[str, list[tuple[int, int]]] = {}
        ratios: list[tuple[int, Feature]] = []
        self._steps: list[Step] = []
        for place, feature in enumerate(plan.features.features):
            match feature.aggregate:
                case "count" | "sum":
                    simple.setdefault("cells", []).append((place, plan.cell(feature)))
                case "days_since_last":
                    simple.setdefault("last", []).append((place, plan.track(feature)))
                case "days_since_first":
                    simple.setdefault("first", []).append((place, plan.track(feature)))
                case "last":
                    simple.setdefault("traits", []).append((place, plan.trait(feature)))
                case "ratio":
                    ratios.append((place, feature))
                case _:
                    self._steps.append(_SINGLE[feature.aggregate](place, feature, plan))
        self._copies = {kind: np.array(pairs).T for kind, pairs in simple.items()}
        self._levels = self._ratio_levels(ratios)

    def __call__(self, partials: Partials) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.full((len(partials.as_of), len(self._places)), np.nan)
            self._copy(values, partials)
            for step in self._steps:
                step(values, partials)
            for target, numerator, denominator, scale in self._levels:
                below = values[:, denominator]
                values[:, target] = np.where(below > 0, values[:, numerator] * scale / below, np.nan)
        return values

    def _copy(self, values: Floats, partials: Partials) -> None:
        for kind, (places, sources) in self._copies.items():
            told = getattr(partials, kind)[:, sources]
            if kind in {"first", "last"}:
                values[:, places] = np.where(told > NEVER, (partials.as_of[:, None] - told) / DAY, np.nan)
            else:
                values[:, places] = told

    def _ratio_levels(self, ratios: list[tuple[int, Feature]]) -> list[tuple[Ints, Ints, Ints, Floats]]:
        """Ratios in rounds, each needing only what the rounds before it made."""
        waiting, levels = dict(ratios), []
        open_names = {f.name for f in waiting.values()}
        while waiting:
            ready = {p: f for p, f in waiting.items() if not open_names & set(f.of or ())}
            if not ready:
                raise ValueError(f"ratios that need one another: {', '.join(sorted(open_names))}")
            sides = np.array([[self._places[n] for n in f.of or ()] for f in ready.values()])
            scale = np.array([f.scale for f in ready.values()])
            levels.append((np.array(list(ready)), sides[:, 0], sides[:, 1], scale))
            open_names -= {f.name for f in ready.values()}
            waiting = {p: f for p, f in waiting.items() if p not in ready}
        return levels


def _mean(place: int, feature: Feature, plan: Plan) -> Step:
    total, count = plan.cell(feature), plan.cell(feature, counted=True)

    def step(values: Floats, partials: Partials) -> None:
        values[:, place] = partials.cells[:, total] / _some(partials.cells[:, count])

    return step


def _std(place: int, feature: Feature, plan: Plan) -> Step:
    total, count = plan.cell(feature), plan.cell(feature, counted=True)
    squares = plan.cell(feature, square=True)

    def step(values: Floats, partials: Partials) -> None:
        n = _some(partials.cells[:, count], 2)
        values[:, place] = _spread(partials.cells[:, total], partials.cells[:, squares], n)

    return step


def _spread(total: Ints, squares: Ints, n: Floats) -> Floats:
    """Population standard deviation from sums; NaN where the squares are too small to be true (overflow)."""
    mean = total / n
    variance = squares / n - mean * mean
    floor = -1e-9 * np.maximum(mean * mean, 1.0)
    return np.where(variance >= floor, np.sqrt(np.maximum(variance, 0.0)), np.nan)


def _some(count: Ints, least: int = 1) -> Floats:
    return np.where(count >= least, count.astype(np.float64), np.nan)


def _extreme(place: int, feature: Feature, plan: Plan) -> Step:
    source = plan.maximum(feature)
    sign = -1.0 if feature.aggregate == "min" else 1.0

    def step(values: Floats, partials: Partials) -> None:
        told = partials.maxima[:, source]
        values[:, place] = np.where(told > NEVER, told * sign + 0.0, np.nan)

    return step


def _quantile(place: int, feature: Feature, plan: Plan) -> Step:
    source = plan.histogram(feature)

    def step(values: Floats, partials: Partials) -> None:
        values[:, place] = quantile(partials.histograms[:, source], feature.quantile)

    return step


def _gaps(place: int, feature: Feature, plan: Plan) -> Step:
    source, kind = plan.day(feature), feature.aggregate

    def step(values: Floats, partials: Partials) -> None:
        days, total, squares = (partials.days[:, source, i] for i in range(3))
        if kind == "active_days":
            values[:, place] = days
        elif kind == "gap_mean":
            values[:, place] = total / _some(days - 1)
        else:
            values[:, place] = _spread(total, squares, _some(days - 1, 2))

    return step


def _hour(place: int, feature: Feature, plan: Plan) -> Step:
    source = [i for i, group in enumerate(plan.hours) if group.cells == 24].index(plan.hour(feature))
    peak = feature.aggregate == "peak_hour"

    def step(values: Floats, partials: Partials) -> None:
        counts = partials.hours[:, source]
        total = _some(counts.sum(axis=1))
        if peak:
            values[:, place] = np.where(total > 0, counts.argmax(axis=1), np.nan)
            return
        x, y = ((counts * part).cumsum(axis=1)[:, -1] for part in (_COSINES, _SINES))  # in order: the same bits
        values[:, place] = np.sqrt(x * x + y * y) / total

    return step


def _breadth(place: int, feature: Feature, plan: Plan) -> Step:
    source, share = plan.category(feature), feature.aggregate == "top_share"

    def step(values: Floats, partials: Partials) -> None:
        distinct, largest, total = (partials.categories[:, source, i] for i in range(3))
        values[:, place] = largest / _some(total) if share else distinct

    return step


def _until(place: int, feature: Feature, plan: Plan) -> Step:
    source = plan.trait(feature)

    def step(values: Floats, partials: Partials) -> None:
        told = partials.traits[:, source]
        known = np.flatnonzero(told == told)
        if len(known):
            values[known, place] = _days_until(partials.as_of[known], told[known].astype(np.int64))

    return step


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


_SINGLE: Mapping[str, Callable[[int, Feature, Plan], Step]] = {
    "mean": _mean,
    "std": _std,
    "max": _extreme,
    "min": _extreme,
    "quantile": _quantile,
    "active_days": _gaps,
    "gap_mean": _gaps,
    "gap_std": _gaps,
    "peak_hour": _hour,
    "hour_concentration": _hour,
    "distinct": _breadth,
    "top_share": _breadth,
    "days_until": _until,
}
