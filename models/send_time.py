"""The best hour to send: a person's presence over the hours of the week, shrunk from everyone to type to person.

Presence (when somebody orders, looks around, clicks or opens) is a mixture of a few types of weeks, learnt by
expectation maximization (mixture of multinomials, Nigam et al. 2000, section 4); a person is the mix of types that
fits, then shrunk to it by a Dirichlet prior (empirical Bayes). Responses are seen only where something was sent, so
theirs count relative to what the hours of their own sends made possible (a conditional logit). All counts forget.

    P(respond | sent at h) = channel(h) * person * (presence after h of the person / of everyone) ^ sharpness
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from features.default_zone import known_zone
from features.rows import CustomerRow
from models.load import MANIFEST, need
from models.week import FEW, HOURS, TINY, after, exposure, mixture, products, spread
from models.week_summary import summary

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
FORMAT = 1
LONGEST = timedelta(days=92)
_HOUR, _MINUTE = timedelta(hours=1), timedelta(minutes=1)
MINUTES_FROM = 1973
OPEN_WORTH = 0.25
"""A human open counts for a quarter of a click: many are glances, and some are machines that nobody found out."""
_NO_HOURS = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class SendTime:
    """An hour to send in. `probability` of a human response; `lift_over_default` is relative to the channel's default
    hour (0.2: a fifth more); `confidence` is the share of it that the person's own behaviour speaks for (0 to 1), by
    itself or by telling the type.

    `basis`: person, type (of week) or everyone, whichever weighs most. `zone` is the zone that was used and
    `fallback` names why it is not the customer's (`zone_unknown`, `zone_invalid`), else None.
    """

    start: datetime
    probability: float
    lift_over_default: float
    confidence: float
    basis: str = "everyone"
    zone: str = "UTC"
    fallback: str | None = None


@dataclass(frozen=True, slots=True)
class ChannelCurve:
    """A channel, pooled over everyone: `rate` (168,) of human response by local hour of sending, `usual`: its mean.

    `engagement` is responses per delivery, as customers' rows count them: clicks, and opens at OPEN_WORTH.
    """

    rate: Floats
    usual: float
    engagement: float
    default_hour: int


@dataclass(frozen=True, slots=True)
class Presence:
    """Types of weeks: `profiles` (types, 168), each sums to 1, with their `shares`; `everyone` is their mean.

    `own` is the Dirichlet prior's weight in observations; `lag` (24,) the distribution of hours until a response.
    Responses follow presence only so far, by presence ^ `answers`: an open takes a glance, an order takes time.
    A visit tells as much of presence as `visits` orders.
    Made of these: `met`, what a message meets of everyone's presence.
    """

    profiles: Floats
    shares: Floats
    own: float
    lag: Floats
    answers: float = 1.0
    visits: float = 0.0
    everyone: Floats = field(init=False, repr=False)
    met: Floats = field(init=False, repr=False)
    log_profiles: Floats = field(init=False, repr=False)
    answering: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        everyone = mixture(self.shares, self.profiles)
        known = {"everyone": everyone, "met": np.maximum(after(everyone, self.lag), TINY),
                 "log_profiles": np.log(np.maximum(self.profiles, TINY)),
                 "answering": np.maximum(self.profiles, TINY) ** self.answers}  # fmt: skip
        for name, value in known.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True, slots=True)
class Habits:
    """A customer on any channel: own `presence` (168,), `ratio` (168,): how much more of it a message meets than of
    everyone's, sharpened; evidence in events; weights of the types.
    """

    presence: Floats
    ratio: Floats
    events: float
    types: Floats


@dataclass(frozen=True, slots=True)
class Person:
    """What the model makes of a customer: presence (168,), response relative to everyone's, evidence in events."""

    presence: Floats
    level: float
    events: float
    types: Floats


@dataclass(frozen=True, slots=True)
class SendTimeModel:
    """The trained priors and pooled curves. `sharpness` is the exponent above, `level_prior` the deliveries' worth of
    everyone's response that a person's own is shrunk with.
    """

    channels: Mapping[str, ChannelCurve]
    presence: Presence
    sharpness: float
    level_prior: float
    default_zone: str = "UTC"
    trained: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""

    @property
    def name(self) -> str:
        return "send-time"

    @property
    def columns(self) -> tuple[str, ...]:
        return ("channel", "hour_of_week")

    @classmethod
    def untrained(cls) -> SendTimeModel:
        """The documented fallback without data: daytime twice as good as night, ten o'clock by default."""
        hour = np.arange(HOURS) % 24
        flat = np.where((hour >= 9) & (hour < 21), 2.0, 1.0)
        lag = np.zeros(24)
        lag[:3] = (0.6, 0.3, 0.1)
        presence = Presence((flat / flat.sum())[None, :], np.ones(1), 30.0, lag)
        return cls({}, presence, 0.5, 20.0, trained={"on": "nothing"}, version="untrained")

    def predict(self, frame: pl.DataFrame) -> Floats:
        """Everyone's probability of responding, shape (n,), for `channel` and local `hour_of_week`."""
        need(frame, self.columns, self.name)
        pairs = zip(frame["channel"].to_list(), frame["hour_of_week"].to_list(), strict=True)
        return np.array([self.curve(channel).rate[int(hour) % HOURS] for channel, hour in pairs], np.float64)

    def curve(self, channel: str) -> ChannelCurve:
        """The channel's pooled curve; for one never sent on, everyone's presence at the mean rate of the others."""
        known = self.channels.get(channel)
        return known if known is not None else _unseen(self)

    def habits(self, row: CustomerRow | None) -> Habits | None:
        """What holds of a customer on every channel; None where nothing is known. For `rank` on several channels."""
        return self.habits_of([row])[0]

    def habits_of(self, rows: Sequence[CustomerRow | None]) -> list[Habits | None]:
        """`habits` of each row, at once: the same numbers as one by one."""
        found: list[Habits | None] = [None] * len(rows)
        known = [(place, row) for place, row in enumerate(rows) if row is not None]
        for start in range(0, len(known), FEW):
            some = known[start : start + FEW]
            for (place, _), habits in zip(some, self._some_habits([row for _, row in some]), strict=True):
                found[place] = habits
        return found

    def _some_habits(self, rows: Sequence[CustomerRow]) -> list[Habits]:
        known = self.presence
        answers = [_all_channels(row) for row in rows]
        sends, responses = (np.stack([pair[side] for pair in answers]) for side in (0, 1))
        orders, visits = np.stack([row.order_hours for row in rows]), np.stack([row.visit_hours for row in rows])
        activity = orders + known.visits * visits
        exposed = exposure(sends, known.lag)
        types = type_weights(known, activity, responses, exposed)
        own = own_presence(known, types, activity, responses, exposed)
        ratio = (after(own, known.lag) / known.met) ** self.sharpness
        events = (activity.sum(axis=-1) + responses.sum(axis=-1)).tolist()
        return [Habits(*told) for told in zip(own, ratio, events, types, strict=True)]

    def inputs(self, rows: Sequence[CustomerRow | None]) -> dict[str, Floats]:
        """What the model looks at in each row (n,), as few numbers, for telling whether it moves; NaN where unknown."""
        return summary(rows)

    def best_chances(self, rows: Sequence[CustomerRow | None]) -> list[float | None]:
        """P(response) of each at their best hour of the week, the mean over channels; None for nobody known."""
        return [None if row is None else self._best_chance(row) for row in rows]

    def _best_chance(self, row: CustomerRow) -> float:
        known, channels = self.habits(row), sorted(self.channels) or ["email"]
        return float(np.mean([self.probabilities(row, channel, known)[0].max() for channel in channels]))

    def person(self, row: CustomerRow | None, channel: str, habits: Habits | None = None) -> Person:
        """Presence and level of a customer; everyone's where nothing is known."""
        if row is None:
            return Person(self.presence.everyone, 1.0, 0.0, self.presence.shares)
        known = habits or self.habits(row)
        assert known is not None
        return Person(known.presence, self._level(row, channel), known.events, known.types)

    def probabilities(
        self, row: CustomerRow | None, channel: str, habits: Habits | None = None
    ) -> tuple[Floats, Person]:
        """P(human response) of a message on `channel` by the local hour of sending (168,), and the person."""
        known = habits or self.habits(row)
        person, curve = self.person(row, channel, known), self.curve(channel)
        ratio = 1.0 if known is None else known.ratio
        return _chances(curve.rate, person.level, ratio), person

    def rank(
        self,
        row: CustomerRow | None,
        channel: str,
        zone: str | None,
        start: datetime,
        end: datetime,
        n: int,
        allowed: Callable[[datetime], bool] = lambda _: True,
        habits: Habits | None = None,
    ) -> list[SendTime]:
        """The `n` best allowed local hours in [start, end), best first, equal ones in order of time.

        `start` and `end` are aware; `allowed` is asked with the UTC start of an hour. A window without a whole
        hour offers its start. Raises ValueError for naive times and for windows of more than 92 days. `habits` are
        the row's, if they are known already.
        """
        used, fallback = self._zone(zone)
        times, hours = hours_between(start, end, used)
        if not times or n <= 0:
            return []
        chances, person = self.probabilities(row, channel, habits)
        usual = float(np.mean(chances[self.curve(channel).default_hour :: 24]))
        confidence, basis = _confidence(person, self.presence)
        found: list[SendTime] = []
        each = chances[hours]
        for place in np.argsort(-each, kind="stable").tolist():
            if allowed(times[place]):
                chance = float(each[place])
                lift = chance / usual - 1
                found.append(SendTime(times[place], chance, lift, round(confidence, 4), basis, used, fallback))
                if len(found) == n:
                    break
        return found

    def best_place(self, row: CustomerRow | None, channel: str, hours: Ints, habits: Habits | None = None) -> int:
        """The place of the best of these local hours of the week, at least one; of equal ones the first.

        What `rank` puts first, where nothing more is asked.
        """
        known = habits or self.habits(row)
        rate, level = self.curve(channel).rate[hours], 1.0 if row is None else self._level(row, channel)
        return int(_chances(rate, level, 1.0 if known is None else known.ratio[hours]).argmax())

    def _zone(self, zone: str | None) -> tuple[str, str | None]:
        if not zone:
            return self.default_zone, "zone_unknown"
        return (zone, None) if known_zone(zone) else (self.default_zone, "zone_invalid")

    def _level(self, row: CustomerRow, channel: str) -> float:
        """The person's responses over those that as many deliveries bring on average, shrunk towards 1."""
        hours, usual = row.response_hours.get(channel), self.curve(channel).engagement
        if hours is None or usual <= 0:
            return 1.0
        prior, responses = self.level_prior * usual, hours.clicks.sum() + OPEN_WORTH * hours.opens.sum()
        return float((prior + responses) / (prior + usual * hours.sends.sum()))

    def save(self, folder: Path) -> None:
        """Writes model.json into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        manifest = {
            "format": FORMAT,
            "kind": "send-time",
            "name": self.name,
            "channels": {
                channel: {
                    "rate": curve.rate.tolist(),
                    "usual": curve.usual,
                    "engagement": curve.engagement,
                    "default_hour": curve.default_hour,
                }
                for channel, curve in sorted(self.channels.items())
            },
            "profiles": self.presence.profiles.tolist(),
            "shares": self.presence.shares.tolist(),
            "own": self.presence.own,
            "lag": self.presence.lag.tolist(),
            "answers": self.presence.answers,
            "visits": self.presence.visits,
            "sharpness": self.sharpness,
            "level_prior": self.level_prior,
            "default_zone": self.default_zone,
            "trained": dict(self.trained),
        }
        (folder / MANIFEST).write_text(json.dumps(manifest))

    @classmethod
    def read(cls, folder: Path, manifest: Mapping[str, Any], version: str) -> Self:
        """The model in `folder`. Raises ValueError where an array has another shape than hours of a week."""
        profiles = np.array(manifest["profiles"], np.float64)
        if profiles.ndim != 2 or profiles.shape[1] != HOURS:
            raise ValueError(f"profiles have shape {profiles.shape}; (types, {HOURS}) is needed")
        presence = Presence(
            profiles,
            np.array(manifest["shares"], np.float64),
            float(manifest["own"]),
            np.array(manifest["lag"], np.float64),
            float(manifest.get("answers", 1.0)),
            float(manifest.get("visits", 0.0)),
        )
        channels = {
            channel: ChannelCurve(
                np.array(raw["rate"], np.float64), raw["usual"], raw["engagement"], int(raw["default_hour"])
            )
            for channel, raw in manifest["channels"].items()
        }
        return cls(
            channels,
            presence,
            float(manifest["sharpness"]),
            float(manifest["level_prior"]),
            manifest["default_zone"],
            manifest["trained"],
            version,
        )


def _unseen(model: SendTimeModel) -> ChannelCurve:
    usual = float(np.mean([curve.usual for curve in model.channels.values()])) if model.channels else 0.05
    engagement = float(np.mean([curve.engagement for curve in model.channels.values()])) if model.channels else 0.0
    shape = after(model.presence.everyone, model.presence.lag)
    rate = usual * (shape / shape.mean()) ** model.sharpness
    return ChannelCurve(rate, usual, engagement, best_hour(rate) if model.channels else 10)


def _chances(rate: Floats, level: float, ratio: Floats | float) -> Floats:
    return np.asarray(np.minimum(np.maximum(rate * level * ratio, 1e-6), 0.999), np.float64)


def best_hour(rate: Floats) -> int:
    """The hour of the day with the highest mean rate over the week; the earliest of equal ones."""
    return int(np.argmax(rate.reshape(7, 24).mean(axis=0)))


def _all_channels(row: CustomerRow) -> tuple[Floats, Floats]:
    sends, responses = np.zeros(HOURS), np.zeros(HOURS)
    for hours in row.response_hours.values():
        sends += hours.sends
        responses += hours.clicks + OPEN_WORTH * hours.opens
    return sends, responses


def type_weights(presence: Presence, activity: Floats, responses: Floats, exposed: Floats) -> Floats:
    """P(type | events), shape (…, types), of own activity in orders and exposure-corrected responses (…, 168)."""
    possible = np.log(np.maximum(products(exposed, presence.answering), TINY))
    events = activity + presence.answers * responses
    score = products(events, presence.log_profiles) - responses.sum(axis=-1, keepdims=True) * possible
    score = score + np.log(np.maximum(presence.shares, TINY))
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


def _confidence(person: Person, presence: Presence) -> tuple[float, str]:
    """How far the person's own behaviour speaks, and what weighs most: `person`, `type` or `everyone`."""
    own = person.events / (person.events + presence.own)
    told = 0.5 * float(np.abs(person.types - presence.shares).sum())
    basis = "person" if own >= 0.5 else "type" if told > 0.25 else "everyone"
    return own + (1 - own) * told, basis


def hour_of_week_at(moment: datetime, zone: str) -> int:
    """The local hour of the week (Monday 00 is 0) of an aware time."""
    local = moment.astimezone(known_zone(zone) or UTC)
    return local.weekday() * 24 + local.hour


def hours_between(start: datetime, end: datetime, zone: str) -> tuple[Sequence[datetime], Ints]:
    """`whole_hours` with their local hours of the week; windows that differ by seconds share the work."""
    first, last = _checked(start, end)
    if first >= last:
        return (), _NO_HOURS
    old = first.year < MINUTES_FROM
    times, hours = _hours_between(first if old else _next_minute(first), last if old else _next_minute(last), zone)
    return (times, hours) if times else ((first,), np.array([hour_of_week_at(first, zone)], np.int64))


@lru_cache(maxsize=4096)
def _hours_between(first: datetime, last: datetime, zone: str) -> tuple[tuple[datetime, ...], Ints]:
    found = tuple(_starts(first, last, zone))
    return found, np.array([hour_of_week_at(moment, zone) for moment in found], np.int64)


def _next_minute(moment: datetime) -> datetime:
    """The first whole minute from a time on: since 1973 every zone's hours begin with one."""
    past = timedelta(seconds=moment.second, microseconds=moment.microsecond)
    return moment + (_MINUTE - past) if past else moment


def whole_hours(start: datetime, end: datetime, zone: str) -> list[datetime]:
    """UTC starts of the local hours that begin in [start, end); `[start]` where none does.

    Steps in real time, so that the hour skipped in spring does not appear and the one repeated in autumn does twice.
    """
    first, last = _checked(start, end)
    return (_starts(first, last, zone) or [first]) if first < last else []


def _checked(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    if start.tzinfo is None or end.tzinfo is None:
        raise ValueError("start and end need a time zone")
    if end - start > LONGEST:
        raise ValueError(f"the window is {(end - start).days} days long; at most {LONGEST.days} are ranked")
    return start.astimezone(UTC), end.astimezone(UTC)


def _starts(first: datetime, last: datetime, zone: str) -> list[datetime]:
    moments, moment = [], _next_whole(first, zone)
    while moment < last:
        moments.append(moment)
        moment = _next_whole(moment + _HOUR, zone)
    return moments


def _next_whole(moment: datetime, zone: str) -> datetime:
    """The first local whole hour at or after a UTC time. Repeats where a clock change of half an hour intervenes."""
    place = known_zone(zone) or UTC
    while True:
        local = moment.astimezone(place)
        past = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        if not past:
            return moment
        moment += _HOUR - past
