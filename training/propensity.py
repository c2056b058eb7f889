"""Trains one declared propensity model: data, folds, parts, recipe, judgement, registration."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from features.leftovers import scratch
from models.bgnbd import INPUTS
from models.calibration import sigmoid
from models.declaration import Declaration
from models.load import ModelError, load, write_golden
from models.propensity import PropensityModel
from training import datasets, splits, tracking
from training.assemble import Learnt, final_model, slices, twin_model
from training.card import propensity_card
from training.consent_store import unprofiled
from training.drift import keep_reference
from training.feature_list import feature_list
from training.gate import Findings, Verdict, doubt, judge
from training.learn import BASE_RATE, FOLDS, POSITIVES, TooLittle, learn
from training.members import BUYING, FoldScores, Recipe, tree_parameters
from training.metrics import Estimate, calibration_points, estimates, figures, log_losses
from training.plots import propensity_plots
from training.train import Job, TrainResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]
Curves = dict[str, tuple[Floats, Floats]]

GOLDEN_ROWS = 50
PLOTTED_ROWS = 1500


def train_propensity(declaration: Declaration, job: Job) -> TrainResult:
    """Trains, logs and registers one model. With too little data: no version, and the verdict says what is needed."""
    # One thread: the same bits on any number of cores, and no threads that spin while others work.
    with threadpool_limits(1, user_api="blas"):
        try:
            data = gather(declaration, job)
            learnt = learn(declaration, data, job.progress, job.tuning)
        except TooLittle as shortage:
            return TrainResult(declaration.name, None, False, str(shortage))
        return conclude(declaration, data, learnt, job)


def gather(declaration: Declaration, job: Job) -> datasets.TrainingSet:
    """The point-in-time training set. Raises TooLittle."""
    covered = datasets.period(job.log, job.as_of)
    if covered is None:
        raise TooLittle("there are no events yet; bring some with `opportune ingest`")
    cuts = datasets.cut_dates(covered, declaration.horizon)
    possible = splits.folds(cuts, declaration.horizon)
    if len(possible) < FOLDS:
        needed = (datasets.HISTORY + 2 * declaration.horizon + 2 * datasets.STEP).days
        have = (covered.end - covered.first).days
        raise TooLittle(
            f"{have} of about {needed} days of events, enough for {len(possible)} of {FOLDS} time folds: about "
            f"{max(needed - have, 1)} more days are needed{_left_out(covered)}"
        )
    excluded = unprofiled(job.home)
    data = datasets.training_set(job.log, declaration, cuts, covered, excluded, job.progress)
    while _outcomes(declaration, data) < POSITIVES and not data.not_drawn and len(cuts) < datasets.MOST_CUTS:
        known = len(cuts)
        cuts = datasets.cut_dates(covered, declaration.horizon, most=2 * known)
        if len(cuts) == known:
            break
        data = datasets.training_set(job.log, declaration, cuts, covered, excluded, job.progress)
    _check_labels(declaration, data)
    return data


def _left_out(covered: datasets.Period) -> str:
    """Which days do not count, where there are some."""
    spans = [f"{start:%Y-%m-%d} to {end:%Y-%m-%d}" for start, end in covered.holes]
    return f"; without {', '.join(spans)}, when nothing was collected" if spans else ""


def _outcomes(declaration: Declaration, data: datasets.TrainingSet) -> int:
    return data.events_seen(declaration.goal.happens)


def _check_labels(declaration: Declaration, data: datasets.TrainingSet) -> None:
    labels, noun = data.labels[data.members], declaration.goal.noun
    if not len(labels):
        rules = " and ".join(rule.condition for rule in declaration.population)
        named = dict.fromkeys(name for rule in declaration.population for name in rule.features)
        see = "".join(f"; see 'opportune features --explain {name}'" for name in list(named)[:1])
        raise TooLittle(f"nobody belongs to the population ({rules}) at any of {len(data.cuts)} dates{see}")
    positives = _outcomes(declaration, data)
    if positives < POSITIVES:
        days = (data.cuts[-1] + declaration.horizon - data.cuts[0]).days
        raise TooLittle(f"{positives} of {POSITIVES} {noun} {_until_enough(positives, days, data)}")
    others = int((labels == 0).sum())
    if others < POSITIVES:
        raise TooLittle(f"one outcome only: {others} of {POSITIVES} rows that are not {noun}, among {len(labels)}")


def _until_enough(positives: int, days: int, data: datasets.TrainingSet) -> str:
    """Where too few outcomes were seen, and whether waiting helps: they were counted over `days`."""
    rows, most = data.frame.height, (datasets.MOST_CUTS * datasets.STEP).days
    if data.not_drawn:
        return (
            f"among {rows} rows drawn from {rows + data.not_drawn}; a narrower population or a longer horizon has more"
        )
    seen = f"in the {days} days that can be looked at"
    if not positives:
        return seen
    needed = round(POSITIVES / positives * days)
    if needed > most:
        return f"{seen}; at this rate there are never enough in {most} days, the most that are looked at"
    return f"{seen}, about {max(needed - days, 1)} more days at this rate"


def conclude(declaration: Declaration, data: datasets.TrainingSet, learnt: Learnt, job: Job) -> TrainResult:
    """Judges, writes the model's folder, logs and registers it."""
    name, test = declaration.name, data.frame[learnt.rows]
    job.progress(f"{name}: judging", 0.0)
    curves = _curves(name, learnt, test)
    found = {key: estimates(labels, p, test["customer_id"].to_numpy()) for key, (labels, p) in curves.items()}
    verdict = _judge(declaration, learnt, test, tracking.champion(job.tracking, name))
    described = datasets.describe(data)
    model, twin = final_model(declaration, data, learnt), twin_model(declaration, data, learnt)
    groups, notes = slices(test, learnt.predictions, datasets.segments(job.home)), _notes(declaration, learnt, data)
    card = propensity_card(declaration, found, described, verdict.text, model.tiers, groups, notes)
    job.progress(f"{name}: logging", 0.5)
    with scratch(job.home) as made:
        folder = Path(made) / "model"
        model.save(folder)
        twin.save(folder / "twin")
        write_golden(model, folder, data.frame.sample(min(GOLDEN_ROWS, data.frame.height), seed=3))
        present = tracking.champion(job.tracking, name)
        drift = keep_reference(model, folder, data.frame.filter(pl.col("member")), present)
        version = tracking.log_and_register(
            job.tracking,
            name,
            folder,
            Findings(
                metrics=_flat(found[name]),
                rivals={rival: _flat(row) for rival, row in found.items() if rival != name},
                verdict=verdict,
                folds=[_fold_figures(fold, learnt.recipe) for fold in learnt.folds],
            ),
            params=_params(declaration, learnt, data),
            tags={"opportune.data": str(described["digest"])},
            figures=_plots(model, learnt, curves, test) | drift,
            texts={"card.md": card, "features.txt": feature_list(model.columns)},
            tables={"judged.parquet": _judged(test, curves)},
            example=data.frame.select(model.columns).head(5),
            data=described,
        )
    job.progress(f"{name}: logging", 1.0)
    values = {rival: {key: row[key].value for key in row} for rival, row in found.items()}
    ends = {rival: {key: (row[key].low, row[key].high) for key in row} for rival, row in found.items()}
    points = calibration_points(*curves[name])
    return TrainResult(name, version, verdict.promote, verdict.text, values.pop(name), values, ends, points)


def _curves(name: str, learnt: Learnt, test: pl.DataFrame) -> Curves:
    """Labels and probabilities on the judged folds: the model's under its name, then each rival's."""
    parts = list(zip(learnt.judged, learnt.recipes, strict=True))
    found = {
        name: learnt.predictions,
        "lightgbm": np.concatenate([sigmoid(fold.trees[recipe.trees_alone]) for fold, recipe in parts]),
        "logistic": np.concatenate([sigmoid(fold.linear[recipe.linear_alone]) for fold, recipe in parts]),
        "recency": np.concatenate([sigmoid(fold.baseline) for fold in learnt.judged]),
    }
    for rival in learnt.judged[-1].rivals:
        if all(rival in fold.rivals for fold in learnt.judged):
            found[rival] = np.concatenate([fold.rivals[rival] for fold in learnt.judged])
    labels = test["label"].cast(pl.Float64).to_numpy()
    return {key: (labels, probability) for key, probability in found.items()}


def _judge(declaration: Declaration, learnt: Learnt, test: pl.DataFrame, present: tuple[str, Path] | None) -> Verdict:
    labels = test["label"].cast(pl.Float64).to_numpy()
    gain = -log_losses(labels, learnt.predictions)
    plain = -log_losses(labels, np.concatenate([sigmoid(fold.baseline) for fold in learnt.judged]))
    share = -log_losses(labels, np.concatenate([fold.rivals[BASE_RATE] for fold in learnt.judged]))
    rival, reason = champion_gain(declaration, present, test, labels) if present else (None, None)
    verdict = judge(
        gain,
        {f"recency ({declaration.baseline})": plain, "the share of before (base rate)": share},
        rival,
        measure="log loss",
        clusters=test["customer_id"].to_numpy(),
        champion_version=present[0] if present else None,
        cannot_compare=reason,
    )
    serving = _loaded(present[1], present[0]) if present and learnt.alone else None
    return doubt(verdict, declaration.name, learnt.alone, serving.trained.get("tells_alone", ()) if serving else ())


def champion_gain(
    declaration: Declaration, present: tuple[str, Path], test: pl.DataFrame, labels: Floats
) -> tuple[Floats | None, str | None]:
    """The champion's gains on rows whose outcomes it has not learnt from (NaN elsewhere), or why there are none.

    Where it has learnt from a row's outcome, its twin, which had not, answers in its place. A champion that does not
    load serves nobody: then both are None.
    """
    version, folder = present
    models = [model for place in (folder / "twin", folder) if (model := _loaded(place, version))]
    if not models:
        return None, None
    other = differs(declaration, models[-1].declaration)
    if other:
        return None, (
            f"champion {version} answers another question ({other}), and cannot be judged by the answers to this one; "
            f"where this one is meant now, `opportune promote {declaration.name} VERSION`"
        )
    times = test["as_of"].dt.replace_time_zone(None).to_numpy()
    gains = np.full(len(labels), np.nan)
    for model in models:
        until = np.datetime64(datetime.fromisoformat(model.trained["labels_until"]).replace(tzinfo=None))
        fair = times >= until
        if fair.any():
            gains[fair] = -log_losses(labels[fair], model.predict(test.filter(pl.Series(fair))))
    if not np.isfinite(gains).any():
        return None, f"champion {version} has learnt from all outcomes known so far; wait for newer ones"
    return gains, None


def differs(asked: Declaration, other: Declaration) -> str:
    """In what `other` predicts something else than what is `asked`, in words; empty where the outcome is the same."""
    pairs = {
        f"goal.{key}": (getattr(asked.goal, key), getattr(other.goal, key)) for key in ("event", "where", "happens")
    }
    pairs |= {key: (getattr(asked, key), getattr(other, key)) for key in ("horizon_days", "attribution_days")}
    return "; ".join(
        f"{key} {_told(theirs)}, not {_told(mine)}" for key, (mine, theirs) in pairs.items() if mine != theirs
    )


def _told(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value) if value not in (None, "") else "none"


def _loaded(folder: Path, version: str) -> PropensityModel | None:
    try:
        model = load(folder, version)
    except ModelError:
        return None
    return model if isinstance(model, PropensityModel) else None


def _fold_figures(fold: FoldScores, recipe: Recipe) -> Mapping[str, float]:
    return figures(fold.labels, recipe.apply(fold)) | {"cut": fold.test.timestamp(), "rows": float(len(fold.labels))}


def _flat(row: Mapping[str, Estimate]) -> dict[str, float]:
    ends = (("", "value"), (".low", "low"), (".high", "high"))
    return {key + end: getattr(estimate, part) for key, estimate in row.items() for end, part in ends}


def _params(declaration: Declaration, learnt: Learnt, data: datasets.TrainingSet) -> dict[str, object]:
    return {
        "population": " and ".join(rule.condition for rule in declaration.population),
        "goal": f"{'' if declaration.goal.happens else 'no '}{declaration.goal.event}",
        "horizon_days": declaration.horizon_days,
        "embargo_days": declaration.horizon_days,
        "rounds": learnt.recipe.rounds,
        "trees_share": learnt.recipe.mix,
        "bg_nbd_share": BUYING[learnt.recipe.buying],
        "calibration": learnt.recipe.calibration.kind,
        "features": len(learnt.features),
        "cuts": len(data.cuts),
        "folds": len(learnt.folds),
        "first_cut": data.cuts[0].isoformat(),
        "last_cut": data.cuts[-1].isoformat(),
        "as_of": data.period.as_of.isoformat(),
        **{f"trees.{key}": value for key, value in (tree_parameters(data.frame.height) | dict(learnt.tuned)).items()},
    }


def _judged(test: pl.DataFrame, curves: Curves) -> pl.DataFrame:
    """What was judged, by numbers in the place of customers' ids: the registry keeps no person's data."""
    columns = [pl.Series(name, probability) for name, (_, probability) in curves.items()]
    numbered = test.select(customer=pl.col("customer_id").rank("dense"), as_of="as_of", label="label")
    return numbered.with_columns(columns)


def _plots(model: PropensityModel, learnt: Learnt, curves: Curves, test: pl.DataFrame) -> dict[str, Figure]:
    """Effects here are exact SHAP values (Lundberg et al. 2018); serving gives path contributions, which are faster."""
    rows = model.matrix(test.sample(min(PLOTTED_ROWS, test.height), seed=5))
    booster, rounds = learnt.members.booster, learnt.recipe.rounds
    seen = rows[:, : len(model.features)]
    shap = np.asarray(booster.predict(seen, pred_contrib=True, num_iteration=rounds, num_threads=1))[:, :-1]
    return propensity_plots(curves, model.columns, rows, model.blended(shap, rows))


def _notes(declaration: Declaration, learnt: Learnt, data: datasets.TrainingSet) -> list[str]:
    notes = []
    constant = [name for name in data.features if name not in (*learnt.features, *learnt.dated)]
    if constant:
        notes.append(f"left out, because they are the same for everybody: {', '.join(constant)}")
    short = [name for name in declaration.inputs if name not in data.features]
    if learnt.dated:
        notes.append(
            "left out, because they tell the date rather than the customer, and later dates lie outside of what had "
            f"been known: {', '.join(learnt.dated)}"
        )
    if short:
        notes.append(f"left out, until events cover their windows at the first cut: {', '.join(short)}")
    read = [name for name in INPUTS if name not in learnt.features]
    if read and BUYING[learnt.recipe.buying]:
        notes.append(
            f"BG/NBD, a part of {BUYING[learnt.recipe.buying]:.0%}, reads {', '.join(read)}, whatever else leaves out"
        )
    if data.period.late:
        notes.append(f"{data.period.late} events lie after {data.period.as_of.isoformat()} and were left out")
    if data.period.strays:
        notes.append(
            f"{data.period.strays} events that came more than {datasets.HOLE.days} days after all others "
            f"({data.period.end.isoformat()}) were left out: what happened in between was not collected"
        )
    return notes
