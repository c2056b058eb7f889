"""How a feature is declared: once, for batch and for one event at a time.

Windows follow Chronon's rule (https://chronon.ai, "Windows"): exact at the head, at the tail floored to a hop
of 1 day for windows of 12 days and more, 1 hour for 12 hours and more, else 5 minutes. So a window of 30 days
as of T covers [floor(T - 30 days, 1 day), T), and tiles of one hop are enough to serve any later T.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
HOPS = (5 * MINUTE, HOUR, DAY)
"""Tile lengths in microseconds, finest first."""

AGGREGATES = frozenset(
    {
        "count",  # events
        "sum",  # of a column, exact (integers)
        "max",  # of a column in a window
        "min",
        "mean",  # of a column over the events that match
        "std",  # population standard deviation of a column
        "last",  # latest value of a trait
        "days_since_last",  # days from the latest match to as_of
        "days_since_first",
        "days_until",  # from as_of to the next yearly return of a trait that holds a date
        "distinct",  # product categories ordered, by when each was last seen
        "top_share",  # share of the most ordered category
        "quantile",  # of a column, from a histogram with four bins to each doubling
        "gap_mean",  # days between days with a match
        "gap_std",
        "active_days",  # days (UTC) with a match
        "peak_hour",  # local hour of the day with most matches, all time
        "peak_weekday",  # local day of the week with most matches, all time; 0 is Monday
        "hour_concentration",  # length of the mean direction of the local hours, 0 spread to 1 all the same
        "ratio",  # of two other features
        "shrunk_rate",  # of two other features of an offer, drawn to the rate of its category (shrinkage.py)
        "days_to",  # from as_of to a time that an offer names; negative after it
        "text",  # one number of a text's vector, or of the mean vector of several (texts.py)
    }
)
_WITHOUT_EVENTS = frozenset({"ratio", "last", "days_until", "shrunk_rate", "days_to", "text"})
COLUMNS = frozenset({"revenue_cents", "discount_cents", "gross_cents", "quantity", "lines", "weekend", "discounted"})
"""Numbers that every event has (0 where it says nothing); all are integers."""
REVENUE = frozenset({"revenue_cents", "gross_cents"})
"""Of these, means, spreads, quantiles and extremes leave out events whose revenue is not known."""
LOCATED = ("country", "region", "city")
"""What is read of `context.location`."""
LOCATION = "_location"
"""Under this name it stands among the traits that an event tells."""
READINGS = frozenset(
    {
        "number",  # a number, the first one in a text, or the place among `levels`
        "words",  # the highest of `levels` that the text names in whole words
        "country",  # ISO 3166 letters or an English name, see codes.py
        "area",  # the beginning of a postal code
        "label",  # any text, as a number without order
        "utc_offset",  # of the event's time zone when it happened, in hours
    }
)
"""How `last` reads a trait."""


class DeclarationError(ValueError):
    """A feature is declared wrongly; the message says which and how to mend it."""


def hop_of(window_us: int) -> int:
    """The tile length for a window, both in microseconds (Chronon's rule)."""
    if window_us >= 12 * DAY:
        return DAY
    return HOUR if window_us >= 12 * HOUR else 5 * MINUTE


def tail_of(as_of_us: int, window_us: int) -> int:
    """The first microsecond that a window counts, as of a time."""
    hop = hop_of(window_us)
    return (as_of_us - window_us) // hop * hop


@dataclass(frozen=True, slots=True)
class Events:
    """Which events a feature counts: by verb (see vocabulary.py) or event name, channel, and who did it.

    `human` True leaves out machine opens and scanner clicks, False keeps nothing else, None keeps both. `priced`
    leaves out events whose revenue is not known (not said, or in a currency without a rate).
    """

    verbs: tuple[str, ...]
    channels: tuple[str, ...] = ()
    human: bool | None = None
    priced: bool = False

    def match(self, verb: str, channel: str | None, machine: bool, priced: bool) -> bool:
        if verb not in self.verbs or (self.human is not None and machine is self.human) or (self.priced and not priced):
            return False
        return not self.channels or channel in self.channels


@dataclass(frozen=True, slots=True)
class Feature:
    """A number known of a customer as of a time; NaN where there is nothing to know it from.

    `sentence` is a format string over all features, for reasons in words; empty, it is never a reason. `also` are
    further names of the trait in `column` (`address.country` is inside `address`); the first that can be read counts.
    A level may have several words, `intern|trainee`. `place` is which number of a text's vector it is. `located` is
    what of an event's `context.location` (country, region, city) counts where no profile says the trait.
    """

    name: str
    aggregate: str
    description: str
    sentence: str
    unit: str
    events: Events | None = None
    column: str | None = None
    window_days: float | None = None
    of: tuple[str, str] | None = None
    scale: float = 1.0
    quantile: float = 0.5
    levels: tuple[str, ...] = field(default=())
    also: tuple[str, ...] = field(default=())
    reading: str = "number"
    place: int = 0
    located: str | None = None

    def __post_init__(self) -> None:
        if self.aggregate not in AGGREGATES:
            raise DeclarationError(f"{self.name}: no aggregate {self.aggregate}; use {', '.join(sorted(AGGREGATES))}")
        if self.aggregate in {"ratio", "shrunk_rate"} and self.of is None:
            raise DeclarationError(f"{self.name}: a ratio needs `of`, the names of two other features")
        if self.aggregate in {"sum", "max", "min", "mean", "std", "quantile"} and self.column not in COLUMNS:
            raise DeclarationError(f"{self.name}: no column {self.column}; use {', '.join(sorted(COLUMNS))}")
        if self.aggregate in {"last", "days_until"} and not self.column:
            raise DeclarationError(f"{self.name}: `column` must name a trait")
        if self.reading not in READINGS:
            raise DeclarationError(f"{self.name}: no reading {self.reading}; use {', '.join(sorted(READINGS))}")
        if self.located is not None and (self.aggregate != "last" or self.located not in LOCATED):
            raise DeclarationError(f"{self.name}: `located` is {', '.join(LOCATED)}, for the aggregate last")
        if self.aggregate not in _WITHOUT_EVENTS and self.events is None:
            raise DeclarationError(f"{self.name}: `events` must say which events count")
        if self.window_days is not None and self.window_days <= 0:
            raise DeclarationError(f"{self.name}: a window must be longer than nothing")

    @property
    def window_us(self) -> int | None:
        return None if self.window_days is None else round(self.window_days * DAY)


def over(days: Sequence[float | None], feature: Feature) -> tuple[Feature, ...]:
    """The same feature over several windows (None: all time). `{d}` in its texts becomes the window in words."""
    return tuple(_windowed(feature, d) for d in days)


def _windowed(feature: Feature, days: float | None) -> Feature:
    suffix = "total" if days is None else f"{days:g}d"
    words = "in all time" if days is None else "in the last day" if days == 1 else f"in the last {days:g} days"
    name = f"{feature.name}_{suffix}"
    return replace(
        feature,
        name=name,
        window_days=days,
        description=feature.description.replace("{d}", words),
        sentence=feature.sentence.replace("{name", "{" + name).replace("{d}", words),
    )
