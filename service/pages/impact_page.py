"""What the page of impact shows: each placement's arms, and the model's beside the others."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any

from service.decisions.read_impact import read_impact
from service.pages.charts import Bar, Span
from service.pages.words import ARM_NAMES
from service.storage.database import Database

TAGS = {"more": ("good", "brings more"), "less": ("bad", "brings less"), "open": ("warn", "not known yet"),
        "too few": ("warn", "too few yet"), "withheld": ("bad", "arms not as planned")}  # fmt: skip
"""Class and words of a verdict."""


def impact_view(database: Database) -> dict[str, Any]:
    """Every placement that is measured, with its charts."""
    with database.read() as connection:
        placements = read_impact(connection)
    by_name = {name: list(found) for name, found in groupby(placements, itemgetter("placement"))}
    return {
        "placements": [
            {**newest, "bars": _bars(newest), "spans": _spans(newest), "earlier": earlier}
            for newest, *earlier in by_name.values()
        ],
        "arm_names": ARM_NAMES,
        "tags": TAGS,
        "in_all": _in_all,
    }


def _in_all(span: Mapping[str, float]) -> str:
    return f"{span['estimate']:+,.0f} ({span['low']:+,.0f} to {span['high']:+,.0f})"


def _bars(placement: Mapping[str, Any]) -> list[Bar]:
    """Revenue of a customer, by arm; none before anybody has bought."""
    if not any(arm["revenue_per_customer"] for arm in placement["arms"]):
        return []
    return [
        Bar(ARM_NAMES[arm["arm"]], value, f"{value:,.2f}", arm["arm"] == "model")
        for arm in placement["arms"]
        if (value := arm["revenue_per_customer"]) is not None
    ]


def _spans(placement: Mapping[str, Any]) -> list[Span]:
    """What the model's arm brings a customer beside each other arm."""
    found = [(one["against"], one["revenue_per_customer"]) for one in placement["comparisons"]]
    return [
        Span(f"than {ARM_NAMES[arm]}", span["estimate"], span["low"], span["high"], f"{span['estimate']:+,.2f}")
        for arm, span in found
        if span is not None
    ]
