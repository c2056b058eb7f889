"""Feast's entities, sources, views and services, generated from the feature declarations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.data_format import ParquetFormat
from feast.types import Float64

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
VIEW = "customer_features"
TTL = timedelta(days=35)
"""A snapshot answers for this long; monthly ones leave no hole."""


def customer_view(features: FeatureSet, snapshots: Path) -> FeatureView:
    """One view with every feature: one packed row a customer, one read."""
    source = FileSource(
        name="customer_snapshots",
        path=str(snapshots.resolve()),
        file_format=ParquetFormat(),
        timestamp_field="as_of",
        created_timestamp_column="created",
        description="What `opportune features` writes: as_of=…/bucket=NN.parquet.",
    )
    return FeatureView(
        name=VIEW,
        entities=[CUSTOMER],
        ttl=TTL,
        schema=[Field(name=f.name, dtype=Float64, description=f.description) for f in features.features],
        source=source,
        description="What is known of a customer as of a time. Generated from features/catalogue.py.",
    )


def services(view: FeatureView, versions: Mapping[str, Sequence[str]]) -> list[FeatureService]:
    """`all_features`, and one service for each model version (`churn-5` -> its feature names)."""
    chosen = [FeatureService(name="all_features", features=[view], description="Every customer feature.")]
    for name, wanted in versions.items():
        chosen.append(
            FeatureService(name=name, features=[view[list(wanted)]], description=f"The features that {name} takes.")
        )
    return chosen
