"""The shapes of the answers about customers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from service.web.shapes import Told


class ScoreReasonOut(Told):
    """Why a score is high or low."""

    feature: str
    text: str = Field(description="In plain words, with the customer's own figures")
    effect: float = Field(description="What it adds to the log-odds")


class ScoreOut(Told):
    """What a model says of a customer now."""

    probability: float | None = Field(description="null where the score does not apply: `why` says why")
    tier: str | None = Field(description="A to D; A is the most likely")
    reasons: list[ScoreReasonOut] = Field(description="Strongest first")
    model_version: str | None = Field(description="null: none serves")
    why: str | None


class ScoresOut(Told):
    """By the name of the model: `lead`, `churn` and `winback`, or those that the installation declares."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, ScoreOut]


class SendTimeOut(Told):
    """An allowed hour."""

    start: datetime = Field(description="With the offset of the customer's zone")
    probability: float = Field(description="That a message sent then is responded to")
    lift_over_default: float = Field(description="0.2: a fifth more than at the channel's default hour")
    confidence: float = Field(description="0 to 1: how much of it the customer's own behaviour says")
    basis: str = Field(description="Whose hours weigh most: person, type (of week) or everyone")


class ChannelOut(Told):
    """The best hour of a channel."""

    channel: str
    start: datetime
    probability: float
    expected_value: float = Field(description="P(response) x value - cost")
    confidence: float


class SendTimesOut(Told):
    """Allowed hours, best first."""

    customer_id: str
    channel: str
    timezone: str = Field(description="The customer's, or the default of the settings: `degraded` says so")
    send_times: list[SendTimeOut]
    channels: list[ChannelOut] = Field([], description="Best first; absent without `compare`")
    model_version: str | None
    degraded: list[str] = Field(description="features, unknown_customer, default_timezone, no_model, little_data")


class PurposesOut(Told):
    """Answers on a channel, by purpose."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, bool]


class AnswersOut(Told):
    """A customer's answers by channel and purpose, as they are put; what was never said is not there."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, PurposesOut]

    profiling: bool


class ConsentsOut(Told):
    """The answers as they now stand."""

    customer_id: str = Field(description="A former id gets that of today")
    consents: AnswersOut


class TimelineOut(Told):
    """An event; what it does not have is absent."""

    at: datetime
    message_id: str
    type: Literal["identify", "track", "page", "screen", "group", "alias"]
    event: str | None = None
    channel: str | None = None
    offer_id: str | None = None
    campaign_id: str | None = None
    decision_id: str | None = None
    order_id: str | None = None
    revenue_cents: int | None = None
    currency: str | None = None
    machine: bool | None = Field(None, description="Of a scanner or a proxy")
    machine_reason: str | None = None
    url: str | None = None
    properties: dict[str, Any] = Field(description="As they came")


class KnownOut(Told):
    """Who a customer is."""

    customer_id: str
    other_ids: list[str] = Field(description="Former ones, and anonymous ones that turned out to be this person")
    traits: dict[str, Any]
    timezone: str | None = Field(description="null: the default of the settings counts")
    locale: str | None
    country: str | None
    segments: list[str]
    consents: AnswersOut
    first_seen: datetime | None
    updated_at: datetime | None
    features: dict[str, float | None] = Field(description="As of now; null: not known")
    scores: ScoresOut


class CustomerOut(KnownOut):
    """A customer."""

    timeline: list[TimelineOut] = Field(description="The last 100 events, the newest first")
    degraded: list[str] = Field(description="`features`: they and the scores could not be read now")


class ConsentTold(Told):
    """When an answer was given, and by what."""

    at: datetime
    channel: str
    purpose: str
    answer: bool | None = Field(description="null: back to saying nothing")
    source: str


class ProductOut(Told):
    """A line of an order."""

    product_id: str | None
    category: str | None
    price_cents: int | None
    quantity: int | None
    discount_cents: int | None


class WholeEventOut(Told):
    """An event as it is held."""

    message_id: str
    type: str
    event: str | None
    customer_id: str
    anonymous_id: str | None
    timestamp: datetime
    received_at: datetime
    channel: str | None
    offer_id: str | None
    campaign_id: str | None
    decision_id: str | None
    order_id: str | None
    currency: str | None
    revenue_cents: int | None
    discount_cents: int | None
    products: list[ProductOut] | None
    timezone: str | None
    machine: bool | None
    machine_reason: str | None
    url: str | None
    properties: dict[str, Any] | None
    traits: dict[str, Any] | None
    context: dict[str, Any] | None


class ExportOut(KnownOut):
    """Everything held of a customer."""

    exported_at: datetime
    consent_record: list[ConsentTold] = Field(description="Oldest first")
    events: list[WholeEventOut] = Field(description="Oldest first")
    decisions: Any = Field(
        None, description="`decisions`, each with its full record while that is kept, and `outcomes`"
    )
    experiments: Any = Field(None, description="Exposures: experiment, variant, time")
    journeys: Any = Field(None, description="By id of the customer: `enrollments`, `messages`, `tasks`")


class LearntOut(Told):
    """A model version that had learnt from the customer, or may have, as it was registered after their first event."""

    name: str
    version: str
    alias: str | None = Field(
        description="Under which it is in service; null: no more, but it may be taken back into it"
    )


class ErasedOut(Told):
    """What was erased. Of nobody known the counts are 0."""

    customer_id: str
    erased: dict[str, int] = Field(description="How many rows, by what they were")
    complete: bool = Field(description="false: another process does the rest")
    kept: str = Field(description="What stays, in words")
    models: list[LearntOut]
