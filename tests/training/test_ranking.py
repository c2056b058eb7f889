"""Ranking figures against values worked out by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from training.ranking import ndcg, recall


def test_ndcg_is_scikit_learns() -> None:
    random = np.random.default_rng(3)
    scores, relevant = random.random((50, 30)), random.random((50, 30)) < 0.2
    relevant[:, 0] |= ~relevant.any(axis=1)
    assert np.mean(ndcg(scores, relevant)) == pytest.approx(ndcg_score(relevant, scores, k=10))


def test_by_hand() -> None:
    scores = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 1.0, 1.0]])
    relevant = np.array([[True, False, False], [False, False, True], [False, False, False]])
    assert ndcg(scores, relevant, 3)[:2] == pytest.approx([1.0, 0.5])
    assert np.isnan(ndcg(scores, relevant, 3)[2])
    assert recall(scores, relevant, 2)[:2] == pytest.approx([1.0, 0.0])
    assert recall(scores, np.array([[True, True, True]] * 3), 2) == pytest.approx([2 / 3] * 3)
