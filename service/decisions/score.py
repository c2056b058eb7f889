"""What the models say of a draft: probabilities, reasons, good hours. Each has its documented fallback, by name.

- next-offer failing: the last version that worked in this process, named `last_model:next-offer`
- next-offer missing, or that failing too: pooled response rates (`rates.py`), named `model:next-offer`
- those not to be read: the last read, or the same rate for all, which is the catalogue's order of worth, named `rates`
- uplift missing or failing: the probability, named `model:uplift` only where one serves and fails
- send-time missing or failing: now, or the next hour that is not quiet, named `model:send-time`
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from models.uplift import uplift_name
from service.decisions.assortment import assortment
from service.decisions.case import Case
from service.decisions.draft import Draft
from service.decisions.hours import Planned, plan_hour
from service.decisions.last_known import LastKnown
from service.decisions.pairs import Floats, Ints, Pairs
from service.decisions.policy import draw
from service.decisions.ports import Models
from service.decisions.quiet import is_quiet, next_allowed, zone_of
from service.decisions.rates import PooledRates

log = logging.getLogger(__name__)
NEXT_OFFER, SEND_TIME = "next-offer", "send-time"
SEND_WITHIN = timedelta(hours=72)
TIMED = frozenset({"email", "sms", "push"})
"""Channels whose hour the send-time model chooses; a call waits for the end of quiet hours, others go at once."""
BY_RATES = "pooled_rates"
REASONS = 3
Wanted = Sequence[tuple[int, str]]
"""(position of the offer, channel) of candidates."""
_REMEMBERED = 4_096
_OPEN: dict[tuple[Any, ...], tuple[Sequence[datetime], Sequence[datetime], Ints]] = {}
_HOUR_DRAW = {channel: (1 << 40) + place for place, channel in enumerate(sorted(TIMED))}
"""Steps of a decision's draws that no other draw uses: one for each channel's hour."""


class Scorer:
    """Scores drafts with the models that serve now."""

    def __init__(self, models: Models, rates: Callable[[], PooledRates], last: LastKnown | None = None) -> None:
        self._models = models
        self._read_rates = rates
        self._last = last or LastKnown()
        self._used: dict[str, Any] = {}
        self._rates: PooledRates | None = None
        self._weighings: dict[str, Weighed] = {}
        self._known: dict[str, Any] = {}

    @property
    def rates(self) -> PooledRates:
        """Read once, and only when something asks."""
        if self._rates is None:
            self._rates = self._read_rates()
        return self._rates

    def score(self, drafts: Sequence[Draft]) -> None:
        """Sets the probability of each eligible candidate, in (0, 1): where the model can, of many drafts at once."""
        waiting = [draft for draft in drafts if draft.eligible]
        model = self._models.get(NEXT_OFFER)
        if hasattr(model, "weigh"):
            alike: dict[tuple[int, tuple[str, ...]], list[Draft]] = {}
            for draft in waiting:
                alike.setdefault((id(draft.case.offers), draft.case.channels), []).append(draft)
            for some in alike.values():
                self._weigh(model, some)
        for draft in waiting:
            self._score(draft, model)
            self._score_goals(draft)
            self._score_uplift(draft)

    def _score_goals(self, draft: Draft) -> None:
        """P(click) and P(redeem) from the pooled rates, where the settings give them a weight."""
        rules = draft.case.rules
        weights = {"click": rules.goal_click, "redemption": rules.goal_redemption}
        wanted = [name for name, weight in weights.items() if weight]
        if wanted:
            pairs = [(draft.case.offers[position].offer_id, channel) for position, channel in draft.eligible]
            draft.goals = {name: self.rates.of(name).rates(pairs) for name in wanted}

    def _score_uplift(self, draft: Draft) -> None:
        """By how much sending raises P(convert), where the placement's uplift model says so; else nothing is set.

        Contact causes a share of the customer's conversions: each action's probability counts by that share.
        """
        name = uplift_name(draft.case.placement)
        model = self._models.get(name)
        if model is None or draft.row is None or not model.serves:
            return
        try:
            share = float(model.caused([draft.row])[0])
            if not -1.0 <= share <= 1.0:
                raise ValueError(f"a share of {share} is caused")
        except Exception:  # the probability stands in
            log.exception("the %s model failed; probabilities stand in", name)
            draft.degrade("model:uplift")
            return
        draft.uplift = [float(probability) * share for probability in draft.probabilities]
        draft.models[name] = str(model.version)

    def _weigh(self, model: Any, drafts: Sequence[Draft]) -> None:
        """One call for drafts with the same offers and channels; what fails here is tried again one by one."""
        case = drafts[0].case
        asked = np.zeros(len(case.offers), np.bool_)
        for draft in drafts:
            asked[draft.eligible.positions] = True
        infos, line = assortment(case.offers).infos, np.arange(len(case.offers))
        if 2 * asked.sum() <= len(infos):
            positions = np.flatnonzero(asked)
            infos, line = tuple(infos[position] for position in positions.tolist()), np.full(len(case.offers), -1)
            line[positions] = np.arange(len(positions))
        try:
            weighing = model.weigh([draft.row for draft in drafts], infos, case.channels)
        except Exception:  # one of them may be the cause; the others shall not suffer
            log.exception("the %s model could not weigh %d decisions together", NEXT_OFFER, len(drafts))
            return
        for place, draft in enumerate(drafts):
            self._weighings[draft.decision_id] = Weighed(weighing, place, line)

    def _score(self, draft: Draft, model: Any) -> None:
        weighed = self._weighings.get(draft.decision_id)
        scores: Sequence[float] | Floats | None
        if weighed is not None:
            scores = weighed.probabilities(draft.case, draft.eligible)
        else:
            scores = None if model is None else by_model(model, draft.row, draft.case, draft.eligible)
        if scores is not None and model is not None:
            self._last.worked(model)
            self._take(draft, model, scores)
            return
        other = None if model is None else self._last.instead_of(model)
        scores = None if other is None else by_model(other, draft.row, draft.case, draft.eligible)
        if scores is not None and other is not None:
            draft.degrade(f"last_model:{NEXT_OFFER}")
            self._take(draft, other, scores)
            return
        draft.degrade(f"model:{NEXT_OFFER}")
        if self.rates.unread:
            draft.degrade("rates")
        pairs = [(draft.case.offers[position].offer_id, channel) for position, channel in draft.eligible]
        draft.probabilities, draft.scored_by = self.rates.rates(pairs), BY_RATES

    def _take(self, draft: Draft, model: Any, scores: Sequence[float] | Floats) -> None:
        draft.probabilities, draft.scored_by = scores, NEXT_OFFER
        draft.models[NEXT_OFFER] = str(model.version)
        self._used[draft.decision_id] = model

    def reasons(self, asked: Sequence[tuple[Draft, Wanted]]) -> list[list[list[dict[str, Any]]]]:
        """Why each of these (position of the offer, channel) of each draft, in the customer's terms."""
        together = self._together(asked)
        return [self._explain(draft, wanted, together.get(draft.decision_id)) for draft, wanted in asked]

    def _together(self, asked: Sequence[tuple[Draft, Wanted]]) -> dict[str, Sequence[Sequence[Any]]]:
        """Reasons of drafts that were weighed together, by decision; what fails here is asked again one by one."""
        alike: dict[int, list[tuple[Weighed, Draft, Wanted]]] = {}
        for draft, wanted in asked:
            weighed = self._weighings.get(draft.decision_id)
            if weighed is not None and self._stands(draft):
                alike.setdefault(id(weighed.weighing), []).append((weighed, draft, wanted))
        found: dict[str, Sequence[Sequence[Any]]] = {}
        for some in alike.values() if len(asked) > 1 else ():
            places = [place for weighed, draft, wanted in some for place in weighed.places(draft.case, wanted)]
            try:
                told = iter(some[0][0].weighing.reasons_of(places, REASONS))
            except Exception:
                log.exception("the %s model gave no reasons for %d decisions together", NEXT_OFFER, len(some))
                continue
            found |= {draft.decision_id: [next(told) for _ in wanted] for _, draft, wanted in some}
        return found

    def _explain(
        self, draft: Draft, wanted: Wanted, found: Sequence[Sequence[Any]] | None
    ) -> list[list[dict[str, Any]]]:
        if draft.scored_by == BY_RATES:
            offers = [draft.case.offers[position].offer_id for position, _ in wanted]
            return [[{"feature": "response_rate", "text": self.rates.sentence(o), "effect": 0.0}] for o in offers]
        try:
            told = self._reasons(draft, wanted) if found is None else found
        except Exception:  # a ranking without reasons is better than none
            log.exception("the %s model gave no reasons", NEXT_OFFER)
            draft.degrade("reasons")
            return [[] for _ in wanted]
        return [[{"feature": one.feature, "text": one.text, "effect": one.effect} for one in some] for some in told]

    def _stands(self, draft: Draft) -> bool:
        """Whether the draft's probabilities are those that it was weighed with."""
        return draft.scored_by == NEXT_OFFER and f"last_model:{NEXT_OFFER}" not in draft.degraded

    def _reasons(self, draft: Draft, wanted: Wanted) -> Sequence[Sequence[Any]]:
        weighed = self._weighings.get(draft.decision_id)
        if weighed is not None and self._stands(draft):
            told: Sequence[Sequence[Any]] = weighed.weighing.reasons_of(weighed.places(draft.case, wanted), REASONS)
            return told
        model, offers, at = self._used.get(draft.decision_id), draft.case.offers, draft.case.at
        if model is None:
            return [() for _ in wanted]
        return [model.reasons(draft.row, offers[position].info, channel, at, REASONS) for position, channel in wanted]

    def send_at(self, draft: Draft, channel: str, ends_at: datetime | None) -> Planned:
        """When to send: a good hour within `SEND_WITHIN` that is not quiet, and before the offer ends.

        A small share (`rules.explore_hours`) goes to another such hour; the draw hangs on the decision's seed alone.
        """
        case = draft.case
        zone, invalid = zone_of(draft.customer.timezone, case.rules.default_timezone)
        quiet = channel in case.rules.quiet_channels
        start, end = case.rules.quiet_start, case.rules.quiet_end
        if invalid and (quiet or channel in TIMED):
            draft.degrade("unknown_timezone")
        earliest = next_allowed(case.at, zone, start, end) if quiet else case.at
        if channel not in TIMED:
            return Planned(earliest, 1.0)
        latest = min(case.at + SEND_WITHIN, ends_at) if ends_at else case.at + SEND_WITHIN
        model = self._models.get(SEND_TIME)

        def allowed(moment: datetime) -> bool:
            return not (quiet and is_quiet(moment, zone, start, end))

        def first(n: int) -> list[datetime]:
            return _in_turn(earliest, latest, zone.key, allowed, n)

        def best(n: int) -> list[datetime]:
            assert model is not None
            habits = self._habits(model, [draft])
            if n <= 2 and hasattr(model, "best_place"):
                times, hours = open_hours(earliest, latest, zone, (start, end) if quiet else None)
                if not times:
                    return []
                place = model.best_place(draft.row, channel, hours, habits[draft.decision_id])
                return [max(times[place], earliest), *times[:place][:1], *times[place + 1 :][:1]][:n]
            more = {"habits": habits[draft.decision_id]} if habits else {}
            found = model.rank(draft.row, channel, zone.key, earliest, latest, n, allowed, **more)
            return [max(one.start, earliest) for one in found]

        share, number = case.rules.explore_hours, draw(case.seed, _HOUR_DRAW[channel])
        try:
            planned = plan_hour(first if model is None else best, share, number)
        except Exception:  # the documented fallback
            log.exception("the %s model could not rank hours", SEND_TIME)
            model, planned = None, plan_hour(first, share, number)
        if model is None:
            draft.degrade(f"model:{SEND_TIME}")
        else:
            draft.models[SEND_TIME] = str(model.version)
        return planned or Planned(earliest, 1.0)

    def know_habits(self, drafts: Sequence[Draft]) -> None:
        """What the model of hours makes of these customers on every channel, at once; what fails is tried again."""
        model = self._models.get(SEND_TIME)
        try:
            self._habits(model, [draft for draft in drafts if len(draft.candidates.ranks) > 0])
        except Exception:  # one of them may be the cause; each says so for itself in `send_at`
            log.exception("the %s model could not look at %d customers together", SEND_TIME, len(drafts))

    def _habits(self, model: Any, drafts: Sequence[Draft]) -> dict[str, Any]:
        """By decision; those known are not made again. Empty where the model has none."""
        if hasattr(model, "habits_of"):
            new = [draft for draft in drafts if draft.decision_id not in self._known]
            if new:
                names = [draft.decision_id for draft in new]
                self._known.update(zip(names, model.habits_of([draft.row for draft in new]), strict=True))
        return self._known


def open_hours(
    earliest: datetime, latest: datetime, zone: ZoneInfo, quiet: tuple[time, time] | None
) -> tuple[Sequence[datetime], Ints]:
    """The whole hours of the window that are not quiet, and their local hours of the week; remembered by the minute."""
    from models.send_time import hours_between

    times, hours = hours_between(earliest, latest, zone.key)
    if quiet is None:
        return times, hours
    key = id(times), zone.key, quiet
    found = _OPEN.get(key)
    if found is None or found[0] is not times:
        if len(_OPEN) >= _REMEMBERED:
            _OPEN.clear()
        loud = [place for place, moment in enumerate(times) if not is_quiet(moment, zone, *quiet)]
        found = _OPEN[key] = times, [times[place] for place in loud], hours[loud]
    return found[1], found[2]


def _in_turn(
    earliest: datetime, latest: datetime, zone: str, allowed: Callable[[datetime], bool], n: int
) -> list[datetime]:
    """The first n allowed times: `earliest`, then the whole hours after it."""
    from models.send_time import hours_between

    later = (moment for moment in hours_between(earliest, latest, zone)[0] if moment > earliest and allowed(moment))
    return [earliest, *islice(later, n - 1)]


@dataclass(frozen=True, slots=True)
class Weighed:
    """A draft's place among those that were weighed together; `line` maps its offers' positions to those weighed."""

    weighing: Any
    place: int
    line: Ints

    def probabilities(self, case: Case, eligible: Pairs) -> Floats | None:
        """The probability of each candidate; None when some are no probabilities."""
        column = np.array([case.channels.index(channel) for channel in eligible.distinct_channels], np.int64)
        picked = self.weighing.probabilities[self.place][
            self.line[eligible.positions], column[eligible.channel_numbers]
        ]
        if ((picked >= 0.0) & (picked <= 1.0)).all():
            return np.asarray(picked, np.float64)
        log.error("the %s model gave values that are no probabilities; pooled rates stand in", NEXT_OFFER)
        return None

    def places(self, case: Case, wanted: Wanted) -> list[tuple[int, int, int]]:
        """Where each of these (position of the offer, channel) stands in the weighing: customer, offer, channel."""
        return [(self.place, int(self.line[position]), case.channels.index(channel)) for position, channel in wanted]


def by_model(model: Any, row: Any, case: Case, eligible: Sequence[tuple[int, str]]) -> list[float] | None:
    """The model's probability of each candidate; None when it fails or says what is no probability."""
    try:
        picked = _picked(model.score, row, case, eligible)
        if not all(0.0 <= value <= 1.0 for value in picked):
            raise ValueError("the model gave values that are no probabilities")
    except Exception:  # the caller falls back and names it
        log.exception("the next-offer model failed; pooled rates stand in")
        return None
    return picked


def _picked(score: Callable[..., Any], row: Any, case: Case, eligible: Sequence[tuple[int, str]]) -> list[float]:
    """What a model says of each candidate: `score(row, offers, channels, at)` gives offers x channels."""
    positions = list(dict.fromkeys(position for position, _ in eligible))
    channels = list(dict.fromkeys(channel for _, channel in eligible))
    line = {position: index for index, position in enumerate(positions)}
    column = {channel: index for index, channel in enumerate(channels)}
    grid = np.asarray(score(row, [case.offers[position].info for position in positions], channels, case.at))
    picked = grid[[line[position] for position, _ in eligible], [column[channel] for _, channel in eligible]]
    return [float(value) for value in picked]
