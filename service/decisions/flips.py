"""What would have opened a decision's stopped candidates: the smallest changes, found by deciding again. Pure.

For each candidate that rules stop, the fewest changes that would open it: how long to wait (all rules are asked again
at that time), or what would have to hold. Whether it would then come first is what the ranker says of all that may go
then, business rules included; where a change may do more than open it, and so that cannot be told, nothing is promised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from service.decisions.case import Case
from service.decisions.decide_again import Again
from service.decisions.eligibility import candidates, judge
from service.decisions.explain import one_of
from service.decisions.first_place import First, Pair, Weighed, decisive, without
from service.decisions.money import money
from service.decisions.pairs import Pairs
from service.decisions.stopped import Change, changes_of, may_turn, rules_may_turn

_MOST_TRIED = 30
"""Changes for which it is told what would come first: those that would open what is worth most."""


@dataclass(frozen=True, slots=True)
class Opening:
    """Candidates that one and the same change would open. `first`: whether one would come first (None: not known).

    `best` is that one, else the one worth most; `worth` its expected value, `against` that of what else would come
    first, `by` the business rules that decide it.
    """

    change: Change
    pairs: tuple[Pair, ...]
    best: Pair
    first: bool | None = None
    worth: float | None = None
    against: float | None = None
    by: tuple[str, ...] = ()
    sure: bool = True
    unsure_rules: bool = False


class Known(NamedTuple):
    """`chances` of every candidate, where they can be told, and the changes that would open those that are stopped."""

    chances: Mapping[Pair, float]
    changes: Mapping[Pair, Change]


def openings(now: Weighed, again: Again, chances: Mapping[Pair, float] | None) -> list[Opening]:
    """The smallest changes for what rules stop, those that would change the first place first.

    `chances`: of candidates that were not weighed.
    """
    changes = changes_of(again)
    known = Known({**dict(zip(now.eligible, now.chances, strict=True)), **(chances or {})}, changes)
    fewest: dict[int, int] = {}
    for (position, _), change in changes.items():
        fewest[position] = min(len(change.conditions), fewest.get(position, len(change.conditions)))
    found: dict[Change, list[Pair]] = {}
    for pair, change in changes.items():
        if len(change.conditions) == fewest[pair[0]]:
            found.setdefault(change, []).append(pair)
    worth = _worth(again, known) if chances is not None and now.case.arm != "random" else {}
    by_worth = sorted(found, key=lambda change: -max(worth.get(pair, 0.0) for pair in found[change]))
    made = [
        _tried(again, known, change, found[change], worth)
        if worth and number < _MOST_TRIED
        else Opening(change, tuple(found[change]), found[change][0])
        for number, change in enumerate(by_worth)
    ]
    at = now.case.at
    return sorted(
        made,
        key=lambda one: (
            one.first is not True,
            len(one.change.conditions),
            one.change.since is not None,
            one.change.since or at,
        ),
    )


def _worth(again: Again, known: Known) -> dict[Pair, float]:
    some = Pairs(pair for pair in known.changes if pair in known.chances)
    values = Weighed(again.case, some, [known.chances[pair] for pair in some]).values()
    return dict(zip(some, values[:-1].tolist(), strict=True))


def _tried(again: Again, known: Known, change: Change, pairs: Sequence[Pair], worth: Mapping[Pair, float]) -> Opening:
    """The change is made, and the ranker asked what comes first."""
    top = max(pairs, key=lambda pair: worth.get(pair, 0.0))
    untold = Opening(change, tuple(pairs), top)
    if not all(condition.told for condition in change.conditions):
        return untold
    expressions = [one.expression for one in change.conditions if one.expression is not None]
    case = without(again.at(change.since) if change.since else again.case, change.lifted)
    if rules_may_turn(case, expressions):
        return Opening(change, tuple(pairs), top, unsure_rules=True)
    open_then = {*candidates(case, judge(case)), *_opened(known, change)}
    opened_too = _opened(known, change, expressions)
    closed_too = {
        pair for pair in open_then.difference(pairs) if may_turn(case.offers[pair[0]].eligibility, expressions)
    }

    def among(some: set[Pair]) -> Weighed:
        order = {channel: place for place, channel in enumerate(case.channels)}
        made = Pairs(sorted(some, key=lambda pair: (pair[0], order[pair[1]])))
        return Weighed(case, made, [known.chances[pair] for pair in made])

    if not open_then.union(opened_too) <= known.chances.keys():
        return untold
    most, least = among(open_then | opened_too), among(open_then - closed_too)
    first, other = most.first(), among(open_then.difference(pairs)).first()
    if first is None or other is None:
        return untold
    if first.pair in pairs:
        by = decisive(most, pairs) if first.value <= other.value else []
        return _of(case, untold, first, other, True, by)
    first = least.first()
    if first is None or first.pair in pairs:
        return untold
    value = float(least.values()[least.eligible.index(top)])
    by = decisive(least, pairs) if value > other.value else []
    return _of(case, untold, First(top, value, first.sure), other, False, by)


def _of(case: Case, opening: Opening, best: First, other: First, leads: bool, by: Sequence[str]) -> Opening:
    """What the old way sends hangs on no value, so none is told."""
    by_value = case.arm == "model"
    return Opening(
        opening.change,
        opening.pairs,
        best.pair or opening.best,
        leads,
        best.value if by_value else None,
        other.value if by_value else None,
        tuple(by),
        best.sure,
    )


def _opened(known: Known, change: Change, expressions: Sequence[str] = ()) -> set[Pair]:
    """What a change opens; with `expressions` that it makes true, also what it may open by that."""
    return {
        pair
        for pair, other in known.changes.items()
        if (other.since is None or (change.since is not None and other.since <= change.since))
        and all(
            one in change.conditions or (one.expression is not None and may_turn(one.expression, expressions))
            for one in other.conditions
        )
    }


def in_words(opening: Opening, names: Sequence[str], sent: bool, modelled: bool) -> str:
    """A change as a sentence. `names` has what each offer is called; `sent`: whether the decision sent something.

    `modelled`: a model told the chances, which may see what is changed.
    """
    offers = list(dict.fromkeys(position for position, _ in opening.pairs))
    channels = list(dict.fromkeys(channel for _, channel in opening.pairs))
    what = f"{names[offers[0]] if len(offers) == 1 else f'{len(offers)} more offers'} by {one_of(channels)}"
    conditions, since = opening.change.conditions, opening.change.since
    when = f"from {_whole(since):%Y-%m-%d %H:%M} UTC on" if since is not None else ""
    held = " and ".join(condition.words for condition in conditions)
    if held:
        said = f"If {held}, {f'{when}, ' if when else ''}{what} could be sent"
    elif sent:
        said = f"Decided {when} instead, {what} could be sent"
    else:
        said = f"{when[:1].upper()}{when[1:]} {what} can be sent"
    supposed = modelled and (since is not None or any(one.expression for one in conditions))
    return f"{said}{_outcome(opening, names[opening.best[0]], len(offers) > 1, supposed)}."


def _whole(since: datetime) -> datetime:
    """The first whole minute from then on: the one that it begins in is too early."""
    minute = since.replace(second=0, microsecond=0)
    return minute if minute == since else minute + timedelta(minutes=1)


def _outcome(one: Opening, name: str, several: bool, supposed: bool) -> str:
    if one.unsure_rules:
        return "; what business rules would do then cannot be told"
    if one.first is None:
        return ""
    told = one.worth is not None and one.against is not None
    against = f" ({money(one.worth or 0.0)} against {money(one.against or 0.0)})" if told else ""
    if one.first:
        likely = "come first" if one.sure else "most likely come first"
        chances = " with the chances of then" if supposed and told else ""
        return f", and{chances} {name if several else 'it'} would {likely}{against}{_by(one.by, ', by')}"
    who = "the best of them" if several else "it"
    what = "come first" if one.sure else "be the likeliest to come first"
    return f"; {who} would still not {what}{against}{_by(one.by, ', because of')}"


def _by(rules: Sequence[str], words: str) -> str:
    return f"{words} the rule{'s' if len(rules) > 1 else ''} {' and '.join(rules)}" if rules else ""
