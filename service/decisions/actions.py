"""The actions of a decision: what its list says, when each is sent, why, and in which words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from service.decisions.case import WORDED, Case
from service.decisions.draft import Draft
from service.decisions.hours import Planned
from service.decisions.ports import ChooseContent, ContentFor
from service.decisions.rates import PooledRates
from service.decisions.score import NEXT_OFFER
from service.decisions.send_hours import Message
from service.decisions.stages import stage_of
from service.errors import Unavailable
from service.offers.offer import Offer


class Listed(NamedTuple):
    """One action: its rank, its `place` among the candidates, and what it is."""

    rank: int
    place: int
    offer: Offer
    channel: str


def listed(draft: Draft) -> list[Listed]:
    """The actions of a draft, the first one first; none where nothing is sent."""
    eligible, offers = draft.eligible, draft.case.offers
    return [
        Listed(rank, place, offers[position], channel)
        for place, rank in draft.candidates.ranks.items()
        if place < len(eligible)
        for position, channel in (eligible[place],)
    ]


def messages(draft: Draft, actions: Sequence[Listed]) -> list[Message]:
    """What the actions need an hour for, each once."""
    distinct = dict.fromkeys([(one.channel, one.offer.ends_at) for one in actions])
    return [Message(draft, channel, ends_at) for channel, ends_at in distinct]


class Stages:
    """Where offers stand, each told once. `rates` are asked for when they are first needed."""

    def __init__(self, rates: Callable[[], PooledRates]) -> None:
        self._read_rates = rates
        self._rates: PooledRates | None = None
        self._told: dict[tuple[int, bool], _StagesAt] = {}

    def at(self, case: Case, served: bool) -> Mapping[str, dict[str, Any]]:
        """The stage of each offer at the time of a case; `served`: whether a model gave the probabilities."""
        found = self._told.get((case.now_us, served))
        if found is None:
            self._rates = self._rates or self._read_rates()
            found = self._told[case.now_us, served] = _StagesAt(self._rates, case.at, served)
        return found


class _StagesAt(dict[str, dict[str, Any]]):
    def __init__(self, rates: PooledRates, at: datetime, served: bool) -> None:
        super().__init__()
        self._rates, self._at, self._served = rates, at, served

    def __missing__(self, offer_id: str) -> dict[str, Any]:
        shown, first_at = self._rates.shown(offer_id), self._rates.first_at(offer_id)
        self[offer_id] = told = stage_of(shown, first_at, self._at, self._served).as_json()
        return told


def act(
    draft: Draft,
    actions: Sequence[Listed],
    times: Mapping[tuple[str, datetime | None], Planned],
    why: Sequence[list[dict[str, Any]]],
    stages: Stages,
) -> None:
    """Puts the actions into the draft, still without words.

    `times` by channel and end of the offer; `why` has the reasons of each action, or is empty.
    """
    stage = stages.at(draft.case, draft.scored_by == NEXT_OFFER) if why else {}
    numbers = draft.candidates.columns.take([one.place for one in actions], axis=1).T.tolist()
    for number, (rank, _, offer, channel) in enumerate(actions):
        at, share = times[channel, offer.ends_at]
        probability, value, weight = numbers[number]
        action = {
            "rank": rank,
            "offer_id": offer.offer_id,
            "channel": channel,
            "send_at": at,
            "send_at_probability": share,
            "content": None,
            "probability": probability,
            "expected_value": value,
            "propensity": weight,
        }
        if why:
            action["reasons"] = why[number]
            action["stage"] = stage[offer.offer_id]
        draft.actions.append(action)


def word(draft: Draft, actions: Sequence[Listed], content_for: ContentFor, default_locale: str) -> None:
    """Puts approved words into the actions; none where there are none, or where that cannot be asked."""
    choose_content: ChooseContent | None = None
    for action, (_, _, offer, channel) in zip(draft.actions, actions, strict=True):
        try:
            if choose_content is None:
                choose_content = content_for(draft.customer, draft.customer.locale or default_locale)
            content = choose_content(offer, channel)
        except Unavailable:
            content = None
        action["content"] = content
        if content is None and channel in WORDED:
            draft.degrade("content")
