"""The best of the hours that are asked for, of many customers at once: by `_week.c` where it was built, else by numpy.

Both give the same places: they take the same sums in the same order, and the powers and logarithms of both are numpy's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.compiled import compiled
from features.customer_row import CustomerRow
from features.many_rows import ManyWeeks, weeks_together
from models.channel_curves import ChannelCurve, chances, levels
from models.presence import OPEN_WORTH, Presence, answered_by_day, counts_on, habits_of, weeks_of
from models.week import HOURS, WEEKEND

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
LAYOUT = 2
"""Raised with that of `_week.c` when a function takes other arguments."""
WEEK: Any = compiled("models._week", LAYOUT)


class Asked(NamedTuple):
    """Which of these local hours of the week is the best on a channel, for the customer of this row (by its place);
    or, with `nth`, the second (1), the third … `weight` (len(hours),) is what the chance at each is multiplied by: the
    same in all asked of a row that share their `hours`.
    """

    row: int
    channel: str
    hours: Ints
    nth: int = 0
    weight: Floats | None = None


def places(
    presence: Presence,
    sharpness: float,
    prior: float,
    curves: Mapping[str, ChannelCurve],
    rows: Sequence[CustomerRow | None],
    asked: Sequence[Asked],
) -> list[int]:
    """The place among its hours of each that is asked for; equally good hours count in their order.

    `curves` has every channel asked for; `prior` is that of `levels`. Raises ValueError for hours that are none of the
    week, and for an `nth` that there is not.
    """
    for one in asked:
        if not 0 <= one.nth < len(one.hours):
            raise ValueError(f"hour {one.nth} of {len(one.hours)} is asked for")
    if not asked:
        return []
    choose = by_numpy if WEEK is None else by_c
    return choose(presence, sharpness, prior, curves, rows, asked)


def by_numpy(
    presence: Presence,
    sharpness: float,
    prior: float,
    curves: Mapping[str, ChannelCurve],
    rows: Sequence[CustomerRow | None],
    asked: Sequence[Asked],
) -> list[int]:
    """`places` without the compiled part."""
    found, habits = [], habits_of(presence, sharpness, rows)
    for one in asked:
        row, known, curve = rows[one.row], habits[one.row], curves[one.channel]
        level = 1.0 if row is None else float(levels(curve.engagement, prior, counts_on(row, one.channel)))
        ratio = np.ones(len(one.hours)) if known is None else known.ratio[one.hours]
        told = chances(curve.rate[one.hours], level, ratio if one.weight is None else ratio * one.weight)
        found.append(int(told.argmax() if one.nth == 0 else np.argsort(-told, kind="stable")[one.nth]))
    return found


def by_c(
    presence: Presence,
    sharpness: float,
    prior: float,
    curves: Mapping[str, ChannelCurve],
    rows: Sequence[CustomerRow | None],
    asked: Sequence[Asked],
) -> list[int]:
    """`places` by `_week.c`."""
    numbers = {channel: number for number, channel in enumerate(curves)}
    windows, weeks = windows_of(asked), weeks_of_all(rows, list(curves), presence.visits)
    known = np.array([row is not None for row in rows], np.bool_)
    ratio = ratios(presence, sharpness, weeks, known, windows)
    for place, weight in windows.weight.items():
        ratio[windows.start[place] : windows.start[place + 1]] *= weight
    curve, nth = np.array([(numbers[one.channel], one.nth) for one in asked]).T.copy()
    rates = np.array([one.rate for one in curves.values()])
    engagement = np.array([one.engagement for one in curves.values()], np.float64)
    found = np.empty(len(asked), np.int64)
    WEEK.pick(prior, ratio, windows.row, windows.start, windows.hours, rates, engagement, weeks.totals, windows.of,
              curve, nth, found)  # fmt: skip
    return found.tolist()


class Windows(NamedTuple):
    """Hours asked of rows, each once: the `row` of each such window, where its hours `start` (and where the last ends),
    all their hours; the window `of` each asked; and the `weight` of the windows that have one.
    """

    row: Ints
    start: Ints
    hours: Ints
    of: Ints
    weight: Mapping[int, Floats]


def windows_of(asked: Sequence[Asked]) -> Windows:
    """The windows of at least one asked."""
    seen: dict[tuple[int, int], int] = {}
    row: list[int] = []
    hours: list[Ints] = []
    of: list[int] = []
    weight: dict[int, Floats] = {}
    for one in asked:
        place = seen.setdefault((one.row, id(one.hours)), len(row))
        if place == len(row):
            row.append(one.row)
            hours.append(one.hours)
            if one.weight is not None:
                weight[place] = one.weight
        of.append(place)
    start = np.cumsum([0, *map(len, hours)])
    return Windows(np.array(row), start, np.concatenate(hours).astype(np.int64, copy=False), np.array(of), weight)


def weeks_of_all(rows: Sequence[CustomerRow | None], channels: Sequence[str], visits: float) -> ManyWeeks:
    """`presence.weeks_of` each row, and `counts_on` each channel; 0 for rows not known."""
    found = weeks_together(rows, channels, visits, OPEN_WORTH)
    if found is not None:
        return found
    told = ManyWeeks.none(len(rows), len(channels))
    for place, row in enumerate(rows):
        if row is not None:
            told.activity[place], told.sends[place], told.responses[place] = weeks_of(row, visits)
            told.totals[place] = [counts_on(row, channel) for channel in channels]
    return told


def ratios(
    presence: Presence, sharpness: float, weeks: ManyWeeks, known: npt.NDArray[np.bool_], windows: Windows
) -> Floats:
    """`presence.ratio_of` rows at the hours of their windows; 1 for rows not known."""
    n, types = len(known), len(presence.shares)
    exposed, mix = np.empty((2, n, HOURS))
    possible, told, score = np.empty((3, n, types))
    answered, met = np.empty(n), np.empty(len(windows.hours))
    WEEK.meet(weeks.activity, weeks.sends, weeks.responses, presence.lag, presence.answering, presence.log_profiles,
              presence.numbers, exposed, possible, told, answered)  # fmt: skip
    WEEK.weigh(told, answered, np.log(possible), presence.log_shares, score)
    weights = np.exp(score)
    WEEK.mix(weights, presence.profiles, mix)
    WEEK.own(mix, mix**presence.answers, exposed, weeks.activity, weeks.responses, presence.numbers, presence.lag,
             presence.met, known, windows.row, windows.start, windows.hours, met)  # fmt: skip
    ratio = met**sharpness
    if presence.days is not None:
        by_day = answered_by_day(presence.days, weights / np.add.reduce(weights, axis=-1, keepdims=True))
        by_day[~known] = 1.0
        kinds = 2 * windows.row.repeat(windows.start[1:] - windows.start[:-1]) + WEEKEND.take(windows.hours)
        ratio *= by_day.take(kinds)
    return np.asarray(ratio, np.float64)
