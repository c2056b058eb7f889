"""From "buys the offer's products" to "converts when shown it on this channel": what the decision log teaches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from features.channels import CHANNELS
from models.calibration import Calibration, logit, sigmoid
from models.linear import Linear
from models.offer_features import PAIR
from models.offer_stages import OfferStages
from models.trees import TreeModel, parse_trees

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

CHANNEL = tuple(f"channel_{channel}" for channel in CHANNELS)
RATES = ("channel_rate", "channel_engagement", "offer_rate")
INPUTS = (*PAIR, *CHANNEL, *RATES)
SCORE = "purchase_score"
SEEN = (SCORE, *INPUTS)
ENGAGEMENT_PRIOR = 10.0
"""Deliveries' worth of everyone's engagement that a person's own on a channel is shrunk with."""
TILT, FURTHEST = 0.5, 1.0
"""Without a log: half of the channel's and the person's relative engagement (log-odds, at most 1) counts."""


@dataclass(frozen=True, slots=True)
class ChannelKnowledge:
    """Pooled rates: `engagement` is human opens and clicks per delivery by channel; `channel_rate` and `offer_rate`
    are log-odds of converting when shown, relative to everything; 0 where nothing is known.
    """

    engagement: Mapping[str, float]
    channel_rate: Mapping[str, float]
    offer_rate: Mapping[str, float]

    def inputs(
        self,
        offer_ids: Sequence[str],
        channels: Sequence[str],
        responses: Mapping[str, tuple[float, float]] | None,
    ) -> Floats:
        """(offers, channels, CHANNEL + RATES). `responses`: the person's (deliveries, human responses) by channel."""
        result = np.zeros((len(offer_ids), len(channels), len(CHANNEL) + len(RATES)))
        for place, channel in enumerate(channels):
            if channel in CHANNELS:
                result[:, place, CHANNELS.index(channel)] = 1.0
            result[:, place, len(CHANNEL)] = self.channel_rate.get(channel, 0.0)
            result[:, place, len(CHANNEL) + 1] = self.own_engagement(channel, responses)
        result[:, :, -1] = np.array([self.offer_rate.get(offer, 0.0) for offer in offer_ids])[:, None]
        return result

    def own_engagement(self, channel: str, responses: Mapping[str, tuple[float, float]] | None) -> float:
        """The logarithm of a person's engagement on a channel over everyone's; NaN for somebody unknown."""
        if responses is None:
            return math.nan
        usual = self.engagement.get(channel, 0.0)
        if usual <= 0:
            return 0.0
        sent, answered = responses.get(channel, (0.0, 0.0))
        return math.log((answered + ENGAGEMENT_PRIOR * usual) / (sent + ENGAGEMENT_PRIOR) / usual)

    def own_engagements(self, channels: Sequence[str], responses: Floats, known: Bools) -> Floats:
        """`own_engagement` of many, (n, channels), by their `responses` (n, channels, 2); who is not `known`, NaN."""
        usual = np.array([self.engagement.get(channel, 0.0) for channel in channels])
        counts, prior = usual > 0, ENGAGEMENT_PRIOR * usual
        ratio = (responses[:, :, 1] + prior) / (responses[:, :, 0] + ENGAGEMENT_PRIOR) / np.where(counts, usual, 1.0)
        told = [math.log(one) if one > 0 else 0.0 for one in ratio.ravel().tolist()]  # numpy's has other last bits
        result = np.where(counts, np.array(told, np.float64).reshape(ratio.shape), 0.0)
        result[~known] = math.nan
        return result


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """Turns a purchase score (log-odds) and the pair's inputs into a calibrated probability.

    `kind`: purchase (no log: the purchase probability, tilted by channel), linear or trees (learnt from the log).
    `stages`: which offers move whom, on top of `raw_score`, which does not know an offer by its name.
    """

    kind: str = "purchase"
    calibration: Calibration = field(default_factory=Calibration)
    linear: Linear | None = None
    trees: TreeModel | None = None
    tree_text: str = ""
    stages: OfferStages | None = None

    def probability(self, score: Floats, inputs: Floats) -> Floats:
        """`score` (n,) and `inputs` (n, INPUTS) to probabilities (n,)."""
        return self.calibrated(self.raw_score(np.column_stack([score, inputs])))

    def calibrated(self, raw: Floats) -> Floats:
        """Raw scores as probabilities that hold, same shape."""
        return self.calibration.apply(sigmoid(raw))

    def raw_score(self, rows: Floats) -> Floats:
        """`rows` (n, SEEN) to log-odds (n,)."""
        if self.kind == "purchase" or not len(rows):
            return np.asarray(rows[:, 0] + tilt(rows[:, 1:]), np.float64)
        if self.kind == "linear" and self.linear is not None:
            return self.linear.raw_score(rows)
        assert self.trees is not None
        return self.trees.raw_score(rows)

    def tilted(self, scores: Floats, channels: Floats) -> Floats:
        """Log-odds (n, m, c) of a head without a log: scores (n, m), and of channels (n, c, CHANNEL + RATES)."""
        n, c, wide = channels.shape
        rows = np.concatenate([np.zeros((n * c, len(PAIR))), channels.reshape(n * c, wide)], axis=1)
        return np.asarray(scores[:, :, None] + tilt(rows).reshape(n, 1, c), np.float64)

    def effects(self, rows: Floats) -> Floats:
        """Each part's effect on the log-odds, (n, SEEN)."""
        if self.kind == "linear" and self.linear is not None:
            return self.linear.effects(rows)
        if self.kind == "trees" and self.trees is not None:
            return self.trees.contributions(rows)[:, :-1]
        result = np.zeros_like(rows)
        result[:, 0] = rows[:, 0]
        result[:, SEEN.index("channel_engagement")] = tilt(rows[:, 1:])
        return result

    def to_dict(self) -> dict[str, Any]:
        linear = self.linear.to_dict() if self.linear else None
        stages = self.stages.to_dict() if self.stages else None
        return {"kind": self.kind, "calibration": self.calibration.to_dict(), "linear": linear, "stages": stages}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], tree_text: str) -> Self:
        return cls(
            raw["kind"],
            Calibration.from_dict(raw["calibration"]),
            Linear.from_dict(raw["linear"]) if raw["linear"] else None,
            parse_trees(tree_text) if tree_text else None,
            tree_text,
            OfferStages.from_dict(raw["stages"]) if raw["stages"] else None,
        )


def tilt(inputs: Floats) -> Floats:
    """How far engagement on the channel moves the log-odds where no conversions were logged, (n,); unknown: not."""
    places = [INPUTS.index(name) for name in ("channel_engagement", "channel_rate")]
    own, usual = np.nan_to_num(inputs[:, places], posinf=1e9, neginf=-1e9).T
    return np.asarray(np.clip(TILT * (own + usual), -FURTHEST, FURTHEST), np.float64)


def relative_log_odds(counts: Mapping[str, tuple[float, float]], strength: float) -> dict[str, float]:
    """Each key's rate (shown, converted), shrunk to all keys' together, as log-odds relative to that."""
    shown = sum(pair[0] for pair in counts.values())
    converted = sum(pair[1] for pair in counts.values())
    if shown <= 0:
        return {}
    usual = (converted + 1) / (shown + 2)
    rates = {key: (pair[1] + strength * usual) / (pair[0] + strength) for key, pair in counts.items()}
    return {key: float(logit(rate) - logit(usual)) for key, rate in rates.items()}
