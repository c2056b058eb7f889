"""The zone in which hours count for customers whose zone nobody told: the one in which their messages are planned, too.

The setting `default_timezone` reaches this module by the variable that also overrides it, OPPORTUNE_DEFAULT_TIMEZONE,
read once, in every process alike.
"""

from __future__ import annotations

import os
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

VARIABLE = "OPPORTUNE_DEFAULT_TIMEZONE"
_LONGEST = 100
"""The longest name there is has 32 characters; of a path of many parts the search for it recurses once a part."""


@lru_cache(maxsize=1024)
def known_zone(name: str) -> ZoneInfo | None:
    """The zone of that IANA name; None for a name that no zone has (it counts as not said)."""
    try:
        return ZoneInfo(name) if len(name) <= _LONGEST else None
    except (ValueError, OSError, KeyError):
        return None


DEFAULT_ZONE: str
"""That of this process, read when first asked for: the settings, which set the variable, use this module too."""


@cache
def _of_this_process() -> str:
    name = os.environ.get(VARIABLE) or "UTC"
    if known_zone(name) is None:
        raise ValueError(f"{VARIABLE}: there is no time zone {name!r}; give an IANA name such as Europe/Berlin")
    return name


def __getattr__(name: str) -> str:
    if name == "DEFAULT_ZONE":
        return _of_this_process()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
