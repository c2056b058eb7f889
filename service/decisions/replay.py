"""Decides again from a record. Equal to the last bit, or it says what differs.

Made again from what the record holds: what each rule says, every verdict, worth, propensities, the draw, the ranking.
Probabilities and hours are made again where the models that gave them still serve; else they are taken as recorded,
and the answer says so. So they are where they differ by rounding alone: processors of another kind do not round
logarithms and sums of products to the same last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from features.rows import CustomerRow
from service.decisions.ask_rules import ask_rules
from service.decisions.case import Case, Customer
from service.decisions.choose import Candidate, choose
from service.decisions.draft import Draft
from service.decisions.eligibility import candidates, judge
from service.decisions.frozen_row import row_from_json
from service.decisions.match_rules import steered
from service.decisions.pairs import Pairs
from service.decisions.ports import Models
from service.decisions.record import (
    COST_OF_WHAT_GOES,
    OPTIONS,
    candidates_of,
    case_from_record,
    verdicts_to_json,
    worded_as_then,
)
from service.decisions.schemas import DecisionIn
from service.decisions.score import BY_RATES, NEXT_OFFER, by_model, situation
from service.decisions.send_hours import BY_HABITS, SEND_TIME, TIMED, Message, SendHours
from service.offers.catalogue import distinct_expressions
from service.offers.offer import Offer

ROUNDING = 1e-12
"""Probabilities, as parts of themselves, that differ by no more are taken as rounded otherwise."""


def replay(row: Any, record: Mapping[str, Any], offers: tuple[Offer, ...], models: Models) -> dict[str, Any]:
    """Decides again. `row` is the stored decision with its `record`, `offers` its offers at their versions then.

    Answers `{"decision_id", "equal", "differences": [{"field", "was", "is"}], "decided_again", "from_record",
    "rounding"}`.
    """
    case = case_from_record(row, record, offers)
    features = row_from_json(record["features"])
    again, kept = ["answers", "verdicts", "expected_values", "propensities", "ranking"], []
    answers = ask_rules(
        distinct_expressions(offers),
        case.customer,
        features,
        record["scores"],
        record["request"]["context"],
        case.at,
        case.checked,
    )
    differences = list(_differ("answers", {k: v._asdict() for k, v in case.answers.items()}, _plain(answers)))
    matched = steered(
        case.rules.steering,
        offers,
        case.customer,
        features,
        record["scores"],
        record["request"]["context"],
        case.at,
    )
    differences += _differ("business_rules", _places(case.steered), _places(matched))
    verdicts, rounding = judge(worded_as_then(case, record)), 0.0
    differences += _differ("verdicts", record["verdicts"], _as_json(verdicts_to_json(verdicts)))
    eligible = candidates(case, verdicts)
    was = candidates_of(row.candidates)
    probabilities = _probabilities(record, case, features, models, eligible)
    if probabilities is not None:
        again.append("probabilities")
    elif eligible:
        kept.append("probabilities")
    if len(eligible) == len(was) - 1:
        before = [float(candidate.probability or 0.0) for candidate in was[:-1]]
        told, rounding = _but_for_rounding(before, probabilities)
        now = choose(case, eligible, told, record.get("goals"), record.get("uplift"))
        differences += _differ("candidates", _named(was), _named(now.candidates))
        chosen = _named(one for one in now.candidates if one.rank and one.offer_id)
        differences += _differ("actions", _named(map(_candidate, record["actions"])), chosen)
        if record.get("v", 1) >= COST_OF_WHAT_GOES:
            costs = {name: cost for name, _, _, cost in record.get("costs", ())}
            differences += _differ("business_rules", costs, {cost.name: cost.cost for cost in now.costs})
    times = _times(row, record, case, features, models)
    if times is not None:
        again.append("send_at")
        differences += _differ("send_at", {k: v for k, (v, _) in times.items()}, {k: v for k, (_, v) in times.items()})
    elif record["actions"]:
        kept.append("send_at")
    return {
        "decision_id": row.decision_id,
        "equal": not differences,
        "differences": differences,
        "decided_again": again,
        "from_record": kept,
        "rounding": rounding,
    }


def _but_for_rounding(was: list[float], now: list[float] | None) -> tuple[list[float], float]:
    """The probabilities to go on with, and how far those made again are rounded off those recorded (0: not)."""
    if now is None:
        return was, 0.0
    apart = max((abs(b - a) / a if a else abs(b) for a, b in zip(was, now, strict=True)), default=0.0)
    return (was, apart) if 0.0 < apart <= ROUNDING else (now, 0.0)


def _probabilities(
    record: Mapping[str, Any],
    case: Case,
    features: CustomerRow | None,
    models: Models,
    eligible: Pairs,
) -> list[float] | None:
    """From the same model version, if it still serves."""
    if record["scored_by"] in {None, BY_RATES} or not eligible:
        return None
    used = record["models"].get(NEXT_OFFER)
    model = models.at(NEXT_OFFER, used) if hasattr(models, "at") else models.get(NEXT_OFFER)
    if model is None or str(model.version) != used:
        return None
    asked = situation(case.placement, record["request"]["context"], record["contextless"])
    return by_model(model, features, case, eligible, asked)


def _times(
    row: Any, record: Mapping[str, Any], case: Case, features: CustomerRow | None, models: Models
) -> dict[str, tuple[Any, Any]] | None:
    """(recorded, made again) of each action's time and its probability; None when another model gave the hours."""
    actions = record["actions"]
    model = models.get(SEND_TIME)
    served = None if model is None else str(model.version)
    used = record["models"].get(SEND_TIME)
    as_served = used in {served, BY_HABITS.version}
    if not actions or (not as_served and any(action["channel"] in TIMED for action in actions)):
        return None
    draft = Draft(
        row.decision_id,
        DecisionIn(customer_id="replay"),
        case,
        Customer(case.customer.customer_id, timezone=case.customer.timezone),
        features,
        record["contextless"],
        judge(case),
        Pairs(),
    )
    by_habits = None if used is None else BY_HABITS  # a record that names no model is of before habits stood in
    hours = SendHours(by_habits if used == BY_HABITS.version else model, by_habits)
    ends = {offer.offer_id: offer.ends_at for offer in case.offers}
    found: dict[str, tuple[Any, Any]] = {}
    for action in actions:
        name = f"{action['offer_id']} {action['channel']}"
        planned = hours.at(Message(draft, action["channel"], ends.get(action["offer_id"])))
        found[name] = datetime.fromisoformat(action["send_at"]).isoformat(), planned.at.isoformat()
        if "send_at_probability" in action:  # decisions made before hours were explored have none
            found[f"{name} probability"] = action["send_at_probability"], planned.probability
    return found


def _candidate(action: Mapping[str, Any]) -> Candidate:
    """What was answered, as the candidate that it says it was."""
    return Candidate(*map(action.__getitem__, Candidate._fields))


def _named(found: Iterable[Candidate]) -> dict[str, Any]:
    return {
        f"{c.offer_id} {c.channel}" if c.offer_id else "send nothing": _as_json(
            [c.probability, c.expected_value, c.propensity, c.rank]
        )
        for c in found
    }


def _places(matched: Sequence[Sequence[int]]) -> dict[str, Any]:
    return {f"{number}.offers": list(positions) for number, positions in enumerate(matched)}


def _plain(answers: Mapping[str, Any]) -> dict[str, Any]:
    return {source: told._asdict() for source, told in answers.items()}


def _as_json(value: Any) -> Any:
    return orjson.loads(orjson.dumps(value, option=OPTIONS))


def _differ(field: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for key in [*was, *(key for key in now if key not in was)]:
        if was.get(key) != now.get(key):
            yield {"field": f"{field}.{key}", "was": was.get(key), "is": now.get(key)}
