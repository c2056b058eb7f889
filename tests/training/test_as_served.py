from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from features.event_log import EventLog
from features.offers import OfferInfo
from features.rows import CustomerRow
from features.tables import EVENTS
from tests.training.test_evaluate import START, write_log
from training import as_served
from training.as_served import scores_as_served

OFFERS = [OfferInfo(name, None, frozenset()) for name in "abc"]


class Model:
    """Promises as much as the offer's place in the alphabet; asked only of what a decision looked at."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def score(self, row: CustomerRow, offers: list[OfferInfo], channels: list[str], at: datetime) -> Any:
        assert (row.as_of, channels, len(offers)) == (at, ["email"], 1)
        self.asked[row.customer_id] += 1
        return np.array([["abc".index(offers[0].offer_id) / 2]])


def test_scores_are_those_of_candidates_of_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each candidate of a decision as likely, on its channel, of its customer as they were; no one in the log twice."""
    monkeypatch.setattr(as_served, "MOST", 500)
    write_log(tmp_path, decisions=900)
    events = EVENTS.sample(800, 3).with_columns(
        customer_id=pl.format("c{}", pl.int_range(800)), timestamp=pl.lit(START - timedelta(days=3)),
        received_at=pl.lit(START - timedelta(days=3)), message_id=pl.format("m{}", pl.int_range(800)),
    )  # fmt: skip
    log = EventLog(tmp_path / "events")
    log.append(events.cast(dict(EVENTS.schema)), "part")
    model: Any = Model()
    hidden = [f"c{number}" for number in range(0, 800, 2)]
    found = scores_as_served(model, tmp_path, log, OFFERS, {}, hidden)
    assert found is not None
    assert 350 < len(found) <= 450  # of some nothing was known
    assert set(model.asked.values()) == {1}
    assert not set(model.asked) & set(hidden)
    assert [float((found == score).mean()) for score in (0.0, 0.5, 1.0)] == pytest.approx([1 / 3] * 3, abs=0.08)
    monkeypatch.setattr(as_served, "LEAST", 500)
    assert scores_as_served(model, tmp_path, log, OFFERS, {}, hidden) is None
    assert scores_as_served(model, tmp_path / "new", log, OFFERS, {}, ()) is None
