"""An experiment as declared: frozen values, read from the stored definition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from service.experiments.assignment import Namespace, Plan

Kind = Literal["conversion", "count", "sum", "ratio"]
Status = Literal["draft", "running", "stopped"]


@dataclass(frozen=True, slots=True)
class Metric:
    """What is counted for each exposed subject, from events within `window` after the exposure.

    conversion: 1 if the event came; count: how often; sum: the total of `value`; ratio: total of `value` (or the
    count) over the total of `denominator`'s (an event name). `where`: a condition on the event above the line.
    """

    name: str
    event: str
    kind: Kind = "conversion"
    value: str | None = None
    denominator: str | None = None
    window: timedelta = timedelta(days=14)
    channel: str | None = None
    where: str | None = None

    @property
    def below(self) -> str:
        """The name under which a ratio's denominator is stored."""
        return f"{self.name}/below"


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A metric that must not get worse: `harm` is the direction that hurts, `margin` the tolerated change
    relative to control.
    """

    metric: Metric
    harm: Literal["increase", "decrease"] = "increase"
    margin: float = 0.0


@dataclass(frozen=True, slots=True)
class Experiment:
    """A declared experiment. The first variant is control unless another is named.

    `stopped_at`: since then everybody gets one variant, so nothing counts any more; None where it is not stopped.
    `pauses`: from when until when it was stopped before it was started again.
    """

    id: str
    name: str
    status: Status
    plan: Plan
    values: tuple[Any, ...]
    control: str
    metric: Metric
    guardrails: tuple[Guardrail, ...]
    covariate: str | None
    alpha: float
    tuning: float
    exposed_by: Literal["use", "any_evaluation", "event", "decision"]
    ship: str | None
    starts_at: datetime | None
    ends_at: datetime | None
    version: int
    stopped_at: datetime | None = None
    pauses: tuple[tuple[datetime, datetime], ...] = ()

    def shows(self, at: datetime) -> bool:
        """Whether variants were shown at a time, and not what ships to everybody."""
        stopped = self.stopped_at is not None and at >= self.stopped_at
        return not stopped and not any(start <= at < end for start, end in self.pauses)

    def value_of(self, variant: str) -> Any:
        """The flag value that a variant stands for."""
        return self.values[self.plan.variants.index(variant)]

    def enrols(self, now: datetime) -> bool:
        """Whether new subjects are taken in at this time."""
        begun = self.starts_at is None or self.starts_at <= now
        return self.status == "running" and begun and (self.ends_at is None or now < self.ends_at)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The goal, then the guardrails' metrics."""
        return (self.metric, *(guardrail.metric for guardrail in self.guardrails))


def experiment_from(stored: Mapping[str, Any]) -> Experiment:
    """From the stored row: id, version and the definition that `schemas.ExperimentIn` made."""
    body = stored["definition"]
    variants = body["variants"]
    space = body.get("namespace")
    keys = tuple(variant["key"] for variant in variants)
    return Experiment(
        id=stored["id"],
        name=body["name"] or stored["id"],
        status=body["status"],
        plan=Plan(
            seed=body["seed"] or stored["id"],
            variants=keys,
            weights=tuple(variant["weight"] for variant in variants),
            coverage=body["coverage"],
            namespace=Namespace(space["name"], space["start"], space["end"]) if space else None,
        ),
        values=_of_one_kind([variant["key"] if variant["value"] is None else variant["value"] for variant in variants]),
        control=body["control"] or keys[0],
        metric=_metric(body["metric"]),
        guardrails=tuple(Guardrail(_metric(rail), rail["harm"], rail["margin"]) for rail in body["guardrails"]),
        covariate=body["cuped"],
        alpha=body["alpha"],
        tuning=body["tuning"],
        exposed_by=body["exposed_by"],
        ship=body["ship"],
        starts_at=_time(body["starts_at"]),
        ends_at=_time(body["ends_at"]),
        version=stored["version"],
        stopped_at=stored["stopped_at"],
        pauses=tuple((datetime.fromisoformat(start), datetime.fromisoformat(end)) for start, end in _pauses(stored)),
    )


def _of_one_kind(values: Sequence[Any]) -> tuple[Any, ...]:
    """Numbers with and without a point all get one: OpenFeature's SDKs give who asks for a float and is told `1` the
    default instead, which is the value of another arm, or of none.
    """
    if any(type(value) is float for value in values) and all(type(value) in {int, float} for value in values):
        return tuple(map(float, values))
    return tuple(values)


def _pauses(stored: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    return stored.get("pauses") or ()


def _metric(body: Mapping[str, Any]) -> Metric:
    return Metric(
        name=body["name"] or body["event"],
        event=body["event"],
        kind=body["kind"],
        value=body["value"],
        denominator=body["denominator"],
        window=timedelta(days=body["window_days"]),
        channel=body["channel"],
        where=body.get("where"),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
