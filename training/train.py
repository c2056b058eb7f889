"""Trains models by name, one after another; each is logged, registered and judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import cast

import orjson

from features.event_log import EventLog
from features.files import write_bytes
from models.declared import PROPENSITIES
from training.tracking import Tracking, aliases, training_lock
from training.tune import Tuning

Progress = Callable[[str, float], None]

PROPENSITY = "training.propensity:train_propensity"
TRAINERS: Mapping[str, str] = {
    **dict.fromkeys(PROPENSITIES, PROPENSITY),
    "send-time": "training.send_time:train_send_time",
    "next-offer": "training.next_offer:train_next_offer",
}
MODELS = tuple(TRAINERS)
NO_SCORE = "nobody has this score, and rules that ask for it do not hold"
FALLBACKS: Mapping[str, str] = {
    "send-time": "messages go at the next allowed hour",
    "next-offer": "offers are ranked by the rates of how they and offers like them were answered",
}
"""What stands in for a model that there is none of."""
SHOWN = ("ndcg_at_10", "recall_at_10", "auc", "average_precision", "log_loss", "ece", "top_decile_lift")


@dataclass(frozen=True, slots=True)
class Job:
    """What a trainer is given. `as_of`: what happened or arrived later is not known. `progress(what, share)`.

    `tuning`: how much to try for better parameters of the trees; None: nothing.
    """

    home: Path
    log: EventLog
    tracking: Tracking
    as_of: datetime
    progress: Progress
    tuning: Tuning | None = None


Trainer = Callable[[Job], "TrainResult"]


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What came out: a registered version, or None with the reason in `verdict`.

    `metrics` are the model's figures on later data, `rivals` the same figures of each rival, `intervals` their 95%
    bootstrap intervals by model and figure. `calibration` are points (promised, observed, rows), rising.
    """

    name: str
    version: str | None
    promoted: bool
    verdict: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    rivals: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    intervals: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    calibration: Sequence[tuple[float, float, int]] = ()


def train(
    names: Sequence[str],
    home: Path,
    tracking_uri: str,
    as_of: datetime | None = None,
    progress: Progress | None = None,
    tuning: Tuning | None = None,
) -> list[TrainResult]:
    """Trains each of `names` (see TRAINERS; `all` for every one) on the events in `home` as known at `as_of`.

    `as_of` defaults to now. Raises ValueError for an unknown name, TrackingError where a model is being trained, or
    MLflow's server does not answer.
    """
    chosen = expand(names)
    now = as_of or datetime.now(UTC)
    job = Job(home, EventLog(home / "events"), Tracking.at(tracking_uri, home), now, progress or _silent, tuning)
    job.tracking.must_answer()
    results = []
    for name in chosen:
        with training_lock(home, name):
            results.append(_with_fallback(_trainer(name)(job), job.tracking))
            keep(results[-1], home)
    return results


def _with_fallback(result: TrainResult, tracking: Tracking) -> TrainResult:
    """Where there is no new version: says what stands in for it."""
    if result.version is not None:
        return result
    path = Path(tracking.uri.removeprefix("sqlite:///"))
    known = not tracking.uri.startswith("sqlite:///") or path.exists()  # asking would make the file
    champion = aliases(tracking, result.name).get("champion") if known else None
    meanwhile = f"version {champion} serves on" if champion else FALLBACKS.get(result.name, NO_SCORE)
    return replace(result, verdict=f"{result.verdict}; meanwhile {meanwhile}")


def keep(result: TrainResult, home: Path) -> None:
    """Writes the result to `home`/reports/training/NAME.json, where reports find it."""
    text = orjson.dumps(asdict(result), option=orjson.OPT_INDENT_2)
    write_bytes(home / "reports" / "training" / f"{result.name}.json", text)


def expand(names: Sequence[str]) -> list[str]:
    """The models that `names` mean, each once. Raises ValueError naming unknown ones."""
    unknown = [name for name in names if name not in TRAINERS and name != "all"]
    if unknown or not names:
        raise ValueError(f"no model {', '.join(unknown) or 'named'}; choose from {', '.join(TRAINERS)} or all")
    return list(TRAINERS) if "all" in names else list(dict.fromkeys(names))


def say(result: TrainResult) -> str:
    """A line for a person, and below it the model's main figures beside its rivals'."""
    version = f"version {result.version}" if result.version else "no model"
    plain = [name for name in result.metrics if "." not in name]
    shown = [name for name in SHOWN if name in plain] or plain[:4]
    rows = {result.name: result.metrics, **result.rivals} if shown else {}
    widest = max([12, *(len(who) + 2 for who in rows)])
    lines = [
        f"  {who:<{widest}}" + "  ".join(f"{name} {figures[name]:.4f}" for name in shown if name in figures)
        for who, figures in rows.items()
    ]
    return "\n".join([f"{result.name}: {version}; {result.verdict}", *lines])


def _trainer(name: str) -> Trainer:
    module, _, function = TRAINERS[name].partition(":")
    trainer = getattr(import_module(module), function)
    return partial(trainer, PROPENSITIES[name]) if name in PROPENSITIES else cast("Trainer", trainer)


def _silent(what: str, share: float) -> None:
    pass
