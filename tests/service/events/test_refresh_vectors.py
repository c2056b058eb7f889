from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from features.row_stores import StoreAway
from features.rows import OnlineFeatures
from service.events import refresh_vectors
from service.events.refresh_vectors import RefreshVectors
from tests.fakes.row_store import MemoryRows

NOW = datetime(2026, 6, 3, 12, 30, tzinfo=UTC)
NAMES = [f"c{number}" for number in range(7)]


class Time:
    def now(self) -> datetime:
        return NOW + timedelta(days=2)


class AwayOnce(OnlineFeatures):
    """The store goes away in the second portion."""

    portions = 0

    def refresh(self, customer_ids: Sequence[str], as_of: datetime) -> int:
        self.portions += 1
        if self.portions == 2:
            raise StoreAway("away")
        return super().refresh(customer_ids, as_of)


def test_a_sweep_makes_every_vector_fresh_though_the_store_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh_vectors, "AT_ONCE", 3)
    online = AwayOnce(MemoryRows())
    online.apply(
        [
            {"message_id": name, "type": "page", "event": None, "customer_id": name, "timestamp": NOW}
            for name in NAMES
        ]
    )  # fmt: skip
    assert sorted(online.stale(NOW + timedelta(days=2))) == NAMES
    refresh = RefreshVectors(online, Time())
    assert refresh.run_pass()
    assert len(list(online.stale(NOW + timedelta(days=2)))) == 4
    with pytest.raises(StoreAway):
        refresh.run_pass()
    assert [refresh.run_pass() for _ in range(3)] == [True, True, False]
    assert list(online.stale(NOW + timedelta(days=2))) == []
    assert not refresh.run_pass()
