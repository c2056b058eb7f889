"""The shape of an offer on the wire. Numbers are numbers and unknown fields are errors."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from features.channels import Channel
from service.offers.cel import ExpressionError, compile_expression, refuse_what_there_is_not
from service.times import Period, read_time
from service.web.json_values import plain_text

MAX_BULK = 10_000
NEEDS_ITSELF = "names the offer itself, so it could never be sent"
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2101, 1, 1, tzinfo=UTC)


def identifier(text: str) -> str:
    """As events write it (NFC), so that both mean the same. Refuses control characters, and space around the text."""
    text = unicodedata.normalize("NFC", plain_text(text))
    if text != text.strip() or (not text.isprintable() and any(character in "\t\n\r" for character in text)):
        raise ValueError("has space around it or a line break; remove it")
    return text


def utc_time(value: Any) -> datetime:
    """An RFC 3339 time with its offset, between 1970 and 2100, in UTC."""
    if not isinstance(value, str | datetime):
        raise ValueError("must be a time such as 2026-07-01T09:00:00Z")
    time = read_time(value) if isinstance(value, str) else value
    if time.tzinfo is None:
        raise ValueError("has no time zone; write 2026-07-01T09:00:00Z")
    try:
        time = time.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie between 1970 and 2100") from None
    if not _FIRST <= time < _LAST:
        raise ValueError("must lie between 1970 and 2100")
    return time


UtcInstant = Annotated[datetime, BeforeValidator(utc_time)]
Text = Annotated[str, Field(max_length=2_000), AfterValidator(plain_text)]
Word = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(identifier)]
Money = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=1e9)]
Count = Annotated[int, Field(strict=True, ge=0, le=1_000_000_000)]
Days = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0, le=3_660)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Discount(_Strict):
    """Percent off."""

    percent: Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0, le=100)]


class Price(_Strict):
    """A price as it is written: a decimal text, so that no cent is lost, and its ISO 4217 currency."""

    amount: Annotated[str, Field(max_length=20)]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]

    @field_validator("amount")
    @classmethod
    def _decimal(cls, amount: str) -> str:
        try:
            number = Decimal(amount) if re.fullmatch(r"\d+(\.\d+)?", amount, re.ASCII) else None
        except InvalidOperation:
            number = None
        if number is None or number >= Decimal("1e12"):
            raise ValueError('must be a decimal text such as "9.90", below 1,000,000,000,000')
        return amount


class Facts(_Strict):
    """What copy may state. Every number, price, date and link in copy comes from here."""

    discount: Discount | None = None
    price: Price | None = None
    code: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(identifier)] | None = None
    url: Annotated[str, Field(max_length=2_000, pattern=r'^https?://[^\s<>"]+$')] | None = None
    ends_at: UtcInstant | None = None


class Cap(_Strict):
    """At most `max` impressions in any `per_days` days, `per` customer (the default) or everyone together.

    Instead of `per_days`, `per` may name a calendar's period: days begin at midnight and weeks on Monday, in the
    customer's zone (`of` everyone: in the installation's).
    """

    max: Count
    per_days: Days | None = None
    per: Literal["customer", "everyone", "calendar_day", "calendar_week", "calendar_month"] = "customer"
    of: Literal["customer", "everyone"] | None = Field(None, description="Whom a calendar's cap counts")

    @model_validator(mode="after")
    def _one_window(self) -> Cap:
        calendar = self.per not in {"customer", "everyone"}
        if calendar == (self.per_days is not None):
            raise ValueError("give either per_days, or per as calendar_day, calendar_week or calendar_month")
        if not calendar and self.of is not None:
            raise ValueError("`of` goes with a calendar's period; with per_days say it by `per`")
        if calendar and self.of is None:
            self.of = "customer"
        return self


class Spend(_Strict):
    """At most `amount` of the offer's `cost` in any `per_days` days, or in each calendar's period (`per`).

    `pacing` even: no faster than evenly over the period, and 1/24 of the amount (or one cost) ahead of that at most.
    """

    amount: Money
    per_days: Days | None = None
    per: Period | None = None
    pacing: Literal["none", "even"] = "none"

    @model_validator(mode="after")
    def _one_window(self) -> Spend:
        if (self.per is None) == (self.per_days is None):
            raise ValueError("give either per_days, or per as calendar_day, calendar_week or calendar_month")
        return self


class Required(_Strict):
    """What must have happened with another offer first; from `after_days` after it, until `within_days` after it."""

    offer_id: Word
    event: Literal["delivered", "clicked", "converted"] = "delivered"
    within_days: Days | None = None
    after_days: Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=3_660)] = 0.0

    @model_validator(mode="after")
    def _some_time_between(self) -> Required:
        if self.within_days is not None and self.within_days <= self.after_days:
            raise ValueError("within_days is not more than after_days, so it could never be met")
        return self


_EXAMPLE: dict[str, Any] = {
    "name": "20% off coffee",
    "category": "coffee",
    "product_ids": ["coffee-espresso", "coffee-filter"],
    "channels": ["email", "sms"],
    "facts": {"discount": {"percent": 20}, "code": "COFFEE20", "url": "https://shop.example.org/coffee"},
    "value": 6.0,
    "cost": 0.05,
    "eligibility": "customer.features.orders_90d >= 1",
    "caps": [{"max": 1, "per_days": 30}],
}


class OfferIn(_Strict):
    """An offer as it is put. What is left out takes the default written here."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    offer_id: Word | None = Field(None, description="As in the path; may be left out")
    name: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(plain_text)] = Field(
        description="What people call it; copy may say it"
    )
    description: Text = Field("", description="A sentence or two; copy may say it, and new offers are placed by it")
    category: Word | None = Field(None, description="What it is about, as the events' products say it")
    product_ids: Annotated[list[Word], Field(max_length=50_000)] = Field(
        [], description="The products that it is about, as events name them"
    )
    channels: Annotated[list[Channel], Field(min_length=1)] = Field(
        list(get_args(Channel)), description="By which it may go"
    )
    facts: Facts = Field(Facts(), description="What copy may state: figures, code, address and end")
    value: Money = Field(1.0, description="What one sale earns, in the currency of the settings")
    cost: Money = Field(0.0, description="What one message costs, in the same currency")
    starts_at: UtcInstant | None = Field(None, description="Not before")
    ends_at: UtcInstant | None = Field(None, description="Not from then on")
    eligibility: Annotated[str, Field(max_length=4_000)] | None = Field(
        None,
        description="A CEL expression over customer (traits, features, segments, scores), context, now; it must hold",
    )
    caps: Annotated[list[Cap], Field(max_length=20)] = Field([], description="At most so many impressions")
    budget: Spend | None = Field(None, description="At most so much cost")
    priority: Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=1_000)] = Field(
        1.0, description="Multiplies the expected value; 0: it is off"
    )
    tags: Annotated[list[Word], Field(max_length=200)] = Field(
        [], description="Words of your own; business rules and cool-downs name them"
    )
    requires_approval: Annotated[bool, Field(strict=True)] = Field(
        True, description="false: copy that passes every check is approved as it is generated"
    )
    exclusion_group: Word | None = Field(None, description="Never in one answer with another offer of this group")
    exclusion_days: Days | None = Field(None, description="Nor within so many days after one")
    requires: Annotated[list[Required], Field(max_length=20)] = Field(
        [], description="What must have happened with other offers first"
    )

    @field_validator("channels", "product_ids", "tags")
    @classmethod
    def _distinct(cls, items: list[str]) -> list[str]:
        return list(dict.fromkeys(items))

    @field_validator("eligibility")
    @classmethod
    def _compiles(cls, source: str | None) -> str | None:
        if source is not None:
            try:
                compile_expression(source)
                refuse_what_there_is_not(source)
            except ExpressionError as fault:
                raise ValueError(str(fault)) from None
        return source

    @model_validator(mode="after")
    def _ends_after_start(self) -> OfferIn:
        if self.starts_at and self.ends_at and self.ends_at <= self.starts_at:
            raise ValueError("ends_at is not after starts_at")
        return self

    @model_validator(mode="after")
    def _rules_have_meaning(self) -> OfferIn:
        if self.exclusion_days is not None and self.exclusion_group is None:
            raise ValueError("exclusion_days goes with an exclusion_group; name the group")
        if self.offer_id is not None and self.needs(self.offer_id):
            raise ValueError(f"requires {NEEDS_ITSELF}")
        return self

    def needs(self, offer_id: str) -> bool:
        """Whether the offer of this id must have come before."""
        return any(one.offer_id == offer_id for one in self.requires)

    def document(self) -> dict[str, Any]:
        """The stored form: every field, times as text; the id stands beside it."""
        return self.model_dump(mode="json", exclude={"offer_id"})


class BulkOffer(OfferIn):
    """An offer of a list: here its id is needed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"offer_id": "coffee-20", **_EXAMPLE}]})

    offer_id: Word


class BulkIn(_Strict):
    """Offers put together: all of them, or none when one is wrong."""

    offers: Annotated[list[BulkOffer], Field(min_length=1, max_length=MAX_BULK)] = Field(
        description="Offers with their ids; a bare list is taken, too"
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_list(cls, value: Any) -> Any:
        return {"offers": value} if isinstance(value, list) else value
