"""The shapes of content requests on the wire."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from features.channels import Channel
from service.content.fields import CHANNEL_FIELDS
from service.content.phrases import ANGLES
from service.offers.schemas import Word

_LOCALE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8}){0,3}")
MAX_FIELD = 50_000


def canonical_locale(tag: str) -> str:
    """`MS_my` -> `ms-MY`: language small, script capitalised, region in capitals."""
    if not _LOCALE.fullmatch(tag):
        raise ValueError("must be a BCP 47 tag such as en, ms-MY or zh-Hant-TW")
    first, *rest = tag.replace("_", "-").split("-")
    shaped = [part.title() if len(part) == 4 and part.isalpha() else part.upper() for part in rest]
    return "-".join([first.lower(), *shaped])


def _no_null(text: str) -> str:
    if "\x00" in text or any(0xD800 <= ord(character) < 0xE000 for character in text):
        raise ValueError("contains a character that text cannot hold (U+0000 or half a surrogate pair)")
    return text


Locale = Annotated[str, Field(max_length=35), AfterValidator(canonical_locale)]
FieldText = Annotated[str, Field(max_length=MAX_FIELD), AfterValidator(_no_null)]
Words = Annotated[str, Field(max_length=200), AfterValidator(_no_null)]
Note = Annotated[str, Field(max_length=4_000), AfterValidator(_no_null)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class GenerateIn(_Strict):
    """`n` variants in all; `angles` from plain, benefit, curiosity, urgency (templates), or any word (text model)."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"offer_id": "coffee-20", "channel": "email", "locale": "en", "n": 2}]}
    )

    offer_id: Word = Field(description="Which offer the copy is for")
    channel: Channel = Field(description="For which channel")
    locale: Locale = Field("en", description="In which language: a BCP 47 tag")
    segment: Annotated[Words, Field(min_length=1)] | None = Field(
        None, description="For whom, in words of your own, such as lapsed 90 days"
    )
    n: Annotated[int, Field(strict=True, ge=1, le=20)] = Field(3, description="How many variants")
    angles: Annotated[list[Annotated[Words, Field(min_length=1, max_length=60)]], Field(max_length=20)] = Field(
        [], description="How to say it; without it, what suits the offer"
    )


class CheckIn(_Strict):
    """Copy written elsewhere. Without `offer_id` no figure counts as a fact."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"channel": "sms", "locale": "en", "offer_id": "coffee-20", "fields": {"body": "20% off coffee"}}
            ]
        }
    )

    channel: Channel = Field(description="For which channel")
    locale: Locale = Field("en", description="In which language: a BCP 47 tag")
    offer_id: Word | None = Field(None, description="Whose facts it may state")
    fields: Annotated[dict[Annotated[str, Field(max_length=60)], FieldText], Field(max_length=20)] = Field(
        description="The copy, by field of the channel: subject, preheader and body of an email; body of an sms"
    )


class RejectIn(_Strict):
    """Why; shown to whoever writes the next variant."""

    reason: Note | None = Field(None, description="The reason")


class EditIn(_Strict):
    """The fields to replace; null takes an optional field out."""

    fields: Annotated[
        dict[Annotated[str, Field(max_length=60)], FieldText | None], Field(min_length=1, max_length=20)
    ] = Field(description="New text by field")


class CommentIn(_Strict):
    """A remark for the next reviewer."""

    text: Annotated[Note, Field(min_length=1)] = Field(description="The remark")


__all__ = ["ANGLES", "CHANNEL_FIELDS", "CheckIn", "CommentIn", "EditIn", "GenerateIn", "RejectIn", "canonical_locale"]
