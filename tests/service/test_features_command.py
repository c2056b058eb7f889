from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from service.commands import Progress, days_of

NOW = datetime(2026, 3, 1, 14, 5, 6, 7, tzinfo=UTC)


def test_a_backfill_run_again_is_about_the_same_days() -> None:
    days = days_of(None, NOW, 3)
    assert days == [NOW, *(datetime(2026, 3, 1, tzinfo=UTC) - timedelta(days=back) for back in range(3))]
    assert days_of(None, NOW + timedelta(hours=2), 3)[1:] == days[1:]
    assert days_of(None, NOW + timedelta(days=1), 4)[2:] == days[1:]


def test_days_before_a_time_that_is_given_are_whole_days_apart() -> None:
    assert days_of(NOW, datetime.max.replace(tzinfo=UTC), 2) == [NOW - timedelta(days=back) for back in range(3)]


def test_what_has_no_known_end_is_told_in_plain_lines_too(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Progress()
    for done in (0, 500, 9_999, 10_000, 10_500, 20_500, 20_600):
        bar.count("customers scored", done)
    assert capsys.readouterr().err.splitlines() == ["customers scored: 10,000", "customers scored: 20,500"]
