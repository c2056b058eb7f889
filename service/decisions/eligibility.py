"""Which offers may go to a customer on which channel, and the rule that stops each of the others. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from service.decisions.assortment import Assortment, assortment
from service.decisions.caps import Full, applies, excluded_until, message_cap_full, offer_cap_full
from service.decisions.case import DAY_US, PULLED, Case, CoolDown
from service.decisions.pacing import ahead, wait
from service.decisions.pairs import Pairs
from service.decisions.quiet import next_allowed, zone_of
from service.decisions.windows import Window, window
from service.offers.offer import Offer, Requirement

RULES = (
    "offer_channel",
    "placement_channel",
    "unchecked",
    "consent",
    "suppression",
    "cool_down",
    "frequency_cap",
    "not_started",
    "ended",
    "eligibility",
    "prerequisite",
    "offer_cap",
    "exclusion",
    "budget",
    "pacing",
)
"""Every rule, in the order in which the first that fails is named."""
_REMEMBERED = 256
"""Sets of answers, and of candidates, that are remembered for each set of offers."""
LIST_RULES = ("business_rule", "diversity")
"""Rules of the ranker and of the list, which keep out what may go (as `exclusion` may: see `listing`)."""


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
    closed: tuple[int, ...] | None = None
    """Positions of the offers that fail, where that was told already."""

    def of(self, offer_id: str, channel: str) -> tuple[Failure, ...]:
        """Every failure of one candidate, first the one to name."""
        both = (*self.channels[channel], *self.offers[offer_id], *self.pairs.get((offer_id, channel), ()))
        return both if len(both) < 2 else tuple(sorted(both, key=lambda failure: RULES.index(failure.rule)))


def judge(case: Case) -> Verdicts:
    """Every rule on every channel and offer of the case."""
    cooling = [(rule, failure) for rule in case.rules.cool_downs for failure in _cooling(case, rule)]
    judged, pairs = _offers(case), _ends_in_the_quiet(case)
    channels = {channel: tuple(_channel_failures(case, channel, cooling)) for channel in case.channels}
    tagged = [(rule, failure) for rule, failure in cooling if rule.tag is not None]
    if not tagged:
        return Verdicts(channels, judged.failures, pairs, judged.closed)
    offers = dict(judged.failures)
    for rule, failure in tagged:
        _close_tagged(case, rule, failure, offers, pairs)
    return Verdicts(channels, offers, pairs)


def _close_tagged(
    case: Case,
    rule: CoolDown,
    failure: Failure,
    offers: dict[str, tuple[Failure, ...]],
    pairs: dict[tuple[str, str], tuple[Failure, ...]],
) -> None:
    """Puts a cool-down on the offers that have its tag, on all channels or on its own."""
    for offer in case.offers:
        if rule.tag not in offer.info.tags:
            continue
        if rule.channel is None:
            offers[offer.offer_id] = (*offers[offer.offer_id], failure)
        elif rule.channel in case.channels:
            key = offer.offer_id, rule.channel
            pairs[key] = (*pairs.get(key, ()), failure)


@dataclass(frozen=True, slots=True)
class Judged:
    """The failures of each offer, and the positions of those that have any."""

    failures: Mapping[str, tuple[Failure, ...]]
    closed: tuple[int, ...]


def _offers(case: Case) -> Judged:
    """The failures of each offer. What eligibility alone says is remembered for each set of answers."""
    known = assortment(case.offers)
    seen = {entry.offer_id for entry in case.usage.entries if entry.impression}
    places = known.special
    if not case.checked:
        places = tuple(place for place, offer in enumerate(case.offers) if offer.offer_id not in known.free)
    elif not seen.isdisjoint(known.capped):
        places = tuple(sorted({*places, *(known.place[name] for name in seen if name in known.capped)}))
    plain = _plain(case, known)
    if not places:
        return plain
    own = {
        case.offers[place].offer_id: tuple(
            _offer_failures(case, case.offers[place], case.offers[place].offer_id in seen)
        )
        for place in places
    }
    others = set(places)
    failing = [place for place in places if own[case.offers[place].offer_id]]
    closed = sorted([*failing, *(place for place in plain.closed if place not in others)])
    return Judged({**plain.failures, **own}, tuple(closed))


def _plain(case: Case, known: Assortment) -> Judged:
    """What each offer's eligibility says, whatever other rules it has."""
    key = tuple(case.answers.items())
    found: Judged | None = known.judged.get(key)
    if found is None:
        if len(known.judged) >= _REMEMBERED:
            known.judged.clear()
        asked: dict[str | None, tuple[Failure, ...]] = {None: ()}
        asked |= {source: tuple(_asked(case, source)) for source in case.answers}
        failures = {offer.offer_id: asked[offer.eligibility] for offer in case.offers}
        closed = tuple(place for place, offer in enumerate(case.offers) if failures[offer.offer_id])
        found = known.judged[key] = Judged(failures, closed)
    return found


def candidates(case: Case, verdicts: Verdicts) -> Pairs:
    """The eligible (position of the offer, channel), in the order of the offers, then of the channels asked for."""
    known = assortment(case.offers)
    open_channels = tuple(channel for channel in case.channels if not verdicts.channels[channel])
    if verdicts.closed is None or verdicts.pairs:
        return _pairs(case, verdicts, open_channels)
    key = open_channels, verdicts.closed
    found = known.pairs.get(key)
    if found is None:
        if len(known.pairs) >= _REMEMBERED:
            known.pairs.clear()
        found = known.pairs[key] = _pairs(case, verdicts, open_channels)
    return found


def _pairs(case: Case, verdicts: Verdicts, open_channels: Sequence[str]) -> Pairs:
    return Pairs(
        (position, channel)
        for position, offer in enumerate(case.offers)
        if not verdicts.offers[offer.offer_id]
        for channel in open_channels
        if channel in offer.channels and (offer.offer_id, channel) not in verdicts.pairs
    )


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


def _channel_failures(case: Case, channel: str, cooling: Sequence[tuple[CoolDown, Failure]]) -> Iterator[Failure]:
    if channel not in case.rules.placement_channels:
        yield Failure("placement_channel", f"{channel} is not a channel of placement {case.placement}")
    if not case.checked:
        yield from _unchecked(case, channel)
    yield from _consent(case, channel)
    reason = case.customer.suppressed.get(channel) or case.customer.suppressed.get("all")
    if reason:
        yield Failure("suppression", f"{channel} is suppressed: {reason}")
    for rule, failure in cooling:
        if rule.tag is None and rule.channel in {None, channel}:
            yield failure
    for cap in case.rules.caps:
        if not case.usage.entries and cap.max > 0:
            continue
        within = window_of(case, cap.per_days, cap.calendar)
        reached = message_cap_full(case.usage.entries, cap, channel, case.placement, within, case.now_us)
        if reached:
            kind = f"{cap.channel} messages" if cap.channel else "messages"
            where = f" in {cap.placement}" if cap.placement else ""
            yield Failure("frequency_cap", _used(reached, kind + where), _time(reached.until))


def _unchecked(case: Case, channel: str) -> Iterator[Failure]:
    """Without the database nothing goes out; what is shown where the customer comes to may, if nothing counts it."""
    if channel not in PULLED:
        yield Failure("unchecked", f"consent and caps of {channel} cannot be checked now")
    elif any(applies(cap, channel, case.placement) for cap in case.rules.caps):
        yield Failure("unchecked", f"a cap counts {channel} here and cannot be checked now")
    elif any(
        rule.tag is None and rule.channel in {None, channel} and rule.placement in {None, case.placement}
        for rule in case.rules.cool_downs
    ):
        yield Failure("unchecked", f"a cool-down of {channel} cannot be checked now")


def _cooling(case: Case, rule: CoolDown) -> Iterator[Failure]:
    """The cool-down's failure, while it lasts."""
    times = case.usage.moments.get((rule.after, "")) if rule.placement in {None, case.placement} else None
    last = max((time for time in times or () if time <= case.now_us), default=None)
    if last is None or last + round(rule.days * DAY_US) <= case.now_us:
        return
    what = f"no {rule.tag} offers" if rule.tag else "nothing"
    by = f" by {rule.channel}" if rule.channel else ""
    detail = f"{what}{by} for {_days(rule.days)} after a {rule.after}"
    yield Failure("cool_down", detail, _time(last + round(rule.days * DAY_US)))


def window_of(case: Case, per_days: float | None, calendar: str | None, shared: bool = False) -> Window:
    """A limit's window now; a calendar's is in the customer's zone, one that customers share in the default zone."""
    name = None if shared else case.customer.timezone
    zone, _ = zone_of(name if calendar else None, case.rules.default_timezone)
    return window(case.now_us, case.at, per_days, calendar, zone)


def _consent(case: Case, channel: str) -> Iterator[Failure]:
    purpose = case.rules.purpose
    said = case.customer.consents.get(channel)
    answer = said.get(purpose) if isinstance(said, Mapping) else None
    if answer is False:
        yield Failure("consent", f"the customer does not want {purpose} by {channel}")
    elif answer is not True and case.rules.consent_when_unknown == "deny" and purpose != "transactional":
        yield Failure("consent", f"no consent to {purpose} by {channel} is known")


def _offer_failures(case: Case, offer: Offer, seen: bool) -> Iterator[Failure]:
    if offer.starts_at is not None and case.at < offer.starts_at:
        yield Failure("not_started", f"starts at {_text(offer.starts_at)}", offer.starts_at)
    if offer.ends_at is not None and case.at >= offer.ends_at:
        yield Failure("ended", f"ended at {_text(offer.ends_at)}")
    if offer.eligibility is not None:
        yield from _asked(case, offer.eligibility)
    if not case.checked and _counted(case, offer):
        yield Failure("unchecked", "its limits cannot be counted now")
        return
    for required in offer.requires:
        yield from _required(case, required)
    for index, cap in enumerate(offer.caps):
        if cap.per == "customer":
            if not seen and cap.max > 0:
                continue
            within = window_of(case, cap.per_days, cap.calendar)
            reached = offer_cap_full(case.usage.entries, offer.offer_id, cap.max, within, case.now_us)
            if reached:
                yield Failure("offer_cap", _used(reached, "impressions"), _time(reached.until))
        else:
            yield from _shared(case, offer, index, cap.max, window_of(case, cap.per_days, cap.calendar, shared=True))
    if offer.exclusion_group is not None and offer.exclusion_days is not None:
        yield from _exclusion(case, offer, offer.exclusion_group, offer.exclusion_days)
    if offer.budget is not None and offer.cost > 0:
        yield from _budget(case, offer)


def _counted(case: Case, offer: Offer) -> bool:
    """Whether an offer has a rule that needs the ledger."""
    tags = {rule.tag for rule in case.rules.cool_downs if rule.tag is not None}
    return bool(
        offer.caps
        or offer.requires
        or offer.shared_limits
        or offer.exclusion_days
        or tags.intersection(offer.info.tags)
    )


def _required(case: Case, required: Requirement) -> Iterator[Failure]:
    """Fails until the other offer's event lies in its span of time. Only its first and last time are known."""
    known = case.usage.moments.get((required.event, required.offer_id), ())
    times = sorted({time for time in known if time <= case.now_us})
    after = round(required.after_days * DAY_US)
    within = None if required.within_days is None else round(required.within_days * DAY_US)
    recent = [time for time in times if within is None or time > case.now_us - within]
    if any(time <= case.now_us - after for time in recent):
        return
    what = f"needs {required.offer_id} to be {required.event} first"
    if recent:
        yield Failure("prerequisite", f"{what}, {_days(required.after_days)} ago", _time(recent[0] + after))
    elif times and required.within_days is not None:
        yield Failure("prerequisite", f"{what}, at most {_days(required.within_days)} ago")
    else:
        yield Failure("prerequisite", what)


def _exclusion(case: Case, offer: Offer, group: str, days: float) -> Iterator[Failure]:
    found = excluded_until(case.usage.entries, offer.offer_id, group, days, case.now_us)
    if found is not None:
        other, until = found
        yield Failure("exclusion", f"{other} of the group {group} was shown; {_days(days)} between", _time(until))


def _asked(case: Case, expression: str) -> Iterator[Failure]:
    answer = case.answers[expression]
    if answer.missing is not None:
        yield Failure("eligibility", f"the rule needs '{answer.missing}', which is not known of this customer")
    elif answer.problem is not None:
        yield Failure("eligibility", f"the rule cannot be told: {answer.problem}")
    elif not answer.holds:
        yield Failure("eligibility", f"does not hold: {expression}")


def _shared(case: Case, offer: Offer, index: int, most: int, within: Window) -> Iterator[Failure]:
    shared = case.usage.shared.get((offer.offer_id, index))
    used = 0 if shared is None else int(shared.used)
    if used >= most:
        until = None if shared is None or shared.oldest is None else within.end_of(shared.oldest)
        yield Failure("offer_cap", f"{used} of {most} impressions of all customers {within.words}", _time(until))


def _budget(case: Case, offer: Offer) -> Iterator[Failure]:
    assert offer.budget is not None
    amount = offer.budget.amount
    within = window_of(case, offer.budget.per_days, offer.budget.calendar, shared=True)
    shared = case.usage.shared.get((offer.offer_id, -1))
    used = 0.0 if shared is None else shared.used
    if exceeds(used + offer.cost, amount):
        until = None if shared is None or shared.oldest is None else within.end_of(shared.oldest)
        yield Failure("budget", f"{used:.2f} of {amount:.2f} spent {within.words}", _time(until))
    elif offer.budget.even:
        share = within.share(case.now_us)
        excess = ahead(amount, offer.cost, used, () if shared is None else shared.slices, share)
        if excess > 1e-9 * (1 + amount):
            period = within.length or (within.end or 0) - within.since - 1
            until = case.now_us + wait(excess, amount, period)
            detail = f"{used:.2f} of {amount:.2f} spent {within.words}, which is ahead of an even pace"
            yield Failure("pacing", detail, _time(until))


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
    return f"{reached.used} of {reached.max} {kind} {reached.words}"


def _days(days: float) -> str:
    return "1 day" if days == 1 else f"{days:g} days"


def _time(at: int | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(0, UTC) + timedelta(microseconds=at)


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M UTC")
