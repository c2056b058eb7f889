"""Which variant a subject gets: a pure function of the experiment and the subject's id.

Compatible with GrowthBook's SDK specification 0.7.1 (hash versions 1 and 2, bucket ranges, namespaces), so that
a client that buckets by itself agrees with the service. Ids are normalized to Unicode NFC and hashed by UTF-16
code units, as JavaScript does, because SDKs in other languages disagree outside ASCII.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_FNV_OFFSET = 0x811C9DC5
_FNV_PRIME = 0x01000193
Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Namespace:
    """A slice of the subjects: experiments with disjoint slices of one namespace exclude each other."""

    name: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Plan:
    """All that assignment needs: the variants' keys and weights, and who takes part."""

    seed: str
    variants: tuple[str, ...]
    weights: tuple[float, ...]
    coverage: float = 1.0
    namespace: Namespace | None = None


def assign_variant(plan: Plan, subject: str) -> str | None:
    """The variant's key, or None where the subject is outside the experiment (coverage, namespace, no id)."""
    if not subject or not plan.variants or not in_namespace(subject, plan.namespace):
        return None
    place = bucket(plan.seed, subject, 2)
    ranges = bucket_ranges(len(plan.variants), plan.coverage, plan.weights)
    chosen = choose(place, ranges)
    return None if chosen < 0 else plan.variants[chosen]


def bucket(seed: str, value: str, version: int = 2) -> float:
    """Where a subject falls in [0, 1): version 2 in steps of 1/10,000 and unbiased, version 1 of 1/1,000."""
    value = unicodedata.normalize("NFC", value)
    if version == 2:
        return (fnv1a32(str(fnv1a32(seed + value))) % 10000) / 10000
    if version == 1:
        return (fnv1a32(value + seed) % 1000) / 1000
    raise ValueError(f"hash version {version} is not known; use 1 or 2")


def fnv1a32(text: str) -> int:
    """FNV-1a, 32 bits, over UTF-16 code units (Fowler, Noll and Vo; RFC 9923)."""
    value = _FNV_OFFSET
    units = text.encode("utf-16-le", "surrogatepass")
    for low, high in zip(units[::2], units[1::2], strict=True):
        value = ((value ^ (low | high << 8)) * _FNV_PRIME) & 0xFFFFFFFF
    return value


def in_namespace(subject: str, namespace: Namespace | None) -> bool:
    """Whether the subject is in the slice; everybody is where there is none."""
    if namespace is None:
        return True
    return namespace.start <= bucket("__" + namespace.name, subject, 1) < namespace.end


def bucket_ranges(count: int, coverage: float, weights: Sequence[float] | None) -> list[Range]:
    """Each variant's range. Raising the coverage widens the ranges without moving anybody.

    Weights that do not fit (a wrong number of them, a sum that is not 1) are taken as equal.
    """
    coverage = min(max(coverage, 0.0), 1.0)
    if weights is None or len(weights) != count or not 0.99 <= sum(weights) <= 1.01:
        weights = [1 / count] * count if count > 0 else []
    ranges, start = [], 0.0
    for weight in weights:
        ranges.append((start, start + coverage * weight))
        start += weight
    return ranges


def choose(place: float, ranges: Sequence[Range]) -> int:
    """The index of the range that holds the place, or -1."""
    return next((index for index, (low, high) in enumerate(ranges) if low <= place < high), -1)
