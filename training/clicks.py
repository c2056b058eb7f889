"""What clicks tell of conversions: most of who converts clicked first, and clicks are several times as many. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from features.shrinkage import shrunk_rates

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FEW = 3000.0
"""Conversions at which they speak for themselves as much as clicks do for them."""


def softened(labels: Floats, clicked: Floats, offers: Ints, channels: Ints) -> Floats:
    """(n,) labels in [0, 1] to learn from, in part each row's chance of having converted as clicks tell it.

    That chance is the share of converted among all who answered alike (clicked or not), moved by how far it differs
    between offers and between channels beyond chance. So the mean stays, while the luck of who bought after a click is
    gone (Rao and Blackwell). Its part falls as conversions grow, and is as large as the share of the channel's
    conversions that a click came before: where clicks are not counted, it is nothing.

    labels, clicked: (n,), 0 or 1. offers, channels: (n,), numbers.
    """
    every = np.bincount(channels, labels)
    told = np.bincount(channels, labels * clicked) / np.maximum(every, 1.0)
    part = told[channels] * FEW / (FEW + float(labels.sum()))
    return np.asarray((1.0 - part) * labels + part * _chance(labels, clicked, offers, channels), np.float64)


def _chance(labels: Floats, clicked: Floats, offers: Ints, channels: Ints) -> Floats:
    """(n,) shares of converted among rows that answered alike, by offer and channel."""
    result = np.zeros(len(labels))
    for answer in (0.0, 1.0):
        here = clicked == answer
        if not labels[here].any():
            continue
        by_offer, by_channel = (_rates(labels[here], keys[here]) for keys in (offers, channels))
        both = by_offer * by_channel
        result[here] = np.minimum(both * labels[here].sum() / both.sum(), 1.0)
    return result


def _rates(labels: Floats, keys: Ints) -> Floats:
    """(n,) the share of each row's key, drawn to everyone's as far as keys differ by chance."""
    trials = np.bincount(keys).astype(np.float64)
    alone = np.full(len(trials), np.nan)
    return shrunk_rates(np.bincount(keys, labels).astype(np.float64), trials, alone)[keys]
