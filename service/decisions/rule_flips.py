"""What business rules of the ranker did to the first place: what would come first without them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from service.decisions.first_place import First, Pair, Weighed, ranking_rules
from service.decisions.money import money

Named = Callable[[Pair], str]
"""What a candidate is called."""


def without_rules(now: Weighed, first: First, drawn: Pair | None, named: Named) -> Iterator[str]:
    """For each rule by which another comes first; where only all of them together do that, for all.

    `drawn`: what stands first, by the policy or by chance.
    """
    names, found = ranking_rules(now), False
    for rules in ([name] for name in names):
        for said in _without(now, rules, first, drawn, named):
            found = True
            yield said
    if not found and len(names) > 1:
        yield from _without(now, names, first, drawn, named)


def _without(now: Weighed, rules: list[str], first: First, drawn: Pair | None, named: Named) -> Iterator[str]:
    other = now.without(rules).first()
    if other is None or other.pair in {first.pair, drawn}:
        return
    begins = f"Without the rule{'s' if len(rules) > 1 else ''} {' and '.join(rules)}"
    likely = "" if other.sure else "most likely "
    against = f"({money(other.value)} against {money(first.value)})"
    if other.pair is None:
        yield f"{begins} nothing would {likely}be sent {against}."
    else:
        yield f"{begins} {named(other.pair)} would {likely}come first {against}."
