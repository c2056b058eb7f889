"""A customer's scores (lead, churn, winback and those declared in TOML) by the models that serve now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from models.declared import PROPENSITIES

if TYPE_CHECKING:
    from features.rows import CustomerRow
    from models.registry import ServedModels

SCORES = tuple(PROPENSITIES)


def scores(
    models: ServedModels | None, row: CustomerRow | None, profiling: bool, away: bool = False
) -> dict[str, dict[str, Any]]:
    """One entry a model; where a score does not apply, `probability` is None and `why` says why.

    `away`: the row could not be read.
    """
    return {name: _score(models, name, row, profiling, away) for name in SCORES}


def _score(
    models: ServedModels | None, name: str, row: CustomerRow | None, profiling: bool, away: bool
) -> dict[str, Any]:
    model = None if models is None else models.get(name)
    if model is None:
        return _none(f"no {name} model serves yet; train one with 'opportune train {name}'", None)
    if not profiling:
        return _none("the customer has opted out of profiling", model.version)
    if away:
        return _none("the customer's features cannot be read now: the online store does not answer", model.version)
    if row is None:
        return _none("nothing is known of this customer's behaviour yet", model.version)
    score = model.score(row)
    return {
        "probability": score.probability,
        "tier": score.tier,
        "reasons": [{"feature": r.feature, "text": r.text, "effect": r.effect} for r in score.reasons],
        "model_version": score.model_version,
        "why": score.why,
    }


def probabilities(
    models: ServedModels | None, rows: Sequence[CustomerRow | None]
) -> dict[str, list[tuple[float | None, str | None]]]:
    """The probability and tier of many customers by model, without reasons; a row of None has none."""
    known = [place for place, row in enumerate(rows) if row is not None]
    found: dict[str, list[tuple[float | None, str | None]]] = {name: [(None, None)] * len(rows) for name in SCORES}
    for name in SCORES if known else ():
        model = None if models is None else models.get(name)
        if model is not None:
            told = model.probabilities([rows[place] for place in known])
            for place, probability in zip(known, told, strict=True):
                if probability is not None:
                    found[name][place] = probability, model.tier(probability)
    return found


def _none(why: str, version: str | None) -> dict[str, Any]:
    return {"probability": None, "tier": None, "reasons": [], "model_version": version, "why": why}


def features_of(row: CustomerRow | None) -> Mapping[str, float]:
    """Every feature of a row; NaN (unknown) is written as null in JSON."""
    return {} if row is None else dict(row.values)
