"""The sentences that the template writer puts together: one JSON file a language in this folder.

Figures stand there only as merge tags. A subject or opening holds `{deal}`, which becomes the offer's discount,
price or name. Each angle has a few of each, so that variants differ. A new language is a new file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import orjson

ANGLES = ("plain", "benefit", "curiosity", "urgency")
LAPSED_SEGMENTS = ("lapsed", "winback", "win-back", "inactive", "churn", "dormant")
FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Phrases:
    """How one language says it. `deals` by the fact at hand: discount, price, name; the short ones for small room."""

    greeting: str
    welcome_back: str
    deals: dict[str, str]
    short_deals: dict[str, str]
    subjects: dict[str, list[str]]
    openings: dict[str, list[str]]
    price_line: str
    code_line: str
    ends_line: str
    see: str
    cta: list[str]
    unsubscribe: str
    stop: str
    call_hello: str
    call_bye: str


@lru_cache(maxsize=1)
def languages() -> frozenset[str]:
    """The languages that there are phrases in."""
    return frozenset(path.stem for path in FOLDER.glob("*.json"))


@lru_cache(maxsize=64)
def phrases(language: str) -> Phrases:
    """The phrases of a language; KeyError for one that is not there."""
    if language not in languages():
        raise KeyError(language)
    return Phrases(**orjson.loads((FOLDER / f"{language}.json").read_bytes()))
