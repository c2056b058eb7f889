"""The shapes of the answers about copy."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field

from features.channels import Channel
from service.content.variant import State
from service.web.shapes import Told


class CheckOut(Told):
    """A check's verdict on copy."""

    name: str
    passed: bool
    detail: str = Field(description="In plain words")
    field: str | None = Field(description="Where; null where it passed or lies in no one field")
    span: Annotated[list[int], Field(min_length=2, max_length=2)] | None = Field(
        description="From and to in the field's code points"
    )


class LineageOut(Told):
    """Where copy comes from."""

    writer: str = Field(description="model or templates")
    model: str
    prompt_version: str
    offer_hash: str = Field(description="Of what could be said of the offer then")
    requested_locale: str
    locale: str
    segment: str | None
    angle: str
    fallback: str | None = Field(description="Why it is not what was asked for")
    repaired: bool | None = Field(None, description="Of a model's: whether its first try failed a check")


class VariantOut(Told):
    """Copy for one offer, channel and locale."""

    variant_id: str
    offer_id: str
    offer_hash: str = Field(description="An approval holds while this is what may be said of the offer")
    channel: Channel
    locale: str
    segment: str | None
    angle: str
    state: State
    fields: dict[str, str] = Field(description="The copy, with its merge tags")
    checks: list[CheckOut]
    lineage: LineageOut
    etag: str = Field(description="For If-Match; also the ETag header")
    created_at: datetime
    updated_at: datetime


class ActOut(Told):
    """What somebody did with a variant; beside these what goes with the action: `text`, `reason`, `before`, `after`."""

    model_config = ConfigDict(extra="allow")

    at: datetime
    who: str = Field(description="The key's label")
    action: str


class TrailOut(VariantOut):
    """A variant with what was done to it."""

    trail: list[ActOut] = Field(description="Oldest first")


class VariantsOut(Told):
    """Variants, oldest first."""

    variants: list[VariantOut]
    next: str | None = Field(description="`after` of the next page; null: this is the last")


class MadeOut(Told):
    """The new variants: pending, or approved where the offer asks for no approval and every check passed."""

    variants: list[VariantOut]


class CopyCheckedOut(Told):
    """Whether copy would be let through."""

    passed: bool
    checks: list[CheckOut]
