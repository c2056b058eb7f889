"""Which address bounced, where the sender's event tells it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parseaddr
from typing import Any

from service.events.contacts import tidy_email, tidy_phone

TRAIT = {"email": "email", "sms": "phone", "call": "phone"}
"""The trait that holds a channel's address."""
_TOLD = {
    "email": ("email", "email_address", "email_id", "recipient", "to", "address"),
    "phone": ("phone", "phone_number", "recipient", "to", "address"),
}


def bounced_address(properties: Mapping[str, Any], channel: str) -> str | None:
    """The address in its one form (see `contacts`); None where the properties hold none that can be read."""
    trait = TRAIT.get(channel)
    told = (_one_form(properties.get(name), trait) for name in _TOLD.get(trait or "", ()))
    return next((address for address in told if address is not None), None)


def same_address(told: str, held: Any, channel: str) -> bool:
    """Whether a customer's trait may be the address that bounced. `Ann@` and `ann@` are one nearly everywhere."""
    own = _one_form(held, TRAIT.get(channel))
    return own is None or own.casefold() == told.casefold()


def _one_form(value: Any, trait: str | None) -> str | None:
    text = str(value) if type(value) in (str, int) else ""
    return tidy_email(parseaddr(text)[1]).value if trait == "email" else tidy_phone(text[:250], None).value
