"""Scores as decisions and `opportune score` make them, beside `Booster.predict` on rows that are ready.

First that they are equal to the bit, then CPU time of this process (LightGBM with one thread). A customer's scores
are made of their features, pairs with offers and all; the Booster is handed the finished rows.
"""

from __future__ import annotations

import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import lightgbm
import numpy as np
import numpy.typing as npt

from features.customer_row import feature_matrix
from features.offers import OfferInfo
from features.rows import CustomerRow, open_online
from models.load import load
from models.next_offer import NextOfferModel, responses_of
from models.offer_features import CUSTOMER, PAIR
from models.offer_stages import moved
from models.response import ResponseHead
from models.trees import parse_trees
from service.decisions.assortment import assortment
from service.offers.catalogue import CatalogueCache
from service.storage.database import Database
from tests.bench.decision_home import CHANNELS, customer_ids
from tests.bench.loads import ROOT, outside, settings_of
from training.offer_fit import PARAMETERS

Floats = npt.NDArray[np.float64]
TOGETHER = 500
"""Customers weighed by one call, as `opportune score` does."""
LARGE_ROUNDS, LARGE_LEAVES, LARGE_CUSTOMERS = 500, 63, 2_000
AIM = 0.2
MILLION = 1_000_000
FEW = 100
"""Customers of the home by which is told what a command takes before the first of them."""


@dataclass(frozen=True, slots=True)
class Beside:
    """CPU seconds of the same scores of so many customers, ours and LightGBM's; `equal`: how many are, to the bit.

    `once`: those of ours that do not grow with the customers.
    """

    name: str
    customers: int
    scores: int
    ours: float
    booster: float
    equal: int | None = None
    once: float = 0.0

    def of_a_million(self) -> tuple[float, float]:
        """CPU seconds, ours and LightGBM's."""
        times = MILLION / self.customers
        return self.once + (self.ours - self.once) * times, self.booster * times


def ranker(home: Path) -> NextOfferModel:
    """The home's next-offer model."""
    model: NextOfferModel = load(home / "served" / "next-offer" / "1", "1")
    return model


def offers(home: Path) -> tuple[OfferInfo, ...]:
    """The home's catalogue, as the ranker is told of it."""
    database = Database(f"sqlite:///{home / 'state.db'}")
    try:
        with database.read() as connection:
            return assortment(CatalogueCache().current(connection).offers).infos
    finally:
        database.close()


def pair_rows(home: Path, requests: int) -> list[Floats]:
    """The 100 rows of each of some requests: two customers beside all 50 offers."""
    names = customer_ids()[: 2 * requests]
    rows = rows_of(home, names)
    pairs = ranker(home).weigh(rows, offers(home), CHANNELS).pairs
    return list(pairs.reshape(requests, -1, pairs.shape[2]))


def measure(home: Path, customers: int) -> list[Beside]:
    """The purchase trees alone, then with the response head over them, then the whole command."""
    model, infos = ranker(home), offers(home)
    alone = model.with_response(ResponseHead(), model.channels)
    both = _beside("and response head, 2 channels", model, home, infos, CHANNELS, customers)
    count, spent = _command(home)
    few, start = _command_on_few(home)
    once = start - (spent - start) / (count - few) * few
    return [
        _beside("purchase trees, 1 channel", alone, home, infos, CHANNELS[:1], customers),
        _beside(f"{LARGE_ROUNDS} trees of {LARGE_LEAVES} leaves in their place", _large(alone, home, infos), home,
                infos, CHANNELS[:1], min(customers, LARGE_CUSTOMERS)),
        both,
        Beside("`opportune score`, all of it", count, 0, spent, both.booster / customers * count, once=once),
    ]  # fmt: skip


def show(found: list[Beside]) -> None:
    """A table, with what a million customers would take."""
    print("\n| scores | customers | equal to the bit | CPU µs a customer | Booster.predict | ours / theirs | aim "
          "| CPU s of 1,000,000 customers, extrapolated |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    for one in found:
        equal = "" if one.equal is None else f"{one.equal:,} of {one.scores:,}"
        ours, theirs = one.of_a_million()
        print(
            f"| {one.name} | {one.customers:,} | {equal} | {one.ours / one.customers * 1e6:,.0f} | "
            f"{one.booster / one.customers * 1e6:,.0f} | {one.ours / one.booster:.2f} | {AIM:g} | "
            f"{ours:,.0f} beside {theirs:,.0f}: {ours / theirs:.2f} |"
        )


def _large(model: NextOfferModel, home: Path, infos: tuple[OfferInfo, ...]) -> NextOfferModel:
    """A ranker of the size behind the aim, where 100 rows cost the Booster 3 ms; fitted to made-up labels."""
    weighing = model.weigh(rows_of(home, customer_ids()[:400]), infos, CHANNELS[:1])
    pairs = weighing.pairs.reshape(-1, weighing.pairs.shape[2])
    labels = np.random.default_rng(5).random(len(pairs)) < 0.1 + 0.5 * weighing.probabilities.ravel()
    data = lightgbm.Dataset(pairs, labels.astype(float), feature_name=list(PAIR), params={"verbose": -1})
    parameters = PARAMETERS | {"num_leaves": LARGE_LEAVES, "max_depth": -1, "min_data_in_leaf": 20}
    text = lightgbm.train(parameters, data, LARGE_ROUNDS).model_to_string()
    return replace(model, trees=parse_trees(text), tree_text=text)


def _beside(
    name: str,
    model: NextOfferModel,
    home: Path,
    infos: tuple[OfferInfo, ...],
    channels: tuple[str, ...],
    customers: int,
) -> Beside:
    known = customer_ids()
    ours = theirs = 0.0
    equal = count = 0
    for start in range(0, customers, TOGETHER):
        names = [known[place % len(known)] for place in range(start, min(start + TOGETHER, customers))]
        rows = rows_of(home, names)
        spent, weighing = _timed(lambda rows=rows: model.weigh(rows, infos, channels))  # type: ignore[misc]
        ours += spent
        spent, told = _by_lightgbm(model, weighing.pairs, rows, infos, channels)
        theirs += spent
        equal += int((told.reshape(weighing.probabilities.shape) == weighing.probabilities).sum())
        count += told.size
    if equal != count:
        print(f"WRONG: {count - equal:,} of {count:,} scores differ from LightGBM's ({name})")
    return Beside(name, customers, count, ours, theirs, equal)


def _by_lightgbm(
    model: NextOfferModel,
    pairs: Floats,
    rows: list[CustomerRow | None],
    infos: tuple[OfferInfo, ...],
    channels: tuple[str, ...],
) -> tuple[float, Floats]:
    """CPU seconds of `Booster.predict(raw_score=True)` alone, and the probabilities that its scores give."""
    flat = pairs.reshape(-1, pairs.shape[2])
    spent, raw = _timed(lambda: _booster(model.tree_text).predict(flat, raw_score=True, num_threads=1))
    score = model.calibrated_purchase(raw.reshape(pairs.shape[:2])).ravel()
    ids = [info.offer_id for info in infos]
    of_channels = np.concatenate([model.channels.inputs(ids, channels, responses_of(row)) for row in rows])
    score = np.repeat(score, len(channels))
    inputs = np.column_stack([np.repeat(flat, len(channels), axis=0), of_channels.reshape(len(score), -1)])
    if not model.response.tree_text:
        return spent, model.response.probability(score, inputs)
    seen = np.column_stack([score, inputs])
    more, raw = _timed(lambda: _booster(model.response.tree_text).predict(seen, raw_score=True, num_threads=1))
    if model.response.stages is not None:  # on top of what trees tell
        stages = model.response.stages
        known = np.ones(len(rows), np.bool_)
        by_offer = moved(stages.inputs(feature_matrix(rows, CUSTOMER), known), stages.of(ids))
        raw = raw + np.repeat(by_offer.ravel(), len(channels))
    return spent + more, model.response.calibrated(raw)


_BOOSTERS: dict[str, lightgbm.Booster] = {}


def _booster(text: str) -> lightgbm.Booster:
    if text not in _BOOSTERS:
        _BOOSTERS[text] = lightgbm.Booster(model_str=text)
    return _BOOSTERS[text]


def _timed(run: Callable[[], Floats]) -> tuple[float, Floats]:
    before = time.process_time()
    result = run()
    return time.process_time() - before, result


def rows_of(home: Path, names: list[str]) -> list[CustomerRow | None]:
    """The features of these customers now."""
    online = open_online(str(home / "online.db"))
    try:
        rows = online.read(names, datetime.now(UTC))
    finally:
        online.close()
    if None in rows:
        raise RuntimeError("a customer of the home has no features, so this would measure something else")
    return rows


def _command(home: Path) -> tuple[int, float]:
    """Customers, and CPU seconds of `opportune score` from its start to its end."""
    before = _of_children()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "opportune", "score", "--out", f"{folder}/scores.parquet"]
        environment = outside() | settings_of(home)
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-2].replace(",", "")), _of_children() - before


def _command_on_few(home: Path) -> tuple[int, float]:
    """The same of a home with few of the customers: what starting takes."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "home"
        shutil.copytree(home, copy)
        with closing(sqlite3.connect(copy / "state.db")) as state:
            state.execute(
                "DELETE FROM customers WHERE customer_id NOT IN (SELECT customer_id FROM customers LIMIT ?)", [FEW]
            )
            state.commit()
        return _command(copy)


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
