"""Which offers move whom: how much more or less than others people answer an offer at a stage of their life with us.

    log-odds(convert on the offer) += sum over STAGE of weight[offer] x (log(1 + number) - usual)

Some offers are made for leads or for those who left; no number of the offer itself tells that, only the log does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from models.offer_features import CUSTOMER

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

STAGE = ("is_lead", "forms_365d", "days_since_first_order", "days_since_last_order", "orders_90d")
PLACES = np.array([CUSTOMER.index(name) for name in STAGE])


@dataclass(frozen=True, slots=True)
class OfferStages:
    """`usual` (STAGE,): means of what people are; `weights`: (STAGE,) of each offer that the log tells of."""

    usual: Floats
    weights: Mapping[str, Floats]

    def of(self, offers: Sequence[str]) -> Floats:
        """Weights (STAGE, offers); zeros for offers that nothing is known of."""
        nothing = np.zeros(len(STAGE))
        found = np.array([self.weights.get(offer, nothing) for offer in offers], np.float64).reshape(-1, len(STAGE))
        return np.ascontiguousarray(found.T)

    def inputs(self, values: Floats, known: Bools) -> Floats:
        """How customers' numbers (n, CUSTOMER) differ from usual, (n, STAGE); of whom nothing is known, nothing."""
        return np.where(known[:, None], stage(values) - self.usual, 0.0)

    def to_dict(self) -> dict[str, Any]:
        return {"usual": self.usual.tolist(), "weights": {name: one.tolist() for name, one in self.weights.items()}}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        return cls(np.array(raw["usual"]), {name: np.array(one) for name, one in raw["weights"].items()})


def stage(values: Floats) -> Floats:
    """Logarithms (n, STAGE) of customers' numbers (n, CUSTOMER); what never happened, or nobody says, is 0."""
    return np.log1p(np.fmax(values[:, PLACES], 0.0))


def moved(inputs: Floats, weights: Floats) -> Floats:
    """What to add to the log-odds, (n, m), of `inputs` (n, STAGE) and weights (STAGE, m), added in STAGE's order: fewer
    than eight numbers are, whatever the shape.
    """
    return np.asarray((inputs[:, :, None] * weights[None]).sum(axis=1), np.float64)
