"""Learns from a randomized test what contact changes; reports, and registers a model where customers differ in it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from features.event_log import EventLog
from features.files import write_bytes, write_whole
from features.leftovers import scratch
from models.load import write_golden
from models.uplift import PREFIX, Money, UpliftModel, uplift_name
from training import tracking
from training.datasets import fingerprint
from training.drift import keep_reference
from training.feature_list import feature_list
from training.gate import Findings, Verdict
from training.train import Progress, TrainResult, keep
from training.uplift_data import OUTCOME, TREATED, OfFile, OfLog, Study, TooFew, from_file, from_log
from training.uplift_judge import Judgement, balance, judge
from training.uplift_learners import LEARNERS, Trial
from training.uplift_report import as_json, average, plot, policies, say, segments, usual

GOLDEN_ROWS = 50
DEFAULT_TEST = OfLog()
REPORTS = Path("reports") / "uplift"


class NotRandomized(ValueError):
    """Treatment can be told from what was known before: the groups differ by more than chance."""


def train_uplift(
    home: Path,
    tracking_uri: str,
    placement: str,
    *,
    test: OfFile | OfLog = DEFAULT_TEST,
    value: float | None = None,
    cost: float | None = None,
    as_of: datetime | None = None,
    progress: Progress | None = None,
) -> tuple[TrainResult, dict[str, Any]]:
    """Learns uplift at `placement` from the decision log, or under that name from a user's own test.

    Writes `home`/reports/uplift/NAME.json and NAME.png, logs the run, and registers opportune-uplift-NAME. The version
    becomes champion only where the Qini interval lies above 0. `value` (of an outcome) and `cost` (of a contact)
    default to the catalogue's means of an offer, and without a catalogue to 1 and nothing. Returns the result and the
    report; with too little data there is no version, and the verdict says what is needed. Raises ValueError for a file
    that cannot be read, NotRandomized.
    """
    name = uplift_name(placement).removeprefix(PREFIX)
    show = progress or (lambda what, share: None)
    place = tracking.Tracking.at(tracking_uri, home)
    place.must_answer()
    with tracking.training_lock(home, PREFIX + name):
        log, now = EventLog(home / "events"), as_of or datetime.now(UTC)
        try:
            if isinstance(test, OfFile):
                study = from_file(test.path, test.columns, home, log)
            else:
                study = from_log(home, log, placement, test.outcome, test.horizon, now)
        except TooFew as shortage:
            result = TrainResult(PREFIX + name, None, False, str(shortage))
            keep(result, home)
            return result, {"name": name, "verdict": result.verdict, "usable": False}
        model, judged, report, verdict = learn(study, name, typical(home, value, cost), show)
        verdict += "" if judged.usable else _of_before(place, model.name)
        version = _register(home, place, study, model, judged, report, verdict)
        show(f"{PREFIX}{name}: logging", 1.0)
        metrics = {"qini": judged.qini.value, "average_uplift": report["average_uplift"]["value"]}
        rivals = {rival: {"qini": one.value} for rival, one in {**judged.learners, **judged.rivals}.items()}
        result = TrainResult(PREFIX + name, version, judged.usable, verdict, metrics, rivals)
        told = {"name": name, "version": version, "at": now.isoformat(), "verdict": verdict, **report}
        _write(home, name, told, study.trial, judged)
        keep(result, home)
        return result, told


def learn(
    study: Study, name: str, money: Money, progress: Progress = lambda what, share: None
) -> tuple[UpliftModel, Judgement, dict[str, Any], str]:
    """The model fitted on the whole test, how it was judged, the report's values and the verdict.

    Raises NotRandomized.
    """
    # One thread: the same bits on any number of cores, and no threads that spin while others work.
    with threadpool_limits(1, user_api="blas"):
        return _learn(study, name, money, progress)


def _learn(
    study: Study, name: str, money: Money, progress: Progress
) -> tuple[UpliftModel, Judgement, dict[str, Any], str]:
    trial = study.trial
    checked = balance(trial)
    if not checked.random:
        raise NotRandomized(
            f"the treated can be told from the others by what was known before (AUC {checked.auc:.3f}, "
            f"{checked.errors:.1f} standard errors from chance; {study.of}): treatment was not random, or a column was "
            "set after it. Leave such columns out with --ignore"
        )
    judged = judge(trial, lambda share: progress(f"{PREFIX}{name}: learners", share))
    found, ways = segments(trial, judged, money), policies(trial, judged, money)
    verdict = say(judged, ways, found)
    report = {
        "of": study.of,
        "outcome": study.outcome,
        "horizon_days": study.horizon_days,
        "without_the_right_to_profile": study.excluded,
        "inputs": [one.name for one in study.inputs],
        **as_json(trial, judged, checked, money, ways, found),
    }
    model = UpliftModel(
        name,
        study.inputs,
        LEARNERS[judged.chosen](trial),
        trial.before,
        average(trial).value,
        usual(trial),
        money,
        study.outcome,
        study.horizon_days,
        {"learner": judged.chosen, "rows": len(trial.outcome), "of": study.of, "qini": str(judged.qini)},
    )
    return model, judged, report, verdict


def typical(home: Path, value: float | None = None, cost: float | None = None) -> Money:
    """The money asked for; what is None is the catalogue's mean of an offer, or 1 and nothing without a catalogue."""
    path = home / "tables" / "offers.parquet"
    offers = pl.read_parquet(path, columns=["value", "cost"]) if path.exists() else pl.DataFrame()
    known = not offers.is_empty() and float(offers["value"].sum()) > 0
    usual = [float(np.mean(offers[name].to_numpy())) for name in ("value", "cost")] if known else [1.0, 0.0]
    return Money(usual[0] if value is None else value, usual[1] if cost is None else cost)


def _of_before(place: tracking.Tracking, name: str) -> str:
    """What an earlier test found stays; who reads that there is nothing must not believe it gone."""
    version = tracking.aliases(place, name).get(tracking.CHAMPION)
    if version is None:
        return ""
    return f"; version {version}, of an earlier test, stays champion: take that alias off in MLflow to end it"


def _register(
    home: Path,
    place: tracking.Tracking,
    study: Study,
    model: UpliftModel,
    judged: Judgement,
    report: Mapping[str, Any],
    verdict: str,
) -> str:
    frame = study.frame.select(model.columns)
    with scratch(home) as made:
        folder = Path(made) / "model"
        model.save(folder)
        write_golden(model, folder, frame.sample(min(GOLDEN_ROWS, frame.height), seed=3))
        drift = keep_reference(model, folder, frame, tracking.champion(place, model.name))
        return tracking.log_and_register(
            place,
            model.name,
            folder,
            Findings(
                metrics={
                    "qini": judged.qini.value,
                    "qini.low": judged.qini.low,
                    "qini.high": judged.qini.high,
                    "average_uplift": report["average_uplift"]["value"],
                    "usable": float(judged.usable),
                },
                rivals={name: {"qini": one.value} for name, one in {**judged.learners, **judged.rivals}.items()},
                verdict=Verdict(judged.usable, verdict),
            ),
            params={
                "learner": judged.chosen,
                "outcome": study.outcome,
                "horizon_days": study.horizon_days,
                "rows": report["rows"],
                "inputs": len(study.inputs),
                "value": model.money.value,
                "cost": model.money.cost,
            },
            tags={"opportune.usable": str(judged.usable).lower()},
            figures={"qini.png": plot(study.trial, judged), **drift},
            texts={
                "card.md": _card(model, report, verdict),
                "report.json": orjson.dumps(dict(report)).decode(),
                "features.txt": feature_list(model.columns),
            },
            example=frame.head(5),
            data={
                "digest": fingerprint(study.frame.select("customer_id", TREATED, OUTCOME, *_numbers(frame))),
                "rows": report["rows"],
                "of": study.of,
            },
        )


def _numbers(frame: pl.DataFrame) -> list[str]:
    """Columns that a fingerprint can take."""
    return [name for name, kind in frame.schema.items() if kind.is_numeric() or kind in (pl.Boolean, pl.String)]


def _write(home: Path, name: str, report: Mapping[str, Any], trial: Trial, judged: Judgement) -> None:
    text = orjson.dumps(dict(report), option=orjson.OPT_INDENT_2)
    write_whole(home / REPORTS / f"{name}.png", lambda draft: plot(trial, judged).savefig(draft, format="png"))
    write_bytes(home / REPORTS / f"{name}.json", text)


def _card(model: UpliftModel, report: Mapping[str, Any], verdict: str) -> str:
    rows = [
        f"| {one['name'].replace('_', ' ')} | {one['customers']} | {one['predicted']:.4f} | "
        f"{one['observed']['value']:.4f} ({one['observed']['low']:.4f} to {one['observed']['high']:.4f}) | "
        f"{one['worth']['value']:,.2f} |"
        for one in report["segments"]
    ]
    table = ["| segment | customers | predicted | observed | earned by contact |", "|---|---|---|---|---|", *rows]
    compared = [
        f"| {name} | {one['value']:.4f} | {one['low']:.4f} to {one['high']:.4f} |"
        for name, one in {**report["learners"], **report["rivals"]}.items()
    ]
    return "\n".join(
        [
            f"# opportune-{model.name}: what contact changes",
            "",
            "## Purpose",
            f"The change of the probability of '{model.outcome}' by contact ({report['of']}).",
            "For choosing whom to contact. Not for prices, credit, or anything with legal effect on a person.",
            "",
            "## Verdict",
            verdict,
            "",
            "## How good, on customers it had not seen",
            "Qini as scikit-uplift defines it, nested cross-fitting, medians over splits:",
            f"{model.trained['qini']}. Alone:",
            "| learner | Qini | interval |",
            "|---|---|---|",
            *compared,
            "",
            *(["## Segments", *table, ""] if rows else []),
            "## Limits",
            "- It holds for the kind of contact and customer of the test; test again when either changes.",
            "- Customers who may not be profiled are neither learnt from nor scored.",
            "",
        ]
    )
