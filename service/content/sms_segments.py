"""How many SMS a text costs: GSM 7-bit default alphabet with its extension table, else UCS-2 (3GPP TS 23.038)."""

from __future__ import annotations

from dataclasses import dataclass

GSM_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_EXTENDED = frozenset("\f^{}\\[~]|€")
SINGLE = {"GSM-7": 160, "UCS-2": 70}
JOINED = {"GSM-7": 153, "UCS-2": 67}
SURELY = JOINED["UCS-2"]
"""So many ASCII characters fit in each segment, whatever they are."""


@dataclass(frozen=True, slots=True)
class SmsSize:
    """`units` are septets (an extended character takes 2) or UTF-16 code units; `segments` are messages."""

    encoding: str
    units: int
    segments: int


def sms_size(text: str) -> SmsSize:
    """The encoding that a gateway must choose for `text`, and what it costs."""
    if GSM_BASIC.issuperset(text):  # most texts: every character takes one septet
        units = len(text)
        return SmsSize("GSM-7", units, -(-units // (SINGLE if units <= SINGLE["GSM-7"] else JOINED)["GSM-7"]))
    widths, encoding = _widths(text)
    units = sum(widths)
    if units <= SINGLE[encoding]:
        return SmsSize(encoding, units, 1 if units else 0)
    return SmsSize(encoding, units, _pack(widths, JOINED[encoding]))


def first_unusual(text: str) -> int | None:
    """Place of the first character that forces UCS-2, or None."""
    return next((i for i, c in enumerate(text) if c not in GSM_BASIC and c not in GSM_EXTENDED), None)


def _widths(text: str) -> tuple[list[int], str]:
    if first_unusual(text) is None:
        return [2 if c in GSM_EXTENDED else 1 for c in text], "GSM-7"
    return [2 if ord(c) > 0xFFFF else 1 for c in text], "UCS-2"


def _pack(widths: list[int], room: int) -> int:
    """Segments needed when no character may be split over two (an escape pair or a surrogate pair)."""
    segments, used = 1, 0
    for width in widths:
        if used + width > room:
            segments, used = segments + 1, 0
        used += width
    return segments
