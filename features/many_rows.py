"""Rows as stored of many customers as arrays, all in one call: what they bought, looked at and answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from features.channel_hours import HOURS
from features.compiled import ROWS
from features.customer_row import CustomerRow, StoredRow
from features.plan import GRID_CHANNELS
from features.products import ManyProducts
from features.serving import Serving, time_and_weight

Floats = NDArray[np.float64]
_PLACES = {channel: place for place, channel in enumerate(GRID_CHANNELS)}


@dataclass(frozen=True, slots=True)
class ManyRows:
    """Of n customers: `affinity` (n, categories, 3), orders in 90 and 365 days, days since the last (NaN: never);
    `views` (n, categories), looks in 365 days; `products`; `responses` (n, channels, 2), deliveries and human
    responses.
    """

    affinity: Floats
    views: Floats
    products: ManyProducts
    responses: Floats


def decoded(rows: Sequence[CustomerRow | None], categories: Sequence[str], channels: Sequence[str]) -> ManyRows | None:
    """The rows as arrays; None (nobody known) tells nothing. None where a row is not as stored, or nothing is compiled.

    A row that is cut short raises ValueError.
    """
    serving = _serving_of(rows)
    if serving is None:
        return None
    times = np.array(_times(rows), np.int64).reshape(-1, 2).T.copy()
    n, width = len(rows), len(categories)
    affinity, views, responses = np.empty((n, width, 3)), np.empty((n, width)), np.empty((n, len(channels), 2))
    places = np.array([_PLACES.get(channel, -1) for channel in channels], np.int64)
    packed = _packed(rows)
    start, key, orders = serving.decode(packed, _names(tuple(categories)), *times, places, affinity, views, responses)
    products = (np.frombuffer(part, np.int64) for part in (start, key, orders))
    return ManyRows(affinity, views, ManyProducts(*products), responses)


@dataclass(frozen=True, slots=True)
class ManyWeeks:
    """Hours of the week of n customers, each (n, 168): `activity` in orders; `sends` and `responses` on all channels;
    and `totals` (n, channels, 3): sends, clicks and opens on some.
    """

    activity: Floats
    sends: Floats
    responses: Floats
    totals: Floats

    @classmethod
    def none(cls, n: int, channels: int) -> ManyWeeks:
        """Of n customers of whom nothing is known."""
        weeks = np.zeros((3, n, HOURS))
        return cls(weeks[0], weeks[1], weeks[2], np.zeros((n, channels, 3)))


def weeks_together(
    rows: Sequence[CustomerRow | None], channels: Sequence[str], visit: float, opened: float
) -> ManyWeeks | None:
    """The rows' weeks: a visit counts for `visit` orders, an open for `opened` clicks. None and ValueError as above."""
    serving = _serving_of(rows)
    if serving is None:
        return None
    found = ManyWeeks.none(len(rows), len(channels))
    places = np.array([_PLACES.get(channel, -1) for channel in channels], np.int64)
    weeks = found.activity, found.sends, found.responses, found.totals
    weights = np.array([weight for _, weight in _times(rows)], np.int64)
    serving.weeks(_packed(rows), visit, opened, weights, places, *weeks)
    return found


def _serving_of(rows: Sequence[CustomerRow | None]) -> Serving | None:
    """What packed all the rows that there are; None where that is not one, or nothing is compiled."""
    stored = [row for row in rows if isinstance(row, StoredRow) and row.as_stored]
    if ROWS is None or not stored or len(stored) + sum(row is None for row in rows) < len(rows):
        return None
    serving = stored[0]._serving
    return serving if all(row._serving is serving for row in stored) else None


def _packed(rows: Sequence[CustomerRow | None]) -> list[bytes | None]:
    return [row._packed if isinstance(row, StoredRow) else None for row in rows]


def _times(rows: Sequence[CustomerRow | None]) -> list[tuple[int, int]]:
    """Microseconds of each row's time, and the weight of counts that forget then."""
    return [(0, 1) if row is None else time_and_weight(row.as_of) for row in rows]


@lru_cache(maxsize=64)
def _names(categories: tuple[str, ...]) -> Any:
    return ROWS.Names([orjson.dumps(name) for name in categories])
