"""What is known of a customer as of a time, as the service and the models read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as of_field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.channel_hours import NO_HOURS, ChannelHours
from features.compiled import ROWS
from features.products import NO_PRODUCTS, ProductOrders

if TYPE_CHECKING:
    from features.serving import Serving

_VALUES, _PRODUCTS = "values", "products"
_LIKED = ("affinity", "views")
_HOURS = ("order_hours", "visit_hours", "response_hours")


@dataclass(frozen=True, slots=True)
class CustomerRow:
    """What is known of a customer as of a time.

    `values` has every feature (NaN: unknown). `affinity` maps a product category to orders in 90 and in 365 days
    and days since the last. `order_hours` and `visit_hours` count orders and visits by local hour of the week (168;
    Monday 00 is 0), `response_hours` what happened on each channel; these counts forget (forgetting.py).
    `products` counts orders by product, over all time. `views` counts looks at products by category, in 365 days.
    """

    customer_id: str
    as_of: datetime
    values: Mapping[str, float]
    affinity: Mapping[str, tuple[float, float, float]]
    order_hours: NDArray[np.float64]
    response_hours: Mapping[str, ChannelHours]
    products: ProductOrders = NO_PRODUCTS
    views: Mapping[str, int] = of_field(default_factory=dict)
    visit_hours: NDArray[np.float64] = of_field(default_factory=lambda: NO_HOURS)


class StoredRow(CustomerRow):
    """A CustomerRow read from a store: each field is decoded when it is first asked for."""

    __slots__ = ("_packed", "_serving", "vector")

    vector: NDArray[np.float64]
    _packed: bytes
    _serving: Serving

    @classmethod
    def of(
        cls, customer_id: str, as_of: datetime, vector: NDArray[np.float64], packed: bytes, by: Serving
    ) -> StoredRow:
        """`vector`: every feature in the order of the feature set, as of `as_of`."""
        row = cls.__new__(cls)
        put = object.__setattr__
        put(row, "customer_id", customer_id)
        put(row, "as_of", as_of)
        put(row, "vector", vector)
        put(row, "_packed", packed)
        put(row, "_serving", by)
        return row

    @property
    def as_stored(self) -> bool:
        """Whether the stored bytes are here; not in a changed copy."""
        return hasattr(self, "vector")

    def __getattr__(self, name: str) -> Any:
        """Called for a field that is not there yet."""
        if name == _VALUES:
            found: dict[str, Any] = {name: dict(zip(self._serving.names, self.vector.tolist(), strict=True))}
        elif name in _LIKED:
            found = dict(zip(_LIKED, self._serving.liked(self._packed, self.as_of), strict=True))
        elif name == _PRODUCTS:
            found = {name: self._serving.products(self._packed)}
        elif name in _HOURS:
            found = dict(zip(_HOURS, self._serving.hours(self._packed, self.as_of), strict=True))
        else:
            raise AttributeError(f"a customer's row has no {name}")
        for field, value in found.items():
            object.__setattr__(self, field, value)
        return found[name]


def some_values(row: CustomerRow, names: frozenset[str]) -> dict[str, float]:
    """These features of a row, those that it has; without making a mapping of all of a row as stored."""
    if isinstance(row, StoredRow) and row.as_stored:
        wanted = tuple(sorted(names))
        columns, _ = row._serving.columns(wanted)
        return {name: float(row.vector[at]) for name, at in zip(wanted, columns.tolist(), strict=True) if at >= 0}
    return {name: row.values[name] for name in names if name in row.values}


class Kept(NamedTuple):
    """A row as bytes and plain values, to be written down. Of the weeks of orders, of visits, then of sends, clicks and
    opens of each of the `channels`, one behind another, what is not zero: `counts` (numbers of `kind`) and its `places`
    (32 bits).
    """

    names: tuple[str, ...]
    vector: bytes
    affinity: Mapping[str, tuple[float, float, float]]
    views: Mapping[str, int]
    channels: list[str]
    counts: bytes
    places: bytes
    kind: str = "<f8"


def kept(row: CustomerRow) -> Kept:
    """All of a row but its products."""
    if ROWS is not None and isinstance(row, StoredRow) and row.as_stored:
        packed, at, by = row._packed, row.as_of, row._serving
        affinity, views = by.liked(packed, at)
        return Kept(by.names, row.vector.tobytes(), affinity, views, *by.busy_hours(packed, at))
    of_channels = (week for hours in row.response_hours.values() for week in hours)
    weeks = np.concatenate([row.order_hours, row.visit_hours, *of_channels])
    busy = weeks.nonzero()[0]
    vector = np.fromiter(row.values.values(), np.float64, len(row.values)).tobytes()
    told = weeks[busy].tobytes(), busy.astype("<u4").tobytes(), weeks.dtype.str
    return Kept(tuple(row.values), vector, row.affinity, row.views, list(row.response_hours), *told)


def feature_matrix(
    rows: Sequence[CustomerRow | None], names: Sequence[str], strict: bool = False
) -> NDArray[np.float64]:
    """(rows, names): these features of each row, NaN where unknown; without making a mapping of rows as stored.

    `strict` raises KeyError where a row lacks one of the features.
    """
    if rows and names and all(type(row) is StoredRow and row.as_stored for row in rows):
        return _of_stored(rows, names, strict)  # type: ignore[arg-type]
    stored = [(place, row) for place, row in enumerate(rows) if isinstance(row, StoredRow) and row.as_stored]
    out = np.full((len(rows), len(names)), np.nan)
    if stored and names:
        out[[place for place, _ in stored]] = _of_stored([row for _, row in stored], names, strict)
    done = {place for place, _ in stored}
    for place, row in enumerate(rows):
        if row is not None and place not in done:
            values = row.values
            out[place] = [values[name] if strict else values.get(name, np.nan) for name in names]
    return out


def _of_stored(rows: Sequence[StoredRow], names: Sequence[str], strict: bool) -> NDArray[np.float64]:
    columns, whole = rows[0]._serving.columns(tuple(names))
    if strict and not whole:
        raise KeyError(names[int(np.argmin(columns))])
    vectors = np.concatenate([row.vector for row in rows]).reshape(len(rows), -1)
    told = vectors.take(columns, axis=1)
    if not whole:
        told[:, columns < 0] = np.nan
    return told
