"""What the models say of a draft: probabilities and reasons. Each has its documented fallback, by name.

- next-offer failing: the last version that worked in this process, named `last_model:next-offer`
- a champion that was refused: the version that served before it, named so, too
- next-offer missing, or that failing too: pooled response rates (`rates.py`), moved by what the customer bought and
  looked at (`interests.py`) and by the channels that they click on (`channel_answers.py`), named `model:next-offer`
- those not to be read: the last read, or the same rate for all, which is the catalogue's order of worth, named `rates`
- uplift missing or failing: the probability, named `model:uplift` only where one serves and fails
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from models.situations import Told as Situation
from models.uplift import uplift_name
from service.decisions.assortment import assortment
from service.decisions.case import Case
from service.decisions.draft import Draft
from service.decisions.interests import moved
from service.decisions.last_known import LastKnown
from service.decisions.pairs import Floats, Ints, Pairs
from service.decisions.ports import Models
from service.decisions.rates import PooledRates

log = logging.getLogger(__name__)
NEXT_OFFER = "next-offer"
BY_RATES = "pooled_rates"
REASONS = 3
Wanted = Sequence[tuple[int, str]]
"""(position of the offer, channel) of candidates."""
Told = list[list[dict[str, Any]]]
"""The reasons of each candidate, as answers have them."""


class Scorer:
    """Scores drafts with the models that serve now."""

    def __init__(self, models: Models, rates: Callable[[], PooledRates], last: LastKnown | None = None) -> None:
        self._models = models
        self._read_rates = rates
        self._last = last or LastKnown()
        self._used: dict[str, Any] = {}
        self._rates: PooledRates | None = None
        self._weighings: dict[str, Weighed] = {}

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
        if self._models.stands_in(NEXT_OFFER):
            for draft in waiting:
                draft.degrade(f"last_model:{NEXT_OFFER}")
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
        if rules.goal_click or rules.goal_redemption:
            weights = {"click": rules.goal_click, "redemption": rules.goal_redemption}
            wanted = [name for name, weight in weights.items() if weight]
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
        for eligible in {id(draft.eligible): draft.eligible for draft in drafts}.values():
            asked[eligible.positions] = True
        infos, line = assortment(case.offers).infos, np.arange(len(case.offers))
        if 2 * asked.sum() <= len(infos):
            positions = np.flatnonzero(asked)
            infos, line = tuple(infos[position] for position in positions.tolist()), np.full(len(case.offers), -1)
            line[positions] = np.arange(len(positions))
        try:
            weighing = model.weigh([draft.row for draft in drafts], infos, case.channels, **_told(model, drafts))
        except Exception:  # one of them may be the cause; the others shall not suffer
            log.exception("the %s model could not weigh %d decisions together", NEXT_OFFER, len(drafts))
            return
        together = Together(weighing, case.channels, line)
        for place, draft in enumerate(drafts):
            self._weighings[draft.decision_id] = Weighed(together, place)

    def _score(self, draft: Draft, model: Any) -> None:
        weighed = self._weighings.get(draft.decision_id)
        scores: Sequence[float] | Floats | None
        if weighed is not None:
            scores = weighed.probabilities(draft.eligible)
        else:
            scores = None if model is None else _alone(model, draft)
        if scores is not None and model is not None:
            self._last.worked(model)
            self._take(draft, model, scores)
            return
        other = None if model is None else self._last.instead_of(model)
        scores = None if other is None else _alone(other, draft)
        if scores is not None and other is not None:
            draft.degrade(f"last_model:{NEXT_OFFER}")
            self._weighings.pop(draft.decision_id, None)
            self._take(draft, other, scores)
            return
        draft.degrade(f"model:{NEXT_OFFER}")
        if self.rates.unread:
            draft.degrade("rates")
        draft.probabilities, draft.scored_by = by_rates(self.rates, draft.row, draft.case, draft.eligible), BY_RATES

    def _take(self, draft: Draft, model: Any, scores: Sequence[float] | Floats) -> None:
        draft.probabilities, draft.scored_by = scores, NEXT_OFFER
        draft.models[NEXT_OFFER] = str(model.version)
        self._used[draft.decision_id] = model

    def reasons(self, asked: Sequence[tuple[Draft, Wanted]]) -> list[Told]:
        """Why each of these (position of the offer, channel) of each draft, in the customer's terms."""
        together = self._together(asked)
        return [self._explain(draft, wanted, together.get(draft.decision_id)) for draft, wanted in asked]

    def _together(self, asked: Sequence[tuple[Draft, Wanted]]) -> dict[str, Told]:
        """Reasons of drafts that were weighed together, by decision; what fails here is asked again one by one."""
        alike: dict[int, list[tuple[Weighed, Draft, Wanted]]] = {}
        for draft, wanted in asked:
            weighed = self._weighings.get(draft.decision_id)
            if weighed is not None and draft.scored_by == NEXT_OFFER:
                alike.setdefault(id(weighed.together), []).append((weighed, draft, wanted))
        found: dict[str, Told] = {}
        for some in alike.values() if len(asked) > 1 else ():
            places = [place for weighed, _, wanted in some for place in weighed.places(wanted)]
            try:
                told = iter(some[0][0].together.weighing.told_of(places, REASONS))
            except Exception:
                log.exception("the %s model gave no reasons for %d decisions together", NEXT_OFFER, len(some))
                continue
            found.update((draft.decision_id, list(islice(told, len(wanted)))) for _, draft, wanted in some)
        return found

    def _explain(self, draft: Draft, wanted: Wanted, found: Told | None) -> Told:
        if draft.scored_by == BY_RATES:
            return self._evidence(draft, wanted)
        try:
            return self._reasons(draft, wanted) if found is None else found
        except Exception:  # a ranking without reasons is better than none
            log.exception("the %s model gave no reasons", NEXT_OFFER)
            draft.degrade("reasons")
            return [[] for _ in wanted]

    def _evidence(self, draft: Draft, wanted: Wanted) -> Told:
        """What rates stand on, and what moved them."""
        offers, liked = draft.case.offers, self.rates.interests(draft.row, draft.case.offers)
        answered = self.rates.answers(draft.row)
        told: Told = []
        for position, channel in wanted:
            own = (
                None if liked is None else liked.reason(position),
                answered[channel].reason(channel) if channel in answered else None,
            )
            text = self.rates.sentence(offers[position].offer_id)
            rate = {"feature": "response_rate", "text": text, "effect": 0.0}
            told.append([*(reason for reason in own if reason is not None), rate])
        return told

    def _reasons(self, draft: Draft, wanted: Wanted) -> Told:
        weighed = self._weighings.get(draft.decision_id)
        if weighed is not None:
            found: Told = weighed.together.weighing.told_of(weighed.places(wanted), REASONS)
            return found
        model, offers, at = self._used.get(draft.decision_id), draft.case.offers, draft.case.at
        if model is None:
            return [[] for _ in wanted]
        told = _told(model, [draft])
        some = (
            model.reasons(draft.row, offers[position].info, channel, at, REASONS, **told)
            for position, channel in wanted
        )
        return [[one._asdict() for one in reasons] for reasons in some]


class Together:
    """Drafts that were weighed together: `channels` as the weighing has them; `line` maps positions of their offers to
    those weighed.
    """

    def __init__(self, weighing: Any, channels: tuple[str, ...], line: Ints) -> None:
        self.weighing = weighing
        self.line = line.tolist()
        self.channel = {channel: channels.index(channel) for channel in channels}
        told = np.asarray(weighing.probabilities, np.float64)
        self._width = told.shape[2]
        self._told = told.reshape(len(told), -1)
        self._good = _are_probabilities(self._told)
        self._line, self._picks = line, dict[int, tuple[Pairs, Ints]]()

    def probabilities(self, place: int, eligible: Pairs) -> Floats | None:
        """Those of one draft's candidates; None when some are no probabilities."""
        held = self._picks.get(id(eligible))  # most drafts have one of a few sets of candidates
        if held is None:
            column = np.array([self.channel[channel] for channel in eligible.distinct_channels], np.int64)
            pick = self._line[eligible.positions] * self._width + column[eligible.channel_numbers]
            held = self._picks[id(eligible)] = eligible, pick
        picked: Floats = self._told[place].take(held[1])
        return picked if self._good or _are_probabilities(picked) else None


def _are_probabilities(told: Floats) -> bool:
    return bool(((told >= 0.0) & (told <= 1.0)).all())


@dataclass(frozen=True, slots=True)
class Weighed:
    """A draft's place among those that were weighed together."""

    together: Together
    place: int

    def probabilities(self, eligible: Pairs) -> Floats | None:
        """The probability of each candidate; None when some are no probabilities."""
        picked = self.together.probabilities(self.place, eligible)
        if picked is None:
            log.error("the %s model gave values that are no probabilities; pooled rates stand in", NEXT_OFFER)
        return picked

    def places(self, wanted: Wanted) -> list[tuple[int, int, int]]:
        """Where each of these (position of the offer, channel) stands in the weighing: customer, offer, channel."""
        line, channels = self.together.line, self.together.channel
        return [(self.place, line[position], channels[channel]) for position, channel in wanted]


def by_rates(rates: PooledRates, row: Any, case: Case, eligible: Sequence[tuple[int, str]]) -> list[float]:
    """The pooled rate of each candidate, moved by what the customer bought and looked at, and by which channels clicks
    came from.
    """
    told = rates.rates([(case.offers[position].offer_id, channel) for position, channel in eligible])
    liked, answered = rates.interests(row, case.offers), rates.answers(row)
    if liked is not None:
        told = moved(told, [float(liked.factor[position]) for position, _ in eligible])
    if answered:
        told = moved(told, [answered[channel].factor if channel in answered else 1.0 for _, channel in eligible])
    return told


def situation(placement: str, context: Mapping[str, Any], contextless: str | None) -> Situation:
    """What a request says of its situation; only where it shows, if nothing of the customer may be used."""
    return placement, context if contextless is None else {}


def situation_of(draft: Draft) -> Situation:
    """That of a draft."""
    return situation(draft.case.placement, draft.request.context, draft.contextless)


def _told(model: Any, drafts: Sequence[Draft]) -> dict[str, list[Situation]]:
    """The drafts' situations, for a model that tells situations apart."""
    return {"told": [situation_of(draft) for draft in drafts]} if getattr(model, "situations", ()) else {}


def _alone(model: Any, draft: Draft) -> list[float] | None:
    return by_model(model, draft.row, draft.case, draft.eligible, situation_of(draft))


def by_model(
    model: Any, row: Any, case: Case, eligible: Sequence[tuple[int, str]], told: Situation
) -> list[float] | None:
    """The model's probability of each candidate; None when it fails or says what is no probability."""
    score = partial(model.score, told=[told]) if getattr(model, "situations", ()) else model.score
    try:
        picked = _picked(score, row, case, eligible)
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
