"""Which channel to reach a person on: the best allowed hour of each, weighed by what a response is worth and costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from features.rows import CustomerRow
from models.send_time import SendTime, SendTimeModel

Allowed = Callable[[datetime], bool]


@dataclass(frozen=True, slots=True)
class ChannelChoice:
    """A channel at its best allowed hour: `expected_value` = P(human response) x value - cost of sending on it."""

    channel: str
    at: SendTime
    expected_value: float


def best_channels(
    model: SendTimeModel,
    row: CustomerRow | None,
    channels: Sequence[str],
    zone: str | None,
    start: datetime,
    end: datetime,
    allowed: Callable[[str], Allowed],
    value: float = 1.0,
    costs: Mapping[str, float] | None = None,
) -> list[ChannelChoice]:
    """The channels with an allowed hour in [start, end), best first, equal ones in their order.

    `value` is what a response is worth and `costs` what sending costs by channel (0 where it is not named), in one
    currency. A person's own answers on a channel move its level, shrunk to everyone's (`SendTimeModel.probabilities`).
    Raises ValueError as `SendTimeModel.rank` does.
    """
    known = model.habits(row)
    found = []
    for channel in dict.fromkeys(channels):
        best = model.rank(row, channel, zone, start, end, 1, allowed(channel), known)
        if best:
            worth = best[0].probability * value - (costs or {}).get(channel, 0.0)
            found.append(ChannelChoice(channel, best[0], worth))
    return sorted(found, key=lambda one: -one.expected_value)
