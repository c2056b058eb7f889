"""From what training found to models on disk: the one that will serve and its twin as it was judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from models.declaration import Declaration
from models.propensity import PropensityModel, Tier
from models.trees import parse_trees
from training.datasets import TrainingSet
from training.members import BUYING, FoldScores, Members, Recipe

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


SEGMENTS = 12
GROUPS = (
    ("known for under 90 days", "tenure_days", pl.col("tenure_days") < 90),
    ("known for 90 days and more", "tenure_days", pl.col("tenure_days") >= 90),
    ("up to 5 orders a year", "orders_365d", pl.col("orders_365d") <= 5),
    ("more than 5 orders a year", "orders_365d", pl.col("orders_365d") > 5),
)


@dataclass(frozen=True, slots=True)
class Learnt:
    """What training found. `judged` folds were predicted by `recipes` chosen on folds matured before them.

    `predictions` are those of the judged folds' rows, whose places are `rows`. `recipe` and `members` come from all
    folds and all rows. `dated` features were left out, for they tell the date rather than the customer; `tuned` are
    LightGBM's parameters where they are not the usual ones. `alone` are traits that tell the outcome without the rest,
    with their AUC (`training.leaks`).
    """

    features: tuple[str, ...]
    folds: tuple[FoldScores, ...]
    judged: tuple[FoldScores, ...]
    recipes: tuple[Recipe, ...]
    recipe: Recipe
    members: Members
    dated: tuple[str, ...] = ()
    tuned: Mapping[str, object] = field(default_factory=dict)
    alone: Mapping[str, float] = field(default_factory=dict)

    @property
    def rows(self) -> Ints:
        return np.concatenate([fold.rows for fold in self.judged])

    @property
    def predictions(self) -> Floats:
        return np.concatenate([recipe.apply(fold) for fold, recipe in zip(self.judged, self.recipes, strict=True)])


def final_model(declaration: Declaration, data: TrainingSet, learnt: Learnt) -> PropensityModel:
    """The model to serve: parts fitted on everything matured, recipe from all folds."""
    scores = np.concatenate([learnt.recipe.apply(fold) for fold in learnt.folds])
    labels = np.concatenate([fold.labels for fold in learnt.folds])
    found = tiers(declaration, scores, labels)
    return _model(declaration, learnt, learnt.members, learnt.recipe, data.cuts, data.period.end, found)


def twin_model(declaration: Declaration, data: TrainingSet, learnt: Learnt) -> PropensityModel:
    """The model as it was judged, before the newest fold: what later candidates are compared with fairly."""
    newest = learnt.judged[-1]
    cuts = tuple(cut for cut in data.cuts if cut + declaration.horizon <= newest.test)
    return _model(declaration, learnt, newest.members, learnt.recipes[-1], cuts, data.period.end, ())


def _model(
    declaration: Declaration,
    learnt: Learnt,
    members: Members,
    recipe: Recipe,
    cuts: Sequence[datetime],
    data_until: datetime,
    found: tuple[Tier, ...],
) -> PropensityModel:
    text = members.booster.model_to_string(num_iteration=recipe.rounds)
    trained = {
        "labels_until": (max(cuts) + declaration.horizon).isoformat(),
        "cuts": [cut.isoformat() for cut in cuts],
        "data_until": data_until.isoformat(),
        **({"tells_alone": sorted(learnt.alone)} if learnt.alone else {}),
    }
    linear = members.linear[recipe.ridge]
    share = 0.0 if members.buying is None else BUYING[recipe.buying]
    return PropensityModel(
        declaration, learnt.features, parse_trees(text), text, linear, recipe.mix, recipe.calibration, found, trained,
        buying=members.buying if share else None, buying_share=share,
    )  # fmt: skip


def tiers(declaration: Declaration, probability: Floats, labels: Floats) -> tuple[Tier, ...]:
    """Bounds that give each tier its declared share of customers, with the share of each that converted.

    The expected share never rises from a better to a worse tier: then the better one's is given.
    """
    found: list[Tier] = []
    upper, ceiling, taken = np.inf, 1.0, 0.0
    for name, share in declaration.tiers:
        taken += share
        last = name == declaration.tiers[-1][0]
        least = 0.0 if last else float(np.quantile(probability, max(1 - taken, 0.0)))
        inside = (probability >= least) & (probability < upper)
        ceiling = min(ceiling, float(labels[inside].mean()) if inside.any() else ceiling)
        found.append(Tier(name, least, ceiling))
        upper = least
    return tuple(found)


def slices(frame: pl.DataFrame, probability: Floats, segments: pl.DataFrame) -> list[tuple[str, int, float, float]]:
    """Promised and observed shares by groups of customers: (group, rows, promised, observed).

    `segments` (customer_id, segment) adds the largest of them as groups.
    """
    rows = frame.with_columns(promised=pl.Series(probability, dtype=pl.Float64))
    parts = [
        (name, rows.filter(condition) if needed in frame.columns else rows.clear())
        for name, needed, condition in GROUPS
    ]
    inside = rows.join(segments, on="customer_id", how="inner").partition_by("segment", as_dict=True)
    named = sorted(((str(key[0]), part) for key, part in inside.items()), key=lambda one: (-one[1].height, one[0]))
    parts += [(f"segment {name}", part) for name, part in named[:SEGMENTS]]
    return [(name, part.height, _mean(part["promised"]), _mean(part["label"])) for name, part in parts if part.height]


def _mean(column: pl.Series) -> float:
    return float(column.cast(pl.Float64).to_numpy().mean())
