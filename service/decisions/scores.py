"""The scores of customers that eligibility rules may ask for."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from features.rows import CustomerRow
from models.declared import PROPENSITIES
from service.decisions.ports import Models

log = logging.getLogger(__name__)
SCORES = tuple(PROPENSITIES)


@dataclass(frozen=True, slots=True)
class Scores:
    """A customer's scores by model, the versions that gave them, and the models that failed."""

    scores: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)


UNSCORED = Scores()


def scores_of(models: Models, rows: Mapping[tuple[str, datetime], CustomerRow]) -> dict[tuple[str, datetime], Scores]:
    """The scores of these customers, for the rules that ask for them."""
    found, customers = {key: Scores() for key in rows}, list(rows.values())
    for name in SCORES if rows else ():
        model = models.get(name)
        if model is None:
            continue
        version = str(model.version)
        for told, probability in zip(found.values(), _probabilities(name, model, customers), strict=True):
            if isinstance(probability, Exception):
                told.failed.append(f"model:{name}")
            elif probability is not None:
                told.scores[name] = float(probability)
                told.versions[name] = version
    return found


def _probabilities(name: str, model: Any, rows: Sequence[CustomerRow]) -> Sequence[float | Exception | None]:
    """Of all rows at once where the model can; a row with which it fails fails alone."""
    try:
        if hasattr(model, "probabilities"):
            told: Sequence[float | None] = model.probabilities(rows)
            return told
        return [model.score(row).probability for row in rows]
    except Exception as failure:  # the rules that need it will say that it is missing
        if len(rows) == 1:
            log.exception("the %s model failed", name)
            return [failure]
    return [one for row in rows for one in _probabilities(name, model, [row])]
