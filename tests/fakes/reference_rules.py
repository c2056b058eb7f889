"""An independent model of what rules say of a candidate: written from the documents, not from the code. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

CHANNELS = ("email", "sms", "push", "web", "call", "webhook")
QUIET = ("email", "sms", "push")
DEFAULT_ZONE = "UTC"
KEPT, AHEAD = timedelta(hours=30), timedelta(days=3)
"""How long a reservation holds, and how far ahead a message may be planned."""
SETTINGS: dict[str, Any] = {
    "quiet_hours": {"start": "21:00", "end": "08:00", "channels": list(QUIET)},
    "placements": {"default": {"arms": {"model": 1.0, "random": 0.0, "business_as_usual": 0.0, "holdout": 0.0}}},
    "decisions": {
        **{"explore_by": "epsilon_greedy", "epsilon": 0.0, "floor": 0.0, "explore_hours": 0.0},  # nothing is drawn
        "reservation_hours": KEPT.total_seconds() / 3600,
        "time_budget_ms": 0,
        "value_of_nothing": -5.0,
        "caps": [
            {"max": 3, "per_days": 7},
            {"max": 1, "per": "calendar_day", "channel": "sms"},
            {"max": 4, "per_days": 10, "placement": "second"},
        ],
        "cool_downs": [
            {"after": "purchase", "days": 1, "channel": "push"},
            {"after": "complaint", "days": 2},
            {"after": "purchase", "days": 2, "tag": "promo"},
        ],
    },
}
ORDER = (
    "consent", "suppression", "cool_down", "frequency_cap", "not_started", "ended", "priority", "eligibility",
    "prerequisite", "offer_cap", "exclusion", "budget",
)  # fmt: skip
Offers = Mapping[str, Mapping[str, Any]]


@dataclass
class Line:
    """What a returned action holds of the limits; `expires` None: it was delivered."""

    decision_id: str
    offer: str
    channel: str
    message: bool
    impression: bool
    at: datetime
    expires: datetime | None
    placement: str | None = None
    group: str | None = None
    cost: float = 0.0
    rank: int = 1

    def holds(self, now: datetime) -> bool:
        return self.expires is None or self.expires > now


@dataclass
class Person:
    """One person under all their ids."""

    owner: str
    ids: set[str] = field(default_factory=set)
    consents: dict[str, tuple[bool | None, datetime]] = field(default_factory=dict)
    zone: tuple[str, datetime] | None = None
    traits: dict[str, tuple[Any, datetime]] = field(default_factory=dict)
    bounced: dict[str, datetime] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    moments: dict[tuple[str, str], list[datetime]] = field(default_factory=lambda: defaultdict(list))
    decisions: set[str] = field(default_factory=set)

    def says(self, channel: str, answer: bool | None, at: datetime) -> None:
        """The newest word counts."""
        if channel not in self.consents or at >= self.consents[channel][1]:
            self.consents[channel] = (answer, at)

    def told(self, trait: str, value: Any, at: datetime) -> None:
        if trait not in self.traits or at >= self.traits[trait][1]:
            self.traits[trait] = (value, at)

    def reached(self, channel: str, at: datetime) -> None:
        """A delivery proves that a channel works."""
        if channel in self.bounced and self.bounced[channel] <= at:
            del self.bounced[channel]

    def join(self, other: Person) -> None:
        """Two ids of one person: a refusal stays one, newer facts win, counts add up."""
        for channel, (answer, at) in other.consents.items():
            mine, since = self.consents.get(channel, (None, at))
            both = False if False in {answer, mine} else True if True in {answer, mine} else None
            self.consents[channel] = (both, max(at, since))
        for trait, (value, at) in other.traits.items():
            if trait not in self.traits or at > self.traits[trait][1]:
                self.traits[trait] = (value, at)
        if other.zone and (self.zone is None or other.zone[1] > self.zone[1]):
            self.zone = other.zone
        self.bounced |= {c: max(at, self.bounced.get(c, at)) for c, at in other.bounced.items()}
        self.lines += other.lines
        self.ids |= other.ids
        self.decisions |= other.decisions
        for what, times in other.moments.items():
            self.moments[what] += times

    def is_quiet(self, at: datetime) -> bool:
        local = at.astimezone(self.clock)
        return not 8 <= local.hour < 21

    @property
    def clock(self) -> ZoneInfo:
        return ZoneInfo(self.zone[0] if self.zone else DEFAULT_ZONE)


def verdict(
    person: Person, everybody: list[Line], offers: Offers, offer_id: str, channel: str, placement: str, now: datetime
) -> str | None:
    """The rule that an answer has to name; None where the candidate may go."""
    offer = offers[offer_id]
    failed = {*_channel(person, offer, channel, placement, now), *_dates(person, offer, channel, now)}
    failed |= {*_past(person, offer, offer_id, now), *_limits(person, everybody, offer, offer_id, now)}
    return min(failed, key=ORDER.index, default=None)


def _channel(person: Person, offer: Mapping[str, Any], channel: str, placement: str, now: datetime) -> Iterator[str]:
    if person.consents.get(channel, (None, now))[0] is False:
        yield "consent"
    if channel in person.bounced:
        yield "suppression"
    for rule in SETTINGS["decisions"]["cool_downs"]:
        since = [at for at in person.moments[rule["after"], ""] if at <= now]
        here = rule.get("channel", channel) == channel and ("tag" not in rule or rule["tag"] in offer.get("tags", ()))
        if here and since and max(since) + timedelta(days=rule["days"]) > now:
            yield "cool_down"
    for cap in SETTINGS["decisions"]["caps"]:
        here = cap.get("placement", placement) == placement and cap.get("channel", channel) == channel
        if not here or (channel == "web" and not {"channel", "placement"} & cap.keys()):
            continue
        sent = [line for line in person.lines if line.message and line.holds(now)]
        if "placement" in cap:
            sent = [line for line in sent if line.placement == placement]
        elif "channel" in cap:
            sent = [line for line in sent if line.channel == channel]
        else:
            sent = [line for line in sent if line.channel != "web"]
        if _count(sent, cap, now, person.clock) >= cap["max"]:
            yield "frequency_cap"


def _dates(person: Person, offer: Mapping[str, Any], channel: str, now: datetime) -> Iterator[str]:
    if "starts_at" in offer and now < datetime.fromisoformat(offer["starts_at"]):
        yield "not_started"
    if "ends_at" in offer:
        end, first = datetime.fromisoformat(offer["ends_at"]), now
        while channel in QUIET and person.is_quiet(first):
            first = first.replace(second=0, microsecond=0) + timedelta(minutes=1)
        if now >= end or (first > now and first >= end):
            yield "ended"
    if offer.get("priority") == 0.0:
        yield "priority"


def _past(person: Person, offer: Mapping[str, Any], offer_id: str, now: datetime) -> Iterator[str]:
    if "eligibility" in offer and person.traits.get("vip", (None, now))[0] is not True:
        yield "eligibility"
    for needed in offer.get("requires", ()):
        times = [at for at in person.moments[needed["event"], needed["offer_id"]] if at <= now]
        within, after = timedelta(days=needed["within_days"]), timedelta(days=needed["after_days"])
        if not any(now - within < at <= now - after for at in ({min(times), max(times)} if times else ())):
            yield "prerequisite"
    if "exclusion_days" in offer:
        days = timedelta(days=offer["exclusion_days"])
        for line in person.lines:
            beside = line.impression and line.group == offer["exclusion_group"] and line.offer != offer_id
            if beside and line.holds(now) and now - days < line.at < now + AHEAD + days:
                yield "exclusion"


def _limits(
    person: Person, everybody: list[Line], offer: Mapping[str, Any], offer_id: str, now: datetime
) -> Iterator[str]:
    def shown(lines: Iterable[Line]) -> list[Line]:
        return [line for line in lines if line.impression and line.offer == offer_id and line.holds(now)]

    for cap in offer.get("caps", ()):
        shared = "everyone" in {cap.get("per"), cap.get("of")}
        zone = ZoneInfo(DEFAULT_ZONE) if shared else person.clock
        if _count(shown(everybody if shared else person.lines), cap, now, zone) >= cap["max"]:
            yield "offer_cap"
    if "budget" in offer:
        lines = _within(shown(everybody), offer["budget"], now, ZoneInfo(DEFAULT_ZONE))
        if sum(line.cost for line in lines) + offer["cost"] > offer["budget"]["amount"] + 1e-9:
            yield "budget"


def _count(lines: list[Line], cap: Mapping[str, Any], now: datetime, zone: ZoneInfo) -> int:
    return len(_within(lines, cap, now, zone))


def _within(lines: list[Line], limit: Mapping[str, Any], now: datetime, zone: ZoneInfo) -> list[Line]:
    """Those in the limit's window, and those planned for behind it as far ahead as a message of now may be."""
    if "per_days" in limit:
        days = timedelta(days=limit["per_days"])
        return [line for line in lines if now - days < line.at < now + AHEAD + days]
    first = _midnight(now.astimezone(zone).date(), zone)
    last = _midnight((now + AHEAD).astimezone(zone).date() + timedelta(days=1), zone)
    return [line for line in lines if first <= line.at < last]


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
