"""All that a decision depends on, as values: the same case gives the same decision, today or from a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from service.offers.cel import Answer
    from service.offers.offer import Offer

ARMS = ("model", "random", "business_as_usual", "holdout")
PULLED = frozenset({"web"})
"""Channels that the customer comes to: no message goes out, so they know no fatigue and no caps over all channels."""
WORDED = frozenset({"email", "sms", "push", "web"})
"""Channels that show words, so an action on them needs approved content."""
US = 1_000_000
DAY_US = 86_400 * US
PLANNED_US = 3 * DAY_US
"""How long after its decision a message may be planned for."""
_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class MessageCap:
    """At most `max` messages a customer in any `per_days` days, or in each `calendar` period of the customer's zone.

    On one channel or (None) on all together; in one placement or (None) in all together.
    """

    channel: str | None
    max: int
    per_days: float | None
    calendar: str | None = None
    placement: str | None = None


@dataclass(frozen=True, slots=True)
class CoolDown:
    """Nothing for `days` after a `purchase` or `complaint`: in a placement, by a channel, with a tag (None: any)."""

    after: str
    days: float
    placement: str | None = None
    channel: str | None = None
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Steer:
    """A business rule of the ranker: `do` is `pin` (to `place`), `boost` (by `factor`), `bury` or `exclude`.

    For the offers named, those with a tag or category named, and only where the CEL expression `when` holds.
    """

    name: str
    do: str
    offers: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    when: str | None = None
    place: int = 1
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Rules:
    """The installation's rules, as they stood when the decision was made. `version` names their content.

    `off_at_zero`: whether an offer of priority 0 is off; until then it was weighed, as worth what sending nothing is.
    `nothing_wins`: whether an offer worth as much as sending nothing is left; until then it came before it.
    `tags_unchecked`: whether an offer is closed by the tag of a cool-down that cannot be checked; until then only one
    that had another rule, too.
    `pins_explored_alike`: whether what is pinned to the first place is drawn as `explore_by` says; until then SquareCB
    drew it always.
    `uplift_drawn`: whether Thompson sampling draws by how much sending raises a chance; until then it drew the chance
    itself, so that who is better left alone was sent something.
    `losers_alike`: whether SquareCB explores what is worth less than sending nothing as seldom as that; until then one
    candidate that was worth far less made all others look alike, so that they were drawn nearly by chance.
    """

    version: str
    exploration: float
    floor: float
    fatigue_cost: float
    caps: tuple[MessageCap, ...]
    consent_when_unknown: str
    quiet_start: time
    quiet_end: time
    quiet_channels: frozenset[str]
    default_timezone: str
    placement_channels: tuple[str, ...]
    business_as_usual: str | None
    explore_by: str = "squarecb"
    epsilon: float = 0.1
    evidence: float = 100.0
    purpose: str = "marketing"
    cool_downs: tuple[CoolDown, ...] = ()
    steering: tuple[Steer, ...] = ()
    most_per_category: int | None = None
    most_per_tag: int | None = None
    goal_conversion: float = 1.0
    goal_click: float = 0.0
    goal_redemption: float = 0.0
    nothing: float = 0.0
    calms_after: float = 0.0
    explore_hours: float = 0.0
    off_at_zero: bool = False
    nothing_wins: bool = False
    tags_unchecked: bool = False
    pins_explored_alike: bool = False
    uplift_drawn: bool = False
    losers_alike: bool = False


@dataclass(frozen=True, slots=True)
class Customer:
    """What a decision may know of a customer. `suppressed` maps a channel (or "all") to the reason."""

    customer_id: str
    known: bool = False
    timezone: str | None = None
    locale: str | None = None
    traits: Mapping[str, Any] = field(default_factory=dict)
    segments: tuple[str, ...] = ()
    consents: Mapping[str, Any] = field(default_factory=dict)
    profiling: bool = True
    suppressed: Mapping[str, str] = field(default_factory=dict)


class Entry(NamedTuple):
    """One line of the ledger. Times in microseconds since 1970; `expires` is None once the message was delivered.

    `at` is when it was delivered, or, of a reservation, when it is planned to be: limits count it there.
    """

    at: int
    expires: int | None
    channel: str
    offer_id: str
    message: bool
    impression: bool
    placement: str | None = None
    group: str | None = None

    def holds(self, now: int) -> bool:
        """Whether it counts: delivered, or reserved and not yet given back."""
        return self.expires is None or self.expires > now


@dataclass(frozen=True, slots=True)
class Shared:
    """What all customers together have used of one limit of an offer: `used` impressions or money, the `oldest` one.

    `slices`, of an evenly paced sliding budget: the money by age, in 24ths of the window, the newest first.
    `free`: when a full limit, or one that paces, has a place again (records of before go by `oldest`, or by how fast
    even spending catches up, as a calendar's does).
    """

    used: float
    oldest: int | None
    slices: tuple[float, ...] = ()
    free: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What the ledger says: this customer's entries, and the shared limits by (offer, index of the limit).

    `moments` has the first and last time of what happened, by (kind, offer; "" is any): see `moments_store`.
    """

    entries: tuple[Entry, ...] = ()
    shared: Mapping[tuple[str, int], Shared] = field(default_factory=dict)
    moments: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    """A decision to make. `answers` holds what each CEL expression says.

    `steered` has, for each rule of `rules.steering`, the positions of the offers that it is about.
    `learnt`: how many outcomes the policy has learnt from; exploration calms down with them.
    Not `checked`: consents and counts cannot be read now, so what needs them stays closed (the rule `unchecked`).
    """

    customer: Customer
    placement: str
    channels: tuple[str, ...]
    offers: tuple[Offer, ...]
    at: datetime
    arm: str
    seed: int
    top_k: int
    rules: Rules
    usage: Usage
    answers: Mapping[str, Answer]
    checked: bool = True
    steered: tuple[tuple[int, ...], ...] = ()
    learnt: float = 0.0
    now_us: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "now_us", instant(self.at))


def microseconds(at: datetime) -> int:
    """Whole microseconds since 1970."""
    return int(at.timestamp()) * US + at.microsecond


instant = lru_cache(maxsize=1024)(microseconds)
"""The same of a time in UTC, remembered: decisions made together are made as of one."""


def from_microseconds(at: int) -> datetime:
    """The time so many microseconds after 1970."""
    return _EPOCH + timedelta(microseconds=at)
