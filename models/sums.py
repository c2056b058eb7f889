"""Sums of floats whose last bits hang on nothing but the numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def summed(numbers: Floats) -> Floats:
    """(...) of (..., k): added one after another, so that nobody's numbers depend on who else is asked about.

    numpy adds those that lie side by side in memory by eights; which do hangs on the shape. Fewer than eight need none
    of this.
    """
    first = np.ascontiguousarray(np.moveaxis(numbers, -1, 0))
    return np.asarray(first.cumsum(axis=0)[-1] if first[0].size == 1 else first.sum(axis=0), np.float64)
