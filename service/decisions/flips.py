"""What would have made a decision another one: the smallest changes, found by judging and weighing again. Pure.

For each candidate that rules stop, the fewest changes that would open it: how long to wait (all rules are asked again
at that time), or what would have to hold. For those that were weighed, how much more they would have to be worth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from service.decisions.arbitration import expected_values
from service.decisions.case import Case
from service.decisions.eligibility import judge
from service.decisions.offer_rules import REFUSED
from service.decisions.pairs import Pairs
from service.decisions.verdicts import Failure, Verdicts

Pair = tuple[int, str]
"""A candidate: position of its offer, channel."""
Probabilities = Callable[[Sequence[Pair]], "Sequence[float] | None"]
PROFILED = "the customer agreed to profiling"
_MOST_WAITS = 6


@dataclass(frozen=True, slots=True)
class Opening:
    """Candidates that one and the same change would open: all `conditions`, and from `since` on.

    `best` is the one that would be worth most, `worth` what (None: not known), and `first` whether it would come first.
    """

    conditions: tuple[str, ...]
    since: datetime | None
    pairs: tuple[Pair, ...]
    best: Pair
    worth: float | None
    first: bool


@dataclass(frozen=True, slots=True)
class Dearer:
    """A weighed candidate that would come first if an order were worth `value` more, or its chance were `chance`.

    None: by that alone it never would.
    """

    pair: Pair
    value: float | None
    chance: float | None


def openings(
    case: Case, verdicts: Verdicts, eligible: Sequence[Pair], best: float, probabilities: Probabilities
) -> list[Opening]:
    """The smallest changes for what rules stop, those that would change the first place first.

    `best` is the expected value of what looked best; `probabilities` gives those of candidates that were not weighed.
    """
    allowed = set(eligible)
    found: dict[tuple[tuple[str, ...], datetime | None], list[Pair]] = {}
    for position, offer in enumerate(case.offers):
        changes = {
            (position, channel): _change(case, verdicts, (position, channel))
            for channel in case.channels
            if channel in offer.channels and (position, channel) not in allowed
        }
        fewest = min((len(conditions) for conditions, _ in changes.values()), default=0)
        for pair, change in changes.items():
            if len(change[0]) == fewest:
                found.setdefault(change, []).append(pair)
    worth = _worth(case, [pair for pairs in found.values() for pair in pairs], probabilities)
    made = [_opening(change, pairs, worth, best) for change, pairs in found.items()]
    return sorted(
        made, key=lambda one: (not one.first, len(one.conditions), one.since is not None, one.since or case.at)
    )


def dearer(
    case: Case,
    eligible: Pairs,
    probabilities: Sequence[float],
    goals: Mapping[str, Sequence[float]] | None,
    uplift: Sequence[float] | None,
    index: int,
    best: float,
) -> Dearer:
    """What the weighed candidate `index` lacks to be worth more than `best`. The formula is linear in both."""
    position, _ = pair = eligible[index]
    now = float(expected_values(case, eligible, probabilities, goals, uplift)[index])
    offer = case.offers[position]
    richer = (*case.offers[:position], replace(offer, value=offer.value + 1.0), *case.offers[position + 1 :])
    dear = replace(case, offers=richer)
    per_value = float(expected_values(dear, eligible, probabilities, goals, uplift)[index]) - now
    value = (best - now) / per_value if per_value > 1e-12 else None
    if uplift is not None:
        return Dearer(pair, value, None)
    likelier = [*probabilities[:index], probabilities[index] + 0.01, *probabilities[index + 1 :]]
    per_chance = (float(expected_values(case, eligible, likelier, goals)[index]) - now) / 0.01
    chance = probabilities[index] + (best - now) / per_chance if per_chance > 1e-12 else 2.0
    return Dearer(pair, value, chance if chance <= 1.0 else None)


def _change(case: Case, verdicts: Verdicts, pair: Pair) -> tuple[tuple[str, ...], datetime | None]:
    """What would have to hold for a stopped candidate, and from when on."""
    position, channel = pair
    offer_id = case.offers[position].offer_id
    failures = verdicts.of(offer_id, channel)
    lasting = [failure for failure in failures if not failure.until]
    conditions = tuple(dict.fromkeys(one for failure in lasting for one in _conditions(case, failure, channel)))
    return conditions, _open_from(case, pair, failures)


def _open_from(case: Case, pair: Pair, failures: Sequence[Failure]) -> datetime | None:
    """When the rules that end by time are over: all are asked again at that time, and some may end later."""
    since: datetime | None = None
    offer, channel = case.offers[pair[0]], pair[1]
    answers = {source: told for source, told in case.answers.items() if source == offer.eligibility}
    alone = replace(case, offers=(offer,), channels=(channel,), answers=answers, steered=())
    for _ in range(_MOST_WAITS):
        ends = [failure.until for failure in failures if failure.until is not None]
        if not ends:
            return since
        since = max(ends)
        failures = judge(replace(alone, at=since)).of(offer.offer_id, channel)
    return since


def _conditions(case: Case, failure: Failure, channel: str) -> Iterator[str]:
    """A failure that no time ends, as what would have to be so instead."""
    if failure.rule == "eligibility":
        if REFUSED in failure.detail:
            yield PROFILED
        yield _rule_held(failure.detail)
        return
    yield {
        "consent": f"the customer agreed to {case.rules.purpose} by {channel}",
        "suppression": f"{channel} could reach the customer again",
        "placement_channel": f"{channel} were a channel of this placement",
        "frequency_cap": f"a cap let any message by {channel} go",
        "ended": "it had not ended",
        "offer_cap": "its cap let it be shown at all",
        "budget": "its budget were larger than its cost",
        "unchecked": "the database answered",
        "prerequisite": f"what it asks for had happened ({failure.detail})",
    }.get(failure.rule, f"this were not so: {failure.detail}")


def _rule_held(detail: str) -> str:
    if detail.startswith("the rule needs "):
        return f"{detail.removeprefix('the rule needs ').split(',')[0]} were known and fitted its rule"
    if detail.startswith("does not hold"):
        return f"“{detail.partition(': ')[2]}” held"
    return f"its rule could be told ({detail})"


def _worth(case: Case, pairs: Sequence[Pair], probabilities: Probabilities) -> dict[Pair, float]:
    """The expected value of candidates that were not weighed, where it can be told."""
    told = probabilities(pairs) if pairs else None
    if told is None:
        return {}
    return dict(zip(pairs, expected_values(case, Pairs(pairs), told)[:-1].tolist(), strict=True))


def _opening(
    change: tuple[tuple[str, ...], datetime | None], pairs: Sequence[Pair], worth: Mapping[Pair, float], best: float
) -> Opening:
    top = max(pairs, key=lambda pair: worth.get(pair, 0.0))
    value = None if PROFILED in change[0] else worth.get(top)  # then the person's own chances would count
    return Opening(*change, tuple(pairs), top, value, value is not None and value > best)


def in_words(case: Case, found: Sequence[Opening], names: Mapping[str, str], best: float) -> Iterator[str]:
    """Each change as a sentence. `names` has what each offer is called."""
    for one in found:
        offers = list(dict.fromkeys(case.offers[position].offer_id for position, _ in one.pairs))
        channels = list(dict.fromkeys(channel for _, channel in one.pairs))
        name = names[case.offers[one.best[0]].offer_id]
        what = f"{name} by {_or(channels)}" if len(offers) == 1 else f"{len(offers)} more offers by {_or(channels)}"
        when = f"from {one.since:%Y-%m-%d %H:%M} UTC on" if one.since is not None else ""
        if one.conditions:
            said = f"If {' and '.join(one.conditions)}, {f'{when}, ' if when else ''}{what} could be sent"
        else:
            said = f"{when[:1].upper()}{when[1:]} {what} can be sent" if when else f"{what} could be sent"
        yield f"{said}{_outcome(one, name, len(offers) > 1, best)}."


def _outcome(one: Opening, name: str, several: bool, best: float) -> str:
    if one.worth is None:
        return ""
    against = f"({money(one.worth)} against {money(best)})"
    who = name if several else "it"
    if one.first:
        return f", and {who} would come first {against}"
    return f"; {'the best of them' if several else 'it'} would still not come first {against}"


def _or(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def money(value: float) -> str:
    """An amount; small ones with more digits."""
    return f"{value:.2f}" if abs(value) >= 0.01 or value == 0 else f"{value:.4f}"
