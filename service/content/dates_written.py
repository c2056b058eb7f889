"""How a locale writes dates: with a month's name, with the day in words, and as a name after 'until'."""

from __future__ import annotations

from functools import lru_cache

import regex

from service.content.claims import DEADLINE_WORDS
from service.content.locales import PERCENT_SIGNS, writing
from service.content.number_words import days_of

_FILLERS = (
    r"the|end|of|mid|this|next|le|la|el|zum|zur|ende|mitte|anfang|nächsten|kommenden|fin|finales|de|del|du|mois|mi|"
    r"début|mediados|principios|hari|akhir|hujung|pertengahan|awal|bulan|วันที่|วัน|สิ้น|กลาง|ต้น|เดือน"
)
"""Between "until" and the name of a day or month."""


@lru_cache(maxsize=64)
def month_patterns(tag: str) -> tuple[regex.Pattern[str], ...]:
    """A day as a number and a month by name, in either order: `m`, `d`, `y`."""
    names = tuple(writing(tag).months)
    month = "|".join(regex.escape(name) for name in sorted(names, key=len, reverse=True))
    name = rf"(?P<m>(?i:{month}))\.?(?![a-z])"
    year = r"(?:,?\s*(?:de\s+|del\s+|พ\.ศ\.\s*|ค\.ศ\.\s*)?(?P<y>\d{4})(?!\d))?"
    ordinal = r"(?:st|nd|rd|th|\.|er|º|ª|\.º)?"
    ends = r"(?!\.\s*\n)"  # "Paper 1." and a line that begins with "May I"
    unmeasured = rf"(?!\s?[{PERCENT_SIGNS}])(?!\d)(?![.,]\d)"
    return (
        regex.compile(
            rf"(?<!\d)(?:\d{{1,2}}\.?\s?[-–—]\s?)?(?P<d>\d{{1,2}}){ends}{ordinal}\s*(?:de\s+|of\s+)?{name}{year}"
        ),
        regex.compile(rf"(?<!\p{{L}}){name}\s*(?P<d>\d{{1,2}}){ordinal}{unmeasured}{year}"),
    )


@lru_cache(maxsize=64)
def spoken_date_pattern(tag: str) -> regex.Pattern[str]:
    """The day in words (`day`, see `days_of`) and a month by name (`m`, `y`)."""
    local = writing(tag)
    language = local.locale.language
    written = sorted(days_of(language), key=len, reverse=True)
    days = "|".join(regex.escape(day).replace(r"\ ", r"\s+").replace("ss", "(?:ss|ß)") for day in written)
    month = "|".join(regex.escape(name) for name in sorted(local.months, key=len, reverse=True))
    between = {"en": r"\s+of\s+", "es": r"\s+de\s+", "th": r"\s*"}.get(language, r"\s+")
    return regex.compile(
        rf"(?<!\p{{Latin}})(?P<day>{days or '(?!)'}){between}(?P<m>{month})(?![a-z])"
        r"(?:,?\s*(?:de\s+|del\s+|พ\.ศ\.\s*|ค\.ศ\.\s*)?(?P<y>\d{4})(?!\d))?",
        regex.IGNORECASE,
    )


@lru_cache(maxsize=64)
def deadline_pattern(tag: str) -> regex.Pattern[str]:
    """Weekdays and months (`name`) after 'until' and its like, 'until the end of' too."""
    local = writing(tag)
    names = sorted({*local.weekdays, *(n for n in local.months if len(n) > 3)}, key=len, reverse=True)
    words = sorted(DEADLINE_WORDS, key=len, reverse=True)
    inner = "|".join(regex.escape(word).replace("'", "['’]") for word in words)
    return regex.compile(
        rf"(?<!\p{{L}})(?:{inner})\s*(?:(?:{_FILLERS})\s*)*(?<![\p{{Latin}}])"
        rf"(?P<name>{'|'.join(regex.escape(name) for name in names)})(?![a-z])",
        regex.IGNORECASE,
    )
