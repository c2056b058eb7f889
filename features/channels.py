"""The channels by which an offer may reach a customer, named once for all parts."""

from __future__ import annotations

from typing import Literal, get_args

Channel = Literal["email", "sms", "push", "web", "call", "webhook"]
CHANNELS: tuple[str, ...] = get_args(Channel)
