"""Feast's entities, sources, views and services, generated from the feature declarations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.data_format import ParquetFormat
from feast.types import Float64

from features.declare import Feature
from features.feature_set import FeatureSet

CUSTOMER = Entity(
    name="customer",
    join_keys=["customer_id"],
    value_type=ValueType.STRING,
    description="A person: userId, else anonymousId.",
)
OFFER = Entity(
    name="offer", join_keys=["offer_id"], value_type=ValueType.STRING, description="Something that can be offered."
)
VIEW, INTERESTS, OFFERS = "customer_features", "customer_interests", "offer_features"
TTL = timedelta(days=35)
"""A snapshot answers for this long; monthly ones leave no hole."""


def customer_view(features: FeatureSet, snapshots: Path) -> FeatureView:
    """One view with every feature: one packed row a customer, one read."""
    told = "What is known of a customer as of a time. Generated from features/catalogue.py."
    return _view(VIEW, CUSTOMER, features.features, snapshots, told)


def interest_view(features: Sequence[Feature], snapshots: Path) -> FeatureView:
    """What a customer's purchases are about."""
    told = "What a customer buys, as numbers of the mean text. Generated from features/interests.py."
    return _view(INTERESTS, CUSTOMER, features, snapshots, told)


def offer_view(features: FeatureSet, snapshots: Path) -> FeatureView:
    """One view with every feature of an offer."""
    told = "What is known of an offer as of a time. Generated from features/transforms/offers.py."
    return _view(OFFERS, OFFER, features.features, snapshots, told)


def _view(name: str, entity: Entity, features: Sequence[Feature], snapshots: Path, told: str) -> FeatureView:
    source = FileSource(
        name=name.replace("_features", "") + "_snapshots",
        path=str(snapshots.resolve()),
        file_format=ParquetFormat(),
        timestamp_field="as_of",
        created_timestamp_column="created",
        description="What `opportune features` writes: as_of=…/*.parquet.",
    )
    return FeatureView(
        name=name,
        entities=[entity],
        ttl=TTL,
        schema=[Field(name=f.name, dtype=Float64, description=f.description) for f in features],
        source=source,
        description=told,
    )


def services(views: Sequence[FeatureView], versions: Mapping[str, Sequence[str]]) -> list[FeatureService]:
    """`all_features` of customers, `all_offer_features`, and one for each model version (`churn-5` -> feature names).

    A version's service takes each of its features from the view that has it; names that no view has are left out, and
    so is a version without any.
    """
    chosen: list[FeatureService] = []
    customers: list[Any] = [view for view in views if view.name != OFFERS]
    if customers:
        chosen.append(FeatureService(name="all_features", features=customers, description="Every customer feature."))
    chosen += [
        FeatureService(name="all_offer_features", features=[view], description="Every feature of an offer.")
        for view in views
        if view.name == OFFERS
    ]
    for name, wanted in versions.items():
        taken: list[Any] = [view[mine] for view in views if (mine := _of(view, wanted))]
        if taken:
            told = f"The features that {name} takes."
            chosen.append(FeatureService(name=name, features=taken, description=told))
    return chosen


def _of(view: FeatureView, wanted: Sequence[str]) -> list[str]:
    held = {field.name for field in view.features}
    return [name for name in dict.fromkeys(wanted) if name in held]
