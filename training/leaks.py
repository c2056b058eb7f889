"""Traits that alone tell the outcome on later data: nearly always such as are set after it, under an earlier time.

What a profile says has the time that its sender gives it. A list of customers brought in as of their registration tells
at each cut how things stood when the list was made, and a model of it knows the future. This shows at the newest cut
most: at older ones, those of whom it says so had more time to do otherwise. Counts and days since events are not looked
at: what is counted has its own time, and where most are long gone, days alone may well tell who comes again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from features.catalogue import CATALOGUE
from training.metrics import auc

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TRAITS = frozenset(feature.name for feature in CATALOGUE.features if feature.aggregate == "last")
TOO_GOOD = 0.95
"""The AUC from which one trait alone is too good."""
LEAST = 20  # of either outcome
VALUES = 32  # that are told apart; of more, neighbours go together


def newest(labels: Floats, folds: Sequence[Ints]) -> int:
    """From which of `folds` (places of judged rows, oldest first) on there are LEAST of either outcome; 0: from all."""
    for first in reversed(range(len(folds))):
        seen = labels[np.concatenate(folds[first:])]
        if min(seen.sum(), len(seen) - seen.sum()) >= LEAST:
            return first
    return 0


def tell_alone(
    rows: Floats, labels: Floats, features: Sequence[str], known: npt.NDArray[np.bool_], later: Ints
) -> Mapping[str, float]:
    """The traits, of `features` (the columns of `rows`), that tell the outcome of `later` rows, with their AUC, after
    what their values meant in the `known` ones."""
    seen = labels[later]
    if min(seen.sum(), len(seen) - seen.sum()) < LEAST:
        return {}
    traits = {name: place for place, name in enumerate(features) if name in TRAITS}
    found = {
        name: auc(seen, _read(rows[known, place], labels[known], rows[later, place])) for name, place in traits.items()
    }
    return {name: value for name, value in found.items() if value >= TOO_GOOD}


def _read(known: Floats, labels: Floats, later: Floats) -> Floats:
    """The share of the outcome, by value or none, among those known."""
    values = np.unique(known[~np.isnan(known)])
    if len(values) > VALUES:
        values = values[np.linspace(0, len(values) - 1, VALUES).round().astype(int)]

    def group(column: Floats) -> Ints:
        return np.where(np.isnan(column), len(values) + 1, np.searchsorted(values, column, side="right"))

    rows = np.bincount(group(known), minlength=len(values) + 2)
    positive = np.bincount(group(known), labels, minlength=len(values) + 2)
    return np.asarray(((positive + labels.mean()) / (rows + 1))[group(later)], np.float64)
