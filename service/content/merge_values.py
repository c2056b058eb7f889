"""An offer's facts as values for merge tags, written as the customer's locale writes them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import Any

from babel.dates import format_date
from babel.numbers import format_currency, format_decimal, format_percent

from service.content.facts import as_decimal, as_moment, is_percent_name
from service.content.locales import Writing


class Formatted(dict[str, Any]):
    """A mapping of parts (`amount`, `currency`) that reads as formatted text when used whole."""

    def __init__(self, parts: Mapping[str, Any], text: str) -> None:
        super().__init__(parts)
        self.text = text

    def __str__(self) -> str:
        return self.text


class LocalNumber(Decimal):
    """A number that compares as one and prints as the locale writes it."""

    text: str

    @classmethod
    def of(cls, value: Decimal, writing: Writing, currency: str | None = None) -> LocalNumber:
        number = cls(value)
        if currency:  # with the currency's usual digits: 9.90, not 9.9
            number.text = writing.tidy(format_currency(value, currency, "#,##0.00", locale=writing.locale))
        else:
            number.text = writing.tidy(format_decimal(value, locale=writing.locale, decimal_quantization=False))
        return number

    def __str__(self) -> str:
        return self.text


def offer_values(offer: Mapping[str, Any], writing: Writing, zone: tzinfo = UTC) -> dict[str, Any]:
    """`name`, `description`, `category`, `starts_at`, `ends_at`, and each fact by its name."""
    values = {name: _value(name, item, writing, zone) for name, item in offer.get("facts", {}).items()}
    for name in ("name", "description", "category"):
        if offer.get(name):
            values[name] = str(offer[name])
    for name in ("starts_at", "ends_at"):
        if offer.get(name) is not None and name not in values:
            values[name] = _value(name, offer[name], writing, zone)
    return values


def moment_names(offer: Mapping[str, Any]) -> list[str]:
    """The names of values whose text depends on the zone that they are read in: those that hold a moment."""
    values = {"starts_at": offer.get("starts_at"), "ends_at": offer.get("ends_at")}
    named = [*values.items(), *offer.get("facts", {}).items()]
    return [name for name, value in named if _holds_moment(value)]


def _holds_moment(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_moment(part) for part in value.values())
    if isinstance(value, (list, tuple)):
        return any(_holds_moment(part) for part in value)
    return isinstance(as_moment(value), datetime)


def format_day(moment: datetime | date, writing: Writing, zone: tzinfo, is_end: bool) -> str:
    """A long date; the end of an offer at midnight is named by the day that it ends."""
    if isinstance(moment, datetime):
        local = moment.astimezone(zone)
        day = (local - timedelta(days=1)).date() if is_end and local.time() == time() else local.date()
    else:
        day = moment
    if writing.locale.language == "th":  # Thai readers count Buddhist years
        return str(format_date(day, "d MMMM", locale=writing.locale)) + f" {day.year + 543}"
    return writing.tidy(format_date(day, "long", locale=writing.locale))


def format_money(amount: Decimal, currency: str, writing: Writing) -> str:
    """`€9.90`, `9,90 €`, `RM9.90` … as the locale writes money."""
    return writing.tidy(format_currency(amount, currency, locale=writing.locale))


def _value(name: str, value: Any, writing: Writing, zone: tzinfo) -> Any:
    if isinstance(value, Mapping):
        return _mapping(name, value, writing, zone)
    if isinstance(value, (list, tuple)):
        return ", ".join(str(_value(name, item, writing, zone)) for item in value)
    moment = as_moment(value)
    if moment is not None:
        return format_day(moment, writing, zone, name == "ends_at")
    number = as_decimal(value) if not isinstance(value, str) else None
    if number is None:
        return value if isinstance(value, bool) else "" if value is None else str(value)
    if is_percent_name(name) and name not in ("percent", "pct"):
        return _percent(number, writing)
    return LocalNumber.of(number, writing)


def _mapping(name: str, value: Mapping[str, Any], writing: Writing, zone: tzinfo) -> Formatted:
    parts = {key: _value(key, item, writing, zone) for key, item in value.items()}
    amount, currency = as_decimal(value.get("amount")), value.get("currency")
    percent = as_decimal(value.get("percent"))
    if amount is not None:
        code = str(currency).upper() if currency else None
        parts["amount"] = LocalNumber.of(amount, writing, code)
        text = format_money(amount, code, writing) if code else str(parts["amount"])
    elif percent is not None:
        parts["percent"] = LocalNumber.of(percent, writing)
        text = _percent(percent, writing)
    else:
        text = ", ".join(str(part) for part in parts.values())
    return Formatted(parts, text)


def _percent(number: Decimal, writing: Writing) -> str:
    return writing.tidy(format_percent(number / 100, locale=writing.locale, decimal_quantization=False))


def look_up(values: Mapping[str, Any], path: str) -> Any:
    """The value at `offer.price.amount`; None when a part is missing."""
    found: Any = values
    for part in path.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found
