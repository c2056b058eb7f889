"""Response rates of offers, shrunk towards each other: what stands in where no model is trained yet. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from features.customer_row import CustomerRow
from service.decisions.alike import Alike
from service.decisions.channel_answers import Answers, answers
from service.decisions.interests import Interests, interests
from service.decisions.maturity import Young, promptness
from service.decisions.stages import FEW
from service.offers.offer import Offer

PRIOR_RATE = 0.05
PRIOR_WEIGHT = 20.0
POOL_WEIGHT = 50.0
MOST_ALIKE = 300
"""Offers, those shown most, that a new one is compared with."""


class Counts(Protocol):
    """Deliveries, and how many led to an order or a redemption, to a click, to a redemption."""

    @property
    def shown(self) -> int: ...
    @property
    def converted(self) -> int: ...
    @property
    def clicked(self) -> int: ...
    @property
    def redeemed(self) -> int: ...
    @property
    def first_at(self) -> int | None: ...
    @property
    def young(self) -> Young: ...
    @property
    def delays(self) -> int: ...
    @property
    def prompt(self) -> int: ...


GOALS = {"conversion": "converted", "click": "clicked", "redemption": "redeemed"}
"""Goals, and the count of each."""


class PooledRates:
    """Empirical Bayes in three levels: everything, the offer, the offer on the channel.

    Each level is the mean of a Beta whose prior is the level above with the weight of `POOL_WEIGHT` deliveries; the
    top's prior is `PRIOR_RATE` with `PRIOR_WEIGHT`. So an offer never shown gets the common rate, and with no data at
    all every offer gets 5%. With `alike`, the level above an offer that was shown less than `FEW` times is what offers
    with alike texts led to, each counted by its likeness, themselves below the common rate.

    Orders and redemptions take days: a delivery of which it cannot be told yet counts only as far as it can
    (`maturity.Young`), else everything would look bad on the day of a campaign. Clicks come at once or never, and so do
    orders on channels where all that came so far did (`maturity.promptness`).
    """

    def __init__(
        self,
        counts: Mapping[tuple[str, str], Counts],
        goal: str = "conversion",
        unread: bool = False,
        alike: Alike | None = None,
        now: int | None = None,
    ) -> None:
        """`unread`: the counts could not be read, so there are none. `now`, in microseconds: as of when deliveries are
        too young to tell; None counts all of them whole.
        """
        self.unread = unread
        self._all, self._now = counts, now
        self._alike = alike
        self._above: dict[str, tuple[float, float]] = {}
        self._clicked: dict[str, tuple[int, int]] = {}
        prompt = {} if now is None else prompt_channels(counts, now)
        self._counts = {
            key: _matured(count, GOALS[goal], now, prompt.get(key[1], 0.0)) for key, count in counts.items()
        }
        self._offers: dict[str, tuple[float, int]] = {}
        self._shown: dict[str, int] = {}
        for (offer, channel), (more, responses) in self._counts.items():
            matured, converted = self._offers.get(offer, (0.0, 0))
            self._offers[offer] = (matured + more, converted + responses)
            self._shown[offer] = self._shown.get(offer, 0) + counts[offer, channel].shown
        self._first: dict[str, int] = {}
        for (offer, _), count in counts.items():
            if count.first_at is not None:
                self._first[offer] = min(count.first_at, self._first.get(offer, count.first_at))
        matured = sum(matured for matured, _ in self._offers.values())
        converted = sum(converted for _, converted in self._offers.values())
        self._common = (converted + PRIOR_RATE * PRIOR_WEIGHT) / (matured + PRIOR_WEIGHT)

    def rate(self, offer_id: str, channel: str) -> float:
        """Probability that a delivery of this offer on this channel leads to an order, in (0, 1)."""
        matured, converted = self._offers.get(offer_id, (0.0, 0))
        above = self._common if self.shown(offer_id) >= FEW or self._alike is None else self._from_alike(offer_id)[0]
        of_offer = (converted + POOL_WEIGHT * above) / (matured + POOL_WEIGHT)
        here = self._counts.get((offer_id, channel))
        if here is None:
            return of_offer
        return min(1.0, (here[1] + POOL_WEIGHT * of_offer) / (here[0] + POOL_WEIGHT))

    def of(self, goal: str) -> PooledRates:
        """The rates of another goal from the same deliveries."""
        return PooledRates(self._all, goal, self.unread, self._alike, self._now)

    def _from_alike(self, offer_id: str) -> tuple[float, float]:
        """The rate of offers with alike texts, and how many deliveries it stands on."""
        if self._alike is None:
            return self._common, 0.0
        if offer_id not in self._above:
            known = sorted(self._shown, key=lambda name: (-self._shown[name], name))[:MOST_ALIKE]
            likeness = self._alike.to(offer_id, (name for name in known if self._shown[name] > 0))
            shown = sum(weight * self._shown[name] for name, weight in likeness.items())
            matured = sum(weight * self._offers[name][0] for name, weight in likeness.items())
            converted = sum(weight * self._offers[name][1] for name, weight in likeness.items())
            rate = (converted + POOL_WEIGHT * self._common) / (matured + POOL_WEIGHT)
            self._above[offer_id] = (rate, shown)
        return self._above[offer_id]

    def shown(self, offer_id: str) -> int:
        """Deliveries of an offer on all channels."""
        return self._shown.get(offer_id, 0)

    def first_at(self, offer_id: str) -> int | None:
        """When the offer was first delivered, in microseconds."""
        return self._first.get(offer_id)

    def rates(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """The rate of each (offer, channel)."""
        return [self.rate(offer, channel) for offer, channel in pairs]

    def interests(self, row: CustomerRow | None, offers: tuple[Offer, ...]) -> Interests | None:
        """What moves the rates of these offers for a customer."""
        return interests(row, offers, self._alike)

    def answers(self, row: CustomerRow | None) -> dict[str, Answers]:
        """What moves the rates of each channel for a customer."""
        return answers(row, self._clicks)

    def _clicks(self, channel: str) -> tuple[int, int]:
        """Deliveries on a channel, and their clicks."""
        if channel not in self._clicked:
            counts = [count for (_, name), count in self._all.items() if name == channel]
            self._clicked[channel] = sum(one.shown for one in counts), sum(one.clicked for one in counts)
        return self._clicked[channel]

    def sentence(self, offer_id: str) -> str:
        """The evidence in words."""
        shown, (matured, converted) = self.shown(offer_id), self._offers.get(offer_id, (0.0, 0))
        if shown == 0 and self._from_alike(offer_id)[1] >= 1:
            rate, deliveries = self._from_alike(offer_id)
            return (
                f"this offer has not been delivered yet; offers with alike texts led to an order in {rate:.1%} of "
                f"about {deliveries:.0f} deliveries"
            )
        if shown == 0:
            return "this offer has not been delivered yet; offers in general are assumed to do alike"
        young = round(shown - matured)
        fresh = f"; {young} of them are too fresh to tell" if young else ""
        return f"{converted} of {shown} deliveries of this offer led to an order{fresh}"


def prompt_channels(counts: Mapping[tuple[str, str], Counts], now: int) -> dict[str, float]:
    """`promptness` of each channel of these counts by (offer, channel), as of `now` in microseconds."""
    told: dict[str, tuple[int, int, int | None]] = {}
    for (_, channel), count in counts.items():
        delays, prompt, first = told.get(channel, (0, 0, None))
        first = min((at for at in (first, count.first_at) if at is not None), default=None)
        told[channel] = delays + count.delays, prompt + count.prompt, first
    return {channel: promptness(*one, now) for channel, one in told.items()}


def _matured(count: Counts, goal: str, now: int | None, prompt: float) -> tuple[float, int]:
    """How many deliveries tell, and how many led to the goal: those count at once, the rest as far as they can tell."""
    shown, led = count.shown, int(getattr(count, goal))
    if now is None or goal == "clicked" or shown <= 0:
        return float(shown), led
    return max(shown - count.young.untold(now, prompt) * (1.0 - min(led / shown, 1.0)), float(led)), led
