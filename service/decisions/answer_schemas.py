"""The shapes of the answers to decisions."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from service.experiments.answer_schemas import IntervalOut
from service.web.shapes import Told


class PolicyOut(Told):
    """What decided."""

    name: str
    version: str = Field(description="Names the rules in the settings, as they stood")


class ReasonOut(Told):
    """Why an action is probable, or is not."""

    feature: str
    text: str = Field(description="In plain words, with the customer's own figures")
    effect: float = Field(description="What it adds to the log-odds of converting")


class StageOut(Told):
    """How much is known of an offer."""

    name: Literal["rules", "pooled", "model"] = Field(description="What its probability comes from mostly")
    impressions: int
    needed: int = Field(description="Impressions from which the model is trusted with it")
    days_left: int | None = Field(description="Until then at its own pace; null where it has none")
    text: str = Field(description="The same in words")


class ContentOut(Told):
    """Approved words, filled in for the customer: beside these two the channel's fields, such as `subject`."""

    model_config = ConfigDict(extra="allow")

    variant_id: str
    locale: str


class ActionOut(Told):
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


class ExcludedOut(Told):
    """A candidate that may not be."""

    offer_id: str
    channel: str | None = Field(description="null where the offer goes by none of the channels asked for")
    rule: str
    detail: str
    until: datetime | None = Field(description="From when on the rule may let it through; null: not by itself")


class DecisionOut(Told):
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


class BatchOut(Told):
    """Decisions in the order of their requests."""

    decisions: list[DecisionOut]


class CandidateOut(Told):
    """An offer on a channel that was considered; without either: sending nothing."""

    offer_id: str | None
    channel: str | None
    eligible: bool
    verdicts: dict[str, Any] = Field(description="By rule: `pass`, or the detail, and until when")
    probability: float | None
    expected_value: float | None
    propensity: float = Field(description="0 where it may not be")
    rank: int | None
    send_at: datetime | None
    send_at_probability: float | None


class OutcomeOut(Told):
    """What came of a decision."""

    kind: str = Field(
        description="delivered, opened, clicked, converted, redeemed, unsubscribed, complained; refunded: so much of "
        "an order was given back (value_cents); returned: an order of which nothing is left"
    )
    at: datetime
    offer_id: str | None = Field(description="null where nothing tells which, as of a decision that sent nothing")
    value_cents: int | None
    machine: bool = Field(description="Of a scanner or a proxy: it teaches nothing")


class RecordOut(Told):
    """All that a decision used, and what came of it."""

    decision_id: str
    customer_id: str
    decided_at: datetime
    placement: str
    arm: str
    policy: dict[str, Any] = Field(
        description="Name, version, the `rules` as they stood, and the outcomes `learnt` from"
    )
    seed: int = Field(description="What its draws come from")
    request: dict[str, Any]
    customer: dict[str, Any] = Field(description="What it knew of the customer: consents, traits, segments, zone")
    contextless: str | None = Field(description="Why nothing of the customer was used; null: it was")
    features: dict[str, Any] | None = Field(description="As of `decided_at`; null: of nobody known")
    scores: dict[str, float]
    answers: dict[str, dict[str, Any]] = Field(description="What each eligibility expression said")
    ledger: dict[str, Any] = Field(description="Messages, and impressions that some rule counts, as they stood")
    candidates: list[CandidateOut] = Field(description="Each with every rule's verdict; the last is sending nothing")
    business_rules: list[dict[str, Any]] = Field(description="Those that moved an offer, with their cost in value")
    goals: dict[str, Any] = Field(description="Chances of clicks and redemptions, of the candidates in order")
    uplift: list[float] | None = Field(description="What sending adds to the chance, of the candidates in order")
    actions: list[dict[str, Any]] = Field(description="As they were answered")
    scored_by: str | None
    models: dict[str, str]
    offers: dict[str, int] = Field(description="The offers that were weighed, at their versions then")
    degraded: list[str]
    terms: dict[str, Any] = Field(description="What the formula takes from offers and the customer's last messages")
    offer_names: dict[str, str]
    outcomes: list[OutcomeOut]


class DifferenceOut(Told):
    """What is no longer as it was decided."""

    field: str
    was: Any = None
    is_: Any = Field(None, alias="is")


class ReplayOut(Told):
    """A decision made again from its record."""

    decision_id: str
    equal: bool
    differences: list[DifferenceOut]
    decided_again: list[str] = Field(description="What was worked out anew")
    from_record: list[str] = Field(description="What could not be, such as scores of a model that no longer serves")
    rounding: float = Field(
        description="Largest relative difference of probabilities that a processor of another kind rounded otherwise "
        "(at most 1e-12; the rest is decided from those recorded); 0 where all are equal to the last bit"
    )


class ArmImpactOut(Told):
    """An arm of a placement, and what its customers did since their first decision there."""

    arm: Literal["model", "random", "business_as_usual", "holdout"]
    share: float = Field(description="Of customers, as set")
    customers: int = Field(description="Decided for so far")
    revenue_per_customer: float | None = Field(
        description="null without customers, as all that follows. Where there is a `variance_reduction`: as if the "
        "arms had bought alike in the year before"
    )
    buyers: float | None = Field(description="The share who ordered")
    unsubscribed: float | None = Field(description="The share who unsubscribed")
    complained: float | None = Field(description="The share who complained of spam")


class ComparisonOut(Told):
    """The model's arm beside another: a difference above 0 is the model's."""

    asks: str = Field(description="What this comparison answers")
    against: Literal["random", "business_as_usual", "holdout"]
    revenue_per_customer: IntervalOut | None = Field(description="null: not known yet, as of all that follow")
    relative: IntervalOut | None = Field(description="Of revenue, to the other arm: 0.1 is a tenth more")
    revenue_in_all: IntervalOut | None = Field(description="Over all customers of the model's arm")
    buyers: IntervalOut | None = Field(description="0.01: one customer in a hundred more orders")
    unsubscribed: IntervalOut | None
    complained: IntervalOut | None
    verdict: Literal["more", "less", "open", "too few", "withheld"] = Field(
        description="withheld: the arms are not as large as their shares say"
    )
    sentence: str


class ArmsSplitOut(Told):
    """Whether the arms are as large as their shares say."""

    passed: bool
    p_value: float


class PlacementImpactOut(Told):
    """What decisions bring at a placement. Money is in `currency`."""

    placement: str
    since: datetime = Field(description="Customers take part from their first decision after it; new shares begin anew")
    stopped_at: datetime | None = Field(description="When other shares were set; null while it goes on")
    days: float = Field(description="How long after their first decision what customers do counts")
    currency: str
    customers: int
    crossovers: int = Field(description="Of them, who were decided for in another arm later; they count for the first")
    arms: list[ArmImpactOut]
    comparisons: list[ComparisonOut]
    confidence: float = Field(description="Of all comparisons of a placement together, however often one looks")
    split: ArmsSplitOut
    variance_reduction: float = Field(description="By what customers bought before (CUPED); 0.3: three tenths less")
    sentence: str


class ImpactOut(Told):
    """What decisions bring, by placement: of each the newest measurement, then those of other shares before."""

    placements: list[PlacementImpactOut]
