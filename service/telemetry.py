"""Logs, Prometheus metrics and (when configured) OpenTelemetry. Nothing leaves the machine unless asked to.

Logs are one JSON object a line on standard error: never a secret, a person's data or a request's body.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from service.count_files import count_in_files

TOGETHER = "PROMETHEUS_MULTIPROC_DIR"
"""`opportune serve` sets it for several workers: each keeps what it counts in a file there, and tells that of all."""

count_in_files()
registry = CollectorRegistry()
REQUESTS = Counter("opportune_http_requests_total", "HTTP requests", ["method", "route", "status"], registry=registry)
SECONDS = Histogram(
    "opportune_http_request_seconds",
    "Time to answer",
    ["route"],
    registry=registry,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
EVENTS = Counter("opportune_events_total", "Events by what became of them", ["outcome"], registry=registry)
DECISIONS = Counter("opportune_decisions_total", "Decisions by arm", ["arm"], registry=registry)
DEGRADED = Counter("opportune_degraded_total", "Decisions that did without a part", ["part"], registry=registry)
DAMAGED = Counter("opportune_damaged_records_total", "Reads of decisions whose record is damaged", registry=registry)
CIRCUIT_OPEN = Gauge(
    "opportune_circuit_open", "1 while a part is not asked", ["part"], registry=registry, multiprocess_mode="livemax"
)
SPOOLED = Counter("opportune_spooled_decisions_total", "Decisions made without the database", registry=registry)
SPOOL_WAITING = Gauge(
    "opportune_spool_waiting",
    "Decisions of this service that wait on the disk",
    registry=registry,
    multiprocess_mode="livesum",
)
SPOOL_IMPORTED = Counter("opportune_spool_imported_total", "Spooled decisions brought in", registry=registry)
LOOP_FAILURES = Counter(
    "opportune_loop_failures_total", "Failed passes of a background loop", ["loop"], registry=registry
)
LOOP_SEEN = Gauge(
    "opportune_loop_last_pass_timestamp_seconds",
    "Last finished pass",
    ["loop"],
    registry=registry,
    multiprocess_mode="livemin",
)
_OF_EACH_WORKER = frozenset(
    {"opportune_circuit_open", "opportune_spool_waiting", "opportune_loop_last_pass_timestamp_seconds"}
)
"""Gauges that each worker sets by what happens to it; the others are the database's, the same in all."""
SKEW_CHECKED = Gauge("opportune_skew_checked_decisions", "Decisions in the last check of features", registry=registry)
SKEW_WRONG = Gauge("opportune_skew_mismatched_values", "Served values that the log does not give", registry=registry)
SKEW_BEHIND = Gauge("opportune_skew_behind_decisions", "Decisions served from a row behind", registry=registry)
SKEW_LAG = Gauge("opportune_skew_behind_worst_seconds", "The longest that a served row was behind", registry=registry)
SKEW_AT = Gauge("opportune_skew_last_check_timestamp_seconds", "When features were last checked", registry=registry)
FEATURE_NULLS = Gauge(
    "opportune_feature_null_share", "Share of served rows without the feature", ["feature"], registry=registry
)
REBUILDS = Gauge("opportune_features_waiting", "Customers whose features wait to be made anew", registry=registry)
UNCOUNTED = Gauge(
    "opportune_events_money_not_counted", "Events whose money has no rate, lately", ["currency"], registry=registry
)
QUARANTINED = Gauge("opportune_events_set_aside", "Events that were set aside", registry=registry)
DRIFT_AT = Gauge("opportune_drift_last_check_timestamp_seconds", "When drift was last computed", registry=registry)
DRIFT_SHIFTED = Gauge("opportune_drift_shifted", "Inputs, scores and promises that moved", registry=registry)
DRIFT_INPUT = Gauge(
    "opportune_drift_input_psi", "Stability index of an input against training", ["model", "feature"], registry=registry
)
DRIFT_MISSING = Gauge(
    "opportune_drift_input_missing",
    "Share of rows without the input, less that in training",
    ["model", "feature"],
    registry=registry,
)
DRIFT_SCORE = Gauge(
    "opportune_drift_score_psi", "Stability index of scores against training", ["model"], registry=registry
)
MODEL_PROMISED = Gauge("opportune_model_promised", "Mean of matured promises", ["model"], registry=registry)
MODEL_OBSERVED = Gauge("opportune_model_observed", "Share of them that came true", ["model"], registry=registry)
MODEL_TRAINED = Gauge(
    "opportune_model_trained_until_timestamp_seconds",
    "End of what the champion learnt from",
    ["model"],
    registry=registry,
)
SHADOW_ROWS = Gauge("opportune_shadow_decisions", "Decisions that the challenger scored", ["model"], registry=registry)
SHADOW_MEAN = Gauge("opportune_shadow_mean", "Mean score on the same decisions", ["model", "alias"], registry=registry)
SHADOW_LOG_LOSS = Gauge(
    "opportune_shadow_log_loss",
    "Log loss on matured decisions, the same for both",
    ["model", "alias"],
    registry=registry,
)


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class Bounded(logging.Filter):
    """Lets the same line through so often in a minute; the first one of the next says how many it stands for.

    While a part is away each refused request has its line, and what is refused is sent again at once.
    """

    def __init__(self, at_most: int = 10, within_s: float = 60.0, known: int = 1_000) -> None:
        super().__init__()
        self._at_most, self._within_s, self._known = at_most, within_s, known
        self._told: dict[tuple[str, str], tuple[float, int]] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            key = record.name, record.getMessage()
        except (TypeError, ValueError):  # words and values that do not fit, somewhere: the handler tells of it
            return True
        with self._lock:
            return self._is_told(key, record)

    def _is_told(self, key: tuple[str, str], record: logging.LogRecord) -> bool:
        now = time.monotonic()
        since, count = self._told.get(key, (now, 0))
        if now - since >= self._within_s:
            if count > self._at_most:
                record.msg, record.args = f"{key[1]} ({count - self._at_most:,} such lines left out)", ()
            since, count = now, 0
        if key not in self._told and len(self._told) >= self._known:
            self._told.pop(next(iter(self._told)))
        self._told[key] = since, count + 1
        return count < self._at_most


def set_up_logs() -> None:
    """JSON lines on standard error; uvicorn's access log stays off (metrics count requests)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    handler.addFilter(Bounded())
    logging.basicConfig(level="INFO", handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)


def silence_dependencies() -> None:
    """Turns off what dependencies would send home. Called before anything imports them."""
    os.environ.update(
        MLFLOW_DISABLE_TELEMETRY="true",
        DO_NOT_TRACK="1",
        FEAST_USAGE="False",
        HF_HUB_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        RAY_USAGE_STATS_ENABLED="0",
    )


def exposition() -> bytes:
    """All metrics in Prometheus' text format, of all workers together."""
    return generate_latest(_OfAllWorkers() if TOGETHER in os.environ else registry)


class _OfAllWorkers:
    """A scrape reaches any one of the workers; counts that were of that one alone would jump to and fro."""

    def collect(self) -> Iterator[Metric]:
        folder = Path(os.environ[TOGETHER])
        if not folder.is_dir():  # somebody tidied it away; new workers count in memory
            yield from registry.collect()
            return
        forget_the_dead(folder)
        collected = MultiProcessCollector(None, str(folder)).collect()  # type: ignore[no-untyped-call]
        found: dict[str, Metric] = {metric.name: metric for metric in collected}
        for own in registry.collect():
            everybodys = found.get(own.name)
            if everybodys is None or (own.type == "gauge" and own.name not in _OF_EACH_WORKER):
                yield own
            else:
                everybodys.documentation = own.documentation
                yield everybodys


def forget_the_dead(folder: Path) -> None:
    """What a worker that was killed had told of itself; what it counted stays."""
    for file in folder.glob("gauge_live*_*.db"):
        try:
            os.kill(int(file.stem.rpartition("_")[2]), 0)
        except (ProcessLookupError, PermissionError):  # by now it may be the number of somebody else's process
            file.unlink(missing_ok=True)


@lru_cache(maxsize=1_000)
def _series(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """The series of one kind of answer; finding them by their labels takes longer than counting."""
    return REQUESTS.labels(method, route, str(status)), SECONDS.labels(route)


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    """Counts and times an answered request under its route's template."""
    requests, times = _series(method, route, status)
    requests.inc()
    times.observe(seconds)


Message = MutableMapping[str, Any]
App = Callable[..., Awaitable[None]]


class CountRequests:
    """ASGI: counts and times every request under its route's template, so that ids make no new series."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            count_request(scope["method"], route, status, time.perf_counter() - started)
