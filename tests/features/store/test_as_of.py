"""The point-in-time join against a look at every row, and against DuckDB's ASOF JOIN."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.store.as_of import NO_ROW, AsOf, gather
from features.tables import UTC_TIME

START = datetime(2026, 1, 1, tzinfo=UTC)
TTL = timedelta(hours=5)
times = st.one_of(
    st.none(),
    st.integers(0, 12).map(lambda h: START + timedelta(hours=h)),
    st.integers(0, 12).map(lambda h: START + timedelta(hours=h, microseconds=1)),
)
keys = st.sampled_from(["ann", "bob", None])
answers = st.lists(st.tuples(keys, st.integers(0, 1), times, times), max_size=25)
askers = st.lists(st.tuples(keys, st.integers(0, 2), times), max_size=15)


def answering(rows: list[Any]) -> pl.DataFrame:
    schema = {"customer_id": pl.String, "site": pl.Int64, "as_of": UTC_TIME, "created": UTC_TIME}
    return pl.DataFrame(rows, schema=schema, orient="row").with_row_index("value")


def asking(rows: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"who": pl.String, "site": pl.Int64, "when": UTC_TIME}, orient="row")


def by_looking(rows: list[Any], who: Any, site: Any, when: Any, ttl: timedelta | None, known: bool) -> int:
    best: tuple[Any, ...] | None = None
    for place, (name, where, time, created) in enumerate(rows):
        made = created or time
        if None in (who, name, when, time) or (name, where) != (who, site) or time > when:
            continue
        if known and made > when:
            continue
        best = max(best or (time, made, place), (time, made, place))
    if best is None or (ttl is not None and best[0] < when - ttl):
        return NO_ROW
    return int(best[2])


@settings(max_examples=200, deadline=None)
@given(rows=answers, asked=askers, ttl=st.sampled_from([None, TTL]), known=st.booleans())
def test_every_row_gets_what_a_look_at_all_rows_finds(
    rows: list[Any], asked: list[Any], ttl: timedelta | None, known: bool
) -> None:
    rule = AsOf(["customer_id", "site"], "as_of", "created", ttl, known)
    found = rule.rows(asking(asked), "when", ["who", "site"], answering(rows))
    assert found.tolist() == [by_looking(rows, *one, ttl, known) for one in asked]


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.tuples(keys, st.integers(0, 1), times, st.none()), max_size=25), asked=askers)
def test_rows_equal_duckdb(rows: list[Any], asked: list[Any]) -> None:
    right = answering(rows).unique(["customer_id", "site", "as_of"], keep="last", maintain_order=True)
    left = asking(asked).with_row_index("place")
    query = """SELECT l.place, r.value FROM l ASOF LEFT JOIN r
               ON l.who = r.customer_id AND l.site = r.site AND l.when >= r.as_of ORDER BY l.place"""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("l", left.to_arrow())
        connection.register("r", right.to_arrow())
        expected = [value for _, value in connection.execute(query.replace("l.when", 'l."when"')).fetchall()]
    found = AsOf(["customer_id", "site"], "as_of").rows(left, "when", ["who", "site"], right)
    assert gather(right.select("value"), found)["value"].to_list() == expected


def test_without_keys_one_row_answers_all() -> None:
    rows = answering([("x", 0, START, None), ("y", 0, START + TTL, None)])
    found = AsOf([], "as_of").rows(asking([("ann", 0, START), ("bob", 1, START + 2 * TTL)]), "when", [], rows)
    assert found.tolist() == [0, 1]


def test_times_without_a_zone_are_utc() -> None:
    rows = answering([("ann", 0, START, None)]).with_columns(pl.col("as_of").dt.replace_time_zone(None))
    found = AsOf(["customer_id"], "as_of", ttl=timedelta(0)).rows(asking([("ann", 0, START)]), "when", ["who"], rows)
    assert found.tolist() == [0]


@pytest.mark.parametrize("rows", [[], [0, NO_ROW]])
def test_gathering_from_nothing_gives_nulls(rows: list[int]) -> None:
    empty = pl.DataFrame(schema={"a": pl.Float64})
    import numpy as np

    assert gather(empty, np.array(rows, dtype=np.int64)).to_dict(as_series=False) == {"a": [None] * len(rows)}
