"""Sums over the hours of a week (…, 168), each in a fixed order: a row's numbers do not depend on those beside it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
HOURS = 168
TINY = 1e-9
_NEAR = ((-2, 0.05), (-1, 0.2), (0, 0.5), (1, 0.2), (2, 0.05))
WEEKEND = (np.arange(HOURS) >= 5 * 24).astype(np.int64)
"""(168,): the kind of day of each hour: 0 a working day, 1 the weekend."""
FEW = 64
"""Rows whose products are summed in order; more come from training alone, where speed is worth more than the bit."""


def after(profile: Floats, lag: Floats) -> Floats:
    """Presence in the hours after each hour (…, 168), weighted by `lag` (24,): what a message sent then can meet."""
    return _shifted(np.concatenate([profile, profile[..., : len(lag) - 1]], axis=-1), lag)


def exposure(sends: Floats, lag: Floats) -> Floats:
    """Where responses to these sends could fall (…, 168); everywhere alike where nothing was sent. `lag` as above."""
    total = _shifted(np.concatenate([sends[..., HOURS - len(lag) + 1 :], sends], axis=-1), lag[::-1])
    mass = total.sum(axis=-1, keepdims=True)
    # A response long after its send still happens: a tenth of the mass lies on all hours.
    spread = 0.9 * total / np.maximum(mass, TINY) + 0.1 / HOURS
    return np.asarray(np.where(mass <= 0, 1 / HOURS, spread), np.float64)


def _shifted(padded: Floats, weights: Floats) -> Floats:
    """(…, 168): the sum of `padded` from its place k on, times weight k."""
    total = np.zeros((*padded.shape[:-1], HOURS))
    part = np.empty_like(total)
    for place, weight in enumerate(weights.tolist()):
        if weight:
            np.multiply(padded[..., place : place + HOURS], weight, out=part)
            total += part
    return total


def spread(counts: Floats) -> Floats:
    """Counts (…, 168) spread over neighbouring hours and the same hours of other days of its kind; sums are kept.

    Half stays on its day; the other half goes to all working days, or to both days of the weekend.
    """
    padded = np.concatenate([counts[..., -2:], counts, counts[..., :2]], axis=-1)
    near = _shifted(padded, np.array([weight for _, weight in _NEAR]))
    days = near.reshape(*near.shape[:-1], 7, 24)
    told = 0.5 * days
    for part in (slice(0, 5), slice(5, 7)):
        told[..., part, :] += 0.5 * days[..., part, :].mean(axis=-2, keepdims=True)
    return told.reshape(near.shape)


def products(rows: Floats, others: Floats) -> Floats:
    """(n, m) of rows (n, 168) and others (m, 168)."""
    if rows.ndim == 2 and len(rows) > FEW:
        return np.asarray(rows @ others.T, np.float64)
    return np.asarray((rows[..., None, :] * others).sum(axis=-1), np.float64)


def mixture(shares: Floats, profiles: Floats) -> Floats:
    """(…, 168): profiles (types, 168) by their shares (…, types)."""
    total = np.zeros((*shares.shape[:-1], HOURS))
    for place, profile in enumerate(profiles):
        total += shares[..., place, None] * profile
    return total
