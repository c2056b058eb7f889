"""The shapes of `/v1/experiments`: what a marketer writes, checked and completed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    model_validator,
)

from features.channels import Channel
from service.events.match import condition
from service.experiments.definition import Kind, Status
from service.offers.cel import ExpressionError
from service.offers.schemas import UtcInstant
from service.web.json_values import plain_json

Key = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:\-]*$")]
Name = Annotated[str, Field(min_length=1, max_length=200)]


def _condition(source: str) -> str:
    try:
        condition(source)
    except ExpressionError as fault:
        raise ValueError(str(fault)) from None
    return source


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class VariantIn(Shape):
    """One arm. `value` is what a flag evaluates to; its key where none is given."""

    key: Key
    weight: float = Field(1.0, ge=0, le=1_000_000)
    value: Annotated[JsonValue, AfterValidator(plain_json)] = None
    description: str | None = Field(None, max_length=2000)


class MetricIn(Shape):
    """What counts, from events of the exposed within `window_days` after their exposure."""

    event: Name = Field(description="The name of a track call; `page` or `screen` for those, told apart by `where`")
    name: Name | None = None
    kind: Kind = "conversion"
    value: Name | None = Field(
        None, description="`revenue_cents`, `discount_cents` or a number in properties; money: of the home currency"
    )
    denominator: Name | None = Field(None, description="for a ratio: the event below the line")
    window_days: float = Field(14.0, gt=0, le=365)
    channel: Channel | None = None
    where: Annotated[str, Field(min_length=1, max_length=4000), AfterValidator(_condition)] | None = Field(
        None, description="CEL on the `event`, as `event.name == 'Pricing'` or `event.properties.plan == 'pro'`"
    )

    @model_validator(mode="after")
    def _complete(self) -> MetricIn:
        if self.kind == "sum" and self.value is None:
            raise ValueError("a sum needs `value`: revenue_cents, discount_cents or a number in properties")
        if (self.kind == "ratio") != (self.denominator is not None):
            raise ValueError("`denominator` goes with kind 'ratio', and a ratio needs it")
        return self


class GuardrailIn(MetricIn):
    """A metric that must not get worse."""

    harm: Literal["increase", "decrease"] = "increase"
    margin: float = Field(0.0, ge=0, le=1)


class NamespaceIn(Shape):
    """A slice of the subjects; experiments with disjoint slices of one namespace exclude each other."""

    name: Key
    start: float = Field(ge=0, le=1)
    end: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> NamespaceIn:
        if self.start >= self.end:
            raise ValueError("`start` must be below `end`")
        return self


class Declared(Shape):
    """What an experiment consists of."""

    name: str = Field("", max_length=200, description="What people call it")
    description: str = Field("", max_length=4000, description="What is tried")
    hypothesis: str = Field("", max_length=4000, description="What is expected, and why")
    status: Status = Field(
        "running", description="Only running assigns; stopped gives everybody `ship`, else the control"
    )
    variants: list[VariantIn] = Field(
        min_length=2,
        max_length=20,
        validation_alias=AliasChoices("variants", "arms"),
        description="At least two, with their weights: objects, plain keys, or {key: weight}",
    )
    control: Key | None = Field(None, description="What the others are compared with; by default the first")
    coverage: float = Field(1.0, ge=0, le=1, description="The share of customers who take part")
    seed: str | None = Field(
        None, min_length=1, max_length=200, description="Assigns anew; by default the experiment's id"
    )
    namespace: NamespaceIn | None = Field(None, description="For experiments that must not overlap")
    metric: MetricIn = Field(
        default_factory=lambda: MetricIn(event="Order Completed"),
        validation_alias=AliasChoices("metric", "goal"),
        description="What is to get better; the name of an event will do",
    )
    guardrails: list[GuardrailIn] = Field(
        default_factory=lambda: [
            GuardrailIn(event="Unsubscribed"),
            GuardrailIn(event="Email Marked as Spam"),
        ],
        max_length=20,
        description="What must not get worse; a harmed one withholds the winner",
    )
    cuped: Name | None = Field(None, description="a customer feature known before exposure, as orders_90d")
    alpha: float = Field(0.05, gt=0, lt=0.5, description="1 less the confidence")
    tuning: float = Field(5000, ge=10, le=1e9, description="subjects at which the interval is tightest")
    exposed_by: Literal["use", "any_evaluation", "event"] = Field(
        "use",
        description="What counts as seen: use (of a flag, or at a split), any_evaluation (of all flags), event",
    )
    ship: Key | None = Field(None, description="Of a stopped experiment: the variant that everybody gets")
    starts_at: UtcInstant | None = Field(None, description="Nobody before")
    ends_at: UtcInstant | None = Field(None, description="Nobody from then on")


class ExperimentIn(Declared):
    """`PUT /v1/experiments/{id}`. Guardrails default to unsubscribing and spam complaints."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Own hour",
                    "variants": [{"key": "ten-oclock"}, {"key": "good-hour"}],
                    "metric": {"event": "Order Completed"},
                }
            ]
        }
    )

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, body: Any) -> Any:
        """Variants as plain keys or as {key: weight}; a metric as the name of its event."""
        if not isinstance(body, dict):
            return body
        body = dict(body)
        for field in ("variants", "arms"):
            if field in body:
                body[field] = _variants(body[field])
        for field in ("metric", "goal"):
            if isinstance(body.get(field), str):
                body[field] = {"event": body[field]}
        return body

    @model_validator(mode="after")
    def _consistent(self) -> ExperimentIn:
        keys = [variant.key for variant in self.variants]
        if len(set(keys)) != len(keys):
            raise ValueError("two variants have the same key")
        for field in ("control", "ship"):
            named = getattr(self, field)
            if named is not None and named not in keys:
                raise ValueError(f"`{field}` is {named!r}, which is none of the variants {', '.join(keys)}")
        total = sum(variant.weight for variant in self.variants)
        if total <= 0:
            raise ValueError("the variants' weights sum to 0; give at least one a weight")
        for variant in self.variants:
            variant.weight /= total
        names = [metric.name or metric.event for metric in (self.metric, *self.guardrails)]
        if len(set(names)) != len(names):
            raise ValueError("the metric and the guardrails need different names; give one a `name`")
        if self.starts_at and self.ends_at and self.starts_at >= self.ends_at:
            raise ValueError("`starts_at` must be before `ends_at`")
        return self


def _variants(given: Any) -> Any:
    if isinstance(given, dict):
        return [{"key": key, "weight": weight} for key, weight in given.items()]
    if isinstance(given, list):
        return [{"key": item} if isinstance(item, str) else item for item in given]
    return given
