"""The features of a version, each with a digest of its declaration, which changes when its meaning does."""

from __future__ import annotations

from collections.abc import Sequence

from xxhash import xxh3_64_hexdigest

from features.catalogue import FEATURE_NAMES, feature

OURS = "of the model"


def feature_list(names: Sequence[str]) -> str:
    """A line a feature: its name and the digest of its declaration; what a model makes itself says so."""
    return "\n".join(f"{name}  {feature_version(name)}" for name in names) + "\n"


def feature_version(name: str) -> str:
    """8 hex digits over all that a feature is declared by, and over what it is made of."""
    if name not in FEATURE_NAMES:
        return OURS
    declared = feature(name)
    parts = [feature_version(part) for part in declared.of or ()]
    return xxh3_64_hexdigest(f"{declared!r}{parts}".encode())[:8]
