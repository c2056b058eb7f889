"""The shape of an answer, for the OpenAPI document alone: answers are written without it, tests hold them to it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PolicyOut(_Told):
    """What decided."""

    name: str
    version: str = Field(description="Names the rules in the settings, as they stood")


class ReasonOut(_Told):
    """Why an action is probable, or is not."""

    feature: str
    text: str = Field(description="In plain words, with the customer's own figures")
    effect: float = Field(description="What it adds to the log-odds of converting")


class StageOut(_Told):
    """How much is known of an offer."""

    name: Literal["rules", "pooled", "model"] = Field(description="What its probability comes from mostly")
    impressions: int
    needed: int = Field(description="Impressions from which the model is trusted with it")
    days_left: int | None = Field(description="Until then at its own pace; null where it has none")
    text: str = Field(description="The same in words")


class ContentOut(BaseModel):
    """Approved words, filled in for the customer: beside these two the channel's fields, such as `subject`."""

    model_config = ConfigDict(extra="allow")

    variant_id: str
    locale: str


class ActionOut(_Told):
    """An offer on a channel at an hour, in words that a person approved."""

    rank: int = Field(description="1 is the message; the others are for a list")
    offer_id: str
    channel: str
    send_at: datetime = Field(description="The best allowed hour")
    send_at_probability: float = Field(description="That of this hour among the allowed ones")
    content: ContentOut | None = Field(description="null where nothing approved fits: `degraded` says so")
    probability: float = Field(description="Of converting")
    expected_value: float = Field(description="P(convert) x value - cost - fatigue, times priority; over all goals")
    propensity: float = Field(description="That the policy puts this action first; sums to 1 over all candidates")
    reasons: list[ReasonOut] = Field([], description="Strongest first; absent with `explain: false`")
    stage: StageOut | None = Field(None, description="Absent with `explain: false`")


class ExcludedOut(_Told):
    """A candidate that may not be."""

    offer_id: str
    channel: str | None = Field(description="null where the offer goes by none of the channels asked for")
    rule: str
    detail: str
    until: datetime | None = Field(description="From when on the rule may let it through; null: not by itself")


class DecisionOut(_Told):
    """A decision. No `actions`: nothing is sent, which is worth more, or all that there is."""

    decision_id: str
    customer_id: str = Field(description="Whom it is for: a former id gets that of today")
    decided_at: datetime
    arm: Literal["model", "random", "business_as_usual", "holdout"] = Field(
        description="Always the same for a customer in a placement, while its shares stay"
    )
    policy: PolicyOut
    actions: list[ActionOut] = Field(description="The message first")
    models: dict[str, str] = Field(description="Versions of those that were used, by name")
    degraded: list[str] = Field(description="Parts that a fallback stood in for")
    excluded: list[ExcludedOut] = Field([], description="What may not be, and why; absent with `explain: false`")


class BatchOut(_Told):
    """Decisions in the order of their requests."""

    decisions: list[DecisionOut]


class DifferenceOut(_Told):
    """What is no longer as it was decided."""

    field: str
    was: Any = None
    is_: Any = Field(None, alias="is")


class ReplayOut(_Told):
    """A decision made again from its record."""

    decision_id: str
    equal: bool
    differences: list[DifferenceOut]
    decided_again: list[str] = Field(description="What was worked out anew")
    from_record: list[str] = Field(description="What could not be, such as scores of a model that no longer serves")
