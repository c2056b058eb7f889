"""A feature set compiled: which partial sums are kept, under which keys, and where each feature finds its own.

Batch (prefix sums) and online (tiles) both compute the same `Partials`, all integers, from the same plan, and
`finalize.py` turns them into features. That is why the two agree.

The key space of partial sums, in order: sums (counts and columns), histogram bins, maxima, traits, local hours,
and after them one key for each product category that a customer has.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from features.currencies import CURRENCIES
from features.declare import DAY, HOPS, LOCATION, REVENUE, DeclarationError, Events, Feature, hop_of
from features.default_zone import DEFAULT_ZONE
from features.feature_set import FeatureSet
from features.histogram import BINS
from features.vocabulary import NO_CHANNEL, TOLD_APART, Vocabulary

_T = TypeVar("_T")
_Hour = TypeVar("_Hour", int, NDArray[np.int64])
LAYOUT = 6
"""Raised when the meaning of packed rows changes."""
WEEK = 168
KEYS = 1 << 16
"""Packed rows tell keys by 16 bits."""
CATEGORIES, FEWEST_CATEGORIES = 60_000, 5_000
"""Categories of a customer that a row has room for (further ones are left out); where features take more, so few."""
CATEGORY_DAYS = 730
"""A category is remembered this long after its last order."""
AFFINITY_WINDOWS = (90 * DAY, 365 * DAY)
ORDERED = Events(("ordered",))
VIEWED = Events(("product_viewed",))
VIEW = 1 << 32
"""What a view adds to the sum of a product category; an order adds 1: two counts in one number."""
ORDERS = VIEW - 1
"""The bits of such a sum that count orders."""
PLACES: tuple[str | None, ...] = (*TOLD_APART, None)
VISITED = Events(
    ("product_viewed", "product_added", "cart_viewed", "checkout_started", "page_viewed", "app_opened"), human=True
)
GRID_CHANNELS = tuple("unknown" if place is None else place for place in PLACES)


@dataclass(frozen=True, slots=True)
class Sum:
    """A sum over matching events: of 1 (column None), of a column, or of its square."""

    events: Events
    column: str | None = None
    square: bool = False


@dataclass(frozen=True, slots=True)
class Histogram:
    events: Events
    column: str


@dataclass(frozen=True, slots=True)
class Maximum:
    """The largest value of a column; of its negative for a minimum."""

    events: Events
    column: str
    negative: bool = False


@dataclass(frozen=True, slots=True)
class Hours:
    """Counts by local hour: of the day (24 cells) or of the week (168); or by day of the week (7 of 24 cells)."""

    events: Events
    cells: int
    channel: int | None = None
    weekday: bool = False

    def cell(self, hour: _Hour) -> _Hour:
        """The cell of a local hour of the week, of one or of an array."""
        return hour // 24 if self.weekday else hour % self.cells


@dataclass(frozen=True, slots=True)
class Trait:
    """A trait by its names, and how it is read as a number (declare.READINGS, or `date`: month * 100 + day)."""

    names: tuple[str, ...]
    reading: str = "number"
    levels: tuple[str, ...] = ()


class Plan:
    """What a FeatureSet needs. Indices below are places in the lists of the same name."""

    def __init__(self, features: FeatureSet) -> None:
        self.features = features
        named = [verb for f in features.features if f.events for verb in f.events.verbs]
        self.vocabulary = Vocabulary(tuple(named))
        self._matches: dict[tuple[Events, int | None], NDArray[np.bool_]] = {}
        self.sums: list[Sum] = []
        self.histograms: list[Histogram] = []
        self.maxima: list[Maximum] = []
        self.traits: list[Trait] = []
        self.hours: list[Hours] = [Hours(ORDERED, WEEK), Hours(VISITED, WEEK)]
        self.tracked: list[int] = []  # sums whose first and last times are kept
        self.days: list[tuple[int, int]] = []  # (sum, window): distinct days
        self.cells: list[tuple[int, int | None]] = []  # (sum, window or None for all time)
        self.histogram_cells: list[tuple[int, int]] = []
        self.maximum_cells: list[tuple[int, int]] = []
        self.category_windows: list[int] = list(AFFINITY_WINDOWS)
        for place in range(NO_CHANNEL + 1):
            self.hours.append(Hours(Events(("delivered",)), WEEK, place))
            self.hours.append(Hours(Events(("clicked",), human=True), WEEK, place))
            self.hours.append(Hours(Events(("opened",), human=True), WEEK, place))
        for feature in features.features:
            self._plan(feature)
        self._lay_out()

    def _plan(self, f: Feature) -> None:
        match f.aggregate:
            case "count" | "sum":
                self.cell(f)
            case "mean":
                self.cell(f)
                self.cell(f, counted=True)
            case "std":
                self.cell(f)
                self.cell(f, counted=True)
                self.cell(f, square=True)
            case "days_since_last" | "days_since_first":
                self.track(f)
            case "quantile":
                self.histogram(f)
            case "max" | "min":
                self.maximum(f)
            case "last" | "days_until":
                self.trait(f)
                if f.located is not None:
                    self.seen(f)
            case "gap_mean" | "gap_std" | "active_days":
                self.day(f)
            case "peak_hour" | "peak_weekday" | "hour_concentration":
                self.hour(f)
            case "distinct" | "top_share":
                self.category(f)

    # Each of these gives the place of what a feature needs, adding it the first time.
    def cell(self, f: Feature, *, counted: bool = False, square: bool = False) -> int:
        column = None if counted or f.aggregate == "count" else f.column
        events = _known(f) if counted else _events(f)
        return _place(self.cells, (_place(self.sums, Sum(events, column, square)), f.window_us))

    def track(self, f: Feature) -> int:
        return _place(self.tracked, _place(self.sums, Sum(_events(f))))

    def histogram(self, f: Feature) -> int:
        source = _place(self.histograms, Histogram(_known(f), f.column or ""))
        return _place(self.histogram_cells, (source, _window(f)))

    def maximum(self, f: Feature) -> int:
        source = _place(self.maxima, Maximum(_known(f), f.column or "", f.aggregate == "min"))
        return _place(self.maximum_cells, (source, _window(f)))

    def trait(self, f: Feature) -> int:
        reading = "date" if f.aggregate == "days_until" else f.reading
        return _place(self.traits, Trait((f.column or "", *f.also), reading, f.levels))

    def seen(self, f: Feature) -> int:
        """The trait that events' locations tell."""
        return _place(self.traits, Trait((f"{LOCATION}.{f.located}",), f.reading, f.levels))

    def day(self, f: Feature) -> int:
        if hop_of(_window(f)) != DAY:
            raise DeclarationError(f"{f.name}: {f.aggregate} needs a window of 12 days or more")
        return _place(self.days, (_place(self.sums, Sum(_events(f))), _window(f)))

    def hour(self, f: Feature) -> int:
        return _place(self.hours, Hours(_events(f), 24, weekday=f.aggregate == "peak_weekday"))

    def category(self, f: Feature) -> int:
        if _events(f) != ORDERED or _window(f) > CATEGORY_DAYS * DAY or hop_of(_window(f)) != DAY:
            raise DeclarationError(f"{f.name}: {f.aggregate} is of orders, over 12 to {CATEGORY_DAYS} days")
        return _place(self.category_windows, _window(f))

    def _lay_out(self) -> None:
        self.offset = next((i for i, trait in enumerate(self.traits) if trait.reading == "utc_offset"), None)
        """The trait that events tell by their time zone, if a feature asks for it."""
        self.windows: list[int] = sorted(
            {w for _, w in (*self.cells, *self.histogram_cells, *self.maximum_cells, *self.days) if w}
            | set(self.category_windows)
        )
        self.window_index = {w: i for i, w in enumerate(self.windows)}
        self.histogram_base = len(self.sums)
        self.maximum_base = self.histogram_base + BINS * len(self.histograms)
        self.trait_base = self.maximum_base + len(self.maxima)
        self.hour_bases: list[int] = []
        at = self.trait_base + len(self.traits)
        for group in self.hours:
            self.hour_bases.append(at)
            at += group.cells
        self.hour_base = self.trait_base + len(self.traits)
        self.day_hour_base = self.hour_base + sum(g.cells for g in self.hours if g.cells == WEEK)
        self.category_base, self.categories = at, min(CATEGORIES, KEYS - at)
        if self.categories < FEWEST_CATEGORIES:
            raise DeclarationError(
                f"these features keep {at:,} sums of a customer, and {KEYS - FEWEST_CATEGORIES:,} fit; declare fewer: "
                f"a quantile of other events or another column takes {BINS}, a peak hour or concentration 24"
            )
        self.category_tails = [self.window_index[w] for w in self.category_windows]
        self._lay_out_windows()
        self.cell_keys: NDArray[np.int64] = np.array([key for key, _ in self.cells], dtype=np.int64)
        self.cell_windows: NDArray[np.int64] = np.array(
            [len(self.windows) if w is None else self.window_index[w] for _, w in self.cells], dtype=np.int64
        )
        self.maximum_keys: NDArray[np.int64] = self.maximum_base + np.array(
            [source for source, _ in self.maximum_cells], dtype=np.int64
        )
        self.maximum_windows: NDArray[np.int64] = np.array(
            [self.window_index[w] for _, w in self.maximum_cells], dtype=np.int64
        )
        self.tracked_place: NDArray[np.int64] = np.full(at + 1, -1)
        self.tracked_place[self.tracked] = np.arange(len(self.tracked))
        self.signature = xxh3_64_intdigest(repr(self._layout()).encode())

    def _layout(self) -> tuple[object, ...]:
        parts = (self.sums, self.histograms, self.maxima, self.traits, self.hours, self.tracked)
        zone = () if DEFAULT_ZONE == "UTC" else (DEFAULT_ZONE,)
        reach = self.reach.tolist(), self.kept.tolist()
        return (LAYOUT, BINS, CATEGORY_DAYS, CURRENCIES, *zone, self.windows, *parts, *reach)

    def _lay_out_windows(self) -> None:
        """`reach[key, h]`: the longest window of that key with hop h; `kept`: needs an all-time sum."""
        self.reach: NDArray[np.int64] = np.zeros((self.category_base + 1, len(HOPS)), dtype=np.int64)
        self.kept: NDArray[np.bool_] = np.zeros(self.category_base + 1, dtype=np.bool_)
        self.kept[self.hour_base : self.category_base] = True
        spans = [(s, w) for s, w in (*self.cells, *self.days) if w]
        spans += [(self.histogram_base + BINS * h + b, w) for h, w in self.histogram_cells for b in range(BINS)]
        spans += [(self.maximum_base + m, w) for m, w in self.maximum_cells]
        spans += [(self.category_base, w) for w in self.category_windows]
        for key, window in spans:
            hop = HOPS.index(hop_of(window))
            self.reach[key, hop] = max(self.reach[key, hop], window)
        self.kept[[key for key, window in self.cells if window is None]] = True

    def matches(self, events: Events, channel: int | None = None) -> NDArray[np.bool_]:
        """For every event code, whether it matches (and has that channel place)."""
        if (events, channel) not in self._matches:
            told = [self.vocabulary.parts(code) for code in range(self.vocabulary.codes)]
            self._matches[events, channel] = np.array(
                [events.match(*part) and (channel is None or part[1] == PLACES[channel]) for part in told],
                dtype=np.bool_,
            )
        return self._matches[events, channel]


@lru_cache(maxsize=8)
def plan_of(features: FeatureSet) -> Plan:
    """The plan of a feature set, made once."""
    return Plan(features)


def _place(items: list[_T], item: _T) -> int:
    if item not in items:
        items.append(item)
    return items.index(item)


def _events(f: Feature) -> Events:
    if f.events is None:
        raise DeclarationError(f"{f.name}: `events` must say which events count")
    return f.events


def _known(f: Feature) -> Events:
    """Its events that say the number in its column; what says none is not a zero."""
    return replace(_events(f), priced=True) if f.column in REVENUE else _events(f)


def _window(f: Feature) -> int:
    if f.window_us is None:
        raise DeclarationError(f"{f.name}: {f.aggregate} needs `window_days`")
    return f.window_us
