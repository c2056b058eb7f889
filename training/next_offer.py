"""Trains the next-offer model: data, purchase part, response head, evaluation, gate, registration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from features.leftovers import scratch
from features.offers import OfferInfo
from models.calibration import sigmoid
from models.candidates import MOST, Together
from models.embedding import EmbeddingMissing, embed, identity
from models.load import ModelError, load, write_golden
from models.next_offer import NextOfferModel
from models.offer_features import PAIR, OfferKnowledge, Projection, pair_features
from models.response import ChannelKnowledge, ResponseHead
from models.trees import parse_trees
from training import tracking
from training.as_served import scores_as_served
from training.consent_store import unprofiled
from training.datasets import HISTORY, cut_dates, fingerprint, period
from training.drift import keep_reference
from training.feature_list import feature_list
from training.gate import Findings, judge
from training.metrics import figures as promises
from training.offer_data import HORIZON, Market, as_customers, category_names, gather, knowledge, read_offers
from training.offer_fit import PARAMETERS, Block, Head, Purchase, example_inputs, fit_head, fit_purchase, log_odds
from training.offer_judge import KEPT, earlier_folds, figures, slices
from training.plots import propensity_plots
from training.ranking import ndcg
from training.together import fit_together
from training.train import Job, TrainResult

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NAME = "next-offer"
CUTS = 7
LEAST_CUTS = 3
PAIRS_A_CUT = 400_000
POSITIVES = 100
DIMENSIONS = 32
AXES_OF = 10_000
"""Texts at most of which the axes of the short vectors are found."""
GOLDEN_ROWS = 60
REFERENCE_ROWS = 5000
PLOTTED_ROWS = 800


@dataclass(frozen=True, slots=True)
class Texts:
    """Vectors of the categories' names and of the offers' texts, reduced together; empty without an embedder."""

    names: tuple[str, ...]
    categories: Floats
    offers: Floats
    note: str
    projection: Projection | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """The newest matured cut: scores by rival, what was bought, what was redeemed; all (customers, offers)."""

    cut: datetime
    scores: Mapping[str, Floats]
    bought: Bools
    redeemed: Bools
    block: Block
    customers: npt.NDArray[np.int64]


def train_next_offer(job: Job) -> TrainResult:
    """Trains, logs and registers. With too little data: no version, and the verdict says what is needed."""
    offers = read_offers(job)
    if len(offers) < 2:
        return _refusal(f"{len(offers)} of 2 offers in the catalogue; bring some with `opportune ingest --offers`")
    covered = period(job.log, job.as_of)
    if covered is None:
        return _refusal("there are no events yet; bring some with `opportune ingest`")
    cuts = cut_dates(covered, HORIZON)[-CUTS:]
    if len(cuts) < LEAST_CUTS:
        needed, have = (HISTORY + (LEAST_CUTS + 1) * HORIZON).days, (covered.end - covered.first).days
        return _refusal(f"{have} of {needed} days of events: about {max(needed - have, 1)} more days are needed")
    market = gather(job, covered, offers, cuts)
    job.progress(f"{NAME}: texts", 0.0)
    texts = embed_texts(job.home, market)
    job.progress(f"{NAME}: texts", 1.0)
    blocks = {cut: block_at(market, cut, known_at(market, cut, texts))[0] for cut in cuts}
    positives = int(sum(blocks[cut].bought.sum() for cut in cuts[:-1]))
    if positives < POSITIVES:
        return _refusal(f"{positives} of {POSITIVES} purchases from offers' products within {HORIZON.days} days")
    job.progress(f"{NAME}: fitting", 0.0)
    purchase = fit_purchase([blocks[cut] for cut in cuts[:-2]], blocks[cuts[-2]])
    job.progress(f"{NAME}: fitting", 0.6)
    together = fit_together(market.products_at(cuts[-1])) if len(offers) > MOST else Together.none()
    twin = _model(purchase, replace(known_at(market, cuts[-1], texts), together=together), cuts, cuts[-1])
    head = fit_head(twin, market.exposures, offers, market.versions)
    twin = twin.with_response(head.response, head.channels, head.layer)
    latest = replace(known_at(market, covered.end, texts, covered.as_of), together=together)
    model = replace(twin, knowledge=latest, trained={**twin.trained, "until": covered.end.isoformat()})
    folds = earlier_folds(blocks, cuts)
    job.progress(f"{NAME}: fitting", 1.0)
    return conclude(job, market, model, twin, purchase, head, texts, folds)


def _refusal(text: str) -> TrainResult:
    return TrainResult(NAME, None, False, text)


def embed_texts(home: Path, market: Market) -> Texts:
    """Vectors of all categories and offers, DIMENSIONS wide; stored in the home by text."""
    names = category_names(market)
    described = _texts_of(home, market.offers)
    try:
        vectors = embed([*names, *described], home).astype(np.float64)
    except EmbeddingMissing as missing:
        empty = np.zeros((0, 0))
        return Texts(tuple(names), empty, empty, str(missing))
    mean = vectors.mean(axis=0)
    some = np.random.default_rng(7).permutation(len(vectors))[:AXES_OF]
    _, _, axes = np.linalg.svd(vectors[np.sort(some)] - mean, full_matrices=False)
    projection = Projection(identity(), mean, axes[:DIMENSIONS])
    reduced, note = projection(vectors), f"{vectors.shape[1]} dimensions"
    return Texts(tuple(names), reduced[: len(names)], reduced[len(names) :], note, projection)


def _texts_of(home: Path, offers: Sequence[OfferInfo]) -> list[str]:
    rows = pl.read_parquet(home / "tables" / "offers.parquet", columns=["offer_id", "name", "description"])
    told = {offer: f"{name}. {text}" for offer, name, text in rows.iter_rows()}
    return [told[offer.offer_id] for offer in offers]


def known_at(market: Market, cut: datetime, texts: Texts, by: datetime | None = None) -> OfferKnowledge:
    """What a model of the cut may know of the offers, `by` the cut or another time."""
    found = knowledge(market, market.popularity(cut, by), texts.categories, texts.offers, texts.names)
    return replace(found, projection=texts.projection)


def block_at(market: Market, cut: datetime, known: OfferKnowledge) -> tuple[Block, pl.DataFrame]:
    """Features and purchases of a cut's customers (at most PAIRS_A_CUT pairs), and those customers' rows."""
    rows, columns = market.at(cut), market.columns(cut)
    limit = max(PAIRS_A_CUT // len(columns), 1)
    if rows.height > limit:
        rows = rows.sample(limit, seed=13).sort("customer")
    liked = market.liked.filter(pl.col("as_of") == cut)
    customers = as_customers(rows, liked, market.bought_products, known, ("customer_id", "as_of"))
    features = pair_features(customers, known.table(market.offers_at(cut, columns)), known)
    return Block(features, market.bought(cut, rows, columns), columns), rows


def _model(purchase: Purchase, known: OfferKnowledge, cuts: Sequence[datetime], until: datetime) -> NextOfferModel:
    trained = {
        "labels_until": (cuts[-2] + HORIZON).isoformat(),
        "cuts": [cut.isoformat() for cut in cuts[:-1]],
        "until": until.isoformat(),
    }
    return NextOfferModel(
        parse_trees(purchase.text), purchase.text, purchase.calibration, known, ChannelKnowledge({}, {}, {}),
        ResponseHead(), HORIZON.days, trained,
    )  # fmt: skip


def conclude(
    job: Job,
    market: Market,
    model: NextOfferModel,
    twin: NextOfferModel,
    purchase: Purchase,
    head: Head,
    texts: Texts,
    folds: Sequence[Mapping[str, float]],
) -> TrainResult:
    """Judges on the newest matured cut, which no part has learnt from, logs and registers. `folds`: figures before."""
    job.progress(f"{NAME}: judging", 0.0)
    judged = judge_cut(market, twin, purchase)
    measured = {name: figures(scores, judged.bought, judged.redeemed) for name, scores in judged.scores.items()}
    metrics = {**measured.pop("model"), **_promised(judged, twin), **_of_head(head)}
    gains = {name: ndcg(scores, judged.bought, KEPT) for name, scores in judged.scores.items()}
    present = tracking.champion(job.tracking, NAME)
    rival, reason = champion_gains(present, market, judged) if present else (None, None)
    verdict = judge(gains["model"], {"popularity": gains["popularity"]}, rival, measure=f"nDCG@{KEPT}",
                    clusters=judged.customers, champion_version=present[0] if present else None,
                    cannot_compare=reason)  # fmt: skip
    job.progress(f"{NAME}: logging", 0.0)
    newest = {key: metrics[key] for key in folds[-1] if key in metrics} if folds else {}
    every = [*folds, newest | {"cut": judged.cut.timestamp(), "rows": float(judged.bought.size)}]
    found = Findings(metrics, measured, verdict, every)
    version = _register(job, market, model, twin, purchase, head, texts, judged, found)
    job.progress(f"{NAME}: logging", 1.0)
    return TrainResult(NAME, version, verdict.promote, verdict.text, metrics, measured)


def judge_cut(market: Market, twin: NextOfferModel, purchase: Purchase) -> Judged:
    """Scores of the model and of its rivals for everybody at the newest matured cut."""
    cut = datetime.fromisoformat(twin.trained["until"])
    block, rows = block_at(market, cut, twin.knowledge)
    popularity = np.broadcast_to(market.popularity(cut)[block.columns], block.bought.shape)
    frequent = market.bought_before(cut, rows, block.columns) + 1e-3 * sigmoid(popularity)
    scores = {
        "model": log_odds(purchase.booster, block.features),
        "popularity": popularity,
        "own_most_frequent": frequent,
    }
    redeemed = market.bought(cut, rows, block.columns, market.redeemed)
    return Judged(cut, scores, block.bought, redeemed, block, rows["customer"].to_numpy())


def champion_gains(present: tuple[str, Path], market: Market, judged: Judged) -> tuple[Floats | None, str | None]:
    """The champion's nDCG a customer on the judged cut, if it or its twin has not seen it, else why there is none."""
    version, folder = present
    loaded = [model for place in (folder, folder / "twin") if (model := _loaded(place)) is not None]
    if not loaded:
        return None, None  # a champion that does not load serves nobody
    for model in loaded:
        if datetime.fromisoformat(model.trained["until"]) > judged.cut:
            continue
        rows = market.at(judged.cut).filter(pl.col("customer").is_in(pl.Series(judged.customers).implode()))
        liked = market.liked.filter(pl.col("as_of") == judged.cut)
        table = model.knowledge.table(market.offers_at(judged.cut, judged.block.columns))
        customers = as_customers(rows, liked, market.bought_products, model.knowledge, ("customer_id", "as_of"))
        features = pair_features(customers, table, model.knowledge)
        scores = model.purchase_score(features.reshape(-1, len(PAIR))).reshape(judged.bought.shape)
        return ndcg(scores, judged.bought, KEPT), None
    return None, f"champion {version} has learnt from all outcomes known so far; wait for newer ones"


def _loaded(folder: Path) -> NextOfferModel | None:
    try:
        model = load(folder)
    except ModelError:
        return None
    return model if isinstance(model, NextOfferModel) else None


def _promised(judged: Judged, twin: NextOfferModel) -> dict[str, float]:
    """How well the purchase probabilities hold."""
    probability = twin.calibration.apply(sigmoid(judged.scores["model"])).ravel()
    found = promises(judged.bought.ravel().astype(np.float64), probability)
    return {f"purchase_{key}": found[key] for key in ("log_loss", "brier", "ece")}


def _of_head(head: Head) -> dict[str, float]:
    losses = {f"log_{kind.replace(' ', '_')}_log_loss": loss for kind, loss in head.losses.items()}
    return {"log_rows": float(head.rows), "log_conversions": float(head.conversions), **losses}


def _register(
    job: Job,
    market: Market,
    model: NextOfferModel,
    twin: NextOfferModel,
    purchase: Purchase,
    head: Head,
    texts: Texts,
    judged: Judged,
    found: Findings,
) -> str:
    described = _describe(job, market, purchase, head)
    example = example_inputs(model, judged.block, GOLDEN_ROWS)
    labels = judged.bought.ravel().astype(np.float64)
    curves = {
        NAME: (labels, twin.calibration.apply(sigmoid(judged.scores["model"])).ravel()),
        "popularity": (labels, sigmoid(judged.scores["popularity"]).ravel()),
    }
    some = judged.block.features.reshape(-1, len(PAIR))
    some = some[np.random.default_rng(5).permutation(len(some))[:PLOTTED_ROWS]]
    with scratch(job.home) as made:
        folder = Path(made) / "model"
        model.save(folder)
        twin.save(folder / "twin")
        write_golden(model, folder, example)
        known = example_inputs(model, judged.block, REFERENCE_ROWS)
        scores = scores_as_served(model, job.home, job.log, market.offers, market.versions, unprofiled(job.home))
        drift = keep_reference(model, folder, known, tracking.champion(job.tracking, NAME), scores)
        return tracking.log_and_register(
            job.tracking,
            NAME,
            folder,
            found,
            params={
                "horizon_days": HORIZON.days,
                "rounds": len(model.trees.roots),
                "calibration": model.calibration.kind,
                "head": head.response.kind,
                "texts": texts.note,
                "offers": len(market.offers),
                "as_of": job.as_of.isoformat(),
                **{f"trees.{key}": value for key, value in PARAMETERS.items()},
            },
            tags={"opportune.data": str(described["digest"])},
            figures=propensity_plots(curves, PAIR, some, model.trees.contributions(some)[:, :-1]) | drift,
            texts={
                "card.md": _card(
                    found,
                    described,
                    head,
                    slices(judged.block, curves[NAME][1].reshape(judged.bought.shape)),
                ),
                "features.txt": feature_list(model.columns),
            },
            example=example.head(5),
            data=described,
        )


def learnt_from(market: Market) -> list[pl.DataFrame]:
    """All that a version is made of, in one order: its digest tells one training set from another."""
    offers = pl.DataFrame(
        [(one.offer_id, one.category, " ".join(sorted(one.product_ids)), one.discount_percent, one.price_cents)
         for one in market.offers],
        schema={"offer_id": pl.String, "category": pl.String, "products": pl.String, "discount": pl.Float64,
                "price": pl.Int64},
        orient="row",
    )  # fmt: skip
    shown = market.exposures
    parts = (offers, market.sales, market.rows, market.liked, market.parts, shown.rows, shown.liked, shown.answers)
    return [part.sort(part.columns) for part in parts]


def _describe(job: Job, market: Market, purchase: Purchase, head: Head) -> dict[str, object]:
    return {
        "digest": fingerprint(*learnt_from(market)),
        "offers": len(market.offers),
        "customers": len(market.place),
        "without_the_right_to_profile": len(unprofiled(job.home)),
        "pairs": purchase.rows,
        "purchases": purchase.positives,
        "exposures_in_the_log": head.rows,
        "conversions_in_the_log": head.conversions,
        "events_from": market.covered.first.isoformat(),
        "events_until": market.covered.end.isoformat(),
    }


def _card(
    found: Findings,
    described: Mapping[str, object],
    head: Head,
    groups: Sequence[tuple[str, int, float, float]],
) -> str:
    metrics, rivals = found.metrics, found.rivals
    names = list(rivals)
    compared = [key for key in metrics if "." not in key and all(key in rivals[name] for name in names)]
    rows = [
        f"| {key} | {metrics[key]:.4f} | " + " | ".join(f"{rivals[name][key]:.4f}" for name in names) + " |"
        for key in compared
    ]
    meaning = (
        f"P(buys from the offer's products within {HORIZON.days} days), moved a little by engagement with the channel: "
        f"the decision log has too few conversions ({head.conversions}) to learn more."
        if head.response.kind == "purchase" and not head.losses
        else f"P(converts within {HORIZON.days} days when shown the offer on the channel), learnt from {head.rows} "
        f"showings with {head.conversions} conversions; head: {head.response.kind}."
    )
    return "\n".join(
        [
            "# opportune-next-offer: what to offer, on which channel",
            "",
            "## Purpose",
            meaning,
            "For ranking offers. Not for prices, credit, or anything with legal effect on a person.",
            "",
            "## Who is scored",
            "Everybody who may be profiled. Who may not gets offers without such features, and is not learnt from. "
            "Nobody may be refused anything by this score.",
            "",
            "## Learnt from",
            *(f"- {key.replace('_', ' ')}: {value}" for key, value in described.items()),
            "",
            "## How good, on the newest two weeks, which it had not seen",
            f"| | model | {' | '.join(names)} |",
            "|---" * (len(names) + 2) + "|",
            *rows,
            "",
            "## Promised and observed, by group of customers and offers",
            "| group | pairs | promised | observed |",
            "|---|---|---|---|",
            *(f"| {name} | {count} | {promised:.4f} | {seen:.4f} |" for name, count, promised, seen in groups),
            "",
            "## Verdict of the gate",
            found.verdict.text,
            "",
            "## Limits",
            "- It says who is likely to buy, not whom the message will move: for that, compare with the holdout.",
            "- An offer made after training is placed by its text, category, discount and price.",
            "- A customer of whom nothing is known gets what strangers bought.",
            "",
        ]
    )
