"""All features that come with the product, and how to find one."""

from __future__ import annotations

from features.declare import Feature
from features.feature_set import FeatureSet
from features.transforms import (
    breadth,
    engagement,
    gaps,
    lifecycle,
    money,
    orders,
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
)
CATALOGUE = FeatureSet(FEATURES)
FEATURE_NAMES: tuple[str, ...] = CATALOGUE.names


def feature(name: str) -> Feature:
    """The declaration of a feature. Raises KeyError naming near misses if there is none."""
    return CATALOGUE.feature(name)
