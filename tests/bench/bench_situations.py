"""What learning from situations brings: `make bench-situations`. Needs no data.

20 offers on 4 pages, 3% convert; how an offer does hangs on the page as much as on the offer (or, beside it, not at
all). The online layer over a model that tells nobody apart draws by SquareCB, 50,000 showings in batches of 500: gap
closed from showing any offer to showing each page's best, over all showings, with the page declared and without.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.layered import OWN, SHARED_WIDTH, begun, first_priors, with_situations
from models.online_layer import Lessons
from training.world.bandits import squarecb

Floats = npt.NDArray[np.float64]
OFFERS, PAGES, SHOWINGS, BATCH, BASE = 20, 4, 50_000, 500, -3.6
SEEDS = (1, 2, 3, 4, 5)


def truth_of(seed: int, strength: float) -> Floats:
    """P(convert), (pages, offers)."""
    random = np.random.default_rng([seed, 7])
    level, quality = random.normal(0, 0.4, (PAGES, 1)), random.normal(0, 0.5, OFFERS)
    return np.asarray(1 / (1 + np.exp(-(BASE + level + quality + random.normal(0, strength, (PAGES, OFFERS))))))


def closed(seed: int, truth: Floats, declared: bool) -> float:
    """The part of the gap that showings closed."""
    random = np.random.default_rng([seed, 8])
    names = tuple(f"page={page}" for page in range(PAGES)) if declared else ()
    offers = tuple(f"o{offer}" for offer in range(OFFERS))
    layer, reached, even, best = begun(b"", names), 0.0, 0.0, 0.0
    for _ in range(SHOWINGS // BATCH):
        page = random.integers(0, PAGES, BATCH)
        values = np.full((BATCH, OFFERS), BASE) + layer.weights.shared[0] + layer.weights.own_of(offers)[:, 0]
        if declared:
            values += (layer.weights.shared[SHARED_WIDTH:] + layer.weights.own_of(offers)[:, 1 + len(OWN) :]).T[page]
        chances = squarecb(1 / (1 + np.exp(-values)), 8.0 * (1 + layer.seen / 50_000), 0.02)
        drawn = (chances.cumsum(axis=1) > random.random((BATCH, 1))).argmax(axis=1)
        label = (random.random(BATCH) < truth[page, drawn]).astype(np.float64)
        shared, own = np.zeros((BATCH, SHARED_WIDTH)), np.zeros((BATCH, 1 + len(OWN)))
        shared[:, 0] = own[:, 0] = 1.0
        if declared:
            shared, own = with_situations(shared, own, np.eye(PAGES)[page], np.zeros(BATCH, np.bool_))
        told = Lessons(shared, own, [offers[one] for one in drawn], np.full(BATCH, BASE), label, np.ones(BATCH))
        layer = layer.learn(told).tuned(first_priors(len(names)))
        reached += truth[page, drawn].sum()
        even += truth[page].mean(axis=1).sum()
        best += truth[page].max(axis=1).sum()
    return float((reached - even) / (best - even))


def main() -> None:
    print("| how far the page moves an offer | page declared | not declared |")
    print("|---|---|---|")
    for strength in (0.7, 0.3, 0.0):
        found = {
            declared: [closed(seed, truth_of(seed, strength), declared) for seed in SEEDS] for declared in (True, False)
        }
        print(f"| {strength:g} | {np.mean(found[True]):.2f} | {np.mean(found[False]):.2f} |", flush=True)


if __name__ == "__main__":
    main()
