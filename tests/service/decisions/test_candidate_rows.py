"""Candidates as columns are the candidates as lines, in whatever way they were stored."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import orjson
import pytest

from service.decisions.candidate_rows import candidate_rows
from service.decisions.record import Columns, unpack_candidates, unpack_columns

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
LINES = [
    ["a", "email", 0.25, 1.5, 0.7, 1, "2026-03-05T08:00:00Z", 0.4],
    ["a", "web", None, -0.5, 0.1, None, None, None],
    ["b", "web", 0.5, 2.0, 0.1, 2, "2026-03-04T12:00:00Z", None],
    [None, None, None, 0.0, 0.1, None, None, None],
]


def packed(version: int) -> bytes:
    if version == 1:
        return zlib.compress(orjson.dumps([line[:7] for line in LINES]), 1)
    numbers = np.array([[np.nan if line[at] is None else line[at] for line in LINES] for at in (2, 3, 4)]).tobytes()
    ranked = [[place, *line[5:]] for place, line in enumerate(LINES) if line[5]]
    rest = [["a", "b", None], ["email", "web", None], [0, 0, 1, 2], [0, 1, 1, 2], ranked]
    return len(numbers).to_bytes(4, "little") + numbers + orjson.dumps(rest)


def decision(name: str) -> SimpleNamespace:
    return SimpleNamespace(
        decision_id=name, customer_id="c1", decided_at=NOON, placement="home", arm="model", policy="p",
        policy_version="1",
    )  # fmt: skip


@pytest.mark.parametrize("version", [1, 2])
def test_rows_are_the_stored_lines(version: int) -> None:
    columns = unpack_columns(packed(version))
    lines = [[*line[:7], None] for line in LINES] if version == 1 else LINES
    assert unpack_candidates(packed(version)) == lines
    none_out: set[tuple[str, str]] = set()
    told = [(columns, False), (columns, True), (columns, False)]
    rows = candidate_rows([decision("d1"), decision("d2"), decision("d3")], told, [none_out, {("b", "web")}, none_out])
    expected = [
        ("d1", *lines[0][:2], 1, True, 0.7, 0.25, 1.5),
        ("d1", *lines[1][:2], None, False, 0.1, None, -0.5),
        ("d1", *lines[2][:2], 2, False, 0.1, 0.5, 2.0),
        ("d1", None, None, None, False, 0.1, None, 0.0),
        ("d2", *lines[0][:2], 1, True, 0.7, 0.25, 1.5),
        ("d2", *lines[1][:2], None, False, 0.1, None, -0.5),
        ("d2", None, None, None, False, 0.1, None, 0.0),
    ]
    names = ["decision_id", "offer_id", "channel", "rank", "chosen", "propensity", "probability", "expected_value"]
    found = rows.select(names).rows()
    assert found[: len(expected)] == expected
    assert rows.height == 11
    assert rows["another_time"].to_list() == [False] * 4 + [True] * 3 + [False] * 4
    assert rows["send_at"].to_list()[:3] == [datetime(2026, 3, 5, 8, tzinfo=UTC), None, NOON]
    assert rows["send_at_probability"].to_list()[:3] == [lines[0][7], None, None]


def test_no_decisions_have_no_rows() -> None:
    assert candidate_rows([], [], []).is_empty()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda told: told._replace(of_offer=[0, 0, 1, 7]),
        lambda told: told._replace(of_channel=[0, -1, 1, 2]),
        lambda told: told._replace(of_offer=[0, 0, 1]),
        lambda told: told._replace(ranked=[[4, 1, None, None]]),
    ],
)
def test_numbers_that_name_nothing_are_damage(spoil: Callable[[Columns], Columns]) -> None:
    told = spoil(unpack_columns(packed(2)))
    numbers = told.numbers.tobytes()
    rest = orjson.dumps([told.offers, told.channels, told.of_offer, told.of_channel, told.ranked])
    with pytest.raises(ValueError, match="do not belong together"):
        unpack_columns(len(numbers).to_bytes(4, "little") + numbers + rest)
