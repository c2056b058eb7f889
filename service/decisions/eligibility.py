"""Which offers may go to a customer on which channel, and the rule that stops each of the others. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from service.decisions.assortment import assortment
from service.decisions.caps import Full, message_cap_full, offer_cap_full
from service.decisions.case import US, Case
from service.decisions.quiet import next_allowed, zone_of
from service.offers.offer import Offer

RULES = (
    "offer_channel",
    "placement_channel",
    "consent",
    "suppression",
    "frequency_cap",
    "not_started",
    "ended",
    "eligibility",
    "offer_cap",
    "budget",
)
"""Every rule, in the order in which the first that fails is named."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A rule that says no: why, and until when, where that is known."""

    rule: str
    detail: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Failures of each channel and of each offer; a candidate fails by either. `pairs`: failures of one pair alone."""

    channels: Mapping[str, tuple[Failure, ...]]
    offers: Mapping[str, tuple[Failure, ...]]
    pairs: Mapping[tuple[str, str], tuple[Failure, ...]]

    def of(self, offer_id: str, channel: str) -> tuple[Failure, ...]:
        """Every failure of one candidate, first the one to name."""
        both = (*self.channels[channel], *self.offers[offer_id], *self.pairs.get((offer_id, channel), ()))
        return both if len(both) < 2 else tuple(sorted(both, key=lambda failure: RULES.index(failure.rule)))


def judge(case: Case) -> Verdicts:
    """Every rule on every channel and offer of the case."""
    return Verdicts(
        {channel: tuple(_channel_failures(case, channel)) for channel in case.channels},
        _offers(case),
        _ends_in_the_quiet(case),
    )


def _offers(case: Case) -> dict[str, tuple[Failure, ...]]:
    """The failures of each offer. What many offers share is asked once."""
    known = assortment(case.offers)
    asked: dict[str | None, tuple[Failure, ...]] = {None: ()}
    asked |= {source: tuple(_asked(case, source)) for source in case.answers}
    seen = {entry.offer_id for entry in case.usage.entries if entry.impression}
    found = {name: asked[source] for name, source in known.free.items()}
    found |= {name: asked[source] for name, source in known.capped.items() if name not in seen}
    return {
        offer.offer_id: found[offer.offer_id]
        if offer.offer_id in found
        else tuple(_offer_failures(case, offer, offer.offer_id in seen))
        for offer in case.offers
    }


def candidates(case: Case, verdicts: Verdicts) -> list[tuple[int, str]]:
    """The eligible (position of the offer, channel), in the order of the offers, then of the channels asked for."""
    open_channels = [channel for channel in case.channels if not verdicts.channels[channel]]
    return [
        (position, channel)
        for position, offer in enumerate(case.offers)
        if not verdicts.offers[offer.offer_id]
        for channel in open_channels
        if channel in offer.channels and (offer.offer_id, channel) not in verdicts.pairs
    ]


def excluded(case: Case, verdicts: Verdicts) -> Iterator[tuple[str, str | None, Failure]]:
    """(offer, channel, first rule that fails) of every candidate that may not be; no channel where none fits."""
    wide = any(verdicts.channels.values()) or bool(verdicts.pairs)
    asked = frozenset(case.channels)
    for offer in case.offers:
        if not wide and not verdicts.offers[offer.offer_id] and not asked.isdisjoint(offer.channels):
            continue
        fitting = [channel for channel in case.channels if channel in offer.channels]
        if not fitting:
            goes = ", ".join(offer.channels)
            yield offer.offer_id, None, Failure("offer_channel", f"the offer goes by {goes} only")
        for channel in fitting:
            failures = verdicts.of(offer.offer_id, channel)
            if failures:
                yield offer.offer_id, channel, failures[0]


def _channel_failures(case: Case, channel: str) -> Iterator[Failure]:
    if channel not in case.rules.placement_channels:
        yield Failure("placement_channel", f"{channel} is not a channel of placement {case.placement}")
    yield from _consent(case, channel)
    reason = case.customer.suppressed.get(channel) or case.customer.suppressed.get("all")
    if reason:
        yield Failure("suppression", f"{channel} is suppressed: {reason}")
    for cap in case.rules.caps:
        reached = message_cap_full(case.usage.entries, cap, channel, case.now_us)
        if reached:
            kind = f"{cap.channel} messages" if cap.channel else "messages"
            yield Failure("frequency_cap", _used(reached, kind), _time(reached.until))


def _consent(case: Case, channel: str) -> Iterator[Failure]:
    said = case.customer.consents.get(channel)
    marketing = said.get("marketing") if isinstance(said, Mapping) else None
    if marketing is False:
        yield Failure("consent", f"the customer does not want marketing by {channel}")
    elif marketing is not True and case.rules.consent_when_unknown == "deny":
        yield Failure("consent", f"no consent to marketing by {channel} is known")


def _offer_failures(case: Case, offer: Offer, seen: bool) -> Iterator[Failure]:
    if offer.starts_at is not None and case.at < offer.starts_at:
        yield Failure("not_started", f"starts at {_text(offer.starts_at)}", offer.starts_at)
    if offer.ends_at is not None and case.at >= offer.ends_at:
        yield Failure("ended", f"ended at {_text(offer.ends_at)}")
    if offer.eligibility is not None:
        yield from _asked(case, offer.eligibility)
    for index, cap in enumerate(offer.caps):
        if cap.per == "customer":
            if not seen and cap.max > 0:
                continue
            reached = offer_cap_full(case.usage.entries, offer.offer_id, cap.max, cap.per_days, case.now_us)
            if reached:
                yield Failure("offer_cap", _used(reached, "impressions"), _time(reached.until))
        else:
            yield from _shared(case, offer, index, cap.max, cap.per_days)
    if offer.budget is not None and offer.cost > 0:
        yield from _budget(case, offer)


def _asked(case: Case, expression: str) -> Iterator[Failure]:
    answer = case.answers[expression]
    if answer.missing is not None:
        yield Failure("eligibility", f"the rule needs '{answer.missing}', which is not known of this customer")
    elif answer.problem is not None:
        yield Failure("eligibility", f"the rule cannot be told: {answer.problem}")
    elif not answer.holds:
        yield Failure("eligibility", f"does not hold: {expression}")


def _shared(case: Case, offer: Offer, index: int, most: int, days: float) -> Iterator[Failure]:
    shared = case.usage.shared.get((offer.offer_id, index))
    used = 0 if shared is None else int(shared.used)
    if used >= most:
        until = None if shared is None or shared.oldest is None else shared.oldest + round(days * 86_400 * US)
        yield Failure("offer_cap", f"{used} of {most} impressions of all customers in {_days(days)}", _time(until))


def _budget(case: Case, offer: Offer) -> Iterator[Failure]:
    assert offer.budget is not None
    amount, days = offer.budget.amount, offer.budget.per_days
    shared = case.usage.shared.get((offer.offer_id, -1))
    used = 0.0 if shared is None else shared.used
    if exceeds(used + offer.cost, amount):
        until = None if shared is None or shared.oldest is None else shared.oldest + round(days * 86_400 * US)
        yield Failure("budget", f"{used:.2f} of {amount:.2f} spent in {_days(days)}", _time(until))


def exceeds(spent: float, amount: float) -> bool:
    """Whether money spent is over a budget, beyond what adding many floats may err."""
    return spent > amount * (1 + 1e-9) + 1e-9


def _ends_in_the_quiet(case: Case) -> dict[tuple[str, str], tuple[Failure, ...]]:
    """An offer that ends before its channel may speak again cannot be sent in time."""
    ending = assortment(case.offers).ending
    if not ending:
        return {}
    zone, _ = zone_of(case.customer.timezone, case.rules.default_timezone)
    found: dict[tuple[str, str], tuple[Failure, ...]] = {}
    for channel in case.channels:
        if channel not in case.rules.quiet_channels:
            continue
        first = next_allowed(case.at, zone, case.rules.quiet_start, case.rules.quiet_end)
        if first == case.at:
            continue
        for offer in ending:
            if channel in offer.channels and offer.ends_at is not None and case.at < offer.ends_at <= first:
                detail = f"ends at {_text(offer.ends_at)}, before {channel} may be sent again"
                found[offer.offer_id, channel] = (Failure("ended", detail),)
    return found


def _used(reached: Full, kind: str) -> str:
    return f"{reached.used} of {reached.max} {kind} in {_days(reached.per_days)}"


def _days(days: float) -> str:
    return "1 day" if days == 1 else f"{days:g} days"


def _time(at: int | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(0, UTC) + timedelta(microseconds=at)


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M UTC")
