"""The shapes of the answers about experiments."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from service.experiments.schemas import Declared
from service.web.shapes import Told


class ExperimentOut(Declared):
    """An experiment as it was declared; weights sum to 1."""

    id: str
    version: int
    created_at: datetime
    updated_at: datetime
    stopped_at: datetime | None = Field(description="null where it is not stopped")


class ExperimentsOut(Told):
    """Every experiment, by id."""

    experiments: list[ExperimentOut]


class ArmOut(Told):
    """A variant, and what came of it."""

    key: str
    control: bool
    weight: float
    exposures: int
    total: float = Field(description="Of the goal's metric over all who were exposed")
    value: float | None = Field(description="An exposed customer's mean, or the ratio; null without any")
    shown: str | None = Field(description="The same as people write it")


class IntervalOut(Told):
    """An estimate with its confidence interval, valid at every look."""

    estimate: float
    low: float
    high: float


class EffectOut(Told):
    """A treatment against the control."""

    arm: str
    absolute: IntervalOut | None = Field(description="null: not known yet")
    relative: IntervalOut | None = Field(
        description="To the control: 0.1 is a tenth more; null while that may be nothing"
    )
    p_value: float | None
    significant: bool


class SplitOut(Told):
    """Whether the arms are as large as was planned."""

    verdict: Literal["passed", "failed"]
    passed: bool
    p_value: float
    sequential_p_value: float
    observed: dict[str, int]
    expected: dict[str, float]


class GuardrailOut(Told):
    """What must not get worse, of one arm."""

    name: str
    arm: str
    harm: Literal["increase", "decrease"]
    margin: float = Field(description="What is tolerated, relative to the control")
    verdict: Literal["safe", "watching", "harmed"] = Field(description="watching: not known yet")
    effect: IntervalOut | None
    relative: IntervalOut | None


class MetricOut(Told):
    """What is counted."""

    name: str
    event: str
    kind: str
    value: str | None
    denominator: str | None
    window_days: float
    channel: str | None
    where: str | None = None


class CupedOut(Told):
    """Whether a feature known before took noise out."""

    used: bool
    feature: str | None
    theta: float | None = Field(None, description="Absent where it was not used")
    variance_reduction: float | None = Field(None, description="0.3: three tenths less variance")


class PauseOut(Told):
    """A time in which everybody got the variant that ships, also who was exposed before."""

    start: datetime
    end: datetime


class ResultsOut(Told):
    """What an experiment shows so far."""

    experiment_id: str
    name: str
    status: str
    version: int
    as_of: datetime
    stopped_at: datetime | None = Field(description="Nothing that happened at or after it counts")
    pauses: list[PauseOut] = Field(description="Between a stop and the next start: nothing counts")
    metric: MetricOut
    exposures: int
    crossovers: int = Field(description="Of them, who saw more than one variant; they count for the first")
    arms: list[ArmOut]
    effect: EffectOut | None = Field(description="Of the treatment that the sentence speaks of")
    effects: list[EffectOut]
    confidence: float
    method: str
    srm: SplitOut
    guardrails: list[GuardrailOut]
    cuped: CupedOut
    winner: str | None
    winner_withheld: str | None = Field(description="Why a leader is not called the winner")
    sentence: str


class FlagMetadataOut(Told):
    """Which experiment the flag is."""

    experiment: str
    version: int
    in_experiment: bool = Field(description="false: the customer takes no part and gets the control, or what ships")


class FlagOut(Told):
    """A flag's value for a customer (OFREP)."""

    key: str
    value: Any
    reason: str = Field(description="OpenFeature's, such as SPLIT")
    variant: str
    metadata: FlagMetadataOut


class FlagsOut(Told):
    """Every flag's value for a customer (OFREP)."""

    flags: list[FlagOut]


class FlagFaultOut(Told):
    """Why a flag has no value (OFREP)."""

    key: str | None = Field(None, description="Absent where all flags were asked for")
    errorCode: str  # noqa: N815 -- the protocol's name
    errorDetails: str  # noqa: N815
