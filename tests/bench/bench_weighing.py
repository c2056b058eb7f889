"""CPU that models take in a decision, by part, compiled and in numpy. Run: make bench-weighing

Batches of 16 customers as decisions make them, 50 offers on 2 channels, each row read anew; of each part the least of
some rounds, since whatever else runs here only adds. BENCH_HOME=DIR keeps the home for the next run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from models.kernel import KERNEL
from models.load import load
from tests.bench import scores
from tests.bench.decision_home import CHANNELS, customer_ids
from tests.bench.homes import in_both_ways

BATCH, BATCHES, ROUNDS, ACTIONS, REASONS = 16, 60, 7, 5, 3
PROPENSITIES = ("churn", "winback", "lead")
INSIDE = "BENCH_INSIDE"


def least(home: Path, part: Callable[[Any], object], prepare: Callable[[list[Any]], Any]) -> float:
    """CPU µs a decision of `part`, called with what `prepare` makes of a batch of rows."""
    names, found = customer_ids()[: BATCH * BATCHES], []
    for _ in range(ROUNDS):
        rows = scores.rows_of(home, names)
        ready = [prepare(rows[at : at + BATCH]) for at in range(0, len(rows), BATCH)]
        start = time.process_time()
        for one in ready:
            part(one)
        found.append((time.process_time() - start) / len(rows) * 1e6)
    return min(found)


def measure(home: Path) -> None:
    """One line of the table."""
    model, infos = scores.ranker(home), scores.offers(home)
    random = np.random.default_rng(3)

    def asked(rows: list[Any]) -> tuple[Any, list[tuple[int, int, int]]]:
        offers = [random.choice(len(infos), ACTIONS, replace=False).tolist() for _ in rows]
        wanted = [(at, offer, offer % len(CHANNELS)) for at, some in enumerate(offers) for offer in some]
        return model.weigh(rows, infos, CHANNELS), wanted

    def decoded(rows: list[Any]) -> list[Any]:
        model.weigh(rows, infos, CHANNELS)
        return rows

    weighing, known = (least(home, lambda rows: model.weigh(rows, infos, CHANNELS), how) for how in (list, decoded))
    reasons = least(home, lambda one: one[0].told_of(one[1], REASONS), asked)
    others: list[Any] = [load(home / "served" / name / "1", "1") for name in PROPENSITIES]
    propensities = least(home, lambda rows: [other.probabilities(rows) for other in others], list)
    how = "in numpy" if KERNEL is None else "compiled"
    print(f"| {how} | {weighing:.0f} | {known:.0f} | {reasons:.0f} | {propensities:.0f} |", flush=True)


def main() -> None:
    """Prints the table; measures in a process of its own each way."""
    if INSIDE in os.environ:
        measure(Path(os.environ[INSIDE]))
        return
    columns = "CPU µs a decision", "probabilities", "of rows decoded before", "reasons", "three propensities"
    in_both_ways("tests.bench.bench_weighing", INSIDE, *columns)


if __name__ == "__main__":
    main()
