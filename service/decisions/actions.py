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
    distinct = dict.fromkeys((one.channel, one.offer.ends_at) for one in actions)
    return [Message(draft, channel, ends_at) for channel, ends_at in distinct]


class Stages:
    """Where offers stand, each told once. `rates` are asked for when they are first needed."""

    def __init__(self, rates: Callable[[], PooledRates]) -> None:
        self._read_rates = rates
        self._rates: PooledRates | None = None
        self._told: dict[tuple[str, int, bool], dict[str, Any]] = {}

    def of(self, offer_id: str, case: Case, served: bool) -> dict[str, Any]:
        """The stage at the time of a case; `served`: whether a model gave the probabilities."""
        key = offer_id, case.now_us, served
        found = self._told.get(key)
        if found is None:
            self._rates = rates = self._rates or self._read_rates()
            stage = stage_of(rates.shown(offer_id), rates.first_at(offer_id), case.at, served)
            found = self._told[key] = stage.as_json()
        return found


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
    served = draft.scored_by == NEXT_OFFER
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
            action["stage"] = stages.of(offer.offer_id, draft.case, served)
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
