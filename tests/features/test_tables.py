from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from features.tables import EVENTS, TABLES, Table, TableError


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_samples_are_valid_and_repeatable(table: Table) -> None:
    first = table.sample(50, 7)
    assert first.schema == table.schema
    assert table.validate(first).equals(table.sample(50, 7))
    assert not table.sample(50, 8).equals(first)


def test_nullable_columns_may_lack() -> None:
    fitting = EVENTS.validate(EVENTS.sample(3, 1).drop("channel", "products"))
    assert fitting.schema == EVENTS.schema


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"type": pl.lit("shout")}, "events.type: row 0 holds 'shout', allowed: identify, track"),
        ({"timestamp": pl.lit(datetime(1900, 1, 1, tzinfo=UTC))}, "events.timestamp: row 0 holds"),
        ({"revenue_cents": pl.lit(10**14)}, "events.revenue_cents: row 0"),
        ({"customer_id": pl.lit(None, pl.String)}, "events.customer_id: row 0 holds None"),
        ({"message_id": pl.lit("twice")}, "two rows have the same message_id"),
        ({"machine": pl.lit("perhaps")}, "a column has a type that does not fit"),
        ({"colour": pl.lit("red")}, "events has no column colour"),
    ],
)
def test_a_broken_rule_is_named(change: dict[str, pl.Expr], told: str) -> None:
    with pytest.raises(TableError, match=told):
        EVENTS.validate(EVENTS.sample(3, 1).with_columns(**change))


def test_a_missing_column_is_named() -> None:
    with pytest.raises(TableError, match="events needs the column customer_id"):
        EVENTS.conform(EVENTS.sample(3, 1).drop("customer_id"))
