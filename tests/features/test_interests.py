"""The table of what customers' purchases are about."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from features.event_log import EventLog
from features.files import write_parquet
from features.interests import (
    INTEREST_NAMES,
    INTERESTS,
    build_interests,
    categories_seen,
)
from features.text_keys import text_key
from features.texts import TextVectors
from tests.fakes.event_streams import START, frame

KEYS = np.sort(np.array([text_key(text) for text in ("bread", "wine")]))
TEXTS = TextVectors.of("v", KEYS, np.random.default_rng(1).normal(size=(2, 16)).astype(np.float32))


def order(customer: str, category: str, day: int, name: str = "Order Completed") -> dict[str, Any]:
    at = START + timedelta(days=day)
    line = {"product_id": "p", "category": category, "price_cents": 1, "quantity": 1, "discount_cents": None}
    return {
        "message_id": f"{customer}{day}", "type": "track", "event": name, "customer_id": customer,
        "timestamp": at, "received_at": at, "products": [line], "properties": "{}",
    }  # fmt: skip


def test_who_is_erased_while_the_table_is_made_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, write = EventLog(tmp_path / "events"), write_parquet

    def erase_then_write(frame: pl.DataFrame, path: Path, *more: Any) -> None:
        if "ann" in frame["customer_id"]:
            log.erase(["ann"])
        write(frame, path, *more)

    log.append(frame([order("ann", "bread", 0), order("bob", "wine", 1)]), "a")
    monkeypatch.setattr("features.interests.write_parquet", erase_then_write)
    folder = build_interests(log, START + timedelta(days=9), tmp_path / "interests", TEXTS)
    assert pl.read_parquet(folder / "*.parquet")["customer_id"].to_list() == ["bob"]


def test_the_table_has_who_bought_and_is_made_once(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events")
    looked = [order("eve", "wine", day, "Product Viewed") for day in range(5)] + [order("eve", "bread", 8)]
    log.append(frame([order("ann", "bread", 0), order("ann", "wine", 1), order("bob", "cars", 2), *looked]), "a")
    assert categories_seen(log) == ["bread", "cars", "wine"]
    folder = build_interests(log, START + timedelta(days=9), tmp_path / "interests", TEXTS)
    told = pl.read_parquet(folder / "*.parquet").sort("customer_id")
    assert told["customer_id"].to_list() == ["ann", "bob", "eve"]
    mean = TEXTS.numbers(KEYS).mean(axis=0)
    assert np.abs(told.select(INTEREST_NAMES).to_numpy()[0] - mean).max() < 1e-6
    assert np.isnan(told.select(INTEREST_NAMES).to_numpy()[1]).all()
    assert np.abs(told.select(INTEREST_NAMES).to_numpy()[2] - mean).max() < 1e-6  # five looks are worth an order
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    build_interests(log, START + timedelta(days=9), tmp_path / "interests", TEXTS)
    assert before == {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert [one.name for one in INTERESTS] == list(INTEREST_NAMES)
