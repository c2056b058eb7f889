"""What is kept of events by their meaning, and so has to be made anew when a name means something else."""

from __future__ import annotations

from xxhash import xxh3_64_hexdigest

from features import event_numbers, plan
from features.vocabulary import NAMES, TOLD_APART, TYPES, VERBS


def test_names_mean_something_else_only_under_another_layout() -> None:
    """Raise both, then write down the new digest: else files read before and rows at work keep the former meaning."""
    names = [(name, one.verb, one.channel) for name, one in NAMES.items()]
    meanings = (VERBS, TOLD_APART, sorted(TYPES.items()), names)
    digest = xxh3_64_hexdigest(repr(meanings).encode())
    assert (event_numbers.LAYOUT, plan.LAYOUT, digest) == (4, 6, "93bfb3a54f25add8")
