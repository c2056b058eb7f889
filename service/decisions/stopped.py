"""What would have to be so instead, and from when on, for what rules stop. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from service.decisions.case import Case
from service.decisions.decide_again import Again
from service.decisions.eligibility import judge
from service.decisions.first_place import Pair
from service.decisions.offer_rules import REFUSED
from service.decisions.rules import compiled_steer
from service.decisions.verdicts import Failure
from service.offers.catalogue import compiled
from service.offers.cel import Expression

_MOST_WAITS = 6


class Condition(NamedTuple):
    """What would have to hold. `expression`: the eligibility that would; `rule`: the business rule that would be gone.

    Not `told`: so much else would be other then that nobody can say what would come first.
    """

    words: str
    expression: str | None = None
    rule: str | None = None
    told: bool = True


PROFILED = Condition("the customer agreed to profiling", told=False)


class Change(NamedTuple):
    """All `conditions`, and from `since` on."""

    conditions: tuple[Condition, ...]
    since: datetime | None

    @property
    def lifted(self) -> frozenset[str]:
        """The business rules that would be gone."""
        return frozenset(condition.rule for condition in self.conditions if condition.rule is not None)


def changes_of(again: Again) -> dict[Pair, Change]:
    """The change that would open each candidate that a rule stops; none for what no change of these kinds opens."""
    case = again.case
    verdicts = judge(case)
    excluding = list(zip(case.rules.steering, case.steered, strict=False))
    found = {}
    for position, offer in enumerate(case.offers):
        bars = dict.fromkeys(rule.name for rule, about in excluding if rule.do == "exclude" and position in about)
        lifted = [Condition(f"there were no rule {name}", rule=name) for name in bars]
        for channel in case.channels:
            if channel not in offer.channels:
                continue
            failures = verdicts.of(offer.offer_id, channel)
            change = _change(again, (position, channel), failures, lifted) if failures or lifted else None
            if change is not None:
                found[position, channel] = change
    return found


def may_turn(source: str | None, changed: Sequence[str]) -> bool:
    """Whether an expression may tell otherwise once those in `changed` do: they read the same, or it is unsure what."""
    return source is not None and any(_share(compiled(source), compiled(one)) for one in changed)


def rules_may_turn(case: Case, changed: Sequence[str]) -> bool:
    """Whether some business rule may be about other offers then."""
    conditions = [compiled_steer(rule.when) for rule in case.rules.steering if rule.when is not None]
    return any(_share(condition, compiled(one)) for condition in conditions for one in changed)


def _share(one: Expression, other: Expression) -> bool:
    if one.inputs is None or other.inputs is None:
        return True
    return not {(i.of, i.name) for i in one.inputs}.isdisjoint((i.of, i.name) for i in other.inputs)


def _change(again: Again, pair: Pair, failures: Sequence[Failure], lifted: Sequence[Condition]) -> Change | None:
    lasting = [failure for failure in failures if not failure.until]
    conditions = [one for failure in lasting for one in _conditions(again.case, failure, pair)]
    since = _open_from(again, pair, failures, {failure.rule for failure in lasting})
    return None if since is None else Change(tuple(dict.fromkeys([*conditions, *lifted])), since[0])


def _open_from(
    again: Again, pair: Pair, failures: Sequence[Failure], lasting: set[str]
) -> tuple[datetime | None] | None:
    """When the rules that end by time are over: all are asked again at that time, and some may end later.

    None: by then another rule stops it for good, such as its end.
    """
    since: datetime | None = None
    for _ in range(_MOST_WAITS):
        if any(failure.until is None and failure.rule not in lasting for failure in failures):
            return None
        ends = [failure.until for failure in failures if failure.until is not None]
        if not ends:
            return (since,)
        since = max(ends)
        case = again.at(since)
        offer, channel = case.offers[pair[0]], pair[1]
        answers = {source: told for source, told in case.answers.items() if source == offer.eligibility}
        alone = replace(case, offers=(offer,), channels=(channel,), answers=answers, steered=())
        failures = judge(alone).of(offer.offer_id, channel)
    return None


def _conditions(case: Case, failure: Failure, pair: Pair) -> Iterator[Condition]:
    """A failure that no time ends, as what would have to be so instead."""
    position, channel = pair
    if failure.rule == "eligibility":
        if REFUSED in failure.detail:
            yield PROFILED
        told = "cannot be told" not in failure.detail
        yield Condition(_rule_held(failure.detail), case.offers[position].eligibility, told=told)
        return
    if failure.rule == "suppression" and "all" in case.customer.suppressed:
        yield Condition("messages could reach the customer again")
        return
    words = {
        "consent": f"the customer agreed to {case.rules.purpose} by {channel}",
        "suppression": f"{channel} could reach the customer again",
        "placement_channel": f"{channel} were a channel of this placement",
        "frequency_cap": f"a cap let any message by {channel} go",
        "ended": "it had not ended",
        "priority": "its priority were above 0",
        "offer_cap": "its cap let it be shown at all",
        "budget": "its budget were larger than its cost",
        "unchecked": "the database answered",
        "prerequisite": f"what it asks for had happened ({failure.detail})",
    }.get(failure.rule, f"this were not so: {failure.detail}")
    yield Condition(words, told=failure.rule not in {"unchecked", "priority"})


def _rule_held(detail: str) -> str:
    if detail.startswith("the rule needs "):
        return f"{detail.removeprefix('the rule needs ').split(',')[0]} were known and fitted its rule"
    if detail.startswith("does not hold"):
        return f"“{detail.partition(': ')[2]}” held"
    return f"its rule could be told ({detail})"
