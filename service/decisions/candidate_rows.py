"""Stored candidates of many decisions as rows of the table `decisions`, column by column. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from service.decisions.case import microseconds
from service.decisions.record import Columns

if TYPE_CHECKING:
    import polars as pl

_HEAD = ("decision_id", "customer_id", "decided_at", "placement", "arm", "policy", "policy_version")
_NEVER = np.iinfo(np.int64).min


def candidate_rows(
    decisions: Sequence[Any], told: Sequence[tuple[Columns, bool]], out: Sequence[Collection[tuple[str, str]]]
) -> pl.DataFrame:
    """A row for each candidate that is not `out` (offer, channel), "send nothing" included.

    `decisions` are rows of the database, `told` their candidates and whether they are of another time.
    """
    import polars as pl

    from features.tables import DECISIONS

    if not decisions:
        return DECISIONS.empty()
    columns = [one for one, _ in told]
    counts = [one.numbers.shape[1] for one in columns]
    starts = np.cumsum([0, *counts])
    probability, value, propensity = np.concatenate([one.numbers for one in columns], axis=1)
    rank, send_at, hour = _ranked(columns, starts)
    heads = pl.DataFrame({name: [getattr(row, name) for row in decisions] for name in _HEAD})
    heads = heads.with_columns(another_time=pl.Series([other for _, other in told]))
    rows = heads.select(pl.all().gather(np.repeat(np.arange(len(counts)), counts))).with_columns(
        offer_id=_named((one.offers, one.of_offer) for one in columns),
        channel=_named((one.channels, one.of_channel) for one in columns),
        rank=pl.Series(rank),
        propensity=pl.Series(propensity),
        probability=pl.Series(probability).fill_nan(None),
        expected_value=pl.Series(value),
        send_at=pl.Series(send_at),
        send_at_probability=pl.Series(hour).fill_nan(None),
    )
    rows = rows.with_columns(
        chosen=pl.col("rank") == 1,
        rank=pl.when(pl.col("rank") > 0).then("rank"),
        send_at=pl.when(pl.col("send_at") != _NEVER).then("send_at").cast(pl.Datetime("us", "UTC")),
    )
    rows = DECISIONS.conform(rows)
    return rows.filter(_inside(columns, starts, out)) if any(out) else rows


def _ranked(columns: Sequence[Columns], starts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rank (0: none), time in microseconds (`_NEVER`: none) and its probability (NaN: none) of every candidate."""
    rank = np.zeros(starts[-1], np.int32)
    send_at = np.full(starts[-1], _NEVER)
    hour = np.full(starts[-1], np.nan)
    for one, start in zip(columns, starts.tolist(), strict=False):
        for place, ranked, time, probability in one.ranked:
            at = start + place
            rank[at] = ranked or 0
            if time is not None:
                send_at[at] = microseconds(datetime.fromisoformat(time))
            if probability is not None:
                hour[at] = probability
    return rank, send_at, hour


def _named(told: Iterable[tuple[Sequence[str | None], Sequence[int]]]) -> pl.Series:
    """The names that numbers stand for, each list of numbers with its own list of names."""
    import polars as pl

    numbers: dict[str | None, int] = {}
    found = [
        np.array([numbers.setdefault(name, len(numbers)) for name in names])[np.array(places, np.intp)]
        for names, places in told
    ]
    return pl.Series(list(numbers), dtype=pl.String()).gather(np.concatenate(found))


def _inside(columns: Sequence[Columns], starts: np.ndarray, out: Sequence[Collection[tuple[str, str]]]) -> pl.Series:
    import polars as pl

    inside = np.ones(starts[-1], bool)
    for one, start, without in zip(columns, starts.tolist(), out, strict=False):
        if without:
            pairs = zip(one.of_offer, one.of_channel, strict=True)
            stays = [(one.offers[offer], one.channels[channel]) not in without for offer, channel in pairs]
            inside[start : start + len(stays)] = stays
    return pl.Series(inside)
