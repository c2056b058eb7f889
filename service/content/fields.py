"""Which fields a message has on each channel, and how long each may be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldRule:
    """`longest` counts graphemes, what a reader sees as one character; SMS is measured in segments instead."""

    name: str
    longest: int
    required: bool = True
    html: bool = False


# Subjects: RFC 5322 section 2.1.1 asks for lines of at most 78. Push: what iOS and Android show unexpanded.
CHANNEL_FIELDS: dict[str, tuple[FieldRule, ...]] = {
    "email": (
        FieldRule("subject", 78),
        FieldRule("preheader", 120, required=False),
        FieldRule("body", 20_000, html=True),
    ),
    "sms": (FieldRule("body", 1_530),),
    "push": (FieldRule("title", 50), FieldRule("body", 178)),
    "web": (FieldRule("title", 80), FieldRule("body", 400), FieldRule("cta", 30, required=False)),
    "call": (FieldRule("script", 4_000),),
    "webhook": (FieldRule("payload", 32_768),),
}


def field_rules(channel: str) -> dict[str, FieldRule]:
    """Rules by field name; raises KeyError for a channel that is not known."""
    return {rule.name: rule for rule in CHANNEL_FIELDS[channel]}
