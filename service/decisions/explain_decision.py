"""A stored decision in words, and what would have made it another: decided again with single changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from service.decisions import dearer, flips
from service.decisions.case import Case
from service.decisions.decide_again import Again
from service.decisions.eligibility import candidates, judge
from service.decisions.explain import Explanation, explain, named, percent
from service.decisions.first_place import Pair, Weighed
from service.decisions.frozen_row import row_from_json
from service.decisions.ports import Models
from service.decisions.rates import PooledRates
from service.decisions.record import candidates_of, case_from_record
from service.decisions.rule_flips import without_rules
from service.decisions.score import BY_RATES, NEXT_OFFER, by_model, by_rates, situation
from service.offers.offer import Offer


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
    again = Again(record, case_from_record(row, record, offers))
    case = again.case
    names = [named(offer.offer_id, described["offer_names"]) for offer in offers]
    eligible = candidates(case, judge(case))
    weighed = list(candidates_of(row.candidates))
    if [(case.offers[position].offer_id, channel) for position, channel in eligible] != [
        (one.offer_id, one.channel) for one in weighed[:-1]
    ]:
        yield "It is not decided the same again, so what would change it cannot be told; replay says what differs."
        return
    chances = [one.probability or 0.0 for one in weighed[:-1]]
    now = Weighed(case, eligible, chances, record.get("goals"), record.get("uplift"))
    place = next((place for place, one in enumerate(weighed) if one.rank == 1), len(eligible))
    drawn = eligible[place] if place < len(eligible) else None
    yield from _another_draw(case, weighed, place, dict(zip((offer.offer_id for offer in offers), names, strict=True)))
    yield from _beside(described)
    first = now.first()
    if case.arm == "model" and first is not None:
        yield from without_rules(now, first, drawn, lambda pair: f"{names[pair[0]]} by {pair[1]}")
    opened = flips.openings(now, again, _others(record, case, eligible, models, rates))
    modelled = record["scored_by"] not in {BY_RATES, None} or models.get(NEXT_OFFER) is not None
    told = [flips.in_words(one, names, drawn is not None, modelled) for one in opened]
    yield from (said for said, one in zip(told, opened, strict=True) if one.first)
    if case.arm == "model" and first is not None:
        for lack in dearer.dearer(now, first, drawn, again.with_offers):
            yield dearer.in_words(lack, names[lack.pair[0]], drawn is None)
    yield from (said for said, one in zip(told, opened, strict=True) if not one.first)
    if not case.offers:
        yield _with_offers(record["request"]["offers"])


def _with_offers(named_offers: Sequence[str] | None) -> str:
    if named_offers is None:
        return "An offer in the catalogue could."
    return "A request that names offers could, or one without a list of them, for which the whole catalogue is weighed."


def _another_draw(case: Case, weighed: Sequence[Any], place: int, names: Mapping[str, str]) -> Iterator[str]:
    """Where chance decided, and something else looked better or as good. `weighed` ends with sending nothing."""
    first, likeliest = weighed[place], max(weighed, key=lambda one: one.propensity)
    if case.arm == "random":
        if len(weighed) > 1:
            yield "Another draw would: in this arm each has the same chance."
    elif likeliest is not first and first.propensity < 1.0:
        other = "nothing" if likeliest.offer_id is None else f"{names[likeliest.offer_id]} by {likeliest.channel}"
        yield f"Another draw would: {other} had a chance of {percent(likeliest.propensity)}."


def _beside(described: Mapping[str, Any]) -> Iterator[str]:
    """Candidates that rules of the list kept out of it."""
    for one in described["candidates"]:
        if not one["eligible"] or one["offer_id"] is None:
            continue
        for rule, verdict in one["verdicts"].items():
            if verdict != "pass" and rule != "business_rule":
                name = named(one["offer_id"], described["offer_names"])
                yield f"{name} by {one['channel']} could stand in the list but for this: {verdict['detail']}."


def _others(
    record: Mapping[str, Any],
    case: Case,
    eligible: Sequence[Pair],
    models: Models,
    rates: Callable[[], PooledRates],
) -> dict[Pair, float] | None:
    """The chances of candidates that were not weighed; None where several goals or uplift made their worth.

    By the version that weighed the others, or by the rates; where nothing was weighed, by what serves now. What the
    old way sends hangs on no chance.
    """
    weighed = set(eligible)
    pairs = [
        (position, channel)
        for position, offer in enumerate(case.offers)
        for channel in case.channels
        if channel in offer.channels and (position, channel) not in weighed
    ]
    if case.arm == "business_as_usual":
        return dict.fromkeys(pairs, 0.0)
    if record.get("uplift") is not None or record.get("goals"):
        return None
    if not pairs:
        return {}
    told = _chances(record, case, pairs, models, rates)
    return None if told is None else dict(zip(pairs, told, strict=True))


def _chances(
    record: Mapping[str, Any],
    case: Case,
    pairs: list[Pair],
    models: Models,
    rates: Callable[[], PooledRates],
) -> Sequence[float] | None:
    version = record["models"].get(NEXT_OFFER)
    model = models.at(NEXT_OFFER, version) if version and hasattr(models, "at") else models.get(NEXT_OFFER)
    if record["scored_by"] == BY_RATES or (version is None and model is None):
        return by_rates(rates(), row_from_json(record["features"]), case, pairs)
    if model is None or (version is not None and str(model.version) != version):
        return None
    asked = situation(case.placement, record["request"]["context"], record["contextless"])
    return by_model(model, row_from_json(record["features"]), case, pairs, asked)
