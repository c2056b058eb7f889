"""When to send what was chosen: a good hour that is not quiet, as the model of hours has it.

Where that is missing or fails, named `model:send-time`: by the customer's own habits alone (`SendTimeModel.untrained`);
where too little is known of these, or that fails, too: now, or the next time that is not quiet.
"""

from __future__ import annotations

import logging
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.customer_row import CustomerRow
from models.asked_hours import Asked
from models.local_hours import NO_HOURS, Hours
from models.presence import weeks_of
from models.send_time import SendTimeModel
from service.decisions.arbitration import FATIGUE_DAYS
from service.decisions.case import DAY_US, PLANNED_US, PULLED, Entry, Rules, from_microseconds, microseconds
from service.decisions.draft import Draft
from service.decisions.hours import Planned, drawn
from service.decisions.open_hours import open_hours
from service.decisions.policy import draw
from service.decisions.quiet import next_allowed, zone_of

log = logging.getLogger(__name__)
SEND_TIME = "send-time"
SEND_WITHIN = timedelta(microseconds=PLANNED_US)
BY_HABITS = SendTimeModel.untrained()
"""What stands in for a model of hours, for customers with `HABITS`."""
HABITS = 5.0
"""Orders, visits (each as much as that model has them count) and answers that tell of habits."""
TIMED = frozenset({"email", "sms", "push"})
"""Channels whose hour the send-time model chooses; a call waits for the end of quiet hours, others go at once."""
_TIRES_US = round(FATIGUE_DAYS * DAY_US)
_HOUR_DRAW = {channel: (1 << 40) + place for place, channel in enumerate(sorted(TIMED))}
"""Steps of a decision's draws that no other draw uses: one for each channel's hour."""


class Message(NamedTuple):
    """What is to be sent: on which channel, and when its offer ends."""

    draft: Draft
    channel: str
    ends_at: datetime | None


class Window(NamedTuple):
    """When a message may go out: not before `earliest`; in which of the `open` hours, where its hour is chosen."""

    earliest: datetime
    open: Hours
    zone_is_none: bool


class SendHours:
    """Plans the hours of decisions that are made together, each hour once.

    An hour lies within `SEND_WITHIN`, is not quiet, and comes before the offer ends. A small share
    (`rules.explore_hours`) goes to another such hour; the draw hangs on the decision's seed alone. Hours count less
    for each message of the seven days before them, as far as the model has learnt that these tire.
    """

    def __init__(self, model: Any, instead: SendTimeModel | None = BY_HABITS) -> None:
        """`model`: the one that serves, if any; `instead` stands in (None: nothing does, as before there was one)."""
        self._model, self._instead = model, instead
        self._windows: dict[tuple[Any, ...], Window] = {}
        self._planned: dict[tuple[str, str, datetime | None], Planned] = {}

    def plan(self, messages: Sequence[Message]) -> None:
        """Plans all of these at once; those that fail together are planned alone when they are asked for."""
        timed = [one for one in messages if one.channel in TIMED]
        try:
            if self._model is not None:
                self._plan(self._model, timed)
            elif self._instead is not None:
                self._plan(self._instead, [one for one in timed if has_habits(one.draft.row)])
        except Exception:  # one of them may be the cause; each says so for itself in `at`
            log.exception("the %s model could not plan %d hours together", SEND_TIME, len(messages))

    def at(self, message: Message) -> Planned:
        """When to send this, and the probability of that hour."""
        draft, channel, ends_at = message
        name = draft.decision_id, channel, ends_at
        if name in self._planned:
            return self._planned[name]
        window = self._window(message)
        if channel not in TIMED:
            return Planned(window.earliest, 1.0)
        for model in (self._model, self._instead):
            try:
                if model is not None and (model is self._model or has_habits(draft.row)):
                    self._plan(model, [message])
                    return self._planned[name]
            except Exception:  # the documented fallback
                log.exception("the %s model could not rank hours", SEND_TIME)
        draft.degrade(f"model:{SEND_TIME}")
        times = [window.earliest, *(time for time in window.open.times if time > window.earliest)]
        place, probability = _drawn(message, len(times))
        return Planned(times[place], probability)

    def _plan(self, model: Any, messages: Sequence[Message]) -> None:
        rows: dict[str, int] = {}
        asked: list[Asked] = []
        waiting: list[tuple[Message, Window, float]] = []
        for message in messages:
            window = self._window(message)
            place, probability = _drawn(message, len(window.open.times))
            if window.open.times:
                row = rows.setdefault(message.draft.decision_id, len(rows))
                fresh = freshness(message.draft.case.usage.entries, window.open.times, model.tiring)
                asked.append(Asked(row, message.channel, window.open.hours, place, fresh))
            waiting.append((message, window, probability))
        drafts = {message.draft.decision_id: message.draft for message in messages}
        places = iter(model.places([drafts[name].row for name in rows], asked))
        for (draft, channel, ends_at), (earliest, times, _), probability in waiting:
            at = times.times[next(places)] if times.times else earliest
            self._planned[draft.decision_id, channel, ends_at] = Planned(at, probability)
            draft.models[SEND_TIME] = str(model.version)
            if model is BY_HABITS:
                draft.degrade(f"model:{SEND_TIME}")

    def _window(self, message: Message) -> Window:
        """The same for all who live in the same zone."""
        draft, channel, ends_at = message
        case, rules, zone = draft.case, draft.case.rules, draft.customer.timezone
        quiet, timed = channel in rules.quiet_channels, channel in TIMED
        name = id(rules), case.at, zone, ends_at, quiet, timed
        found = self._windows.get(name)
        if found is None:
            found = self._windows[name] = window_of(case.at, ends_at, zone, rules, quiet, timed)
        if found.zone_is_none and (quiet or timed):
            draft.degrade("unknown_timezone")
        return found


def has_habits(row: CustomerRow | None) -> bool:
    """Whether enough is known of when a customer is about."""
    if row is None:
        return False
    activity, _, answers = weeks_of(row, BY_HABITS.presence.visits)
    return float(activity.sum() + answers.sum()) >= HABITS


def window_of(
    at: datetime, ends_at: datetime | None, timezone: str | None, rules: Rules, quiet: bool, timed: bool
) -> Window:
    """When a message decided `at` may go out: on a channel that is silent in `quiet` hours, or whose hour is chosen."""
    zone, wrong = zone_of(timezone, rules.default_timezone)
    hours = (rules.quiet_start, rules.quiet_end) if quiet else None
    earliest = next_allowed(at, zone, *hours) if hours else at
    if not timed:
        return Window(earliest, NO_HOURS, wrong)
    latest = min(at + SEND_WITHIN, ends_at) if ends_at else at + SEND_WITHIN
    return Window(earliest, open_hours(earliest, latest, zone, hours), wrong)


def freshness(entries: Sequence[Entry], times: Sequence[datetime], tiring: float) -> npt.NDArray[np.float64] | None:
    """What a response's chance at each of `times` (ascending, at least one) is multiplied by for the messages of the
    seven days before it; None where that is the same at all of them.
    """
    if not tiring:
        return None
    first, last, recent = microseconds(times[0]), microseconds(times[-1]), None
    for entry in entries:
        end = entry.at + _TIRES_US
        if end <= first or entry.at >= last or (entry.at < first and end > last):
            continue  # it counts at none of the times, or at all
        if not entry.message or entry.channel in PULLED or not entry.holds(first):
            continue
        recent = np.zeros(len(times)) if recent is None else recent
        recent[bisect_right(times, from_microseconds(entry.at)) : bisect_left(times, from_microseconds(end))] += 1
    return None if recent is None else np.exp(-tiring * recent)


def _drawn(message: Message, count: int) -> tuple[int, float]:
    case = message.draft.case
    return drawn(count, case.rules.explore_hours, draw(case.seed, _HOUR_DRAW[message.channel]))
