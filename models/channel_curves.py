"""What everyone's response to messages is by channel and hour, and what one person's is at those hours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.presence import OPEN_WORTH, Presence
from models.week import after

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ChannelCurve:
    """A channel, pooled over everyone: `rate` (168,) of human response by local hour of sending, `usual`: its mean.

    `engagement` is responses per delivery, as customers' rows count them: clicks, and opens at OPEN_WORTH.
    """

    rate: Floats
    usual: float
    engagement: float
    default_hour: int


def unseen(channels: Mapping[str, ChannelCurve], presence: Presence, sharpness: float) -> ChannelCurve:
    """The curve of a channel never sent on: everyone's presence at the mean rate of the others."""
    usual = float(np.mean([curve.usual for curve in channels.values()])) if channels else 0.05
    engagement = float(np.mean([curve.engagement for curve in channels.values()])) if channels else 0.0
    shape = after(presence.everyone, presence.lag)
    rate = usual * (shape / shape.mean()) ** sharpness
    return ChannelCurve(rate, usual, engagement, best_hour(rate) if channels else 10)


def chances(rate: Floats, level: float, ratio: Floats | float) -> Floats:
    """P(response) by hour: everyone's, times the person's level, times how much more of the person is met then."""
    return np.asarray(np.minimum(np.maximum(rate * level * ratio, 1e-6), 0.999), np.float64)


def levels(engagement: Floats | float, prior: float, counts: Floats) -> Floats:
    """A person's responses over those that as many deliveries bring on average, shrunk towards 1 by `prior` deliveries.

    `counts` (…, 3) of sends, clicks and opens. 1 where nobody ever responds.
    """
    usual = np.asarray(engagement, np.float64)
    less, responses = prior * usual, counts[..., 1] + OPEN_WORTH * counts[..., 2]
    expected = less + usual * counts[..., 0]
    return np.divide(less + responses, expected, out=np.ones_like(expected), where=(usual > 0) & (expected > 0))


def best_hour(rate: Floats) -> int:
    """The hour of the day with the highest mean rate over the week; the earliest of equal ones."""
    return int(np.argmax(rate.reshape(7, 24).mean(axis=0)))
