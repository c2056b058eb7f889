"""The rules about an offer: its dates, its eligibility, what must have come before it, and its limits. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from service.decisions.caps import excluded_until, full
from service.decisions.case import DAY_US, PULLED, Case, Entry, Shared
from service.decisions.pacing import ahead, exceeds, wait
from service.decisions.verdicts import Failure, in_days, in_words, moment, used_up
from service.decisions.windows import Window, window_of
from service.offers.offer import Offer, Requirement

REFUSED = "the customer refused profiling"
"""In the detail of a rule that asks for what a refusal of profiling takes out of use."""


def offer_failures(case: Case, offer: Offer, seen: Sequence[Entry]) -> Iterator[Failure]:
    """`seen`: the impressions of this offer among the case's entries."""
    if offer.starts_at is not None and case.at < offer.starts_at:
        yield Failure("not_started", f"starts at {in_words(offer.starts_at)}", offer.starts_at)
    if offer.ends_at is not None and case.at >= offer.ends_at:
        yield Failure("ended", f"ended at {in_words(offer.ends_at)}")
    if offer.priority == 0 and case.rules.off_at_zero:
        yield Failure("priority", "its priority is 0, by which it is off")
    if offer.eligibility is not None:
        yield from not_eligible(case, offer.eligibility)
    if not case.checked and _counted(case, offer):
        yield Failure("unchecked", "its limits cannot be counted now")
        return
    for required in offer.requires:
        yield from _required(case, required)
    for index, cap in enumerate(offer.caps):
        if cap.per == "customer":
            if len(seen) < cap.max:
                continue
            within = window_of(case, cap.per_days, cap.calendar)
            reached = full(seen, cap.max, within, case.now_us)
            if reached:
                yield Failure("offer_cap", used_up(reached, "impressions"), moment(reached.until))
        else:
            yield from _shared(case, offer, index, cap.max, window_of(case, cap.per_days, cap.calendar, shared=True))
    if offer.exclusion_group is not None and offer.exclusion_days is not None:
        yield from _exclusion(case, offer, offer.exclusion_group, offer.exclusion_days)
    if offer.budget is not None and offer.cost > 0:
        yield from _budget(case, offer)


def _counted(case: Case, offer: Offer) -> bool:
    """Whether an offer has a rule that needs the ledger."""
    return bool(
        offer.caps
        or offer.requires
        or offer.shared_limits
        or offer.exclusion_days
        or cooled_tags(case).intersection(offer.info.tags)
    )


def cooled_tags(case: Case) -> frozenset[str]:
    """The tags of cool-downs that may hold here, on a channel that is open without the database."""
    here = [
        rule
        for rule in case.rules.cool_downs
        if not case.rules.tags_unchecked
        or (rule.placement in {None, case.placement} and rule.channel in {None, *PULLED})
    ]
    return frozenset(rule.tag for rule in here if rule.tag is not None)


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
        yield Failure("prerequisite", f"{what}, {in_days(required.after_days)} ago", moment(recent[0] + after))
    elif times and required.within_days is not None:
        yield Failure("prerequisite", f"{what}, at most {in_days(required.within_days)} ago")
    else:
        yield Failure("prerequisite", what)


def _exclusion(case: Case, offer: Offer, group: str, days: float) -> Iterator[Failure]:
    found = excluded_until(case.usage.entries, offer.offer_id, group, days, case.now_us)
    if found is not None:
        other, until = found
        yield Failure("exclusion", f"{other} of the group {group} was shown; {in_days(days)} between", moment(until))


def not_eligible(case: Case, expression: str) -> Iterator[Failure]:
    """Of a customer who refused profiling nothing may be used, so what lacks is not said to be unknown."""
    answer = case.answers[expression]
    refused = case.checked and not case.customer.profiling and _asks_for_customer(expression, answer.missing)
    if answer.missing is not None:
        why = f"may not be used: {REFUSED}" if refused else "is not known of this customer"
        yield Failure("eligibility", f"the rule needs '{answer.missing}', which {why}")
    elif answer.problem is not None:
        yield Failure("eligibility", f"the rule cannot be told: {answer.problem}")
    elif not answer.holds:
        what = f"does not hold with what may be used, as {REFUSED}" if refused else "does not hold"
        yield Failure("eligibility", f"{what}: {expression}")


def _asks_for_customer(expression: str, missing: str | None) -> bool:
    """Whether what a rule lacks may be of the customer, not of the request."""
    if missing is not None and re.search(rf"\bcontext\s*\.\s*{re.escape(missing)}\b", expression):
        return False
    return re.search(r"\bcustomer\b", expression) is not None


def _shared(case: Case, offer: Offer, index: int, most: int, within: Window) -> Iterator[Failure]:
    shared = case.usage.shared.get((offer.offer_id, index))
    used = 0 if shared is None else int(shared.used)
    if used >= most:
        detail = f"{used} of {most} impressions of all customers {within.words}"
        yield Failure("offer_cap", detail, moment(_free(shared, within)))


def _free(shared: Shared | None, within: Window) -> int | None:
    """When a limit that is full has a place again; None where that cannot be told."""
    if shared is None or shared.free is not None or shared.oldest is None:
        return None if shared is None else shared.free
    return within.end_of(shared.oldest)


def _budget(case: Case, offer: Offer) -> Iterator[Failure]:
    assert offer.budget is not None
    amount = offer.budget.amount
    within = window_of(case, offer.budget.per_days, offer.budget.calendar, shared=True)
    shared = case.usage.shared.get((offer.offer_id, -1))
    used = 0.0 if shared is None else shared.used
    if exceeds(used + offer.cost, amount):
        yield Failure("budget", f"{used:.2f} of {amount:.2f} spent {within.words}", moment(_free(shared, within)))
    elif offer.budget.even:
        share = within.share(case.now_us)
        excess = ahead(amount, offer.cost, used, () if shared is None else shared.slices, share)
        if excess > 1e-9 * (1 + amount):
            period = within.length or (within.end or 0) - within.since - 1
            free = None if shared is None else shared.free
            until = case.now_us + wait(excess, amount, period) if free is None else free
            detail = f"{used:.2f} of {amount:.2f} spent {within.words}, which is ahead of an even pace"
            yield Failure("pacing", detail, moment(until))
