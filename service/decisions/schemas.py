"""The shape of a request for a decision. Numbers are numbers and unknown fields are errors."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from features.channels import Channel
from service.events.values import DOT_SEGMENT, has_dot_segment
from service.offers.schemas import UtcInstant, Word, identifier
from service.web.json_values import plain_json

MAX_TOP_K = 100
MAX_BATCH = 1_000
_MAX_ID_BYTES = 1_024


def customer_id(text: str) -> str:
    """An id in any script, as events write it (NFC)."""
    if text and has_dot_segment(text):
        raise ValueError(DOT_SEGMENT)
    if text.isascii() and text.isprintable() and text == text.strip():
        return text
    normal = identifier(text)
    if len(normal.encode()) > _MAX_ID_BYTES:
        raise ValueError(f"is longer than {_MAX_ID_BYTES:,} bytes; send a shorter id")
    return normal


class DecisionIn(BaseModel):
    """A decision asked for. Without `channels` or `offers`, all that the placement and the catalogue have."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [{"customer_id": "c42", "placement": "email.weekly", "channels": ["email", "sms"]}]
        },
    )

    customer_id: Annotated[
        str,
        Field(
            min_length=1,
            max_length=_MAX_ID_BYTES,
            description="Whose decision: the id that events name as userId, or an anonymousId",
        ),
        AfterValidator(customer_id),
    ]
    placement: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$", max_length=100)] = Field(
        "default",
        description="Where it is shown or sent, such as email.weekly; the settings hold its arms, channels and rules",
    )
    channels: Annotated[list[Channel], Field(min_length=1, max_length=20)] | None = Field(
        None, description="Only these channels; without it, those of the placement"
    )
    offers: Annotated[list[Word], Field(max_length=1_000)] | None = Field(
        None, description="Only these offers, by id; without it, the whole catalogue"
    )
    context: Annotated[dict[str, Any], AfterValidator(plain_json)] = Field(
        {}, description="What is known of this moment; rules read it as context.NAME"
    )
    top_k: Annotated[int, Field(strict=True, ge=1, le=MAX_TOP_K)] = Field(5, description="At most so many actions")
    at: UtcInstant | None = Field(None, description="Decide as of this time: for evaluation and simulation")
    dry_run: Annotated[bool, Field(strict=True)] = Field(
        False, description="true: nothing is recorded, reserved or counted"
    )
    explain: Annotated[bool, Field(strict=True)] = Field(True, description="false: without reasons and excluded")

    @field_validator("channels", "offers")
    @classmethod
    def _distinct(cls, items: list[str] | None) -> list[str] | None:
        return None if items is None else list(dict.fromkeys(items))


class BatchIn(BaseModel):
    """Up to 1,000 decisions asked for together, answered in their order."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"requests": [{"customer_id": "c42"}, {"customer_id": "c43"}]}]},
    )

    requests: Annotated[list[DecisionIn], Field(min_length=1, max_length=MAX_BATCH)] = Field(
        description="Each as in POST /v1/decisions"
    )
