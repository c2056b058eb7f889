from __future__ import annotations

import logging

import pytest

from service.telemetry import Bounded


def told(bounded: Bounded, words: str, *args: object) -> str | None:
    """The line as it is written; None where it is left out."""
    record = logging.LogRecord("service.web", logging.WARNING, "", 0, words, args, None)
    return record.getMessage() if bounded.filter(record) else None


def test_a_line_that_comes_again_and_again_is_told_in_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour without the database left a line for each request that was refused."""
    now = [100.0]
    monkeypatch.setattr("service.telemetry.time.monotonic", lambda: now[0])
    bounded = Bounded(at_most=2, within_s=60.0)
    lines = [told(bounded, "no %s", "database") for _ in range(1_000)]
    assert [line for line in lines if line] == ["no database"] * 2
    assert told(bounded, "no disk") == "no disk"
    now[0] += 60.0
    assert told(bounded, "no %s", "database") == "no database (998 such lines left out)"
    assert told(bounded, "no disk") == "no disk"
    now[0] += 60.0
    assert told(bounded, "no %s", "database") == "no database"


def test_lines_that_are_all_different_take_no_room() -> None:
    bounded = Bounded(at_most=1, known=10)
    assert all(told(bounded, "line %d", number) for number in range(1_000))
    assert len(bounded._told) == 10
