"""All features: those that come with the product and those that an installation declares, and how to find one.

An installation's own features stand in a file, TOML or Python (`FeatureSet.with_file`), that the variable
`OPPORTUNE_FEATURES_FILE` names. It is read when this module is imported, in every process alike, so that what is
learnt, stored and served is the same set.
"""

from __future__ import annotations

import os
from pathlib import Path

from features.declare import Feature
from features.feature_set import FeatureSet
from features.transforms import (
    breadth,
    engagement,
    gaps,
    lifecycle,
    money,
    orders,
    place,
    recency,
    rhythm,
    traits,
    web,
)

FEATURES: tuple[Feature, ...] = (
    *recency.FEATURES,
    *orders.FEATURES,
    *money.FEATURES,
    *gaps.FEATURES,
    *breadth.FEATURES,
    *engagement.FEATURES,
    *web.FEATURES,
    *rhythm.FEATURES,
    *lifecycle.FEATURES,
    *traits.FEATURES,
    *place.FEATURES,
)
VARIABLE = "OPPORTUNE_FEATURES_FILE"
"""Names the file of an installation's own features."""
SOURCE = os.environ.get(VARIABLE) or None
CATALOGUE = FeatureSet(FEATURES) if SOURCE is None else FeatureSet(FEATURES).with_file(Path(SOURCE))
FEATURE_NAMES: tuple[str, ...] = CATALOGUE.names


def feature(name: str) -> Feature:
    """The declaration of a feature. Raises KeyError naming near misses if there is none."""
    return CATALOGUE.feature(name)
