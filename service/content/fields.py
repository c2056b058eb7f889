"""Which fields a message has on each channel, and how long each may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import regex

from service.content.sms_segments import SURELY, sms_size


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


def fits(channel: str, rendered: Mapping[str, str], limited: Sequence[FieldRule], max_sms_segments: int) -> bool:
    """Whether these fields keep to the channel's limits."""
    for rule in limited:
        text = rendered[rule.name]
        if channel == "sms":
            if text.isascii() and len(text) <= SURELY * max_sms_segments:
                continue
            if sms_size(text).segments > max_sms_segments:
                return False
        elif len(text) > rule.longest and graphemes(text) > rule.longest:
            return False
    return True


def graphemes(text: str) -> int:
    """What a reader sees as characters; blanks around the text do not count."""
    return len(regex.findall(r"\X", text.strip()))
