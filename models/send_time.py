"""The best hour to send: a person's presence over the hours of the week, shrunk from everyone to type to person.

Presence (when somebody orders, looks around, clicks or opens) is learnt and told by `presence.py`. All counts forget.

    P(respond | sent at h) = channel(h) * person * (presence after h of the person / of everyone) ^ sharpness * days(h)

`days` is what people of such weeks answer on working days and at weekends beyond that: who orders on any day may
have time for messages on some.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from features.default_zone import known_zone
from features.rows import CustomerRow
from models.asked_hours import Asked, places
from models.channel_curves import ChannelCurve, chances, levels, unseen
from models.load import MANIFEST, need
from models.local_hours import hours_between
from models.presence import Habits, Presence, counts_on, habits_of
from models.week import HOURS
from models.week_summary import summary

Floats = npt.NDArray[np.float64]
FORMAT = 1


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
class Person:
    """What the model makes of a customer: presence (168,), response relative to everyone's, evidence in events."""

    presence: Floats
    level: float
    events: float
    types: Floats


@dataclass(frozen=True, slots=True)
class SendTimeModel:
    """The trained priors and pooled curves. `sharpness` is the exponent above, `level_prior` the deliveries' worth of
    everyone's response that a person's own is shrunk with. `tiring`: what each message of the seven days before takes
    off the logarithm of a response's chance; who plans asks with it (`Asked.weight`), knowing of every message.
    """

    channels: Mapping[str, ChannelCurve]
    presence: Presence
    sharpness: float
    level_prior: float
    default_zone: str = "UTC"
    tiring: float = 0.0
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
        """The documented fallback without data: daytime twice as good as night, ten o'clock by default; the customer's
        own orders and visits (a visit tells a quarter of an order) move it.
        """
        hour = np.arange(HOURS) % 24
        flat = np.where((hour >= 9) & (hour < 21), 2.0, 1.0)
        lag = np.zeros(24)
        lag[:3] = (0.6, 0.3, 0.1)
        presence = Presence((flat / flat.sum())[None, :], np.ones(1), 30.0, lag, visits=0.25)
        return cls({}, presence, 0.5, 20.0, trained={"on": "nothing"}, version="untrained")

    def predict(self, frame: pl.DataFrame) -> Floats:
        """Everyone's probability of responding, shape (n,), for `channel` and local `hour_of_week`.

        Raises MissingColumns, and ValueError for hours that no week has.
        """
        need(frame, self.columns, self.name)
        hours = frame["hour_of_week"]
        wrong = hours.filter(~np.isin(hours.cast(pl.Float64, strict=False).to_numpy(), np.arange(HOURS)))
        if len(wrong):
            raise ValueError(
                f"the {self.name} model needs hour_of_week as a whole number from 0 to {HOURS - 1}, counted from "
                f"Monday's midnight; {wrong[0]!r} is none"
            )
        pairs = zip(frame["channel"].to_list(), hours.to_list(), strict=True)
        return np.array([self.curve(channel).rate[int(hour)] for channel, hour in pairs], np.float64)

    def curve(self, channel: str) -> ChannelCurve:
        """The channel's pooled curve; for one never sent on, everyone's presence at the mean rate of the others."""
        known = self.channels.get(channel)
        return known if known is not None else unseen(self.channels, self.presence, self.sharpness)

    def habits(self, row: CustomerRow | None) -> Habits | None:
        """What holds of a customer on every channel; None where nothing is known. For `rank` on several channels."""
        return self.habits_of([row])[0]

    def habits_of(self, rows: Sequence[CustomerRow | None]) -> list[Habits | None]:
        """`habits` of each row, at once: the same numbers as one by one."""
        return habits_of(self.presence, self.sharpness, rows)

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
        return chances(curve.rate, person.level, ratio), person

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
        told, person = self.probabilities(row, channel, habits)
        usual = float(np.mean(told[self.curve(channel).default_hour :: 24]))
        confidence, basis = _confidence(person, self.presence)
        found: list[SendTime] = []
        each = told[hours]
        for place in np.argsort(-each, kind="stable").tolist():
            if allowed(times[place]):
                chance = float(each[place])
                lift = round(chance / usual - 1, 9) + 0.0  # as good is 0, not -1.1e-16
                found.append(SendTime(times[place], chance, lift, round(confidence, 4), basis, used, fallback))
                if len(found) == n:
                    break
        return found

    def places(self, rows: Sequence[CustomerRow | None], asked: Sequence[Asked]) -> list[int]:
        """Where, among the hours that each asks for, the one stands that `rank` puts first (or `nth`): of many at once,
        without their probabilities. Raises ValueError for what asks for a later hour than it has.
        """
        curves = {channel: self.curve(channel) for channel in dict.fromkeys(one.channel for one in asked)}
        return places(self.presence, self.sharpness, self.level_prior, curves, rows, asked)

    def _zone(self, zone: str | None) -> tuple[str, str | None]:
        if not zone:
            return self.default_zone, "zone_unknown"
        return (zone, None) if known_zone(zone) else (self.default_zone, "zone_invalid")

    def _level(self, row: CustomerRow, channel: str) -> float:
        return float(levels(self.curve(channel).engagement, self.level_prior, counts_on(row, channel)))

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
            "days": None if self.presence.days is None else self.presence.days.tolist(),
            "sharpness": self.sharpness,
            "level_prior": self.level_prior,
            "default_zone": self.default_zone,
            "tiring": self.tiring,
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
            None if manifest.get("days") is None else np.array(manifest["days"], np.float64),
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
            float(manifest.get("tiring", 0.0)),
            manifest["trained"],
            version,
        )


def _confidence(person: Person, presence: Presence) -> tuple[float, str]:
    """How far the person's own behaviour speaks, and what weighs most: `person`, `type` or `everyone`."""
    own = person.events / (person.events + presence.own)
    told = 0.5 * float(np.abs(person.types - presence.shares).sum())
    basis = "person" if own >= 0.5 else "type" if told > 0.25 else "everyone"
    return own + (1 - own) * told, basis
