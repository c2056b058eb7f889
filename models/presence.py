"""When people are there: a few types of weeks, and a person's own week, shrunk to the mix of types that fits.

Types are a mixture of multinomials, learnt by expectation maximization (Nigam et al. 2000, section 4); a person's week
is shrunk to its mix by a Dirichlet prior (empirical Bayes). Responses are seen only where something was sent, so theirs
count relative to what the hours of their own sends made possible (a conditional logit).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from features.rows import CustomerRow
from models.week import FEW, HOURS, TINY, WEEKEND, after, exposure, mixture, products, spread

Floats = npt.NDArray[np.float64]
OPEN_WORTH = 0.25
"""A human open counts for a quarter of a click: many are glances, and some are machines that nobody found out."""


@dataclass(frozen=True, slots=True)
class Presence:
    """Types of weeks: `profiles` (types, 168), each sums to 1, with their `shares`; `everyone` is their mean.

    `own` is the Dirichlet prior's weight in observations; `lag` (24,) the distribution of hours until a response.
    Responses follow presence only so far, by presence ^ `answers`: an open takes a glance, an order takes time.
    A visit tells as much of presence as `visits` orders. `days` (types, 2): by how much a type answers on working days
    and at weekends beyond what its presence and everyone's answers tell; None: by nothing.
    Made of these: `met`, what a message meets of everyone's presence, and `answers` and `own` as `numbers`.
    """

    profiles: Floats
    shares: Floats
    own: float
    lag: Floats
    answers: float = 1.0
    visits: float = 0.0
    days: Floats | None = None
    everyone: Floats = field(init=False, repr=False)
    met: Floats = field(init=False, repr=False)
    log_profiles: Floats = field(init=False, repr=False)
    log_shares: Floats = field(init=False, repr=False)
    answering: Floats = field(init=False, repr=False)
    numbers: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        everyone = mixture(self.shares, self.profiles)
        known = {"everyone": everyone, "met": np.maximum(after(everyone, self.lag), TINY),
                 "log_profiles": np.log(np.maximum(self.profiles, TINY)),
                 "log_shares": np.log(np.maximum(self.shares, TINY)),
                 "answering": np.maximum(self.profiles, TINY) ** self.answers,
                 "numbers": np.array([self.answers, self.own])}  # fmt: skip
        for name, value in known.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True, slots=True)
class Habits:
    """A customer on any channel: own `presence` (168,), `ratio` (168,): how much more of it a message meets than of
    everyone's, sharpened, and what its types answer by kind of day; evidence in events; weights of the types.
    """

    presence: Floats
    ratio: Floats
    events: float
    types: Floats


def habits_of(known: Presence, sharpness: float, rows: Sequence[CustomerRow | None]) -> list[Habits | None]:
    """The habits of each row, at once: the same numbers as one by one. None where nothing is known."""
    found: list[Habits | None] = [None] * len(rows)
    told = [(place, row) for place, row in enumerate(rows) if row is not None]
    for start in range(0, len(told), FEW):
        some = told[start : start + FEW]
        for (place, _), habits in zip(some, _some(known, sharpness, [row for _, row in some]), strict=True):
            found[place] = habits
    return found


def _some(known: Presence, sharpness: float, rows: Sequence[CustomerRow]) -> list[Habits]:
    weeks = [weeks_of(row, known.visits) for row in rows]
    activity, sends, responses = (np.stack([one[kind] for one in weeks]) for kind in range(3))
    exposed = exposure(sends, known.lag)
    types = type_weights(known, activity, responses, exposed)
    own = own_presence(known, types, activity, responses, exposed)
    ratio = ratio_of(known, sharpness, own, types)
    events = (activity.sum(axis=-1) + responses.sum(axis=-1)).tolist()
    return [Habits(*told) for told in zip(own, ratio, events, types, strict=True)]


def ratio_of(presence: Presence, sharpness: float, own: Floats, types: Floats) -> Floats:
    """How much more of the own presence (…, 168) a message meets than of everyone's, sharpened, and what the types
    (…, types) answer by kind of day.
    """
    met = (after(own, presence.lag) / presence.met) ** sharpness
    return met if presence.days is None else met * answered_by_day(presence.days, types)[..., WEEKEND]


def answered_by_day(days: Floats, types: Floats) -> Floats:
    """`Presence.days` of a mix of types (…, types): (…, 2)."""
    return np.asarray(np.add.reduce(types[..., None] * days, axis=-2), np.float64)


def weeks_of(row: CustomerRow, visits: float) -> tuple[Floats, Floats, Floats]:
    """Activity in orders, sends and responses of a row on all channels, each (168,); a visit counts for `visits`."""
    sends, responses = np.zeros(HOURS), np.zeros(HOURS)
    for hours in row.response_hours.values():
        sends += hours.sends
        responses += hours.clicks + OPEN_WORTH * hours.opens
    return row.order_hours + visits * row.visit_hours, sends, responses


def counts_on(row: CustomerRow, channel: str) -> Floats:
    """(3,): deliveries, clicks and opens on a channel."""
    hours = row.response_hours.get(channel)
    return np.zeros(3) if hours is None else np.array([float(week.sum()) for week in hours])


def type_weights(presence: Presence, activity: Floats, responses: Floats, exposed: Floats) -> Floats:
    """P(type | events), shape (…, types), of own activity in orders and exposure-corrected responses (…, 168)."""
    possible = np.log(np.maximum(products(exposed, presence.answering), TINY))
    told = products(activity + presence.answers * responses, presence.log_profiles)
    score = told - responses.sum(axis=-1, keepdims=True) * possible + presence.log_shares
    score = np.exp(score - score.max(axis=-1, keepdims=True))
    return np.asarray(score / score.sum(axis=-1, keepdims=True), np.float64)


def own_presence(presence: Presence, types: Floats, activity: Floats, responses: Floats, exposed: Floats) -> Floats:
    """The person's presence (…, 168): the mix of types, times what the person did over what was to be expected.

    Expected are as much activity as the mix has in each hour, and the responses that it gives to these sends; both
    counts and expectations are spread over neighbouring hours, and `own` observations of the mix are added to both
    (a gamma prior on their ratio, of mean 1). A response counts for `answers` of an event.
    """
    mix = np.maximum(mixture(types, presence.profiles), TINY)
    followed = exposed * mix**presence.answers
    answered = presence.answers * responses
    share = answered.sum(axis=-1, keepdims=True) / np.maximum(followed.sum(axis=-1, keepdims=True), TINY)
    expected = activity.sum(axis=-1, keepdims=True) * mix + share * followed
    seen, due = spread(np.stack([activity + answered, expected]))
    own = mix * (presence.own * mix + seen) / (presence.own * mix + due)
    return np.asarray(own / own.sum(axis=-1, keepdims=True), np.float64)
