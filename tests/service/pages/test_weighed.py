"""The chart of a decision: what it weighed, the one that goes first standing out."""

from __future__ import annotations

from typing import Any

from service.pages.customer_page import WEIGHED, weighed


def candidate(offer_id: str | None, worth: float | None, chance: float, rank: int | None = None) -> dict[str, Any]:
    channel = None if offer_id is None else "email"
    told = {"expected_value": worth, "propensity": chance, "rank": rank, "eligible": worth is not None}
    return {"offer_id": offer_id, "channel": channel, **told}


def record(*candidates: dict[str, Any]) -> dict[str, Any]:
    return {"candidates": list(candidates), "offer_names": {"tea": "Tea for two"}}


def test_the_most_worth_come_first_with_their_chance() -> None:
    bars = weighed(record(candidate("tea", 0.5, 0.0001), candidate("mug", 1.25, 0.98, 1), candidate(None, 0.0, 0.0199)))
    assert [(bar.label, bar.text, bar.ours) for bar in bars] == [
        ("mug by email", "1.25 · 98.0%", True),
        ("Tea for two by email", "0.50 · <0.1%", False),
        ("Nothing", "0.00 · 2.0%", False),
    ]


def test_what_was_drawn_is_shown_however_little_it_is_worth() -> None:
    many = [candidate(f"o{number}", 10.0 - number, 0.1) for number in range(9)]
    drawn = weighed(record(*many, candidate("tea", 0.1, 0.1, 1), candidate(None, 0.0, 0.0)))
    assert len(drawn) == WEIGHED
    assert (drawn[-1].label, drawn[-1].ours) == ("Tea for two by email", True)
    nothing = weighed(record(*many, candidate(None, 0.0, 1.0)))
    assert (nothing[-1].label, nothing[-1].ours) == ("Nothing", True)


def test_where_nothing_was_weighed_there_is_no_chart() -> None:
    assert weighed(record(candidate("tea", None, 0.0), candidate(None, 0.0, 1.0))) == []
    assert weighed(record()) == []


def test_what_is_worth_less_than_a_cent_is_not_told_as_nothing() -> None:
    bars = weighed(record(candidate("tea", 0.0025, 0.9, 1), candidate("mug", -0.004, 0.05), candidate(None, 0.0, 0.05)))
    assert [bar.text for bar in bars] == ["0.0025 · 90.0%", "0.00 · 5.0%", "-0.0040 · 5.0%"]
