"""Fits the next-offer model's parts: trees over customer x offer pairs, and the head over the decision log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import lightgbm
import numpy as np
import numpy.typing as npt
import polars as pl

from features.channels import CHANNELS
from features.offers import OfferInfo
from models.calibration import Calibration, fit_calibration, fit_kind, sigmoid
from models.layered import beginning
from models.linear import Linear
from models.next_offer import NextOfferModel
from models.offer_features import CUSTOMER, PAIR, OfferKnowledge, pair_features
from models.response import (
    CHANNEL,
    INPUTS,
    RATES,
    SCORE,
    SEEN,
    ChannelKnowledge,
    ResponseHead,
    relative_log_odds,
)
from models.trees import parse_trees
from training.boosting import SAME_BITS, binning
from training.exposures import KEYS, KNOWN, Exposures
from training.head_lessons import Lessons, certainty, slope, stretched
from training.members import fit_linear
from training.metrics import log_losses
from training.offer_data import Versions, as_customers, offer_at
from training.stage_fit import fit_stages

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

ROUNDS, PATIENCE = 160, 15
PAIRS = 260_000
UNKNOWN_SHARE = 0.05
CALIBRATED = 60_000
PARAMETERS: Mapping[str, object] = {
    **SAME_BITS,
    "objective": "binary",
    "learning_rate": 0.1,
    "num_leaves": 20,
    "max_depth": 6,
    "min_data_in_leaf": 80,
    "feature_fraction": 0.6,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "max_bin": 127,
}
RISING = (SCORE, *RATES)
"""What the head may only rise with: each is itself an estimate of the response."""
HEAD_PARAMETERS: Mapping[str, object] = {
    **PARAMETERS,
    "objective": "cross_entropy",
    "learning_rate": 0.16,
    "num_leaves": 3,
    "max_depth": 2,
    "min_data_in_leaf": 40,
    "feature_fraction": 0.5,
    "monotone_constraints": [int(name in RISING) for name in SEEN],
}
"""Trees of two splits: a log of some hundred conversions tells what matters and pairs of it, not more. Half of what
they learn from is labels, half what a regression made of these (distillation: Hinton, Vinyals and Dean 2015), which
errs otherwise than trees do; the trees serve alone."""
HEAD_ROUNDS = 120
LINEAR_FROM, TREES_FROM = 50, 300
"""Conversions in the log from which a linear head, and one of trees, is tried."""
RIDGE = 100.0
UNSEEN = [PAIR.index(name) for name in ("days_since_first_order", "forms_365d", "is_lead")]
"""What `fit_stages` learns from, but trees and regressions do not: they rank no better with it (`BENCHMARKS.md`)."""
RATE_PRIOR = 50.0
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Block:
    """Pairs of one cut: features (customers, offers, PAIR) and what was bought (customers, offers); `columns` are the
    offers' places in the catalogue."""

    features: Floats
    bought: Bools
    columns: Ints


@dataclass(frozen=True, slots=True)
class Purchase:
    """The fitted first part."""

    booster: lightgbm.Booster
    text: str
    calibration: Calibration
    rows: int
    positives: int


def fit_purchase(train: Sequence[Block], valid: Block) -> Purchase:
    """Trees that stop where some pairs of the later cut `valid` say so, calibrated on others of it.

    All that were bought stand against a sample of the others (weighted up). Some customers are made unknown, so
    that the trees also learn what is best for a stranger.
    """
    random = np.random.default_rng(5)
    rows, labels, weights = _pairs(train, random)
    held, held_labels = valid.features.reshape(-1, len(PAIR)), valid.bought.ravel().astype(np.float64)
    some, others = halves(len(held), random)
    data = lightgbm.Dataset(rows, labels, weight=weights, feature_name=list(PAIR), params=binning(PARAMETERS))
    later = data.create_valid(held[some], held_labels[some])
    stop = lightgbm.early_stopping(PATIENCE, verbose=False)
    booster = lightgbm.train(dict(PARAMETERS), data, ROUNDS, valid_sets=[later], callbacks=[stop])
    best = max(booster.best_iteration, 1)
    raw = sigmoid(booster.predict(held[others], raw_score=True, num_iteration=best, num_threads=1))
    calibration = fit_calibration(raw, held_labels[others], groups=others // valid.bought.shape[1])
    text = booster.model_to_string(num_iteration=best)
    return Purchase(booster, text, calibration, len(rows), int(labels.sum()))


def halves(n: int, random: np.random.Generator) -> tuple[Ints, Ints]:
    """Places of n rows, ascending: at most CALIBRATED by which fitting stops, and as many others to calibrate on."""
    order = random.permutation(n)
    size = min(CALIBRATED, n // 2)
    return np.sort(order[:size]), np.sort(order[size : 2 * size])


def _pairs(blocks: Sequence[Block], random: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Rows (n, PAIR), labels and weights of at most about PAIRS pairs."""
    total = sum(block.bought.size for block in blocks)
    positive = sum(int(block.bought.sum()) for block in blocks)
    keep = min(1.0, max(PAIRS - positive, PAIRS // 4) / max(total - positive, 1))
    rows, labels, weights = [], [], []
    for block in blocks:
        features = block.features.copy()
        hidden = random.random(len(features)) < UNKNOWN_SHARE
        features[hidden, :, : PAIR.index("offer_discount_percent")] = np.nan
        features[hidden, :, PAIR.index("category_orders_90d") :] = np.nan
        features[:, :, UNSEEN] = 0.0
        kept = block.bought | (random.random(block.bought.shape) < keep)
        rows.append(features[kept])
        labels.append(block.bought[kept].astype(np.float64))
        weights.append(np.where(block.bought[kept], 1.0, 1 / keep))
    return np.concatenate(rows), np.concatenate(labels), np.concatenate(weights)


@dataclass(frozen=True, slots=True)
class Head:
    """The chosen head with its channel knowledge, and what was found on later rows of the log. `layer`: how sure it is
    (`models.layered.beginning`), as bytes; empty where it has learnt nothing."""

    response: ResponseHead
    channels: ChannelKnowledge
    rows: int = 0
    conversions: int = 0
    losses: Mapping[str, float] = field(default_factory=dict)
    layer: bytes = b""


def fit_head(
    model: NextOfferModel, exposures: Exposures, offers: Sequence[OfferInfo], versions: Versions | None = None
) -> Head:
    """The head that the log supports, by log loss on its newest quarter; the purchase part alone where it is too small.

    Trees stand unless a plainer head is clearly better: they are walked by compiled code. How far the head's scores
    lie apart is set by that quarter, too. `versions`: what the catalogue said of the offers when they were shown.
    """
    engagement = _engagement(exposures.answers)
    by_id = {offer.offer_id: offer for offer in offers}
    rows = exposures.rows.filter(pl.col("offer_id").is_in(list(by_id)) & pl.col("channel").is_in(CHANNELS))
    conversions = int(rows["label"].sum()) if rows.height else 0
    plain = ChannelKnowledge(engagement, {}, {})
    if conversions < LINEAR_FROM or conversions == rows.height:
        return Head(ResponseHead(), plain, rows.height, conversions)
    pairs = _log_pairs(model.knowledge, exposures, rows, by_id, versions or {})
    score = model.purchase_score(pairs)
    split = int(0.75 * rows.height)
    seen = pairs.copy()
    seen[:, UNSEEN] = 0.0
    inputs = np.column_stack([score, seen, _channel_inputs(rows, exposures.answers, engagement, split)])
    early, late = Lessons.of(rows[:split], inputs[:split]), Lessons.of(rows[split:], inputs[split:])
    kinds = ["purchase", "linear", *(["trees"] if conversions >= TREES_FROM else [])]
    tried = {kind: _fit_kind(kind, early) for kind in kinds}
    each = {kind: log_losses(late.labels, head.calibrated(head.raw_score(late.inputs))) for kind, head in tried.items()}
    losses = {kind: float(np.average(loss, weights=late.weights)) for kind, loss in each.items()}
    best = min(kinds, key=lambda kind: losses[kind])
    if "trees" in kinds and not _clearly(each["trees"] - each[best], late.weights):
        best = "trees"
    usual = np.clip(np.average(early.labels, weights=early.weights), 1e-4, 1 - 1e-4)
    base = log_losses(late.labels, np.full(len(late.labels), usual))
    losses["base rate"] = float(np.average(base, weights=late.weights))
    channels = ChannelKnowledge(engagement, _rates(rows, "channel"), _rates(rows, "offer_id"))
    inputs = np.column_stack([score, seen, _channel_inputs(rows, exposures.answers, engagement, rows.height)])
    every = Lessons.of(rows, inputs)
    response = _fit_kind(best, every)
    if best == "purchase":
        return Head(response, channels, rows.height, conversions, losses)
    response = stretched(response, slope(tried[best].raw_score(late.inputs), late), every)
    names = rows["offer_id"].to_list()
    response, chances = _with_stages(response, pairs[:, : len(CUSTOMER)], rows[KNOWN].to_numpy(), names, every)
    layer = beginning(pairs, inputs[:, 1 + len(PAIR) :], names, chances, certainty(chances, every))
    return Head(response, channels, rows.height, conversions, losses, layer.to_bytes())


def _with_stages(
    head: ResponseHead, values: Floats, known: Bools, offers: Sequence[str], every: Lessons
) -> tuple[ResponseHead, Floats]:
    """The head that also knows which offers move whom, and what it promises the rows (n,)."""
    raw = head.raw_score(every.inputs)
    stages = fit_stages(values, known, offers, raw, every, certainty(sigmoid(raw), every))
    inputs = stages.inputs(values, known)
    more = (inputs * stages.of(offers).T).sum(axis=1)
    head = replace(stretched(head, 1.0, every, more), stages=stages)
    return head, head.calibrated(head.raw_score(every.inputs) + more)


def _clearly(gains: Floats, weights: Floats) -> bool:
    """Whether the mean gain is two standard errors above 0."""
    mean = float(np.average(gains, weights=weights))
    error = float(np.sqrt((weights**2 * (gains - mean) ** 2).sum())) / float(weights.sum())
    return mean > 2 * error


def _fit_kind(kind: str, lessons: Lessons) -> ResponseHead:
    if kind == "linear":
        return ResponseHead("linear", linear=_regression(lessons))
    if kind == "trees":
        told = sigmoid(_regression(lessons).raw_score(lessons.inputs))
        data = lightgbm.Dataset(
            lessons.inputs,
            (lessons.soft + told) / 2,
            weight=lessons.weights,
            feature_name=list(SEEN),
            params=binning(HEAD_PARAMETERS),
        )
        text = lightgbm.train(dict(HEAD_PARAMETERS), data, HEAD_ROUNDS).model_to_string()
        return ResponseHead("trees", trees=parse_trees(text), tree_text=text)
    plain = ResponseHead()
    raw = sigmoid(plain.raw_score(lessons.inputs))
    return ResponseHead("purchase", fit_kind("platt", raw, lessons.labels, lessons.weights))


def _regression(lessons: Lessons) -> Linear:
    return fit_linear(lessons.inputs, lessons.soft, lessons.weights, (RIDGE,))[0]


def _log_pairs(
    known: OfferKnowledge,
    exposures: Exposures,
    rows: pl.DataFrame,
    offers: Mapping[str, OfferInfo],
    versions: Versions,
) -> Floats:
    """Pair features (rows, PAIR) of each exposure, with the offer as it was then."""
    customers = as_customers(rows, exposures.liked, exposures.bought, known, KEYS)
    shown = [offer_at(offers[offer], versions, at) for offer, at in rows.select("offer_id", "as_of").iter_rows()]
    place = np.array([id(offer) for offer in shown], np.int64)
    result = np.empty((rows.height, len(PAIR)))
    for offer in {id(offer): offer for offer in shown}.values():
        here = place == id(offer)
        one = known.table([offer])
        bought = customers.products.take(np.flatnonzero(here))
        mine = type(customers)(
            customers.values[here], customers.affinity[here], customers.known[here], bought, customers.views[here]
        )
        result[here] = pair_features(mine, one, known)[:, 0]
    return result


def _engagement(answers: pl.DataFrame) -> dict[str, float]:
    """Human opens and clicks per delivery by channel, over all customers' latest counts."""
    latest = answers.sort("as_of").unique(["customer_id", "channel"], keep="last")
    sums = latest.group_by("channel").agg(pl.sum("sends"), pl.sum("responses"))
    return {channel: responses / sends for channel, sends, responses in sums.iter_rows() if sends > 0 and responses > 0}


def _channel_inputs(rows: pl.DataFrame, answers: pl.DataFrame, engagement: Mapping[str, float], until: int) -> Floats:
    """(rows, CHANNEL + RATES). Pooled rates come from the first `until` rows; for those, from the other folds."""
    channel = rows["channel"].to_numpy()
    onehot = np.column_stack([channel == name for name in CHANNELS]).astype(np.float64)
    told = rows.select("customer_id", "as_of", "channel").join(
        answers, on=[*KEYS, "channel"], how="left", maintain_order="left"
    )
    sends, responses = (told[name].fill_null(0.0).to_list() for name in ("sends", "responses"))
    usual = ChannelKnowledge(engagement, {}, {})
    own = [
        usual.own_engagement(name, {name: (sent, got)} if known else None)
        for name, sent, got, known in zip(channel.tolist(), sends, responses, rows[KNOWN], strict=True)
    ]
    result = np.column_stack([onehot, *(np.zeros(rows.height) for _ in RATES)])
    result[:, len(CHANNEL) + 1] = own
    folds = rows["customer_id"].rank("dense").to_numpy().astype(np.int64) % FOLDS
    place = np.arange(rows.height)
    for column, name in ((len(CHANNEL), "channel"), (len(CHANNEL) + 2, "offer_id")):
        keys = rows[name].to_list()
        for fold in range(FOLDS + 1):
            mine = place >= until if fold == FOLDS else (place < until) & (folds == fold)
            learnt = (place < until) & (folds != fold)
            rates = _rates(rows.filter(pl.Series(learnt)), name)
            result[mine, column] = [rates.get(keys[number], 0.0) for number in place[mine]]
    return result


def _rates(rows: pl.DataFrame, name: str) -> dict[str, float]:
    sums = rows.group_by(name).agg(shown=pl.sum("weight"), converted=(pl.col("weight") * pl.col("label")).sum())
    return relative_log_odds({key: (shown, converted) for key, shown, converted in sums.iter_rows()}, RATE_PRIOR)


def example_inputs(model: NextOfferModel, block: Block, n: int) -> pl.DataFrame:
    """Some pairs with channel inputs, as a frame of the model's columns."""
    flat = block.features.reshape(-1, len(PAIR))
    some = flat[np.sort(np.random.default_rng(3).permutation(len(flat))[:n])]
    rates = model.channels.inputs([""] * len(some), CHANNELS, {})
    which = np.arange(len(some)) % len(CHANNELS)
    return pl.DataFrame(np.column_stack([some, rates[np.arange(len(some)), which]]), schema=list(INPUTS), orient="row")


def log_odds(booster: lightgbm.Booster, features: Floats) -> Floats:
    """Raw scores of pairs (customers, offers, PAIR), shape (customers, offers)."""
    rows = features.reshape(-1, features.shape[2])
    raw = booster.predict(rows, raw_score=True, num_iteration=max(booster.best_iteration, 1), num_threads=1)
    return np.asarray(raw, np.float64).reshape(features.shape[:2])
