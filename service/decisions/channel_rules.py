"""The rules about a channel: whether a customer may be reached on it now at all. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from service.customers.consent import allowed
from service.decisions.caps import applies, message_cap_full
from service.decisions.case import DAY_US, PULLED, Case, CoolDown, Entry
from service.decisions.verdicts import Failure, in_days, moment, used_up
from service.decisions.windows import window_of


def channel_failures(
    case: Case, channel: str, cooling: Sequence[tuple[CoolDown, Failure]], messages: Sequence[Entry]
) -> Iterator[Failure]:
    """`messages`: those of the case's entries."""
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
        if len(messages) < cap.max:
            continue
        within = window_of(case, cap.per_days, cap.calendar)
        reached = message_cap_full(messages, cap, channel, case.placement, within, case.now_us)
        if reached:
            kind = f"{cap.channel} messages" if cap.channel else "messages"
            where = f" in {cap.placement}" if cap.placement else ""
            yield Failure("frequency_cap", used_up(reached, kind + where), moment(reached.until))


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


def cooling_down(case: Case, rule: CoolDown) -> Iterator[Failure]:
    """The cool-down's failure, while it lasts."""
    times = case.usage.moments.get((rule.after, "")) if rule.placement in {None, case.placement} else None
    last = max((time for time in times or () if time <= case.now_us), default=None)
    if last is None or last + round(rule.days * DAY_US) <= case.now_us:
        return
    what = f"no {rule.tag} offers" if rule.tag else "nothing"
    by = f" by {rule.channel}" if rule.channel else ""
    detail = f"{what}{by} for {in_days(rule.days)} after a {rule.after}"
    yield Failure("cool_down", detail, moment(last + round(rule.days * DAY_US)))


def _consent(case: Case, channel: str) -> Iterator[Failure]:
    consents, purpose = case.customer.consents, case.rules.purpose
    if not allowed(consents, channel, purpose):
        yield Failure("consent", f"the customer does not want {purpose} by {channel}")
    elif not allowed(consents, channel, purpose, case.rules.consent_when_unknown):
        yield Failure("consent", f"no consent to {purpose} by {channel} is known")
