"""What was read last is found again while it is new, and no more of it than was promised."""

from __future__ import annotations

import pytest

from service.decisions import last_known
from service.decisions.last_known import KEEP_S, LOT, LOT_S, Recent


class Time:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(last_known, "monotonic", lambda: self.now)


def test_the_newest_value_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    time, recent = Time(monkeypatch), Recent[int](4 * LOT)
    recent.keep({"a": 1, "b": 1})
    recent.keep({"a": 2})
    time.now += LOT_S + 1
    recent.keep({"a": 3})
    assert (recent.find("a"), recent.find("b"), recent.find("c")) == (3, 1, None)


def test_no_more_than_the_most_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    Time(monkeypatch)
    recent = Recent[int](2 * LOT)
    for number in range(5 * LOT):
        recent.keep({str(number): number})
    found = [number for number in range(5 * LOT) if recent.find(str(number)) is not None]
    assert found == list(range(3 * LOT, 5 * LOT))


def test_what_is_too_old_is_neither_found_nor_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    time, recent = Time(monkeypatch), Recent[int](4 * LOT)
    recent.keep({"a": 1})
    time.now += 0.7 * KEEP_S
    recent.keep({"b": 2})
    time.now += 0.3 * KEEP_S
    assert (recent.find("a"), recent.find("b")) == (None, 2)
    recent.forget_old()
    time.now -= 0.5 * KEEP_S
    assert (recent.find("a"), recent.find("b")) == (None, 2)


def test_a_quiet_service_remembers_as_long_as_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    time, recent = Time(monkeypatch), Recent[int](2 * LOT)
    for minute in range(50):
        recent.keep({str(minute): minute})
        time.now += LOT_S + 1
    assert [recent.find(str(minute)) for minute in range(50)] == list(range(50))
