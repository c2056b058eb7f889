"""How good a ranking of offers is, with intervals by customer, also on the cuts before the one judged by the gate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt

from models.offer_features import PAIR
from training.metrics import auc, resamples
from training.offer_fit import Block, fit_purchase, log_odds
from training.ranking import ndcg, recall

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

KEPT = 10
DRAWS = 500
GROUPS = (
    ("more than 5 orders in a year", "orders_365d", 6),
    ("known for 90 days and more", "tenure_days", 90),
    ("bought of the category in a year", "category_orders_365d", 1e-9),
    ("bought the offer's products before", "product_orders", 1),
)
"""Groups of customers and offers: a name, a feature of the pair, and from which value on."""
FOLDS = 2
"""Cuts before the newest on which rankers are tried too, each learnt from the cuts before it."""


def figures(scores: Floats, bought: Bools, redeemed: Bools | None = None) -> dict[str, float]:
    """Ranking figures of scores (customers, offers); nDCG and recall with the ends of their 95% bootstrap intervals.

    AUC of redemption where anybody redeemed. What cannot be told is left out.
    """
    found = {"auc": auc(bought.ravel(), scores.ravel())}
    for name, each in (("ndcg", ndcg(scores, bought, KEPT)), ("recall", recall(scores, bought, KEPT))):
        known = each[np.isfinite(each)]
        if len(known):
            means = np.concatenate([w @ known / w.sum(axis=1) for w in resamples(len(known), None, DRAWS, 0)])
            low, high = np.quantile(means, [0.025, 0.975])
            key = f"{name}_at_{KEPT}"
            found |= {key: float(known.mean()), f"{key}.low": float(low), f"{key}.high": float(high)}
    if redeemed is not None:
        found["redemption_auc"] = auc(redeemed.ravel(), scores.ravel())
        found["redemptions"] = float(redeemed.sum())
    return {key: value for key, value in found.items() if math.isfinite(value)}


def slices(block: Block, probability: Floats) -> list[tuple[str, int, float, float]]:
    """Promised (customers, offers) and observed shares by groups of pairs: (group, pairs, promised, observed)."""
    found = []
    for name, column, least in GROUPS:
        values = np.nan_to_num(block.features[:, :, PAIR.index(column)])
        for said, inside in ((name, values >= least), (f"not {name}", values < least)):
            if inside.any():
                mean = float(probability[inside].mean()), float(block.bought[inside].mean())
                found.append((said, int(inside.sum()), *mean))
    return found


def earlier_folds(blocks: Mapping[datetime, Block], cuts: Sequence[datetime]) -> list[dict[str, float]]:
    """Figures on each of the FOLDS cuts before the newest, oldest first, of rankers that know only what came before."""
    found = []
    for place in range(len(cuts) - 1 - FOLDS, len(cuts) - 1):
        if place < 2:
            continue  # one cut to learn from, one to stop by
        fold = blocks[cuts[place]]
        ranker = fit_purchase([blocks[cut] for cut in cuts[: place - 1]], blocks[cuts[place - 1]])
        told = figures(log_odds(ranker.booster, fold.features), fold.bought)
        found.append(told | {"cut": cuts[place].timestamp(), "rows": float(fold.bought.size)})
    return found
