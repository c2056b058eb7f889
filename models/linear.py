"""Logistic regression as a propensity model serves it: numbers squeezed and standardized, codes looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from models.kernel import KERNEL

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Codes:
    """The effects of a feature that holds codes without an order: `weights` of `values` (both (k,), ascending)."""

    values: Floats
    weights: Floats

    def effects(self, codes: Floats) -> Floats:
        """The effect of each code (n,); of one never seen, none."""
        place = np.minimum(self.values.searchsorted(codes), len(self.values) - 1)
        return np.where(self.values[place] == codes, self.weights[place], 0.0)


_NO_CODES = Codes(np.empty(0), np.empty(0))
_PARTS = ("values", "weights")


@dataclass(frozen=True, slots=True)
class Linear:
    """Logistic regression on squeezed, standardized features; a missing value counts as average plus its own effect.

    Squeezing is sign(x) log(1 + |x|), which tames counts and money. All arrays are (features,); `codes` says by place
    which features are looked up instead.
    """

    center: Floats
    scale: Floats
    weight: Floats
    missing: Floats
    intercept: float
    codes: Mapping[int, Codes] = field(default_factory=dict)
    _laid_out: tuple[Ints, Floats, Floats] = field(init=False, repr=False, compare=False)
    """All codes one after another: where those of each feature begin (features + 1,), values and weights."""

    def __post_init__(self) -> None:
        mine = [self.codes.get(place, _NO_CODES) for place in range(len(self.center))]
        first = np.cumsum([0, *(len(one.values) for one in mine)])
        values, weights = (np.concatenate([np.empty(0), *(getattr(one, part) for one in mine)]) for part in _PARTS)
        object.__setattr__(self, "_laid_out", (first, values, weights))

    def effects(self, rows: Floats) -> Floats:
        """Each feature's part of the log-odds, (n, features); with `intercept` they sum to the score."""
        absent = np.isnan(rows)
        parts = (squeeze(np.where(absent, 0.0, rows)) - self.center) / self.scale * self.weight
        for place, known in self.codes.items():
            parts[:, place] = known.effects(rows[:, place])
        return np.where(absent, self.missing, parts)

    def raw_score(self, rows: Floats) -> Floats:
        if KERNEL is not None:
            out = np.empty(len(rows))
            parts = (self.center, self.scale, self.weight, self.missing, *self._laid_out)
            KERNEL.linear(*map(np.ascontiguousarray, (rows, squeeze(rows), *parts)), out)
            return out + self.intercept
        # Summed feature by feature, not by matrix product: a row's score must not depend on its neighbours.
        return np.asarray(np.cumsum(self.effects(rows), axis=1)[:, -1] + self.intercept, np.float64)

    def to_dict(self) -> dict[str, Any]:
        lists = {name: getattr(self, name).tolist() for name in ("center", "scale", "weight", "missing")}
        codes = {str(place): [one.values.tolist(), one.weights.tolist()] for place, one in self.codes.items()}
        return {**lists, "intercept": self.intercept, "codes": codes}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Linear:
        names = ("center", "scale", "weight", "missing")
        center, scale, weight, missing = (np.array(raw[name], np.float64) for name in names)
        codes = {
            int(place): Codes(np.array(values, np.float64), np.array(weights, np.float64))
            for place, (values, weights) in raw.get("codes", {}).items()
        }
        return cls(center, scale, weight, missing, float(raw["intercept"]), codes)


def squeeze(values: Floats) -> Floats:
    """sign(x) log(1 + |x|); what is beyond 1e300 counts as that."""
    return np.asarray(np.copysign(np.log1p(np.minimum(np.abs(values), 1e300)), values), np.float64)
