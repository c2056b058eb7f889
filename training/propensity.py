"""Trains one declared propensity model: data, folds, parts, recipe, evaluation, gate, registration."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from models import churn, lead, winback
from models.calibration import sigmoid
from models.load import ModelError, load, write_golden
from models.propensity import Declaration, PropensityModel, Tier
from models.trees import parse_trees
from training import datasets, splits, tracking
from training.card import propensity_card
from training.gate import Verdict, judge
from training.members import TREE_PARAMETERS, FoldScores, Members, Recipe, choose, fit_members, recency, score_fold
from training.metrics import Estimate, estimates, figures, log_losses
from training.plots import propensity_plots
from training.train import Job, TrainResult

Floats = npt.NDArray[np.float64]
Figures = dict[str, dict[str, Estimate]]

POSITIVES = 100
FOLDS = 2
FITTED_FOLDS = 6
GOLDEN_ROWS = 50
PLOTTED_ROWS = 1500


def train_lead(job: Job) -> TrainResult:
    return train_propensity(lead.DECLARATION, job)


def train_churn(job: Job) -> TrainResult:
    return train_propensity(churn.DECLARATION, job)


def train_winback(job: Job) -> TrainResult:
    return train_propensity(winback.DECLARATION, job)


@dataclass(frozen=True, slots=True)
class Learnt:
    """What training found. `evaluated` folds were predicted by `recipes` chosen on folds matured before them."""

    features: tuple[str, ...]
    folds: tuple[FoldScores, ...]
    evaluated: tuple[FoldScores, ...]
    recipes: tuple[Recipe, ...]
    predictions: Floats
    recipe: Recipe
    members: Members


@dataclass(frozen=True, slots=True)
class TooLittle(Exception):
    """There is not enough to learn from; the text says what is needed and how far it is."""

    text: str


def train_propensity(declaration: Declaration, job: Job) -> TrainResult:
    """Trains, logs and registers one model. With too little data: no version, and the verdict says what is needed."""
    try:
        data = gather(declaration, job)
        learnt = learn(declaration, data, job)
    except TooLittle as shortage:
        return TrainResult(declaration.name, None, False, shortage.text)
    return conclude(declaration, data, learnt, job)


def gather(declaration: Declaration, job: Job) -> datasets.TrainingSet:
    """The point-in-time training set. Raises TooLittle."""
    covered = datasets.period(job.log, job.as_of)
    if covered is None:
        raise TooLittle("there are no events yet; bring some with `opportune ingest`")
    cuts = datasets.cut_dates(covered, declaration.horizon)
    possible = splits.folds(cuts, declaration.horizon)
    if len(possible) < FOLDS:
        needed = datasets.HISTORY + 2 * declaration.horizon + 3 * datasets.STEP
        have = (covered.end - covered.first).days
        raise TooLittle(
            f"{have} of {needed.days} days of events, so {len(possible)} of {FOLDS} time folds: about "
            f"{max(needed.days - have, 1)} more days are needed"
        )
    excluded = datasets.unprofiled(job.home)
    data = datasets.training_set(job.log, declaration, cuts, covered, excluded, job.progress)
    _check_labels(declaration, data)
    return data


def _check_labels(declaration: Declaration, data: datasets.TrainingSet) -> None:
    labels, noun = data.labels, declaration.goal.noun
    if not len(labels):
        rules = " and ".join(rule.condition for rule in declaration.population)
        raise TooLittle(f"nobody belongs to the population ({rules}) at any of {len(data.cuts)} dates")
    positives = data.events_seen(declaration.goal.happens)
    if positives < POSITIVES:
        rate = positives / max((data.period.end - data.period.first).days, 1)
        wait = f", about {round((POSITIVES - positives) / rate)} more days at this rate" if positives else ""
        raise TooLittle(f"{positives} of {POSITIVES} {noun} in the data{wait}")
    if int((labels == 0).sum()) < POSITIVES:
        raise TooLittle(
            f"only {int((labels == 0).sum())} of {len(labels)} rows are not {noun}: there is one class only"
        )


def learn(declaration: Declaration, data: datasets.TrainingSet, job: Job) -> Learnt:
    """Fits the parts on each fold, chooses recipes on earlier folds only, and fits the parts on everything."""
    features = varying(data.frame, data.features)
    if declaration.baseline not in features:
        raise TooLittle(f"{declaration.baseline}, the plain baseline, is the same for everybody")
    rows = np.column_stack([data.frame[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in features])
    labels, times, baseline = data.labels, data.times, features.index(declaration.baseline)
    fitted = []
    chosen = splits.spread(_usable(data, splits.folds(data.cuts, declaration.horizon)), FITTED_FOLDS)
    if len(chosen) < FOLDS:
        raise TooLittle(f"outcomes of both kinds in {len(chosen)} of {FOLDS} time folds")
    for done, fold in enumerate(chosen, 1):
        train = splits.mask(times, fold.train)
        places = np.flatnonzero(splits.mask(times, [fold.test]))
        members = fit_members(rows[train], labels[train], _weights(times[train], fold.train), baseline)
        fitted.append(score_fold(members, fold.test, places, rows[places], labels[places], baseline))
        job.progress(f"{declaration.name}: folds", done / (len(chosen) + 1))
    customers = data.frame["customer_id"].rank("dense").cast(pl.Int64).to_numpy()
    evaluated, recipes = _evaluated(fitted, declaration.horizon, customers)
    members = fit_members(rows, labels, _weights(times, data.cuts), baseline)
    job.progress(f"{declaration.name}: folds", 1.0)
    predictions = np.concatenate([recipe.apply(fold) for fold, recipe in zip(evaluated, recipes, strict=True)])
    recipe = choose(fitted, customers)
    return Learnt(features, tuple(fitted), evaluated, recipes, predictions, recipe, members)


def varying(frame: pl.DataFrame, features: Sequence[str]) -> tuple[str, ...]:
    """The features that tell customers apart: more than one known value, or known for some only."""
    kinds = frame.select(pl.col(features).fill_nan(None).n_unique()).row(0)
    return tuple(name for name, kind in zip(features, kinds, strict=True) if kind > 1)


def _usable(data: datasets.TrainingSet, possible: Sequence[splits.Fold]) -> list[splits.Fold]:
    """Folds with both kinds of outcome in training and in test."""
    labels, times = data.labels, data.times

    def both(cuts: Sequence[datetime]) -> bool:
        return len(np.unique(labels[splits.mask(times, cuts)])) == 2

    return [fold for fold in possible if both(fold.train) and both([fold.test])]


def _weights(times: npt.NDArray[np.datetime64], cuts: Sequence[datetime]) -> Floats:
    weights = np.ones(len(times))
    for cut in cuts:
        weights[splits.mask(times, [cut])] = recency(cut, max(cuts))
    return weights


def _evaluated(
    fitted: Sequence[FoldScores], horizon: timedelta, customers: npt.NDArray[np.int64]
) -> tuple[tuple[FoldScores, ...], tuple[Recipe, ...]]:
    """The newest folds, back to POSITIVES positives, each with a recipe from folds matured before its cut.

    Older folds that have no such folds before them are judged only if the newest alone is too thin.
    """
    taken: list[FoldScores] = []
    for fold in reversed(fitted):
        has_prior = any(other.test + horizon <= fold.test for other in fitted)
        if taken and (sum(f.labels.sum() for f in taken) >= POSITIVES or not has_prior):
            break
        taken.insert(0, fold)
    recipes = [choose([other for other in fitted if other.test + horizon <= fold.test], customers) for fold in taken]
    return tuple(taken), tuple(recipes)


def conclude(declaration: Declaration, data: datasets.TrainingSet, learnt: Learnt, job: Job) -> TrainResult:
    """Judges, writes the model's folder, logs and registers it."""
    name = declaration.name
    job.progress(f"{name}: judging", 0.0)
    test = np.concatenate([fold.rows for fold in learnt.evaluated])
    labels, customers = data.labels[test], data.frame["customer_id"].to_numpy()[test]
    curves = _curves(name, learnt, labels)
    found: Figures = {key: estimates(labels, p, customers) for key, (_, p) in curves.items()}
    present = tracking.champion(job.tracking, name)
    verdict = _judge(declaration, data, learnt, test, present)
    described = datasets.describe(data)
    constant = [feature for feature in data.features if feature not in learnt.features]
    model, twin = build(declaration, data, learnt), build_twin(declaration, data, learnt)
    notes = _notes(constant, data)
    card = propensity_card(declaration, found, described, verdict.text, model.tiers,
                           slices(data.frame[test], learnt.predictions), notes)  # fmt: skip
    job.progress(f"{name}: logging", 0.5)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        model.save(folder)
        twin.save(folder / "twin")
        write_golden(model, folder, data.frame.sample(min(GOLDEN_ROWS, data.frame.height), seed=3))
        version = tracking.log_and_register(
            job.tracking,
            name,
            folder,
            metrics=_flat(found[name]),
            rivals={rival: _flat(row) for rival, row in found.items() if rival != name},
            fold_metrics=_fold_metrics(learnt),
            params=_params(declaration, learnt, data),
            tags={"opportune.verdict": verdict.text[:4000], "opportune.data": str(described["digest"])},
            figures=_plots(model, curves, data.frame[test]),
            texts={"card.md": card, "features.txt": "\n".join(model.features)},
            tables={"evaluation.parquet": _evaluation(data, test, curves)},
            example=data.frame.select(model.features).head(5),
            data=described,
            promote_it=verdict.promote,
        )
    job.progress(f"{name}: logging", 1.0)
    values = {rival: {key: row[key].value for key in row} for rival, row in found.items()}
    return TrainResult(name, version, verdict.promote, verdict.text, values.pop(name), values)


def build(declaration: Declaration, data: datasets.TrainingSet, learnt: Learnt) -> PropensityModel:
    """The model to serve: parts fitted on everything matured, recipe from all folds."""
    scores = np.concatenate([learnt.recipe.apply(fold) for fold in learnt.folds])
    labels = np.concatenate([fold.labels for fold in learnt.folds])
    return _model(declaration, learnt.features, learnt.members, learnt.recipe, data.cuts,
                  data, tiers(declaration, scores, labels))  # fmt: skip


def build_twin(declaration: Declaration, data: datasets.TrainingSet, learnt: Learnt) -> PropensityModel:
    """The model as it was evaluated, before the newest fold: what later candidates are compared with fairly."""
    newest, recipe = learnt.evaluated[-1], learnt.recipes[-1]
    cuts = tuple(cut for cut in data.cuts if cut + declaration.horizon <= newest.test)
    return _model(declaration, learnt.features, newest.members, recipe, cuts, data, ())


def _model(
    declaration: Declaration,
    features: tuple[str, ...],
    members: Members,
    recipe: Recipe,
    cuts: Sequence[datetime],
    data: datasets.TrainingSet,
    found: tuple[Tier, ...],
) -> PropensityModel:
    text = members.booster.model_to_string(num_iteration=recipe.rounds)
    trained = {
        "labels_until": (max(cuts) + declaration.horizon).isoformat(),
        "cuts": [cut.isoformat() for cut in cuts],
        "data_until": data.period.end.isoformat(),
    }
    return PropensityModel(declaration, features, parse_trees(text), text, members.linear, recipe.mix,
                           recipe.calibration, found, trained)  # fmt: skip


def tiers(declaration: Declaration, probability: Floats, labels: Floats) -> tuple[Tier, ...]:
    """Bounds that give each tier its declared share of customers, with the share of each that converted.

    The shares never rise from a better to a worse tier: neighbours that would are given their common share.
    """
    found, upper, floor = [], np.inf, float("inf")
    shares = np.cumsum([share for _, share in declaration.tiers])
    for (name, _), share in zip(declaration.tiers, shares, strict=True):
        least = 0.0 if name == declaration.tiers[-1][0] else float(np.quantile(probability, 1 - min(share, 1.0)))
        inside = (probability >= least) & (probability < upper)
        expected = float(labels[inside].mean()) if inside.any() else min(floor, least)
        floor = min(floor, expected)
        found.append(Tier(name, least, floor))
        upper = least
    return tuple(found)


def slices(frame: pl.DataFrame, probability: Floats) -> list[tuple[str, int, float, float]]:
    """Promised and observed shares by tenure and by orders: (group, rows, promised, observed)."""
    groups = {
        "new (tenure under 90 days)": pl.col("tenure_days") < 90,
        "known (tenure 90 days and more)": pl.col("tenure_days") >= 90,
        "up to 5 orders a year": pl.col("orders_365d") <= 5,
        "more than 5 orders a year": pl.col("orders_365d") > 5,
    }
    rows = frame.with_columns(promised=pl.Series(probability))
    found = []
    for name, condition in groups.items():
        if not set(condition.meta.root_names()) <= set(frame.columns):
            continue
        part = rows.filter(condition)
        if part.height:
            promised, observed = part.select(pl.col("promised").mean(), pl.col("label").mean()).row(0)
            found.append((name, part.height, float(promised), float(observed)))
    return found


def _curves(name: str, learnt: Learnt, labels: Floats) -> dict[str, tuple[Floats, Floats]]:
    """The model's and its rivals' probabilities on the evaluated folds, under the names they are reported by."""
    parts = list(zip(learnt.evaluated, learnt.recipes, strict=True))
    trees = np.concatenate([sigmoid(fold.trees[recipe.stage]) for fold, recipe in parts])
    linear = np.concatenate([sigmoid(fold.linear) for fold in learnt.evaluated])
    plain = np.concatenate([sigmoid(fold.baseline) for fold in learnt.evaluated])
    named = {"lightgbm": trees, "logistic": linear, "recency": plain}
    return {name: (labels, learnt.predictions), **{key: (labels, p) for key, p in named.items()}}


def _judge(
    declaration: Declaration,
    data: datasets.TrainingSet,
    learnt: Learnt,
    test: npt.NDArray[np.int64],
    present: tuple[str, Path] | None,
) -> Verdict:
    labels, customers = data.labels[test], data.frame["customer_id"].to_numpy()[test]
    gain = -log_losses(labels, learnt.predictions)
    plain = -log_losses(labels, np.concatenate([sigmoid(fold.baseline) for fold in learnt.evaluated]))
    rival, reason = champion_gain(present, data.frame[test], labels) if present else (None, None)
    return judge(gain, {f"recency ({declaration.baseline})": plain}, rival, measure="log loss", clusters=customers,
                 champion_version=present[0] if present else None, cannot_compare=reason)  # fmt: skip


def champion_gain(present: tuple[str, Path], frame: pl.DataFrame, labels: Floats) -> tuple[Floats | None, str | None]:
    """The champion's gains on rows whose outcomes it has not learnt from (NaN elsewhere), or why there are none.

    Where it has learnt from a row's outcome, its twin, which had not, answers in its place.
    """
    version, folder = present
    times = frame["as_of"].dt.replace_time_zone(None).to_numpy()
    gains = np.full(len(labels), np.nan)
    models = [model for place in (folder / "twin", folder) if (model := _loaded(place, version))]
    if not models:
        return None, None  # a champion that does not load serves nobody
    for model in models:
        until = np.datetime64(datetime.fromisoformat(model.trained["labels_until"]).replace(tzinfo=None))
        fair = times >= until
        if fair.any():
            gains[fair] = -log_losses(labels[fair], model.predict(frame.filter(pl.Series(fair))))
    if not np.isfinite(gains).any():
        return None, f"champion {version} has learnt from all outcomes known so far; wait for newer ones"
    return gains, None


def _loaded(folder: Path, version: str) -> PropensityModel | None:
    try:
        model = load(folder, version)
    except ModelError:
        return None
    return model if isinstance(model, PropensityModel) else None


def _fold_metrics(learnt: Learnt) -> list[Mapping[str, float]]:
    return [figures(fold.labels, learnt.recipe.apply(fold)) | {"cut": fold.test.timestamp()} for fold in learnt.folds]


def _flat(row: Mapping[str, Estimate]) -> dict[str, float]:
    return {key + end: value for key, estimate in row.items() for end, value in
            (("", estimate.value), (".low", estimate.low), (".high", estimate.high))}  # fmt: skip


def _params(declaration: Declaration, learnt: Learnt, data: datasets.TrainingSet) -> dict[str, object]:
    return {
        "population": " and ".join(rule.condition for rule in declaration.population),
        "goal": f"{'' if declaration.goal.happens else 'no '}{declaration.goal.event}",
        "horizon_days": declaration.horizon_days,
        "embargo_days": declaration.horizon_days,
        "rounds": learnt.recipe.rounds,
        "trees_share": learnt.recipe.mix,
        "calibration": learnt.recipe.calibration.kind,
        "features": len(learnt.features),
        "cuts": len(data.cuts),
        "folds": len(learnt.folds),
        "first_cut": data.cuts[0].isoformat(),
        "last_cut": data.cuts[-1].isoformat(),
        "as_of": data.period.as_of.isoformat(),
        **{f"trees.{key}": value for key, value in TREE_PARAMETERS.items()},
    }


def _evaluation(
    data: datasets.TrainingSet, test: npt.NDArray[np.int64], curves: Mapping[str, tuple[Floats, Floats]]
) -> pl.DataFrame:
    columns = [pl.Series(name, probability) for name, (_, probability) in curves.items()]
    return data.frame[test].select("customer_id", "as_of", "label").with_columns(columns)


def _plots(model: PropensityModel, curves: Mapping[str, tuple[Floats, Floats]], frame: pl.DataFrame):  # type: ignore[no-untyped-def]
    rows = model.matrix(frame.sample(min(PLOTTED_ROWS, frame.height), seed=5))
    return propensity_plots(curves, model.features, rows, model.effects(rows))


def _notes(constant: Sequence[str], data: datasets.TrainingSet) -> list[str]:
    notes = []
    if constant:
        notes.append(f"left out, because they are the same for everybody: {', '.join(constant)}")
    if data.period.late:
        notes.append(f"{data.period.late} events lie after {data.period.as_of.isoformat()} and were left out")
    return notes
