"""Training sets of made-up numbers, without events: two features that matter, one that tells the date, one code."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from models.calibration import sigmoid
from models.declaration import Declaration, Goal
from training.datasets import Period, TrainingSet

START = datetime(2025, 1, 6, tzinfo=UTC)
FEATURES = ("age", "visits", "price_index", "plan")
DECLARED = Declaration("made_up", "made up", (), Goal("bought"), 14, "visits", FEATURES, categories=("plan",))


def made_up(cuts: int = 8, customers: int = 250, seed: int = 1, drift: float = 1.0) -> TrainingSet:
    """`price_index` rises from cut to cut by `drift` and has nothing to do with the outcome but by chance."""
    random = np.random.default_rng(seed)
    n = cuts * customers
    cut = np.repeat(np.arange(cuts), customers)
    age, visits, plan = random.normal(0, 1, n), random.gamma(1.0, 3.0, n), random.integers(0, 4, n).astype(float)
    effect = np.array([0.0, 1.2, -1.2, 0.4])[plan.astype(int)]
    labels = (random.random(n) < sigmoid(age + 0.3 * visits - 2 + effect)).astype(np.int8)
    index = drift * cut + random.normal(0, 0.01, n) if drift else random.normal(0, 1, n)
    times = [START + 14 * int(step) * timedelta(days=1) for step in cut]
    frame = pl.DataFrame(
        {
            "customer_id": [f"c{place % customers:04d}" for place in range(n)],
            "as_of": pl.Series(times, dtype=pl.Datetime("us", "UTC")),
            "member": [True] * n,
            "label": labels,
            "age": age,
            "visits": visits,
            "price_index": index,
            "plan": np.where(random.random(n) < 0.05, np.nan, plan),
        }
    ).sort("as_of", "customer_id")
    dates = tuple(frame["as_of"].unique().sort().to_list())
    return TrainingSet(frame, FEATURES, dates, Period(dates[0], dates[-1], dates[-1], 0), customers, 0)
