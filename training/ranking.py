"""How good rankings are: nDCG and recall at k, one figure a customer."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def order_of(scores: Floats, k: int) -> npt.NDArray[np.int64]:
    """The places of the `k` highest scores of each row, best first; equal scores in the order of the columns."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def ndcg(scores: Floats, relevant: Bools, k: int = 10) -> Floats:
    """nDCG@k of each row, (n,); NaN for a row without anything relevant. Järvelin and Kekäläinen 2002, gain 0 or 1."""
    discount = 1 / np.log2(np.arange(2, k + 2))
    hits = np.take_along_axis(relevant, order_of(scores, k), axis=1)
    gained = hits @ discount[: hits.shape[1]]
    count = relevant.sum(axis=1)
    ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(count, k)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(count > 0, gained / ideal, np.nan), np.float64)


def recall(scores: Floats, relevant: Bools, k: int = 10) -> Floats:
    """Recall@k of each row, (n,): the part of everything relevant among the first k; NaN where nothing is."""
    hits = np.take_along_axis(relevant, order_of(scores, k), axis=1).sum(axis=1)
    count = relevant.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(count > 0, hits / count, np.nan), np.float64)
