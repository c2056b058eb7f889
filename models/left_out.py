"""Sentences that say why a customer is left out: format strings such as `has {orders_90d:.0f} orders`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from string import Formatter

from features.catalogue import FEATURE_NAMES
from models.reasons import one_of_many

_UNFIT = (LookupError, ValueError, TypeError, AttributeError)
"""What Python raises of a format string that is wrong, or that asks for what is not known."""


def filled(template: str, values: Mapping[str, float]) -> str | None:
    """The sentence with a customer's values; up to its first colon where one is missing; None where that fails too.

    A wrong one, registered before `check_sentence` was asked, must not keep anybody from being answered.
    """
    known = {name: value for name, value in values.items() if math.isfinite(value)}
    for text in (template, template.split(":")[0]):
        try:
            return one_of_many(text.format(**known))
        except _UNFIT:
            continue
    return None


def check_sentence(template: str) -> None:
    """Raises ValueError where the sentence could be made for no customer."""
    try:
        unknown = [name for _, name, _, _ in Formatter().parse(template) if name not in (None, *FEATURE_NAMES)]
        if unknown:
            raise ValueError(f"{{{unknown[0]}}} is no feature")
        template.format(**dict.fromkeys(FEATURE_NAMES, 1.0))
    except _UNFIT as wrong:
        raise ValueError(
            f"the sentence {template!r} of `otherwise` cannot be filled ({wrong}); write text with features in braces, "
            "such as `last order {days_since_last_order:.0f} days ago`, and a brace of its own twice"
        ) from None
