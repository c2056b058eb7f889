"""Learns one declared propensity from a training set: folds, parts, rivals, recipe. No event log, no registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from models.bgnbd import INPUTS, Buying
from models.declaration import Declaration
from training import splits
from training.assemble import Learnt
from training.bgnbd import NotFitted, fit_bgnbd
from training.datasets import TrainingSet
from training.leaks import newest, tell_alone
from training.members import (
    FEW_ROWS,
    FoldScores,
    Members,
    choose,
    fit_buying,
    fit_members,
    least_loss,
    recency,
    score_fold,
    tree_parameters,
)
from training.purchases import COLUMNS, purchases_of
from training.steady import outside, tells_time
from training.tune import Parameters, Tuning, tune

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

POSITIVES = 100
FOLDS = 2
FITTED_FOLDS, FITTED_FOLDS_FEW_ROWS = 8, 12
TUNED_FOLDS = 3
JUDGED_ROWS = 1000
DAY = timedelta(days=1)
BG_NBD, BASE_RATE = "bg_nbd", "base_rate"
BEYOND = 0.9  # of later rows, outside of what was known: there a model of dates only extrapolates
AnyFold = TypeVar("AnyFold", splits.Fold, FoldScores)


class TooLittle(Exception):
    """There is not enough to learn from; the text says what is needed and how far it is."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """A training set as arrays. `rows` is (n, features); `dated` are features that were left out, for they tell the
    date alone."""

    data: TrainingSet
    declaration: Declaration
    features: tuple[str, ...]
    rows: Floats
    labels: Floats
    times: npt.NDArray[np.datetime64]
    members: Bools
    dated: tuple[str, ...] = ()
    tuned: Parameters = field(default_factory=dict)

    @property
    def baseline(self) -> int:
        return self.features.index(self.declaration.baseline)

    def fit(self, cuts: Sequence[datetime], now: datetime) -> Members:
        """The parts on the rows of these cuts, newer ones weighing more; BG/NBD on what was bought until `now`."""
        train = splits.mask(self.times, cuts)
        weights = np.ones(int(train.sum()))
        for cut in cuts:
            weights[splits.mask(self.times[train], [cut])] = recency(cut, max(cuts))
        codes = [place for place, name in enumerate(self.features) if name in self.declaration.categories]
        told = self.declaration.directions
        directions = {place: told[name] for place, name in enumerate(self.features) if name in told}
        rows, labels = self.rows[train], self.labels[train]
        parts = fit_members(rows, labels, weights, self.baseline, codes, self.tuned, directions)
        return replace(parts, buying=self._buying(np.flatnonzero(train), weights, now))

    def _buying(self, places: Ints, weights: Floats, now: datetime) -> Buying | None:
        """BG/NBD as a part, of what was bought before the cut `now`; None where it cannot be."""
        if self.data.purchases is None or not self.declaration.directions.keys().isdisjoint(INPUTS):
            return None  # in all that it is told of BG/NBD rises here and falls there
        if not set(INPUTS) <= set(self.declaration.inputs):
            return None  # whoever says what to learn from means all parts
        try:
            model = fit_bgnbd(purchases_of(self.data.purchases.filter(pl.col("as_of") == now)))
        except NotFitted:
            return None
        inside = self.members[places]  # its level is that of the population scored, not of all who teach
        if len(np.unique(self.labels[places][inside])) < 2:
            return None
        places, weights, goal = places[inside], weights[inside], self.declaration.goal
        told, days = self.told(places), self.declaration.horizon / DAY
        return fit_buying(model, told, self.labels[places], weights, days, goal.happens)

    def told(self, places: Ints) -> Floats:
        """What features tell of purchases (n, 5) at these rows."""
        return self.data.frame[places].select(pl.col(INPUTS).cast(pl.Float64).fill_null(np.nan)).to_numpy()

    def judged_rows(self, fold: splits.Fold) -> Ints:
        """The places of a fold's test rows that belong to the population."""
        return np.flatnonzero(splits.mask(self.times, [fold.test]) & self.members)

    def base_rate(self, fold: splits.Fold) -> Floats:
        """The share of the goal in the population before a fold's cut, for each of its test rows: promising it to
        everybody needs no model."""
        weights = np.zeros(len(self.times))
        for cut in fold.train:
            weights[splits.mask(self.times, [cut]) & self.members] = recency(cut, max(fold.train))
        share = (float(weights @ self.labels) + 0.5) / (float(weights.sum()) + 1)
        return np.full(len(self.judged_rows(fold)), share)

    def score(self, fold: splits.Fold) -> FoldScores:
        """The parts fitted before a fold's cut, and what they say of its test rows."""
        places = self.judged_rows(fold)
        rows, labels = self.rows[places], self.labels[places]
        rivals = {**bg_nbd(self.data, self.declaration, fold.test, places), BASE_RATE: self.base_rate(fold)}
        told = None if self.data.purchases is None else self.told(places)
        return score_fold(self.fit(fold.train, fold.test), fold.test, places, rows, labels, self.baseline, rivals, told)


def learn(
    declaration: Declaration,
    data: TrainingSet,
    progress: Callable[[str, float], None],
    tuning: Tuning | None = None,
) -> Learnt:
    """Fits the parts on each fold, chooses recipes on earlier folds only, and fits the parts on everything.

    Raises TooLittle.
    """
    inputs = _inputs(declaration, data)
    usable = _usable(inputs, splits.folds(data.cuts, declaration.horizon))
    few = data.frame.height < FEW_ROWS
    chosen = splits.spread(usable, FITTED_FOLDS_FEW_ROWS if few else FITTED_FOLDS)
    if len(chosen) < FOLDS:
        raise TooLittle(f"both outcomes occur in {len(chosen)} of {FOLDS} time folds; later data will tell")
    inputs = _without_dates(inputs, chosen)
    judged_from = chosen[_first_judged(inputs, chosen, declaration.horizon)].test
    if tuning is not None:
        inputs = _tuned(inputs, [fold for fold in chosen if fold.test + declaration.horizon <= judged_from], tuning)
    fitted = []
    for done, fold in enumerate(chosen):
        progress(f"{declaration.name}: folds", done / (len(chosen) + 1))
        fitted.append(inputs.score(fold))
    customers = data.frame["customer_id"].rank("dense").cast(pl.Int64).to_numpy()
    judged = tuple(fold for fold in fitted if fold.test >= judged_from)
    recipes = [choose(_matured(fitted, fold.test, declaration.horizon), customers, declaration.horizon)
               for fold in judged]  # fmt: skip
    recipe = choose(fitted, customers, declaration.horizon)
    members = inputs.fit(data.cuts, max(data.cuts))
    progress(f"{declaration.name}: folds", 1.0)
    return Learnt(
        inputs.features, tuple(fitted), judged, tuple(recipes), recipe, members, inputs.dated, dict(inputs.tuned),
        _alone(inputs, chosen),
    )  # fmt: skip


def varying(frame: pl.DataFrame, features: Sequence[str]) -> tuple[str, ...]:
    """The features that tell customers apart: more than one known value, or known for some only."""
    kinds = frame.select(pl.col(features).fill_nan(None).n_unique()).row(0)
    return tuple(name for name, kind in zip(features, kinds, strict=True) if kind > 1)


def bg_nbd(data: TrainingSet, declaration: Declaration, cut: datetime, places: Ints) -> Mapping[str, Floats]:
    """BG/NBD's probability of the goal for the rows at `places`, fitted on what was bought before `cut`.

    Empty where the goal is no order, or the model cannot be fitted.
    """
    if data.purchases is None:
        return {}
    bought = data.frame[places].select(COLUMNS)
    known = bought["repeat_order_days"].is_not_null().to_numpy()
    everybody = data.purchases.filter(pl.col("as_of") == cut)
    try:
        model = fit_bgnbd(purchases_of(everybody))
    except NotFitted:
        return {}
    buys = np.zeros(len(places))
    buys[known] = model.buys_within(purchases_of(bought.filter(pl.Series(known))), declaration.horizon / DAY)
    return {BG_NBD: buys if declaration.goal.happens else 1 - buys}


def _inputs(declaration: Declaration, data: TrainingSet) -> Inputs:
    features = varying(data.frame, data.features)
    if declaration.baseline not in features:
        raise TooLittle(f"{declaration.baseline}, the plain baseline, is the same for everybody so far")
    rows = np.column_stack([data.frame[name].fill_null(np.nan).to_numpy() for name in features])
    return Inputs(data, declaration, features, rows, data.labels, data.times, data.members)


def _without_dates(inputs: Inputs, folds: Sequence[splits.Fold]) -> Inputs:
    """Without the features that tell the date, where nearly all later rows lie outside of what was known of these.

    Decided by the features alone, no outcome is looked at.
    """
    dated = tells_time(inputs.rows, inputs.times)
    dated[inputs.baseline] = False
    if not dated.any():
        return inputs
    told = inputs.rows[:, dated]
    beyond = [outside(told[splits.mask(inputs.times, fold.train)], told[inputs.judged_rows(fold)]) for fold in folds]
    weights = [recency(fold.test, folds[-1].test) for fold in folds]
    if np.average(beyond, weights=weights) < BEYOND:
        return inputs
    kept = tuple(name for name, gone in zip(inputs.features, dated, strict=True) if not gone)
    gone = tuple(name for name in inputs.features if name not in kept)
    return replace(inputs, features=kept, rows=inputs.rows[:, ~dated], dated=gone)


def _tuned(inputs: Inputs, folds: Sequence[splits.Fold], tuning: Tuning) -> Inputs:
    """With LightGBM's parameters tuned on folds that nothing is judged by; unchanged where there are none."""
    newest = folds[-TUNED_FOLDS:]
    if not newest:
        return inputs

    def loss(parameters: Parameters) -> float:
        tried = replace(inputs, tuned=parameters)
        return least_loss([tried.score(fold) for fold in newest])

    return replace(inputs, tuned=tune(loss, tree_parameters(len(inputs.rows)), tuning))


def _alone(inputs: Inputs, folds: Sequence[splits.Fold]) -> Mapping[str, float]:
    """The traits that tell the outcome without the rest in the newest folds."""
    judged = [inputs.judged_rows(fold) for fold in folds]
    first = newest(inputs.labels, judged)
    known = splits.mask(inputs.times, folds[first].train)
    return tell_alone(inputs.rows, inputs.labels, inputs.features, known, np.concatenate(judged[first:]))


def _usable(inputs: Inputs, possible: Sequence[splits.Fold]) -> list[splits.Fold]:
    """Folds with both outcomes in training and, among members, in test."""

    def both(labels: Floats) -> bool:
        return len(np.unique(labels)) == 2

    return [
        fold
        for fold in possible
        if both(inputs.labels[splits.mask(inputs.times, fold.train)]) and both(inputs.labels[inputs.judged_rows(fold)])
    ]


def _first_judged(inputs: Inputs, chosen: Sequence[splits.Fold], horizon: timedelta) -> int:
    """From which of the chosen folds on a model is judged: the newest, enough of them to judge by.

    Older folds are added until there are JUDGED_ROWS rows and POSITIVES positives, while they have folds before them.
    """
    rows, positives, first = 0, 0.0, len(chosen)
    for place in reversed(range(len(chosen))):
        has_prior = bool(_matured(chosen, chosen[place].test, horizon))
        if rows and ((rows >= JUDGED_ROWS and positives >= POSITIVES) or not has_prior):
            break
        labels = inputs.labels[inputs.judged_rows(chosen[place])]
        rows, positives, first = rows + len(labels), positives + float(labels.sum()), place
    return first


def _matured(folds: Sequence[AnyFold], cut: datetime, horizon: timedelta) -> list[AnyFold]:
    """The folds whose outcomes were known at `cut`."""
    return [fold for fold in folds if fold.test + horizon <= cut]
