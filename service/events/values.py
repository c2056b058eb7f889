"""Single values of an event, read strictly: ids, times, money, quantities. Pure; errors name the field."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from service.errors import FieldError
from service.times import read_time

MAX_ID_BYTES = 1024
MAX_NAME_LENGTH = 255
FIRST_YEAR, LAST_YEAR = 1970, 2100
MAX_MINOR_UNITS = 10**13
MAX_QUANTITY = 10**9

Errors = list[FieldError]


def unsafe_text(text: str) -> str | None:
    """Why a text cannot be an id or a name: a control character or half of a surrogate pair; None when it can."""
    if text.isprintable():
        return None
    for character in text:
        if unicodedata.category(character) in {"Cc", "Cs"}:
            return f"contains the control character U+{ord(character):04X}; remove it"
    return None


def identifier(value: Any, field: str, errors: Errors) -> str | None:
    """An id as NFC text of 1 to 1,024 bytes in any script; None where it is absent or, with an error, wrong."""
    if value is None:
        return None
    if type(value) is not str:
        errors.append(FieldError(field, f"is {_kind(value)}; send a string"))
        return None
    if value.isascii() and value.isprintable() and 0 < len(value) <= MAX_ID_BYTES and not value.isspace():
        return value
    if not value or value.isspace():
        errors.append(FieldError(field, "is empty; send the id or leave the field out"))
        return None
    text = unicodedata.normalize("NFC", value)
    wrong = unsafe_text(text)
    if wrong:
        errors.append(FieldError(field, wrong))
        return None
    if len(text.encode()) > MAX_ID_BYTES:
        errors.append(FieldError(field, f"is longer than {MAX_ID_BYTES:,} bytes; send a shorter id"))
        return None
    return text


def person(value: Any, field: str, errors: Errors) -> str | None:
    """The id of a customer: as `identifier`, and one that an address can name, to read and to erase what it is of."""
    text = identifier(value, field, errors)
    if text is not None and has_dot_segment(text):
        errors.append(FieldError(field, DOT_SEGMENT))
        return None
    return text


DOT_SEGMENT = "is or holds '.' or '..' between slashes, which clients take out of an address; use another id"


def has_dot_segment(text: str) -> bool:
    """Whether an address with this id would be another one (RFC 3986, 5.2.4), however it is encoded."""
    return (text[0] == "." or "/." in text) and not {".", ".."}.isdisjoint(text.split("/"))


def reference(value: Any, field: str, errors: Errors) -> str | None:
    """An id of another thing (order, offer, product): as `identifier`, and a whole number becomes its digits."""
    if type(value) is int:
        return str(value)
    return None if value == "" else identifier(value, field, errors)


def name(value: Any, field: str, errors: Errors) -> str | None:
    """A name of 1 to 255 characters without control characters."""
    if value is None:
        return None
    if type(value) is not str:
        errors.append(FieldError(field, f"is {_kind(value)}; send a string"))
        return None
    if not value or value.isspace():
        errors.append(FieldError(field, "is empty; send the name"))
        return None
    wrong = f"is longer than {MAX_NAME_LENGTH} characters; shorten it" if len(value) > MAX_NAME_LENGTH else None
    wrong = wrong or unsafe_text(value)
    if wrong:
        errors.append(FieldError(field, wrong))
        return None
    return value


def instant(value: Any, field: str, errors: Errors) -> datetime | None:
    """An RFC 3339 time in UTC, of the years 1970 to 2100. Without an offset it is read as UTC."""
    if value is None:
        return None
    if type(value) is str:
        try:
            moment = read_time(value)
        except ValueError as wrong:
            errors.append(FieldError(field, str(wrong)))
            return None
    elif isinstance(value, datetime):
        moment = value
    else:
        errors.append(FieldError(field, f"is {_kind(value)}; send an RFC 3339 time as a string"))
        return None
    if FIRST_YEAR <= moment.year <= LAST_YEAR:  # else there may be no such time in UTC
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        errors.append(FieldError(field, f"the year {moment.year} is outside {FIRST_YEAR} to {LAST_YEAR}; correct it"))
        return None
    return moment


def minor_units(value: Any, field: str, scale: int, errors: Errors, *, refund: bool = False) -> int | None:
    """Money as whole minor units, rounded half up; `scale` is how many make one unit (`minor_scale`).

    Of a refund the sign is left out: what is given back is written either way, and is the same.
    """
    if value is None:
        return None
    kind = type(value)
    if kind is float:
        near = value * scale
        units = round(near) if -1e12 < near < 1e12 else None  # nan and infinity compare false
        if units is None or abs(near - units) > 1e-6 * (1 + abs(near) * 1e-6):
            units = _decimal_units(repr(value), scale)
    elif kind is int:
        units = value * scale
    elif kind is str:
        units = _decimal_units(value, scale)
    elif isinstance(value, Decimal):
        units = _decimal_units(str(value), scale)
    else:
        errors.append(FieldError(field, f"is {_kind(value)}; send a number"))
        return None
    if refund and units is not None:
        units = abs(units)
    if units is None:
        errors.append(FieldError(field, f"{str(value)[:40]!r} is no amount of money; send a finite number"))
    elif units < 0:
        told = "send the amount as zero or more, and what is given back as an event Order Refunded"
        errors.append(FieldError(field, f"{str(value)[:40]} is negative; {told}"))
    elif units > MAX_MINOR_UNITS:
        errors.append(FieldError(field, f"{str(value)[:40]} is too large an amount; check its unit"))
    else:
        return units
    return None


def quantity(value: Any, field: str, errors: Errors, *, refund: bool = False) -> int:
    """How many, as a whole number (default 1); a part of a unit (0.75 kg) counts as rounded, at least 1.

    Of a refund the sign is left out, as of its money.
    """
    if value is None:
        return 1
    if type(value) is str:
        try:
            value = float(value)
        except ValueError:
            errors.append(FieldError(field, f"{value[:40]!r} is no number; send a whole number"))
            return 1
    if isinstance(value, Decimal):
        value = float(value)
    if refund and type(value) in (int, float):
        value = abs(value)
    if type(value) not in (int, float) or not 0 <= value <= MAX_QUANTITY:
        shown = value if type(value) in (int, float) else _kind(value)
        errors.append(FieldError(field, f"is {shown}; send a number from 0 to {MAX_QUANTITY:,}"))
        return 1
    return int(value) if value == int(value) else max(1, int(value + 0.5))


def currency(value: Any, field: str, errors: Errors) -> str | None:
    """An ISO 4217 code in capitals."""
    if value is None or value == "":
        return None
    if type(value) is str and len(value) == 3 and value.isascii() and value.isalpha():
        return value.upper()
    errors.append(FieldError(field, f"{str(value)[:40]!r} is no currency; send its ISO 4217 code, such as EUR"))
    return None


def first_of(values: Sequence[tuple[str, Any]]) -> tuple[str, Any]:
    """The first (field, value) whose value is there; the last one when none is."""
    return next((pair for pair in values if pair[1] is not None), values[-1])


def _decimal_units(text: str, scale: int) -> int | None:
    try:
        amount = Decimal(text.strip())
        if not amount.is_finite() or abs(amount) > MAX_MINOR_UNITS:
            return None if not amount.is_finite() else (MAX_MINOR_UNITS + 1) * (1 if amount > 0 else -1)
        return int((amount * scale).to_integral_value(ROUND_HALF_UP))
    except (InvalidOperation, ValueError):
        return None


def _kind(value: Any) -> str:
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "an object",
    }
    return names.get(type(value), f"of type {type(value).__name__}")
