"""A customer's features as a decision saw them, written down: quick to write, readable whatever features come later.

The layout names what the numbers are; it is the same for all rows of a feature set, so it is kept once for many. The
row itself: 4 bytes with the length of its head (little-endian), the head (JSON), the values as float64, and what is
not zero of the weeks: numbers, then their places (32 bits).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from features.channel_hours import NO_HOURS, ChannelHours
from features.customer_row import kept
from features.products import ProductOrders, product_key
from features.rows import CustomerRow
from service.decisions.remembered import Remembered
from service.offers.offer import Offer

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z
_WEEK = 168
_KINDS = len(ChannelHours._fields)
"""Weeks of a channel; before visits were kept there were two, and none of visits."""
Plain = dict[str, Any]


def _keys_of(offers: tuple[Offer, ...]) -> npt.NDArray[np.int64]:
    return np.unique([product_key(name) for offer in offers for name in offer.info.product_ids]).astype(np.int64)


_PRODUCTS = Remembered(_keys_of)
_NOTHING: list[list[int]] = [[], []]
_LAYOUT = Remembered[tuple[str, ...], bytes](lru_cache(maxsize=8)(orjson.dumps))


def freeze(row: CustomerRow, offers: tuple[Offer, ...]) -> tuple[bytes, bytes]:
    """Layout and row. Of products only those of the offers are kept: no other was looked at."""
    told, wanted, bought = kept(row), _PRODUCTS(offers), _NOTHING
    if len(wanted):
        products = row.products.of(wanted)
        bought = [products.key.tolist(), products.orders.tolist()]
    head = [
        row.customer_id,
        row.as_of,
        told.affinity,
        bought,
        told.channels,
        len(told.places) // 4,
        told.kind,
        told.views,
        _KINDS,
    ]
    first = orjson.dumps(head, option=_OPTIONS)
    parts = (len(first).to_bytes(4, "little"), first, told.vector, told.counts, told.places)
    return _LAYOUT(told.names), b"".join(parts)


def thaw(layout: bytes, frozen: bytes) -> Plain:
    """The row as JSON shows it: unknown values are null, and of each week only the hours that are not zero."""
    names = orjson.loads(layout)
    start = 4 + int.from_bytes(frozen[:4], "little")
    name, as_of, affinity, products, channels, busy, kind, *later = orjson.loads(frozen[4:start])
    values = np.frombuffer(frozen, np.float64, len(names), start).tolist()
    start += 8 * len(names)
    counts = np.frombuffer(frozen, kind, busy, start)
    kinds = later[1] if len(later) > 1 else 2
    own = 2 if len(later) > 1 else 1
    weeks = np.zeros((own + kinds * len(channels), _WEEK), counts.dtype)
    weeks.reshape(-1)[np.frombuffer(frozen, "<u4", busy, start + counts.nbytes)] = counts
    told = [_sparse(week) for week in weeks]
    return {
        "customer_id": name,
        "as_of": as_of,
        "values": {name: None if value != value else value for name, value in zip(names, values, strict=True)},
        "affinity": affinity,
        "order_hours": told[0],
        "visit_hours": told[1] if own > 1 else _sparse(NO_HOURS),
        "response_hours": {c: told[own + kinds * n : own + kinds * (n + 1)] for n, c in enumerate(channels)},
        "products": products,
        "views": later[0] if later else {},
    }


def row_from_json(value: Mapping[str, Any] | None) -> CustomerRow | None:
    """The row that `thaw` shows, equal to what it was."""
    if value is None:
        return None
    return CustomerRow(
        customer_id=value["customer_id"],
        as_of=datetime.fromisoformat(value["as_of"]),
        values={name: _number(number) for name, number in value["values"].items()},
        affinity={name: _three(counts) for name, counts in value["affinity"].items()},
        order_hours=_dense(value["order_hours"]),
        response_hours={
            channel: ChannelHours(*map(_dense, weeks)) for channel, weeks in value["response_hours"].items()
        },
        products=ProductOrders(*(np.array(part, np.int64) for part in value.get("products", ([], [])))),
        views=value.get("views", {}),
        visit_hours=_dense(value["visit_hours"]) if "visit_hours" in value else NO_HOURS,
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _three(counts: Sequence[float | None]) -> tuple[float, float, float]:
    return _number(counts[0]), _number(counts[1]), _number(counts[2])


def _sparse(hours: npt.NDArray[Any]) -> list[Any]:
    """Length, then (hour, count) of what is not zero."""
    places = np.flatnonzero(hours)
    return [len(hours), str(hours.dtype), places.tolist(), hours[places].tolist()]


def _dense(packed: Sequence[Any]) -> Any:
    array = np.zeros(packed[0], dtype=packed[1])
    array[packed[2]] = packed[3]
    return array
