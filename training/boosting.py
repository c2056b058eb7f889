"""What all boosted trees share: the same rows give the same bits on any machine, and LightGBM says nothing."""

from __future__ import annotations

from collections.abc import Mapping

SAME_BITS: Mapping[str, object] = {
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 11,
    "verbose": -1,
}


def binning(parameters: Mapping[str, object]) -> dict[str, object]:
    """What a data set of LightGBM's must be told of these parameters, since it puts numbers into bins."""
    return {"max_bin": parameters["max_bin"], "verbose": -1}
