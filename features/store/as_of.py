"""The point-in-time join: keys are joined to row numbers, and only then are columns gathered. No Feast here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.tables import UTC_TIME

Ints = NDArray[np.int64]
NO_ROW = -1


@dataclass(frozen=True, slots=True)
class AsOf:
    """How rows with features are found for rows that ask.

    A row answers if it has the same keys, its time is at or before the asking time, and not before that time
    less `ttl` (both ends included). Of several the latest counts, then the latest created, then the last in the
    table. `known_only` leaves out rows created after the asking time: what nobody knew yet. Null keys or times
    never match; a row without a created time counts as created at its time.
    """

    keys: Sequence[str]
    time: str
    created: str | None = None
    ttl: timedelta | None = None
    known_only: bool = False

    def rows(self, asking: pl.DataFrame, asked_at: str, asking_keys: Sequence[str], answering: pl.DataFrame) -> Ints:
        """For each asking row the place of its answer in `answering`, NO_ROW where there is none."""
        groups, asker = _groups(answering, self.keys, asking, asking_keys)
        time, told = _times(answering[self.time])
        made = time
        if self.created:
            made, dated = _times(answering[self.created])
            made = np.where(dated, made, time)
        seen = np.maximum(time, made) if self.known_only else time
        usable = np.flatnonzero(told & (groups >= 0))
        order = usable[np.lexsort((usable, made[usable], time[usable], seen[usable], groups[usable]))]
        when, asks = _times(asking[asked_at])
        found = _last_before(groups[order], seen[order], asker, when)
        found[~asks | (asker < 0)] = NO_ROW
        row = np.append(self._best(groups, time, made, order), NO_ROW)[found]
        if self.ttl is not None:
            oldest = when - self.ttl // timedelta(microseconds=1)
            row[(row >= 0) & (np.append(time, 0)[row] < oldest)] = NO_ROW
        return row

    def _best(self, groups: Ints, time: Ints, made: Ints, order: Ints) -> Ints:
        """For each place in `order`, the row that answers once everything up to it is seen."""
        if not self.known_only:
            return order
        rank = np.empty(len(groups), dtype=np.int64)
        rank[np.lexsort((np.arange(len(groups)), made, time, groups))] = np.arange(len(groups))
        by_rank = np.empty_like(rank)
        by_rank[rank] = np.arange(len(groups))
        return by_rank[np.maximum.accumulate(rank[order])] if len(order) else order


def gather(frame: pl.DataFrame, rows: Ints) -> pl.DataFrame:
    """The rows of a frame by place; NO_ROW gives nulls."""
    places = pl.Series(rows).replace(NO_ROW, None) if len(rows) else pl.Series([], dtype=pl.Int64)
    if frame.is_empty():
        return frame.clear(len(rows))
    return frame.select(pl.all().gather(places))


def _groups(
    answering: pl.DataFrame, keys: Sequence[str], asking: pl.DataFrame, asking_keys: Sequence[str]
) -> tuple[Ints, Ints]:
    """A number for each distinct key; -1 for keys that the answering side lacks, or with a null."""
    if not keys:
        return np.zeros(answering.height, dtype=np.int64), np.zeros(asking.height, dtype=np.int64)
    names = list(keys)
    answering, asking = answering.select(names), asking.select(asking_keys)
    asked = asking.rename(dict(zip(asking.columns, names, strict=True)))
    asked = asked.with_columns(pl.col(name).cast(kind, strict=False) for name, kind in answering.schema.items())
    distinct = answering.drop_nulls().unique(maintain_order=True).with_row_index("_group")

    def numbers(frame: pl.DataFrame) -> Ints:
        joined = frame.join(distinct, on=names, how="left", maintain_order="left")
        return joined["_group"].cast(pl.Int64).fill_null(-1).to_numpy()

    return numbers(answering), numbers(asked)


def _times(column: pl.Series) -> tuple[Ints, NDArray[np.bool_]]:
    """Microseconds in UTC (a time without a zone counts as UTC), and where there is one."""
    kind = column.dtype
    if isinstance(kind, pl.Datetime) and kind.time_zone is None:
        column = column.dt.replace_time_zone("UTC")
    whole = column.cast(UTC_TIME).cast(pl.Int64)
    return whole.fill_null(0).to_numpy(), whole.is_not_null().to_numpy()


def _last_before(group: Ints, time: Ints, asker: Ints, when: Ints) -> Ints:
    """The last place in the sorted (group, time) at or before each (asker, when), NO_ROW if its group has none."""
    times = np.unique(time)
    base = len(times) + 1
    keys = group * base + np.searchsorted(times, time)
    found = np.searchsorted(keys, asker * base + np.searchsorted(times, when, side="right")) - 1
    start = np.searchsorted(group, asker)
    return np.where(found >= start, found, NO_ROW)
