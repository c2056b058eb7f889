"""Propensity models on public data beside their rivals: `make bench-models`, data by OPPORTUNE_BENCH_DATA.

Every protocol makes a training set and hands it to `training.learn.learn`, which is what `opportune train` uses, and
scores the later rows with the model that would be served. OPPORTUNE_BENCH_ONLY names some of the protocols.
"""

from __future__ import annotations

import gzip
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from features.build import compute
from features.catalogue import FEATURE_NAMES
from features.tables import EVENTS
from models import churn
from models.bgnbd import Purchases
from models.calibration import sigmoid
from models.declaration import Declaration, Goal, Rule
from models.linear import squeeze
from models.propensity import PropensityModel
from service.events.frame import events_frame
from service.events.normalize import Rules, normalize
from training.assemble import Learnt, final_model
from training.bgnbd import fit_bgnbd, log_likelihood
from training.datasets import Period, TrainingSet, covered_features
from training.demo.complete_journey import convert
from training.gate import compare
from training.labels import goal_events, label
from training.learn import learn
from training.metrics import Estimate, estimates, log_losses
from training.purchases import COLUMNS, purchases_at, purchases_of

Floats = npt.NDArray[np.float64]
DAY = timedelta(days=1)
START = datetime(2001, 1, 1, tzinfo=UTC)
YEAR_DAYS = 364
FIGURES = {
    "auc": "AUC",
    "average_precision": "average precision",
    "log_loss": "log loss",
    "brier": "Brier",
    "ece": "ECE",
    "top_decile_lift": "lift in the top tenth",
}


@dataclass(frozen=True)
class Aim:
    """What a protocol asks for: a figure, at least or at most so much, and the references measured elsewhere."""

    figure: str
    bound: float
    least: bool = True

    def said(self, found: Estimate) -> str:
        reached = found.value >= self.bound if self.least else found.value <= self.bound
        sign, verdict = ">=" if self.least else "<=", "reached" if reached else "MISSED"
        return f"aim: {self.figure} {sign} {self.bound}; {found.value:.4f}, {verdict}"


def main() -> None:
    folder = os.environ.get("OPPORTUNE_BENCH_DATA")
    only = os.environ.get("OPPORTUNE_BENCH_ONLY", "")
    for protocol in (journey, bank_by_time, bank_rolling, telco, retail, cdnow):
        if only and only not in protocol.__name__:
            continue
        print(f"\n### {(protocol.__doc__ or '').splitlines()[0]}", flush=True)
        started = time.process_time()
        with threadpool_limits(1):
            protocol(Path(folder) if folder else None)
        print(f"({time.process_time() - started:.0f} CPU-seconds)", flush=True)


def missing(path: Path | None, *parts: str) -> Path | None:
    """The file under the bench's data, or None with a message."""
    found = None if path is None else path.joinpath(*parts)
    if found is None or not found.exists():
        print(f"skipped: {'/'.join(parts)} is not there; set OPPORTUNE_BENCH_DATA to the folder that holds it")
        return None
    return found


def table(
    labels: Floats, told: dict[str, Floats], references: str, aims: Sequence[Aim], people: Sequence[str] | None = None
) -> None:
    """Prints each model's figures with 95% bootstrap intervals, the references, and whether aims are reached."""
    found = {name: estimates(labels, p, people) for name, p in told.items()}
    print("| | " + " | ".join(FIGURES.values()) + " |\n" + "|---" * (len(FIGURES) + 1) + "|")
    for name, row in found.items():
        cells = (row[key] for key in FIGURES)
        print(f"| {name} | " + " | ".join(f"{one.value:.4f} ({one.low:.3f} to {one.high:.3f})" for one in cells) + " |")
    print(f"references: {references}")
    for rival in [name for name in told if name != "opportune"]:
        gain = compare(rival, -log_losses(labels, told["opportune"]), -log_losses(labels, told[rival]), people)
        print(f"log loss less than {rival}'s by {gain.gain:.4f} ({gain.low:+.4f} to {gain.high:+.4f}), "
              f"in {gain.ahead:.0%} of resamples")  # fmt: skip
    for aim in aims:
        print(aim.said(found["opportune"][aim.figure]))


def chosen(learnt: Learnt) -> None:
    """With -v: what the training chose."""
    if "-v" in sys.argv:
        recipe, dated = learnt.recipe, ", ".join(learnt.dated) or "none"
        print(f"  trees' share {recipe.mix}, {recipe.rounds} rounds, {recipe.calibration.kind}; told the date: {dated}")


def fitted(
    frame: pl.DataFrame, features: Sequence[str], categories: Sequence[str], horizon: timedelta
) -> PropensityModel:
    """The model that `opportune train` would serve, learnt from a frame with customer_id, as_of, label and features."""
    declaration = Declaration("bench", "bench", (), Goal("bench"), horizon // DAY, features[0], tuple(features),
                              categories=tuple(categories))  # fmt: skip
    made = frame.with_columns(member=pl.lit(True)).sort("as_of", "customer_id")
    cuts = tuple(made["as_of"].unique().sort().to_list())
    data = TrainingSet(made, tuple(features), cuts, Period(cuts[0], cuts[-1], cuts[-1], 0), made.height, 0)
    learnt = learn(declaration, data, lambda what, share: None)
    chosen(learnt)
    return final_model(declaration, data, learnt)


def logistic(train: Floats, labels: Floats, test: Floats) -> Floats:
    """The plain rival: scikit-learn's logistic regression on standardized numbers and flags."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=2000))
    return np.asarray(model.fit(train, labels).predict_proba(test)[:, 1], np.float64)


def coded(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str], Floats]:
    """Numbers as they are and texts as codes, the names of the coded, and the same with a flag for each text."""
    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    codes = frame.with_columns(pl.col(texts).rank("dense").cast(pl.Float64)).cast(pl.Float64)
    flags = frame.to_dummies(texts).cast(pl.Float64).fill_null(0.0)
    return codes, texts, flags.to_numpy()


def at_steps(codes: pl.DataFrame, labels: Floats, steps: npt.NDArray[np.int64], days: int) -> pl.DataFrame:
    """A frame to learn from: row i belongs to the cut at `steps[i]` times `days`."""
    when = pl.Series("as_of", [START + int(step) * days * DAY for step in steps], dtype=pl.Datetime("us", "UTC"))
    people = pl.Series("customer_id", [f"{place:06d}" for place in range(len(steps))])
    return codes.with_columns(people, when, pl.Series("label", labels.astype(np.int8)))


# --- Bank Marketing ---------------------------------------------------------------------------------------------------
def bank(path: Path) -> tuple[pl.DataFrame, Floats]:
    content = pl.read_csv(gzip.decompress(path.read_bytes()), separator=";", infer_schema_length=None)
    return content.drop("y", "duration"), (content["y"] == "yes").cast(pl.Float64).to_numpy()


BANK = ("bank_marketing", "bank-additional-full.csv.gz")


def bank_by_time(folder: Path | None) -> None:
    """Bank Marketing without `duration`, by time: learnt from the first 70%, scored on the rest"""
    path = missing(folder, *BANK)
    if path is None:
        return
    frame, labels = bank(path)
    codes, texts, flags = coded(frame)
    until = int(len(labels) * 0.7)
    # The first 70% are a year (May 2008 to April 2009): twelve cuts, a third of a year ahead of what is scored.
    blocks = np.arange(until) * 12 // until
    model = fitted(at_steps(codes[:until], labels[:until], blocks, 30), codes.columns, texts, 120 * DAY)
    told = {
        "opportune": model.predict(codes[until:]),
        "trees alone": sigmoid(model.trees.raw_score(model.matrix(codes[until:]))),
        "logistic": logistic(flags[:until], labels[:until], flags[until:]),
    }
    table(labels[until:], told, "AUC logistic .667, LightGBM .628", [Aim("auc", 0.667)])


def bank_rolling(folder: Path | None) -> None:
    """Bank Marketing without `duration`, a rolling window of 20,000 rows, learnt again every 500"""
    path = missing(folder, *BANK)
    if path is None:
        return
    frame, labels = bank(path)
    codes, texts, flags = coded(frame)
    window, step = 20_000, 500
    days = YEAR_DAYS // (window // step)  # the window stands for the product's year of cuts
    told: dict[str, list[Floats]] = {"opportune": [], "logistic": []}
    for at in range(window, len(labels), step):
        past, now = slice(at - window, at), slice(at, at + step)
        steps = np.arange(window) // step
        model = fitted(at_steps(codes[past], labels[past], steps, days), codes.columns, texts, days * DAY)
        told["opportune"].append(model.predict(codes[now]))
        told["logistic"].append(logistic(flags[past], labels[past], flags[now]))
    joined = {name: np.concatenate(parts) for name, parts in told.items()}
    table(labels[window:], joined, "AUC LightGBM .782, logistic .740", [Aim("auc", 0.782)])


# --- Telco ------------------------------------------------------------------------------------------------------------
def telco(folder: Path | None) -> None:
    """Telco churn, 5 folds drawn at random"""
    path = missing(folder, "telco", "Telco-Customer-Churn.csv.gz")
    if path is None:
        return
    content = pl.read_csv(gzip.decompress(path.read_bytes()))
    labels = (content["Churn"] == "Yes").cast(pl.Float64).to_numpy()
    frame = content.drop("Churn", "customerID").with_columns(pl.col("SeniorCitizen").cast(pl.Float64))
    codes, texts, flags = coded(frame)
    told = {"opportune": np.zeros(len(labels)), "logistic": np.zeros(len(labels))}
    for train, test in StratifiedKFold(5, shuffle=True, random_state=1).split(codes, labels):
        # There is no time here: rows come in random order, and one step is a day, which takes no weight from any.
        steps = np.random.default_rng(2).permutation(len(train)) * 8 // len(train)
        model = fitted(at_steps(codes[train], labels[train], steps, 1), codes.columns, texts, DAY)
        told["opportune"][test] = model.predict(codes[test])
        told["logistic"][test] = logistic(flags[train], labels[train], flags[test])
    table(labels, told, "AUC LightGBM regularized .8496, logistic .8454, LightGBM default .8368", [Aim("auc", 0.8496)])


# --- Shops ------------------------------------------------------------------------------------------------------------
def shop_set(events: pl.DataFrame, declaration: Declaration, cuts: Sequence[datetime], since: datetime) -> TrainingSet:
    """Members of the population at each cut, as `training.datasets` makes them, from events in memory."""
    first = events.group_by("customer_id").agg(first=pl.col("timestamp").min())
    dates = pl.DataFrame({"as_of": list(cuts)}, schema={"as_of": pl.Datetime("us", "UTC")})
    everyone = first.join(dates, how="cross").filter(pl.col("first") < pl.col("as_of")).select("customer_id", "as_of")
    known = compute(events, everyone)
    member = pl.Series("member", declaration.applies(known))
    happened = goal_events(events, declaration.goal)
    rows = label(everyone.with_columns(member), happened, declaration.goal, declaration.horizon)
    bought = purchases_at(happened, everyone)
    frame = pl.concat([rows, bought, known.select(FEATURE_NAMES)], how="horizontal").filter("member")
    purchases = pl.concat([everyone.select("as_of"), bought], how="horizontal").drop_nulls()
    features = covered_features(declaration.inputs, min(cuts) - since)
    end = max(cuts) + declaration.horizon
    return TrainingSet(frame.sort("as_of", "customer_id"), features, tuple(cuts), Period(since, end, end, 0),
                       first.height, 0, purchases)  # fmt: skip


def shop(
    events: pl.DataFrame,
    declaration: Declaration,
    cuts: Sequence[datetime],
    tests: Sequence[datetime],
    references: str,
    aims: Sequence[Aim],
) -> None:
    """Learns from matured cuts before each test cut, scores the population at it, prints the table."""
    since = events["timestamp"].quantile(0.005, "lower")
    assert isinstance(since, datetime), "no events"
    told: dict[str, list[Floats]] = {"opportune": [], "logistic": [], "bg_nbd": [], "recency": []}
    labels: list[Floats] = []
    people: list[str] = []
    for cut in tests:
        train = [one for one in cuts if one + declaration.horizon <= cut]
        both = shop_set(events, declaration, [*train, cut], since)
        data = TrainingSet(both.frame.filter(pl.col("as_of") < cut), both.features, tuple(train), both.period,
                           both.customers, 0, both.purchases)  # fmt: skip
        test = both.frame.filter(pl.col("as_of") == cut)
        learnt = learn(declaration, data, lambda what, share: None)
        model = final_model(declaration, data, learnt)
        rows, past = (model.matrix(one)[:, : len(model.features)] for one in (test, data.frame))
        assert both.purchases is not None
        buys = fit_bgnbd(purchases_of(both.purchases.filter(pl.col("as_of") == cut)))
        told["opportune"].append(model.predict(test))
        told["logistic"].append(logistic(np.nan_to_num(squeeze(past)), data.labels, np.nan_to_num(squeeze(rows))))
        told["bg_nbd"].append(1 - buys.buys_within(purchases_of(test.select(COLUMNS)), declaration.horizon / DAY))
        plain = test.select(declaration.baseline).to_numpy()
        told["recency"].append(sigmoid(learnt.members.baseline.raw_score(plain)))
        labels.append(test["label"].cast(pl.Float64).to_numpy())
        people += test["customer_id"].to_list()
        chosen(learnt)
    seen, joined = np.concatenate(labels), {name: np.concatenate(parts) for name, parts in told.items()}
    print(f"{len(seen)} rows, {seen.mean():.3f} churned; {len(tests)} test cuts")
    table(seen, joined, references, aims, people)


def journey(folder: Path | None) -> None:
    """Complete Journey, churn in 56 days: learnt from cuts until 2017-08-31, scored on 2017-11-05"""
    try:
        with tempfile.TemporaryDirectory() as scratch:
            events = journey_events(Path(scratch))
    except FileNotFoundError as absent:
        print(f"skipped: {absent}")
        return
    last, test = datetime(2017, 8, 31, tzinfo=UTC), datetime(2017, 11, 5, tzinfo=UTC)
    cuts = [last - 14 * DAY * step for step in range(12)][::-1]
    references = "AUC LightGBM regularized .882, logistic .880, BG/NBD .875, LightGBM default .865, recency .835"
    aims = [Aim("auc", 0.882), Aim("ece", 0.03, least=False)]
    print("everybody who has ordered before, which is the population of the references:")
    everybody = replace(churn.DECLARATION, population=(Rule("orders_total >= 1"),))
    shop(events, everybody, cuts, [test], references, aims)
    print("\nthe active alone (an order in the last 56 days), which is whom the product scores:")
    shop(events, churn.DECLARATION, cuts, [test], "none", [])


def journey_events(folder: Path) -> pl.DataFrame:
    """The wheel's data as the demo writes it, unshifted, through the service's own reading of messages."""
    convert(folder, date(2018, 1, 1))
    rules, now = Rules(), datetime(2018, 1, 1, tzinfo=UTC)
    return pl.concat(
        events_frame(
            [normalize(orjson.loads(line), rules, now, imported=True) for line in path.read_bytes().splitlines()]
        )
        for path in sorted(folder.glob("*.jsonl"))
        if path.stem != "offers"
    )


def retail(folder: Path | None) -> None:
    """Online Retail, churn in 56 days, rolling: scored on five dates 28 days apart, learnt from what had matured"""
    path = missing(folder, "online_retail", "online_retail.parquet")
    if path is None:
        return
    cents = (pl.col("UnitPrice") * 100).round().cast(pl.Int64)
    product = pl.struct(
        product_id="StockCode",
        category=pl.col("StockCode").str.slice(0, 3),
        price_cents=cents,
        quantity=pl.col("Quantity"),
        discount_cents=pl.lit(0, pl.Int64),
    )
    events = (
        pl.read_parquet(path)
        .filter(pl.col("CustomerID").is_not_null() & (pl.col("Quantity") > 0) & (pl.col("UnitPrice") > 0))
        .with_columns(pl.col("CustomerID").cast(pl.String), pl.col("InvoiceDate").dt.replace_time_zone("UTC"))
        .group_by(customer_id="CustomerID", order_id="InvoiceNo")
        .agg(timestamp=pl.col("InvoiceDate").min(), revenue_cents=(cents * pl.col("Quantity")).sum(), products=product)
        .sort("timestamp", "order_id")
        .with_columns(received_at="timestamp", message_id="order_id", type=pl.lit("track"),
                      event=pl.lit("Order Completed"), properties=pl.lit("{}"))
    )  # fmt: skip
    last = datetime(2011, 10, 14, tzinfo=UTC)  # the data ends on 2011-12-09
    cuts = [last - 14 * DAY * step for step in range(20)][::-1]
    tests = [last - 28 * DAY * step for step in range(5)][::-1]
    shop(EVENTS.conform(events), churn.DECLARATION, cuts, tests, "none; to beat: BG/NBD and logistic in this run", [])


def cdnow(folder: Path | None) -> None:
    """BG/NBD on CDNOW's 2,357 customers, against the published parameters"""
    path = missing(folder and folder.parent, "vectors", "fader_hardie", "cdnow_customers_summary.csv")
    if path is None:
        return
    frame = pl.read_csv(path)
    x, t_x, t = (frame[name].cast(pl.Float64).to_numpy() for name in ("frequency", "recency", "T"))
    found = fit_bgnbd(Purchases(x, t_x, t))
    total = float(log_likelihood(found, Purchases(x, t_x, t)).sum())
    print(f"r {found.r:.4f}, alpha {found.alpha:.4f}, a {found.a:.4f}, b {found.b:.4f}, log-likelihood {total:.1f}")
    print("references: r .2426, alpha 4.4135, a .7929, b 2.4258, log-likelihood -9582.4")


if __name__ == "__main__":
    main()
