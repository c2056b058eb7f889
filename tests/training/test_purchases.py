"""What BG/NBD is told: order days before the cut, nothing after it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from models import churn, lead, winback
from training.purchases import COLUMNS, are_purchases, purchases_at, purchases_of

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
TIME = pl.Datetime("us", "UTC")


def _frame(rows: list[tuple[str, datetime]], name: str) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"customer_id": pl.String, name: TIME}, orient="row")


def test_repeat_days_the_last_and_the_first_are_told_as_of_the_cut() -> None:
    orders = [("a", AT), ("a", AT + timedelta(hours=3)), ("a", AT + 5 * DAY), ("a", AT + 9 * DAY), ("b", AT + 2 * DAY)]
    asked = [("a", AT + 10 * DAY), ("b", AT + 10 * DAY), ("a", AT + 9 * DAY), ("a", AT), ("c", AT), ("b", AT + 3 * DAY)]
    told = purchases_at(_frame(orders, "timestamp"), _frame(asked, "as_of"))
    assert told.columns == list(COLUMNS)
    assert told.rows() == [
        (2.0, 9.0, 10.0),
        (0.0, 0.0, 8.0),
        (1.0, 5.0, 9.0),  # an order at the cut itself is not known
        (None, None, None),
        (None, None, None),
        (0.0, 0.0, 1.0),
    ]
    assert purchases_of(told.drop_nulls()).x.tolist() == [2.0, 0.0, 1.0, 0.0]


def test_what_comes_after_the_cut_changes_nothing() -> None:
    before = [("a", AT), ("a", AT + 4 * DAY)]
    asked = _frame([("a", AT + 6 * DAY)], "as_of")
    alone = purchases_at(_frame(before, "timestamp"), asked)
    later = purchases_at(_frame([*before, ("a", AT + 7 * DAY), ("a", AT + 8 * DAY)], "timestamp"), asked)
    assert alone.equals(later)


@pytest.mark.parametrize(("declaration", "is_one"), [(churn.DECLARATION, True), (winback.DECLARATION, True),
                                                      (lead.DECLARATION, False)])  # fmt: skip
def test_only_plain_orders_are_purchases(declaration: object, is_one: bool) -> None:
    assert are_purchases(declaration) is is_one  # type: ignore[arg-type]


def test_a_narrowed_order_is_none() -> None:
    narrowed = replace(churn.DECLARATION, goal=replace(churn.DECLARATION.goal, where="revenue_cents > 500"))
    assert not are_purchases(narrowed)
    assert not are_purchases(replace(churn.DECLARATION, attribution_days=7.0))
