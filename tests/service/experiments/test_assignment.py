"""Values from GrowthBook's SDK specification 0.7.1 (hash, getBucketRange, chooseVariation, inNamespace)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.experiments.assignment import (
    Namespace,
    Plan,
    assign_variant,
    bucket,
    bucket_ranges,
    choose,
    in_namespace,
)


@pytest.mark.parametrize(
    ("seed", "value", "version", "place"),
    [
        ("", "a", 1, 0.22), ("b", "a", 1, 0.946), ("asdf", "8952klfjas09ujk", 1, 0.549), ("", "___)((*\":&", 1, 0.563),
        ("seed", "a", 2, 0.0505), ("seed", "b", 2, 0.2696), ("foo", "ab", 2, 0.2575), ("foo", "def", 2, 0.2019),
        ("89123klj", "8952klfjas09ujkasdf", 2, 0.124), ("90850943850283058242805", "123", 2, 0.7516),
        ("()**(%$##$%#$#", "___)((*\":&", 2, 0.0128),
    ],
)  # fmt: skip
def test_bucket_is_growthbooks(seed: str, value: str, version: int, place: float) -> None:
    assert bucket(seed, value, version) == place


@pytest.mark.parametrize(
    ("seed", "value", "old", "new"),
    [("seed", "日本", 0.545, 0.9652), ("seed", "Zoë", 0.21, 0.4369), ("x", "👩\u200d👧", 0.93, 0.0004)],
)
def test_names_in_any_script_fall_where_growthbooks_javascript_has_them(
    seed: str, value: str, old: float, new: float
) -> None:
    """By its `hashFnv32a`, which goes by `charCodeAt`."""
    assert (bucket(seed, value, 1), bucket(seed, value, 2)) == (old, new)


def test_an_unknown_hash_version_is_refused() -> None:
    with pytest.raises(ValueError, match="hash version 99"):
        bucket("abc", "def", 99)


@pytest.mark.parametrize(
    ("count", "coverage", "weights", "ranges"),
    [
        (2, 1, None, [(0, 0.5), (0.5, 1)]),
        (2, 0.5, None, [(0, 0.25), (0.5, 0.75)]),
        (3, 0.2, [0.2, 0.3, 0.5], [(0, 0.04), (0.2, 0.26), (0.5, 0.6)]),
        (2, -0.2, None, [(0, 0), (0.5, 0.5)]),
        (2, 1.5, None, [(0, 0.5), (0.5, 1)]),
        (2, 1, [0.4, 0.1], [(0, 0.5), (0.5, 1)]),
        (4, 1, [0.4, 0.4, 0.2], [(0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1)]),
        (2, 1, [0.4, 0.5999], [(0, 0.4), (0.4, 0.9999)]),
    ],
)
def test_bucket_ranges_are_growthbooks(
    count: int, coverage: float, weights: list[float] | None, ranges: list[tuple[float, float]]
) -> None:
    got = bucket_ranges(count, coverage, weights)
    assert [bound for each in got for bound in each] == pytest.approx([bound for each in ranges for bound in each])


def test_a_bound_belongs_to_the_upper_range() -> None:
    assert [choose(place, [(0, 0.5), (0.5, 1)]) for place in (0, 0.4, 0.5, 0.8)] == [0, 0, 1, 1]
    assert choose(0.3, [(0, 0.25), (0.5, 0.75)]) == -1


@pytest.mark.parametrize(
    ("subject", "name", "start", "end", "inside"),
    [
        ("1", "namespace1", 0, 0.4, False), ("1", "namespace1", 0.4, 1, True),
        ("3", "namespace2", 0, 0.4, True), ("3", "namespace2", 0.4, 1, False),
    ],
)  # fmt: skip
def test_namespaces_are_growthbooks(subject: str, name: str, start: float, end: float, inside: bool) -> None:
    assert in_namespace(subject, Namespace(name, start, end)) is inside


def test_ids_that_look_alike_are_one_subject() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    assert bucket("seed", composed) == bucket("seed", decomposed)


@given(st.text(min_size=1, max_size=20), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=100)
def test_raising_the_coverage_moves_nobody(subject: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    plans = [Plan("seed", ("a", "b", "c"), (0.2, 0.3, 0.5), coverage) for coverage in (low, high)]
    before, after = (assign_variant(plan, subject) for plan in plans)
    assert before is None or before == after


def test_shares_are_as_planned() -> None:
    plan = Plan("any", ("a", "b"), (0.3, 0.7), 0.5)
    got = [assign_variant(plan, f"customer-{number}") for number in range(20_000)]
    assert got.count("a") / len(got) == pytest.approx(0.15, abs=0.01)
    assert got.count("b") / len(got) == pytest.approx(0.35, abs=0.012)
    assert assign_variant(plan, "") is None
