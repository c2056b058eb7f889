"""A stored decision in words, and what would have made it another: decided again with single changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from service.decisions.case import Case
from service.decisions.eligibility import candidates, judge
from service.decisions.explain import Explanation, explain, named, percent
from service.decisions.flips import dearer, in_words, openings
from service.decisions.frozen_row import row_from_json
from service.decisions.ports import Models
from service.decisions.rates import PooledRates
from service.decisions.record import candidates_of, case_from_record
from service.decisions.score import BY_RATES, NEXT_OFFER, by_model
from service.offers.offer import Offer

_NEXT_BEST = 3


def explained(
    row: Any,
    record: Mapping[str, Any],
    described: Mapping[str, Any],
    offers: tuple[Offer, ...],
    models: Models,
    rates: Callable[[], PooledRates],
) -> Explanation:
    """The words of a stored decision. `described` is its `record` as the API shows it, `offers` its offers then.

    `rates` are those of now, for candidates that were not weighed by a decision without a model.
    """
    return explain(described, list(_would_flip(row, record, described, offers, models, rates)))


def _would_flip(
    row: Any,
    record: Mapping[str, Any],
    described: Mapping[str, Any],
    offers: tuple[Offer, ...],
    models: Models,
    rates: Callable[[], PooledRates],
) -> Iterator[str]:
    if described["arm"] == "holdout":
        yield "Only another arm would: the holdout's share of this placement is a setting."
        return
    if len(offers) != len(record["offers"]):
        yield "Some of its offers are not known any more, so it cannot be decided again."
        return
    case = case_from_record(row, record, offers)
    names = {offer.offer_id: named(offer.offer_id, described["offer_names"]) for offer in offers}
    verdicts = judge(case)
    eligible = candidates(case, verdicts)
    weighed = list(candidates_of(row.candidates))
    if [(case.offers[position].offer_id, channel) for position, channel in eligible] != [
        (one.offer_id, one.channel) for one in weighed[:-1]
    ]:
        yield "It is not decided the same again, so what would change it cannot be told; replay says what differs."
        return
    first = next((one for one in weighed if one.rank == 1), weighed[-1])
    best = max(one.expected_value for one in weighed) if case.arm == "model" else first.expected_value
    yield from _another_draw(case, described, weighed, first, names)
    yield from _business(described, names)
    probabilities = [one.probability or 0.0 for one in weighed[:-1]]
    values = [one.expected_value for one in weighed]
    plain = record.get("uplift") is None and not record.get("goals")
    asked = _probabilities(record, case, models, rates) if plain and case.arm == "model" else _unknown
    opened = openings(case, verdicts, eligible, best, asked)
    yield from in_words(case, [one for one in opened if one.first], names, best)
    if case.arm == "model":
        for index in _next_best(case, eligible, values, best):
            lack = dearer(case, eligible, probabilities, record.get("goals"), record.get("uplift"), index, best)
            yield from _dearer(names[case.offers[eligible[index][0]].offer_id], lack, first.offer_id is None)
    yield from in_words(case, [one for one in opened if not one.first], names, best)
    if not case.offers:
        yield _with_offers(record["request"]["offers"])


def _with_offers(named_offers: Sequence[str] | None) -> str:
    if named_offers is None:
        return "An offer in the catalogue could."
    return "A request that names offers could, or one without a list of them, for which the whole catalogue is weighed."


def _next_best(case: Case, eligible: Sequence[tuple[int, str]], values: Sequence[float], best: float) -> list[int]:
    """The weighed candidates that look best behind the first, each offer once."""
    ranked = sorted(range(len(eligible)), key=lambda index: -values[index])
    ahead = {eligible[index][0] for index in ranked if values[index] >= best}
    behind: dict[int, int] = {}
    for index in ranked:
        if eligible[index][0] not in ahead:
            behind.setdefault(eligible[index][0], index)
    return list(behind.values())[:_NEXT_BEST]


def _another_draw(
    case: Case, described: Mapping[str, Any], weighed: Sequence[Any], first: Any, names: Mapping[str, str]
) -> Iterator[str]:
    """Where chance decided, and something else looked better or as good."""
    likeliest = max(weighed, key=lambda one: one.propensity)
    if case.arm == "random":
        yield "Another draw would: in this arm each has the same chance."
    elif likeliest is not first and first.propensity < 1.0:
        other = "nothing" if likeliest.offer_id is None else f"{names[likeliest.offer_id]} by {likeliest.channel}"
        yield f"Another draw would: {other} had a chance of {percent(likeliest.propensity)}."


def _business(described: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    """Candidates that rules of the ranker or of the list kept out."""
    for one in described["candidates"]:
        if not one["eligible"] or one["offer_id"] is None:
            continue
        for rule, verdict in one["verdicts"].items():
            if verdict != "pass":
                name = names[one["offer_id"]]
                words = "could be chosen without the rule" if rule == "business_rule" else "could stand in the list"
                yield f"{name} by {one['channel']} {words}: {verdict['detail']}."


def _dearer(name: str, lack: Any, nothing: bool) -> Iterator[str]:
    """What a weighed candidate lacks, rounded up so that it would be enough."""
    ways = []
    if lack.value is not None:
        ways.append(f"an order of it were worth {_above(lack.value, 100):.2f} more")
    if lack.chance is not None:
        ways.append(f"its chance were {_above(lack.chance, 1_000):.1%}")
    if ways:
        would = "would be worth sending" if nothing else "would come first"
        yield f"{name} by {lack.pair[1]} {would} if {', or if '.join(ways)}."


def _above(number: float, parts: int) -> float:
    """The next number above, in whole parts of 1."""
    return math.floor((number + 1e-9) * parts + 1) / parts


def _unknown(_: Sequence[tuple[int, str]]) -> None:
    return None


def _probabilities(
    record: Mapping[str, Any], case: Case, models: Models, rates: Callable[[], PooledRates]
) -> Callable[[Sequence[tuple[int, str]]], Sequence[float] | None]:
    """Of candidates that were not weighed: by the version that weighed the others, or by the rates.

    Where nothing was weighed, by what serves now.
    """

    def told(pairs: Sequence[tuple[int, str]]) -> Sequence[float] | None:
        version = record["models"].get(NEXT_OFFER)
        model = models.at(NEXT_OFFER, version) if version and hasattr(models, "at") else models.get(NEXT_OFFER)
        if record["scored_by"] == BY_RATES or (version is None and model is None):
            return rates().rates([(case.offers[position].offer_id, channel) for position, channel in pairs])
        if model is None or (version is not None and str(model.version) != version):
            return None
        return by_model(model, row_from_json(record["features"]), case, list(pairs))

    return told
