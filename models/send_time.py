"""The best hour to send: a person's presence over the hours of the week, shrunk from everyone to type to person.

Presence (when somebody orders, opens or clicks) is a mixture of a few types of weeks, learnt by expectation
maximization (mixture of multinomials, Nigam et al. 2000, section 4); a person is the mix of types that fits, then
shrunk to it by a Dirichlet prior (empirical Bayes). Responses are seen only where something was sent, so theirs
count relative to what the hours of their own sends made possible (a conditional logit).

    P(respond | sent at h) = channel(h) * person * (presence after h of the person / of everyone) ^ sharpness
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from features.rows import CustomerRow
from features.zones import known_zone
from models.load import MANIFEST, need

Floats = npt.NDArray[np.float64]
FORMAT = 1
HOURS = 168
TINY = 1e-9
LONGEST = timedelta(days=92)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class SendTime:
    """An hour to send in. `probability` of a human response; `lift_over_default` is relative to the channel's default
    hour (0.2: a fifth more); `confidence` is the share of it that the person's own behaviour speaks for (0 to 1).

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

    `engagement` is human opens and clicks per delivery, as customers' rows count them.
    """

    rate: Floats
    usual: float
    engagement: float
    default_hour: int


@dataclass(frozen=True, slots=True)
class Presence:
    """Types of weeks: `profiles` (types, 168), each sums to 1, with their `shares`; `everyone` is their mean.

    `own` is the Dirichlet prior's weight in observations; `lag` (24,) the distribution of hours until a response.
    """

    profiles: Floats
    shares: Floats
    own: float
    lag: Floats

    @property
    def everyone(self) -> Floats:
        return np.asarray(self.shares @ self.profiles, np.float64)


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

    def person(self, row: CustomerRow | None, channel: str) -> Person:
        """Presence and level of a customer; everyone's where nothing is known."""
        if row is None:
            return Person(self.presence.everyone, 1.0, 0.0, self.presence.shares)
        sends, responses = _all_channels(row)
        orders = row.order_hours.astype(np.float64)
        exposed = exposure(sends, self.presence.lag)
        types = type_weights(self.presence, orders, responses, exposed)
        level = self._level(row, channel)
        events = float(orders.sum() + responses.sum())
        return Person(own_presence(self.presence, types, orders, responses, exposed), level, events, types)

    def probabilities(self, row: CustomerRow | None, channel: str) -> tuple[Floats, Person]:
        """P(human response) of a message on `channel` by the local hour of sending (168,), and the person."""
        person, curve = self.person(row, channel), self.curve(channel)
        lag = self.presence.lag
        ratio = after(person.presence, lag) / np.maximum(after(self.presence.everyone, lag), TINY)
        return np.clip(curve.rate * person.level * ratio**self.sharpness, 1e-6, 0.999), person

    def rank(
        self,
        row: CustomerRow | None,
        channel: str,
        zone: str | None,
        start: datetime,
        end: datetime,
        n: int,
        allowed: Callable[[datetime], bool] = lambda _: True,
    ) -> list[SendTime]:
        """The `n` best allowed local hours in [start, end), best first, equal ones in order of time.

        `start` and `end` are aware; `allowed` is asked with the UTC start of each hour. A window without a whole
        hour offers its start. Raises ValueError for naive times and for windows of more than 92 days.
        """
        used, fallback = self._zone(zone)
        chances, person = self.probabilities(row, channel)
        usual = float(np.mean(chances[self.curve(channel).default_hour :: 24]))
        times = [moment for moment in whole_hours(start, end, used) if allowed(moment)]
        hours = [hour_of_week_at(moment, used) for moment in times]
        order = sorted(range(len(times)), key=lambda place: (-chances[hours[place]], times[place]))
        confidence = person.events / (person.events + self.presence.own)
        basis = _basis(confidence, person, self.presence.shares)
        return [
            SendTime(
                times[place],
                float(chances[hours[place]]),
                float(chances[hours[place]]) / usual - 1,
                round(confidence, 4),
                basis,
                used,
                fallback,
            )
            for place in order[: max(n, 0)]
        ]

    def _zone(self, zone: str | None) -> tuple[str, str | None]:
        if not zone:
            return self.default_zone, "zone_unknown"
        return (zone, None) if known_zone(zone) else (self.default_zone, "zone_invalid")

    def _level(self, row: CustomerRow, channel: str) -> float:
        """The person's responses over those that as many deliveries bring on average, shrunk towards 1."""
        sends, responses = row.response_hours.get(channel, (None, None))
        usual = self.curve(channel).engagement
        if sends is None or responses is None or usual <= 0:
            return 1.0
        prior = self.level_prior * usual
        return float((prior + responses.sum()) / (prior + usual * sends.sum()))

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


def best_hour(rate: Floats) -> int:
    """The hour of the day with the highest mean rate over the week; the earliest of equal ones."""
    return int(np.argmax(rate.reshape(7, 24).mean(axis=0)))


def _all_channels(row: CustomerRow) -> tuple[Floats, Floats]:
    sends, responses = np.zeros(HOURS), np.zeros(HOURS)
    for sent, answered in row.response_hours.values():
        sends += sent
        responses += answered
    return sends, responses


def after(profile: Floats, lag: Floats) -> Floats:
    """Presence in the hours after each hour (…, 168), weighted by `lag`: what a message sent then can meet."""
    total = np.zeros_like(profile)
    for hours, weight in enumerate(lag):
        total += weight * np.roll(profile, -hours, axis=-1)
    return total


def exposure(sends: Floats, lag: Floats) -> Floats:
    """Where responses to these sends could fall (…, 168); everywhere alike where nothing was sent."""
    total = np.zeros_like(sends, np.float64)
    for hours, weight in enumerate(lag):
        total += weight * np.roll(sends, hours, axis=-1)
    none = total.sum(axis=-1, keepdims=True) <= 0
    # A response long after its send still happens: a tenth of the mass lies on all hours.
    spread = 0.9 * total / np.maximum(total.sum(axis=-1, keepdims=True), TINY) + 0.1 / HOURS
    return np.asarray(np.where(none, 1 / HOURS, spread), np.float64)


def type_weights(presence: Presence, orders: Floats, responses: Floats, exposed: Floats) -> Floats:
    """P(type | events), shape (…, types), of orders and exposure-corrected responses (…, 168)."""
    log_profile = np.log(np.maximum(presence.profiles, TINY))
    possible = np.log(np.maximum(exposed @ presence.profiles.T, TINY))
    score = (orders + responses) @ log_profile.T - responses.sum(axis=-1, keepdims=True) * possible
    score = score + np.log(np.maximum(presence.shares, TINY))
    score = np.exp(score - score.max(axis=-1, keepdims=True))
    return np.asarray(score / score.sum(axis=-1, keepdims=True), np.float64)


def own_presence(presence: Presence, types: Floats, orders: Floats, responses: Floats, exposed: Floats) -> Floats:
    """The person's presence (…, 168): the mix of types, updated by own events spread over neighbouring hours.

    A response counts by how little its hour was exposed: (responses / exposure), scaled to as many events.
    """
    prior = types @ presence.profiles
    fair = responses / np.maximum(exposed * HOURS, 0.1)
    known = responses.sum(axis=-1, keepdims=True)
    fair = fair * known / np.maximum(fair.sum(axis=-1, keepdims=True), TINY)
    counts = spread(orders + fair)
    total = counts.sum(axis=-1, keepdims=True)
    return np.asarray((presence.own * prior + counts) / (presence.own + total), np.float64)


def spread(counts: Floats) -> Floats:
    """Counts (…, 168) spread over neighbouring hours and the same hours of other days of its kind; sums are kept.

    Half stays on its day; the other half goes to all working days, or to both days of the weekend.
    """
    near = sum(
        weight * np.roll(counts, shift, axis=-1)
        for shift, weight in ((-2, 0.05), (-1, 0.2), (0, 0.5), (1, 0.2), (2, 0.05))
    )
    days = np.asarray(near).reshape(*counts.shape[:-1], 7, 24)
    shared = np.empty_like(days)
    for part in (slice(0, 5), slice(5, 7)):
        shared[..., part, :] = days[..., part, :].mean(axis=-2, keepdims=True)
    return np.asarray((0.5 * days + 0.5 * shared).reshape(counts.shape), np.float64)


def _basis(confidence: float, person: Person, shares: Floats) -> str:
    if confidence >= 0.5:
        return "person"
    return "type" if float(np.abs(person.types - shares).sum()) > 0.5 else "everyone"


def hour_of_week_at(moment: datetime, zone: str) -> int:
    """The local hour of the week (Monday 00 is 0) of an aware time."""
    local = moment.astimezone(known_zone(zone) or UTC)
    return local.weekday() * 24 + local.hour


def whole_hours(start: datetime, end: datetime, zone: str) -> list[datetime]:
    """UTC starts of the local hours that begin in [start, end); `[start]` where none does.

    Steps in real time, so that the hour skipped in spring does not appear and the one repeated in autumn does twice.
    """
    if start.tzinfo is None or end.tzinfo is None:
        raise ValueError("start and end need a time zone")
    if end - start > LONGEST:
        raise ValueError(f"the window is {(end - start).days} days long; at most {LONGEST.days} are ranked")
    first, last = start.astimezone(UTC), end.astimezone(UTC)
    if first >= last:
        return []
    moments, moment = [], _next_whole(first, zone)
    while moment < last:
        moments.append(moment)
        moment = _next_whole(moment + _HOUR, zone)
    return moments or [first]


def _next_whole(moment: datetime, zone: str) -> datetime:
    """The first local whole hour at or after a UTC time. Repeats where a clock change of half an hour intervenes."""
    place = known_zone(zone) or UTC
    while True:
        local = moment.astimezone(place)
        past = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        if not past:
            return moment
        moment += _HOUR - past
