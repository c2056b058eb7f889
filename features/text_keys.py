"""What stands for a text: a short key, by which its vector is found (features/texts.py)."""

from __future__ import annotations

from xxhash import xxh3_64_intdigest

_BITS = 49


def text_key(text: str) -> int:
    """A text's key: 49 bits, so that it is exact as a float too."""
    return xxh3_64_intdigest(text.encode()) & ((1 << _BITS) - 1)


def offer_text(name: str, description: str) -> str:
    """What is compared of an offer."""
    return f"{name}. {description}"
