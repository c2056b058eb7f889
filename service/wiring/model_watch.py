"""Watches over the models: challengers score what was served, drift is computed once an hour, one process for all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service.clock import SystemClock
from service.decisions.check_drift import DriftCheck, shifted
from service.decisions.shadow import Shadow
from service.storage.database import Database
from service.storage.lease import release, take
from service.telemetry import (
    DRIFT_AT,
    DRIFT_INPUT,
    DRIFT_MISSING,
    DRIFT_SCORE,
    DRIFT_SHIFTED,
    MODEL_OBSERVED,
    MODEL_PROMISED,
    MODEL_TRAINED,
    SHADOW_LOG_LOSS,
    SHADOW_MEAN,
    SHADOW_ROWS,
)
from service.wiring.hourly import Check, Hourly, here

_LEASE = "models"
_LEASE_S = 900.0
_OF_MODELS = (DRIFT_INPUT, DRIFT_MISSING, DRIFT_SCORE, MODEL_PROMISED, MODEL_OBSERVED, MODEL_TRAINED, SHADOW_MEAN,
              SHADOW_ROWS, SHADOW_LOG_LOSS)  # fmt: skip


class ModelWatch:
    """`run_pass` is for a loop. `check` computes the drift, in this process unless it is told otherwise."""

    def __init__(self, database: Database, drift: DriftCheck, shadow: Shadow, check: Check | None = None) -> None:
        self._database = database
        self._drift = drift
        self._shadow = shadow
        self._hourly = Hourly(check or here(drift.run), drift.latest, drift.has_decisions)
        self._clock = SystemClock()
        self._holder = f"{os.getpid()}-{secrets.token_hex(4)}"

    def run_pass(self) -> bool:
        """One look; False: nothing more to do at once."""
        with self._database.write() as connection:
            mine = take(connection, _LEASE, self._holder, self._clock.now(), _LEASE_S)
        if mine:
            try:
                self._shadow.run()
                if self._hourly.due(self._clock.now()):
                    self._hourly.run()
            finally:
                with self._database.write() as connection:
                    release(connection, _LEASE, self._holder)
        report = self._drift.latest()
        if report is not None:
            tell(report)
        return False


def tell(report: Mapping[str, Any]) -> None:
    """Sets the metrics as the report has them; what it does not name any more goes."""
    for gauge in _OF_MODELS:
        gauge.clear()
    DRIFT_AT.set(datetime.fromisoformat(report["made_at"]).timestamp())
    DRIFT_SHIFTED.set(len(shifted(report)))
    for name, one in report["models"].items():
        _tell_of(name, one)


def _tell_of(name: str, one: Mapping[str, Any]) -> None:
    for feature, shift in one["inputs"].items():
        DRIFT_INPUT.labels(name, feature).set(shift["psi"])
        DRIFT_MISSING.labels(name, feature).set(shift["missing"] - shift["missing_before"])
    if one["scores"]:
        DRIFT_SCORE.labels(name).set(one["scores"]["psi"])
    if one["trained_until"]:
        MODEL_TRAINED.labels(name).set(datetime.fromisoformat(one["trained_until"]).timestamp())
    promise = one["calibration"] or {}
    if "promised" in promise:
        MODEL_PROMISED.labels(name).set(promise["promised"])
        MODEL_OBSERVED.labels(name).set(promise["observed"])
    beside = one["shadow"]
    if beside and beside["rows"]:
        SHADOW_ROWS.labels(name).set(beside["rows"])
        matured = beside.get("matured") or {}
        for alias in ("champion", "challenger"):
            if f"{alias}_mean" in beside:
                SHADOW_MEAN.labels(name, alias).set(beside[f"{alias}_mean"])
            if f"{alias}_log_loss" in matured:
                SHADOW_LOG_LOSS.labels(name, alias).set(matured[f"{alias}_log_loss"])
