"""E-mail addresses and phone numbers as customers' traits carry them: checked, and brought into one form. Pure.

An address keeps its local part and gets its domain in lower case (RFC 5321, section 2.4); a number becomes E.164, by
the `phonenumbers` library. The country of a number without one is the customer's, else the installation's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

# RFC 5321, sections 4.1.2 and 4.5.3.1, without quoted local parts and address literals, which no shop's customer has;
# letters of any script, as RFC 6531 allows.
_LOCAL = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*")
_LABEL = r"(?!-)[^\W_](?:[\w-]{0,61}[^\W_])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+(?!\d+$){_LABEL}")
_COUNTRY = re.compile(r"[A-Za-z]{2}")


class Tidied(NamedTuple):
    """The value in its one form, None where it has none; `note` says what was done, None where nothing was."""

    value: str | None
    note: str | None


def tidy_email(text: str) -> Tidied:
    """`Ann.Lee@Example.ORG ` becomes `Ann.Lee@example.org`."""
    local, _, domain = text.strip().rpartition("@")
    domain = domain.lower()
    fits = len(local.encode()) <= 64 and len(local.encode()) + len(domain.encode()) < 254
    if not (fits and _LOCAL.fullmatch(local) and _DOMAIN.fullmatch(domain)):
        return Tidied(None, "bad_email")
    value = f"{local}@{domain}"
    return Tidied(value, None if value == text else "email_normalized")


@lru_cache(maxsize=4096)
def tidy_phone(text: str, country: str | None) -> Tidied:
    """`(030) 901820` in DE becomes `+4930901820`. `country` is an ISO 3166 code."""
    import phonenumbers

    try:
        number = phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException as wrong:
        nowhere = wrong.error_type == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE and "+" not in text
        return Tidied(None, "phone_without_country" if nowhere else "bad_phone")
    if not phonenumbers.is_valid_number(number):
        return Tidied(None, "bad_phone")
    value = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return Tidied(value, None if value == text else "phone_normalized")


def tidy_traits(
    traits: Mapping[str, Any], locale: Any, default_country: str | None
) -> tuple[Mapping[str, Any], list[str]]:
    """Traits with `email` and `phone` in their one form, and notes of what was done.

    What was sent stays beside a changed value, as `email_raw` and `phone_raw`; a bad value stays as it is.
    """
    email, phone = traits.get("email"), traits.get("phone")
    changed: dict[str, Any] = {}
    notes: list[str] = []
    if email is not None and email != "":
        notes.append("email")
        _keep("email", email, tidy_email(email) if type(email) is str else Tidied(None, "bad_email"), changed, notes)
    if phone is not None and phone != "":
        notes.append("phone")
        text = str(phone) if type(phone) in (str, int) else ""
        country = _country(traits, locale, default_country)
        _keep("phone", phone, tidy_phone(text[:250], country), changed, notes)
    return ({**traits, **changed} if changed else traits), notes


def _keep(name: str, given: Any, tidied: Tidied, changed: dict[str, Any], notes: list[str]) -> None:
    if tidied.note:
        notes.append(tidied.note)
    if tidied.value is not None and tidied.value != given:
        changed[name], changed[f"{name}_raw"] = tidied.value, given


def _country(traits: Mapping[str, Any], locale: Any, default: str | None) -> str | None:
    """Where the customer is: the address's country, the trait, the locale's region, else the default."""
    address = traits.get("address")
    region = re.split(r"[-_]", locale)[-1] if type(locale) is str and re.search(r"[-_]", locale) else None
    told = (address.get("country") if type(address) is dict else None, traits.get("country"), region, default)
    return next((one.upper() for one in told if type(one) is str and _COUNTRY.fullmatch(one)), None)
