"""Lengths of time as people write them: `45m`, `1d12h`, `2w`, or ISO 8601 (`P3D`, `PT1H30M`)."""

from __future__ import annotations

import re
from datetime import timedelta

LONGEST = timedelta(days=3660)
_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_PLAIN = re.compile(r"(?:\d+(?:\.\d+)?\s*[wdhms]\s*)+")
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([wdhms])")
_ISO = re.compile(
    r"P(?:(?P<w>\d+)W)?(?:(?P<d>\d+)D)?(?:T(?=\d)(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?"
)


def parse_duration(text: str) -> timedelta:
    """A duration greater than nothing and of at most ten years; `ValueError` says what to write instead."""
    written = text.strip()
    plain = written.lower()
    if _PLAIN.fullmatch(plain):
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(plain))
    elif len(written) > 1 and (iso := _ISO.fullmatch(written.upper())):
        seconds = sum(float(number) * _SECONDS[unit] for unit, number in iso.groupdict().items() if number)
    else:
        raise ValueError(f"{text!r} is not a duration; write 45m, 6h, 3d, 1d12h, 2w or ISO 8601 such as P3D")
    if seconds > LONGEST.total_seconds() or not (length := timedelta(seconds=seconds)):
        raise ValueError(f"{text!r} is out of range; a duration is longer than nothing and at most ten years")
    return length
