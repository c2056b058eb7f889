"""Features made ready to be read: a customer's finalized vector with the span of time in which it holds.

A serving row is made from the state (state.py) whenever that changes and stands beside it. Between `since` and
`until` nothing in it changes but what moves with the clock, which `Finalizer.at` makes from the moments kept in its
place, the same bits as if all were made anew. As of any other time the row says nothing, and the state is asked.

Layout, 8-byte words first: signature, since, until, number of categories, of hours and of products, the vector, the
last order of each category; then of each category orders (90, 365 days) and views (365 days; 32 bits), counts by hour
(32 bits), products and their orders (32 bits), the cells of the hours (16 bits), and the categories' names (JSON).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from struct import Struct
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from features.channel_hours import ChannelHours
from features.compiled import ROWS
from features.declare import DAY
from features.facts import microseconds
from features.finalize import NEVER, Finalizer, Floats, Ints
from features.forgetting import weight
from features.plan import CATEGORY_DAYS, GRID_CHANNELS, Plan
from features.products import ProductOrders
from features.products import as_of as ordered_by
from features.tiles import Reading
from features.validity import Validity

LAYOUT = 4
"""Raised when rows are laid out otherwise, or when finalize.py gives other numbers for the same sums."""
_HEADER = 6
_COUNTS = Struct("<3q")
_WEEK = 168


class Serving:
    """Packs and reads the serving rows of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.names = plan.features.names
        self._finalizer, self._validity = Finalizer(plan), Validity(plan)
        text = repr((LAYOUT, plan.signature, plan.features.features))
        self._signature = int(np.array([xxh3_64_intdigest(text.encode())], dtype=np.uint64).view(np.int64)[0])
        self._words = _HEADER + len(self.names)
        self._size = 8 * self._words
        self._cells = plan.day_hour_base - plan.hour_base
        self.columns = lru_cache(maxsize=64)(self._columns)

    def pack(self, reading: Reading) -> list[bytes]:
        """The serving row of each state, which holds from the reading's time on."""
        partials = reading.partials()
        still, passed = self._finalizer.still(partials)
        n, weeks, start = len(reading.states), reading.weeks(), reading.category_start
        head = np.empty((n, self._words), dtype=np.int64)
        head[:, 0], head[:, 1] = self._signature, reading.as_of
        head[:, 2] = np.minimum(passed, self._validity.until(reading))
        head[:, 3] = start[1:] - start[:-1]
        bounds = np.searchsorted(weeks.row, np.arange(n + 1))
        head[:, 4] = bounds[1:] - bounds[:-1]
        bought = [ordered_by(state.products, state.bought, reading.as_of) for state in reading.states]
        head[:, 5] = [len(one.key) for one in bought]
        head[:, _HEADER:] = still.view(np.int64)
        words, last = head.tobytes(), reading.category_last.tobytes()
        told = np.concatenate([reading.orders[:, :2], reading.views[:, None]], axis=1).astype(np.uint32).tobytes()
        counts, cells = weeks.value.tobytes(), weeks.key.astype(np.uint16).tobytes()
        rows, at, hours = [], start.tolist(), bounds.tolist()
        for i, state in enumerate(reading.states):
            a, b, c, d = at[i], at[i + 1], hours[i], hours[i + 1]
            parts = [words[i * self._size : (i + 1) * self._size], last[8 * a : 8 * b], told[12 * a : 12 * b]]
            parts += [counts[8 * c : 8 * d], bought[i].key.astype(np.uint32).tobytes()]
            parts += [bought[i].orders.astype(np.uint32).tobytes(), cells[2 * c : 2 * d]]
            parts.append(orjson.dumps(state.categories))
            rows.append(b"".join(parts))
        return rows

    def holds(self, rows: Sequence[bytes | None], as_of: int) -> NDArray[np.bool_]:
        """Whether each row answers as of a time (microseconds)."""
        return self._holds(self._heads(rows, _HEADER), as_of) & self._whole(rows)

    def read(self, rows: Sequence[bytes | None], as_of: int) -> tuple[Floats, NDArray[np.bool_]]:
        """(n, features) as of a time (microseconds), and which rows answer; the others' values mean nothing."""
        heads = self._heads(rows, self._words)
        values = heads[:, _HEADER:].view(np.float64)
        self._finalizer.at(values, as_of)
        return values, self._holds(heads, as_of) & self._whole(rows)

    def _heads(self, rows: Sequence[bytes | None], words: int) -> Ints:
        size = 8 * words
        whole = [row[:size] if row is not None and len(row) >= self._size else bytes(size) for row in rows]
        return np.frombuffer(bytearray(b"").join(whole), np.int64).reshape(len(rows), words)

    def _holds(self, heads: Ints, as_of: int) -> NDArray[np.bool_]:
        told: NDArray[np.bool_] = (heads[:, 0] == self._signature) & (heads[:, 1] <= as_of) & (as_of < heads[:, 2])
        return told

    def _whole(self, rows: Sequence[bytes | None]) -> NDArray[np.bool_]:
        """Which rows can be read to their end; what is damaged is made anew from the state, as what no longer holds."""
        if ROWS is not None:
            told: bytes = ROWS.whole(list(rows), 8 * _HEADER, self._size, self._cells)
            return np.frombuffer(told, np.bool_)
        return np.array([row is not None and self._is_whole(row) for row in rows], np.bool_)

    def _is_whole(self, row: bytes) -> bool:
        try:
            categories, hours, products = self._counts(row)
            names = self._names(row, (categories, hours, products))
        except ValueError:
            return False
        at = self._size + 20 * categories + 8 * hours + 8 * products
        cells = np.frombuffer(row, np.uint16, hours, at)
        beyond = hours and int(cells.max()) >= self._cells
        listed = isinstance(names, list) and all(isinstance(name, str) for name in names)
        return listed and len(names) == categories and not beyond

    def liked(self, row: bytes, as_of: datetime) -> tuple[Mapping[str, tuple[float, float, float]], Mapping[str, int]]:
        """Category -> orders in 90 and 365 days, days since the last, of those ordered in CATEGORY_DAYS; and
        category -> views in 365 days, of those viewed.
        """
        held, (time, _) = self._counts(row), time_and_weight(as_of)
        categories = held[0]
        if not categories:
            return {}, {}
        names = self._names(row, held)
        if ROWS is not None:
            both: tuple[dict[str, tuple[float, float, float]], dict[str, int]]
            both = ROWS.liked(row, 8 * _HEADER, self._size, time, CATEGORY_DAYS * DAY, names)
            return both
        last = np.frombuffer(row, np.int64, categories, self._size)
        counts = np.frombuffer(row, np.uint32, 3 * categories, self._size + 8 * categories).reshape(-1, 3)
        age = time - last
        near = (last > NEVER) & (age <= CATEGORY_DAYS * DAY)
        quarter, year, _ = counts.astype(np.float64).T.tolist()
        told = zip(names, quarter, year, (age / DAY).tolist(), near.tolist(), strict=True)
        affinity = {name: (a, b, since) for name, a, b, since, here in told if here}
        return affinity, {name: count for name, count in zip(names, counts[:, 2].tolist(), strict=True) if count}

    def _names(self, row: bytes, held: tuple[int, int, int]) -> list[str]:
        categories, hours, products = held
        names: list[str] = orjson.loads(row[self._size + 20 * categories + 10 * hours + 8 * products :])
        return names

    def hours(self, row: bytes, as_of: datetime) -> tuple[Floats, Floats, dict[str, ChannelHours]]:
        """Orders and visits by local hour of the week; what happened on each channel likewise."""
        (_, heavy), cells = time_and_weight(as_of), self._cells
        if ROWS is not None:
            busy, told = ROWS.hours(row, 8 * _HEADER, self._size, heavy, cells)
            return _by_channel(np.frombuffer(told).reshape(-1, _WEEK), busy, range(len(busy)))
        categories, hours, products = self._counts(row)
        at = self._size + 20 * categories
        counts = np.frombuffer(row, np.int64, hours, at)
        places = np.frombuffer(row, np.uint16, hours, at + 8 * hours + 8 * products)
        if hours and int(places.max()) >= cells:
            raise ValueError("a customer's stored row has an hour beyond the week; make it anew (rebuild)")
        grid = np.zeros(cells, dtype=np.int64)
        np.add.at(grid, places, counts)
        busy = sorted({(week - 2) // 3 for week in (places // _WEEK).tolist() if week > 1})
        return _by_channel(grid.reshape(-1, _WEEK) / heavy, busy, busy)

    def decode(self, rows: list[bytes | None], *told: Any) -> tuple[bytes, bytes, bytes]:
        """`ROWS.decode` of rows that this has packed."""
        found: tuple[bytes, bytes, bytes]
        found = ROWS.decode(rows, 8 * _HEADER, self._size, self._cells, CATEGORY_DAYS * DAY, *told)
        return found

    def weeks(self, rows: list[bytes | None], *told: Any) -> None:
        """`ROWS.weeks` of rows that this has packed."""
        ROWS.weeks(rows, 8 * _HEADER, self._size, self._cells, *told)

    def busy_hours(self, row: bytes, as_of: datetime) -> tuple[list[str], bytes, bytes]:
        """`ROWS.busy_hours` of a row that this has packed, with the names of the channels."""
        _, heavy = time_and_weight(as_of)
        busy, counts, places = ROWS.busy_hours(row, 8 * _HEADER, self._size, heavy, self._cells)
        return [GRID_CHANNELS[place] for place in busy], counts, places

    def products(self, row: bytes) -> ProductOrders:
        """Orders by product, over all time."""
        categories, hours, products = self._counts(row)
        at = self._size + 20 * categories + 8 * hours
        held = np.frombuffer(row, np.uint32, 2 * products, at).astype(np.int64)
        return ProductOrders(held[:products], held[products:])

    def _counts(self, row: bytes) -> tuple[int, int, int]:
        """Categories, hours and products of a row. Raises ValueError where it is cut short."""
        if len(row) >= self._size:
            categories, hours, products = _COUNTS.unpack_from(row, 8 * (_HEADER - 3))
            behind = 20 * categories + 10 * hours + 8 * products
            if min(categories, hours, products) >= 0 and behind <= len(row) - self._size:
                return categories, hours, products
        raise ValueError("a customer's stored row is cut short; make it anew (rebuild)")

    def _columns(self, names: tuple[str, ...]) -> tuple[Ints, bool]:
        """The place of each name in a vector, -1 for a name that no feature has; and whether each has one."""
        places = {name: place for place, name in enumerate(self.names)}
        found = np.array([places.get(name, -1) for name in names], dtype=np.int64)
        return found, bool((found >= 0).all())


@lru_cache(maxsize=256)
def time_and_weight(as_of: datetime) -> tuple[int, int]:
    """Microseconds of a time, and the weight of counts that forget then; many customers are read as of the same."""
    time = microseconds(as_of)
    return time, weight(time)


def _by_channel(
    weeks: Floats, busy: Sequence[int], places: Sequence[int]
) -> tuple[Floats, Floats, dict[str, ChannelHours]]:
    """Weeks (…, 168) of orders and of visits, and of these channels, whose weeks stand at `places` behind them."""
    channels = {
        GRID_CHANNELS[channel]: ChannelHours(*weeks[2 + 3 * place : 5 + 3 * place])
        for channel, place in zip(busy, places, strict=True)
    }
    return weeks[0], weeks[1], channels
