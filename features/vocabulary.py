"""What an event's name means: a verb and, where the name says it, a channel. One table for both paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from features.channels import CHANNELS

TOLD_APART = (*CHANNELS, "other")
"""Channels that features tell apart; any other text counts as `other`, a missing one as none."""
NO_CHANNEL = len(TOLD_APART)

VERBS = (
    "other",
    "ordered",
    "refunded",
    "product_viewed",
    "product_added",
    "cart_viewed",
    "checkout_started",
    "delivered",
    "opened",
    "clicked",
    "complained",
    "bounced",
    "redeemed",
    "unsubscribed",
    "page_viewed",
    "app_opened",
    "form_submitted",
    "signed_up",
    "identified",
)
"""What a customer did, or what was done to reach them."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """The verb of an event name and the channel that the name itself implies."""

    verb: str
    channel: str | None = None


NAMES: Mapping[str, Meaning] = MappingProxyType(
    {
        "Order Completed": Meaning("ordered"),
        "Order Refunded": Meaning("refunded"),
        "Product Viewed": Meaning("product_viewed"),
        "Product Added": Meaning("product_added"),
        "Cart Viewed": Meaning("cart_viewed"),
        "Checkout Started": Meaning("checkout_started"),
        "Coupon Redeemed": Meaning("redeemed"),
        "Offer Delivered": Meaning("delivered"),
        "Offer Opened": Meaning("opened"),
        "Offer Clicked": Meaning("clicked"),
        "Email Delivered": Meaning("delivered", "email"),
        "Email Opened": Meaning("opened", "email"),
        "Email Link Clicked": Meaning("clicked", "email"),
        "Email Marked as Spam": Meaning("complained", "email"),
        "Email Bounced": Meaning("bounced", "email"),
        "SMS Delivered": Meaning("delivered", "sms"),
        "SMS Opened": Meaning("opened", "sms"),
        "SMS Link Clicked": Meaning("clicked", "sms"),
        "SMS Clicked": Meaning("clicked", "sms"),
        "SMS Bounced": Meaning("bounced", "sms"),
        "SMS Failed": Meaning("bounced", "sms"),
        "Push Notification Received": Meaning("delivered", "push"),
        "Push Notification Delivered": Meaning("delivered", "push"),
        "Push Notification Opened": Meaning("opened", "push"),
        "Push Notification Tapped": Meaning("clicked", "push"),
        "Push Notification Bounced": Meaning("bounced", "push"),
        "Unsubscribed": Meaning("unsubscribed"),
        "Email Unsubscribed": Meaning("unsubscribed", "email"),
        "SMS Unsubscribed": Meaning("unsubscribed", "sms"),
        "Application Opened": Meaning("app_opened"),
        "Form Submitted": Meaning("form_submitted"),
        "Signed Up": Meaning("signed_up"),
    }
)
TYPES: Mapping[str, str] = MappingProxyType({"page": "page_viewed", "screen": "page_viewed", "identify": "identified"})
"""Verbs of the message types whose name says nothing about what was done."""

ORDERED = tuple(name for name, meaning in NAMES.items() if meaning.verb == "ordered")
REPEATED = "Order Repeated"
"""The name of an event that tells an order once more: kept, and counted nowhere."""


def same_meaning(name: str) -> tuple[str, ...]:
    """The names of events with the same verb; an event that has none means only itself."""
    meaning = NAMES.get(name)
    return (name,) if meaning is None else tuple(other for other, one in NAMES.items() if one.verb == meaning.verb)


_CHANNEL_INDEX: Mapping[str | None, int] = {**{c: i for i, c in enumerate(TOLD_APART)}, None: NO_CHANNEL}


class Vocabulary:
    """Turns events into small numbers. `names` are event names that become verbs of their own."""

    def __init__(self, names: tuple[str, ...] = ()) -> None:
        self.verbs = (*VERBS, *(n for n in dict.fromkeys(names) if n not in VERBS))
        self._verb_index = {verb: i for i, verb in enumerate(self.verbs)}
        self.codes = len(self.verbs) * (NO_CHANNEL + 1) * 4

    def code(self, kind: str, name: str | None, channel: str | None, machine: bool | None, priced: bool = False) -> int:
        """Verb, channel, machine flag and whether revenue is known as one number, which `parts` takes apart again.

        The last is the lowest bit.
        """
        verb, implied = "other", None
        if kind != "track":
            verb = TYPES.get(kind, "other")
        elif name is not None and name in NAMES:
            verb, implied = NAMES[name].verb, NAMES[name].channel
        elif name is not None and name in self._verb_index and name not in VERBS:
            verb = name
        place = _CHANNEL_INDEX.get(channel or implied, len(TOLD_APART) - 1)
        return ((self._verb_index[verb] * (NO_CHANNEL + 1) + place) * 2 + (machine is True)) * 2 + priced

    def parts(self, number: int) -> tuple[str, str | None, bool, bool]:
        """The verb, channel, machine flag and whether revenue is known, of a code."""
        rest, flags = divmod(number, 4)
        verb, place = divmod(rest, NO_CHANNEL + 1)
        return self.verbs[verb], (None if place == NO_CHANNEL else TOLD_APART[place]), flags >= 2, flags % 2 == 1
