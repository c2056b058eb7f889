"""Whether what models see, say and promise is still what they were trained for, from the log of decisions.

- inputs and scores of recent decisions against the training set's, by the population stability index
  (models/reference.py has the formula and the bins, which are kept with each version);
- promises that are old enough against what happened, bin by bin of the promise;
- a challenger's shadow scores beside the champion's, on the same decisions.

Each customer counts once. A model without a reference (trained before there were any) and one of another kind is
named with the reason why it is not compared.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from models.reference import Reference
from models.registry import ServedModels
from service.clock import Clock, SystemClock
from service.decisions.drift_store import add_drift_check, latest_drift, read_shadow, responses
from service.decisions.served_vectors import ServedVector, sample, scores
from service.decisions.skew_store import any_between
from service.decisions.whole import left_out
from service.events.read_events import events_of
from service.storage.database import Database

if TYPE_CHECKING:
    from features.event_log import EventLog

log = logging.getLogger(__name__)
Floats = npt.NDArray[np.float64]

SAMPLE = 500
SPAN = timedelta(days=7)
MATURED_SPAN = timedelta(days=28)
LEAST_ROWS = 50
"""Below it a comparison is not made."""
BY_CHANCE = 0.001
"""How probable as many, or as few, outcomes are at most where promises count as broken; half of it for each."""
BINS = 10
_TICK = timedelta(microseconds=1)


class DriftCheck:
    """Checks samples of decisions against the served models."""

    def __init__(
        self, database: Database, event_log: EventLog, clock: Clock, models: ServedModels, attribution_days: float
    ) -> None:
        self._database = database
        self._log = event_log
        self._clock = clock
        self._models = models
        self._attribution = timedelta(days=attribution_days)

    def run(self, most: int = SAMPLE) -> dict[str, Any]:
        """Compares up to `most` decisions of the last seven days, keeps the report if any could be, and gives it."""
        began, now = time.perf_counter(), self._clock.now()
        self._models.refresh()
        with self._database.read() as connection:
            drawn = sample(connection, now - SPAN, now, most, now.timestamp())
        recent, damaged = drawn.vectors, set(drawn.damaged)
        names = sorted({entry["name"] for entry in self._models.status() if entry["version"] is not None})
        checked = {name: self._check(name, recent, now, most, damaged) for name in names}
        report = {
            "at": now.isoformat(),
            "made_at": SystemClock().now().isoformat(),
            "seconds": round(time.perf_counter() - began, 3),
            "decisions": len(recent),
            "damaged": sorted(damaged),
            "models": checked,
        }
        if recent:
            with self._database.write() as connection:
                add_drift_check(connection, now, report)
        return report

    def has_decisions(self) -> bool:
        """Whether there are decisions of the last seven days."""
        now = self._clock.now()
        with self._database.read() as connection:
            return any_between(connection, now - SPAN, now)

    def latest(self) -> dict[str, Any] | None:
        """The newest report that was kept."""
        with self._database.read() as connection:
            return latest_drift(connection)

    def _check(
        self, name: str, recent: Sequence[ServedVector], now: datetime, most: int, damaged: set[str]
    ) -> dict[str, Any]:
        """`damaged` is told of records that could not be read."""
        model = self._models.get(name)
        found: dict[str, Any] = {
            "version": None if model is None else str(model.version),
            "trained_until": _trained_until(model),
            "problem": None,
            "inputs": {},
            "scores": None,
            "calibration": None,
            "shadow": None,
        }
        try:
            if model is None:
                found["problem"] = "no champion serves"
            else:
                found |= self._against_training(model, recent)
                found["calibration"] = self._calibration(model, now, most, damaged)
            found["shadow"] = self._shadow(name, model, now, most)
        except Exception as trouble:  # one model's trouble must not hide the others' drift
            log.exception("the drift of %s could not be computed", name)
            found["problem"] = f"could not be compared: {type(trouble).__name__}: {trouble}"
        return found

    def _against_training(self, model: Any, recent: Sequence[ServedVector]) -> dict[str, Any]:
        reference = Reference.read(self._models.folder / model.name / str(model.version))
        if reference is None:
            return {"problem": "this version keeps no reference of its training set; train it again"}
        told = scores(model, recent)
        inside = [(vector, score) for vector, score in zip(recent, told, strict=True) if score is not None]
        if len(inside) < LEAST_ROWS:
            return {"problem": f"{len(inside)} of {LEAST_ROWS} customers to compare"}
        rows = [vector.row for vector, _ in inside]
        own: Mapping[str, Floats] = model.inputs(rows) if hasattr(model, "inputs") else {}
        inputs = {
            name: bins.shift(
                own[name] if name in own else np.array([row.values.get(name, math.nan) for row in rows]),
                len(reference.inputs),
            ).to_dict()
            for name, bins in reference.inputs.items()
        }
        moved = sorted(inputs.items(), key=lambda one: -one[1]["psi"])
        return {"inputs": dict(moved), "scores": reference.scores.shift(np.array([s for _, s in inside])).to_dict()}

    def _calibration(self, model: Any, now: datetime, most: int, damaged: set[str]) -> dict[str, Any] | None:
        """Promises made long enough ago, and whether they were kept; None for a model that promises nothing."""
        matured = now - self._matures_after(model)
        with self._database.read() as connection:
            drawn = sample(connection, matured - MATURED_SPAN, matured, most, now.timestamp())
        vectors = drawn.vectors
        damaged.update(drawn.damaged)
        if hasattr(model, "declaration"):
            told = scores(model, vectors)
            kept = [(v, s) for v, s in zip(vectors, told, strict=True) if s is not None]
            happened = self._happened(model, [(v.customer_id, v.decided_at) for v, _ in kept], now)
            return _promises(np.array([s for _, s in kept]), np.array(happened, np.float64))
        if hasattr(model, "weigh"):
            promised = {v.decision_id: v.promised for v in vectors if v.promised is not None}
            with self._database.read() as connection:
                shown = responses(connection, list(promised), self._matures_after(model))
            return _promises(
                np.array([promised[name] for name in shown], np.float64), np.array([*shown.values()], float)
            )
        return None

    def _shadow(self, name: str, champion: Any, now: datetime, most: int) -> dict[str, Any] | None:
        """The challenger's scores, beside those of the present champion if there is one; None without a challenger."""
        challenger = self._models.get(name, "challenger")
        if challenger is None:
            return None
        version, present = str(challenger.version), None if champion is None else str(champion.version)
        with self._database.read() as connection:
            recent = read_shadow(connection, name, version, now + _TICK, most)
            old = read_shadow(connection, name, version, now - self._matures_after(challenger), most)
            old = [row for row in old if row.champion == present]
            asked = [row.decision_id for row in old] if hasattr(challenger, "weigh") else []
            shown = responses(connection, asked, self._matures_after(challenger))
        beside = _beside([row for row in recent if row.champion == present])
        if hasattr(challenger, "declaration"):
            happened = self._happened(challenger, [(row.customer_id, row.decided_at) for row in old], now)
            beside["matured"] = _losses(old, happened)
        elif shown:
            kept = [row for row in old if row.decision_id in shown]
            beside["matured"] = _losses(kept, [float(shown[row.decision_id]) for row in kept])
        return {"version": version, **beside}

    def _matures_after(self, model: Any) -> timedelta:
        declared = getattr(model, "declaration", None)
        return declared.horizon if declared is not None else self._attribution

    def _happened(self, model: Any, moments: Sequence[tuple[str, datetime]], now: datetime) -> list[float]:
        """For each (customer, time) whether the model's goal came within its horizon: 1 or 0."""
        import polars as pl

        from features.tables import UTC_TIME
        from models.labels import goal_events, label

        declared = model.declaration
        cuts = pl.DataFrame(list(moments), schema={"customer_id": pl.String, "as_of": UTC_TIME}, orient="row")
        events = events_of(self._database, self._log, cuts["customer_id"].unique().to_list())
        events = events.filter(pl.col("timestamp") < now)
        goal = goal_events(events, declared.goal, declared.attribution_days)
        return label(cuts, goal, declared.goal, declared.horizon)["label"].cast(pl.Float64).to_list()


def _trained_until(model: Any) -> str | None:
    trained = getattr(model, "trained", None) or {}
    return next((str(trained[name]) for name in ("data_until", "until", "labels_until") if name in trained), None)


def _promises(promised: Floats, happened: Floats) -> dict[str, Any] | None:
    """Promised against observed, and how stable the place of outcomes is over the bins of the promise.

    `psi` is the index between the share of outcomes that each bin promised and that it had; `errors` the distance of
    the totals in standard errors, by `_tails` too far to be chance where `shifted`; `ece` the expected calibration
    error over bins of equal mass.
    """
    if len(promised) < LEAST_ROWS:
        return {"rows": len(promised), "needed": LEAST_ROWS}
    p, order = np.clip(promised, 1e-12, 1 - 1e-12), np.argsort(promised, kind="stable")
    bins = [part for part in np.array_split(order, BINS) if len(part)]
    said, came = (np.array([values[part].sum() for part in bins]) for values in (p, happened))
    before, after = (said + 0.5) / (said.sum() + 0.5 * len(bins)), (came + 0.5) / (came.sum() + 0.5 * len(bins))
    errors = float((happened.sum() - p.sum()) / math.sqrt((p * (1 - p)).sum()))
    return {
        "rows": len(p),
        "outcomes": int(happened.sum()),
        "promised": float(p.mean()),
        "observed": float(happened.mean()),
        "errors": errors,
        "ece": float(np.abs(said - came).sum() / len(p)),
        "psi": float(((after - before) * np.log(after / before)).sum()),
        "log_loss": float(_losses_of(p, happened).mean()),
        "points": [[float(p[part].mean()), float(happened[part].mean()), len(part)] for part in bins],
        "shifted": min(_tails(p, int(happened.sum()))) < BY_CHANCE / 2,
    }


def _tails(promised: Floats, outcomes: int) -> tuple[float, float]:
    """How probable at most, and at least, so many outcomes are if promises are true: the sum's exact distribution.

    Of rare outcomes the normal one would call two where .25 were promised impossible; they happen in 3% of samples.
    """
    chance = np.ones(1)
    for one in promised.tolist():
        chance = np.convolve(chance, (1 - one, one))
    return float(chance[: outcomes + 1].sum()), float(chance[outcomes:].sum())


def _losses_of(p: Floats, happened: Floats) -> Floats:
    kept = np.clip(p, 1e-12, 1 - 1e-12)
    return np.asarray(-np.log(np.where(happened > 0, kept, 1 - kept)), np.float64)


def _beside(rows: Sequence[Any]) -> dict[str, Any]:
    """Both models' scores on the same decisions."""
    from models.reference import Bins

    if not rows:
        return {"rows": 0}
    theirs = np.array([row.score for row in rows], np.float64)
    found: dict[str, Any] = {"rows": len(rows), "challenger_mean": float(theirs.mean())}
    if rows[0].champion is not None:
        ours = np.array([row.champion_score for row in rows], np.float64)
        same = len(rows) > 1 and ours.std() > 0 and theirs.std() > 0
        correlation = float(np.corrcoef(ours, theirs)[0, 1]) if same else None
        psi = Bins.of(ours).shift(theirs).psi
        found |= {"champion_mean": float(ours.mean()), "psi": psi, "correlation": correlation}
    return found


def _losses(rows: Sequence[Any], happened: Sequence[float]) -> dict[str, Any]:
    """Log loss on decisions whose outcome is known; `gain` is the challenger's, with its standard error."""
    if len(rows) < LEAST_ROWS:
        return {"rows": len(rows), "needed": LEAST_ROWS}
    came = np.array(happened, np.float64)
    theirs = _losses_of(np.array([row.score for row in rows], np.float64), came)
    found: dict[str, Any] = {"rows": len(rows), "challenger_log_loss": float(theirs.mean())}
    if rows[0].champion is not None:
        ours = _losses_of(np.array([row.champion_score for row in rows], np.float64), came)
        gain = ours - theirs
        error = _error_by_customer(gain - gain.mean(), [row.customer_id for row in rows])
        found |= {"champion_log_loss": float(ours.mean()), "gain": float(gain.mean()), "error": error}
    return found


def _error_by_customer(centred: Floats, customers: Sequence[str]) -> float:
    """The standard error of a mean: what comes of one customer's decisions is much the same."""
    codes = np.unique(customers, return_inverse=True)[1]
    return float(math.sqrt((np.bincount(codes, weights=centred) ** 2).sum()) / len(centred))


def shifted(report: Mapping[str, Any]) -> list[str]:
    """What has moved beyond chance and rule, in words."""
    found = []
    for name, one in report["models"].items():
        found += [f"{name}: input {key}" for key, shift in one["inputs"].items() if shift["shifted"]]
        found += [f"{name}: scores"] if one["scores"] and one["scores"]["shifted"] else []
        found += [f"{name}: calibration"] if (one["calibration"] or {}).get("shifted") else []
    return found


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """A report as people read it."""
    yield f"{report['decisions']:,} customers' newest vectors compared, in {report['seconds']:.1f} s"
    if not report["models"]:
        yield "no model serves yet; 'opportune train all' makes them, 'opportune serve' brings them in"
    yield from left_out(report["damaged"])
    for name, one in report["models"].items():
        yield f"{name} {one['version'] or '-'}" + (f": {one['problem']}" if one["problem"] else "")
        if one["scores"]:
            moved = [f"{key} {shift['psi']:.2f}" for key, shift in one["inputs"].items() if shift["shifted"]]
            yield f"  inputs: {len(moved)} of {len(one['inputs'])} moved" + (
                f" ({', '.join(moved[:8])})" if moved else ""
            )
            yield f"  scores: PSI {one['scores']['psi']:.3f}" + (" (moved)" if one["scores"]["shifted"] else "")
        promise = one["calibration"] or {}
        if "promised" in promise:
            yield (
                f"  promised {promise['promised']:.4f}, observed {promise['observed']:.4f} in {promise['rows']:,} "
                f"({promise['errors']:+.1f} standard errors), ECE {promise['ece']:.3f}, PSI {promise['psi']:.3f}"
            )
        yield from _shadow_lines(one["shadow"])


def _shadow_lines(beside: Mapping[str, Any] | None) -> Iterator[str]:
    if not beside or not beside["rows"]:
        return
    means = f"  challenger {beside['version']}: mean {beside['challenger_mean']:.4f} in {beside['rows']:,} decisions"
    yield means + (f", champion {beside['champion_mean']:.4f}, PSI {beside['psi']:.3f}" if "psi" in beside else "")
    matured = beside.get("matured") or {}
    if "challenger_log_loss" in matured:
        gain = f", gain {matured['gain']:+.4f} ± {matured['error']:.4f} on the champion" if "gain" in matured else ""
        yield f"  challenger's log loss {matured['challenger_log_loss']:.4f} in {matured['rows']:,}{gain}"
