"""Policies in the contextual world: `make bench-bandits`. Needs no data; Vowpal Wabbit if it is installed.

50,000 customers once each in batches of 500, 20 offers, 3% base rate, from no data at all; twelve worlds. Gap closed is
0 for showing any offer and 1 for the truly best, over all showings, those made for exploring too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from training.world.bandits import POLICIES, LinUcb, Policy, Run, compare
from training.world.contextual import CUSTOMERS, Bools, ContextualWorld, Floats, Ints

SEEDS = tuple(range(1, 13))
SETTINGS = {
    "VW squarecb": "--squarecb",
    "VW squarecb, gamma 100": "--squarecb --gamma_scale 100",
    "VW squarecb, gamma 1000": "--squarecb --gamma_scale 1000",
}


class VowpalWabbit:
    """`--cb_explore_adf --squarecb` on customer x offer features, as its manual has it; rewards as costs of -1."""

    def __init__(self, offers: Floats, options: str) -> None:
        import vowpalwabbit  # type: ignore[import-untyped]

        self._vw = vowpalwabbit.Workspace(f"--quiet --cb_explore_adf {options} --cb_type mtr -q CA -q CO")
        self._actions = [
            f"|A {' '.join(f'f{place}:{value:.4f}' for place, value in enumerate(offer))} |O o{number}"
            for number, offer in enumerate(offers)
        ]

    def probabilities(self, customers: Floats) -> Floats:
        told = [self._vw.predict([self._shared(customer), *self._actions]) for customer in customers]
        chances = np.array(told, np.float64)
        return np.asarray(chances / chances.sum(axis=1, keepdims=True), np.float64)

    def learn(self, customers: Floats, shown: Ints, converted: Bools, propensity: Floats) -> None:
        for customer, offer, good, chance in zip(customers, shown, converted, propensity, strict=True):
            lines = [self._shared(customer), *self._actions]
            lines[int(offer) + 1] = f"0:{-float(good)}:{chance:.6f} {lines[int(offer) + 1]}"
            self._vw.learn(lines)

    @staticmethod
    def _shared(customer: Floats) -> str:
        return "shared |C " + " ".join(f"c{place}:{value:.4f}" for place, value in enumerate(customer))


def rivals() -> dict[str, Callable[[Floats], Policy]]:
    """Ours first, then every rival with the settings that suit it best here."""
    found: dict[str, Callable[[Floats], Policy]] = dict(POLICIES)
    for alpha in (0.02,):
        found[f"LinUCB, alpha {alpha}"] = lambda offers, alpha=alpha: LinUcb(offers, alpha)  # type: ignore[misc]
    try:
        import vowpalwabbit
    except ImportError:
        print("Vowpal Wabbit is not installed, so it is left out: pip install vowpalwabbit")
        return found
    print(f"Vowpal Wabbit {vowpalwabbit.__version__}")
    for name, options in SETTINGS.items():
        found[name] = lambda offers, options=options: VowpalWabbit(offers, options)  # type: ignore[misc]
    return found


def lines(found: dict[str, list[Run]]) -> Iterator[str]:
    yield "| policy | gap closed | each world | last fifth | SNIPS / truth: uniform | greedy | effective showings |"
    yield "|---|---|---|---|---|---|---|"
    for name, runs in found.items():
        each = ", ".join(f"{one.closed:.3f}" for one in runs)
        cells: list[Any] = [f"{np.mean([one.closed for one in runs]):.3f}", each]
        cells.append(f"{np.mean([one.late for one in runs]):.3f}")
        if runs[0].snips_uniform is None:
            cells += ["draws nothing", "", ""]
        else:
            cells.append(", ".join(f"{one.snips_uniform:.2f}" for one in runs))
            cells.append(", ".join(f"{one.snips_greedy:.2f}" for one in runs))
            cells.append(f"{np.mean([one.effective for one in runs]):,.0f}")
        yield f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    for seed in SEEDS:
        world = ContextualWorld.draw(seed)
        print(f"world {seed}: {world.uniform:.3f} converts by chance, {world.perfect:.3f} at best")
    found: dict[str, list[Run]] = {}
    for name, make in rivals().items():
        before = time.process_time()
        found |= compare(SEEDS, {name: make}, CUSTOMERS)
        print(f"{name}: {time.process_time() - before:.0f} CPU-s", flush=True)
    print("\n".join(lines(found)))


if __name__ == "__main__":
    main()
