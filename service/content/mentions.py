"""Finds every figure in a text: links, addresses, codes, dates, times, prices, percents and bare numbers.

Works on text as a reader sees it (tags resolved). A found piece is blanked before the next kind is looked for,
so that each character belongs to one mention at most.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

import regex
from babel.core import get_global

from service.content.dates_written import deadline_pattern, month_patterns, spoken_date_pattern
from service.content.locales import (
    DECIMALS,
    GROUPS,
    MINOR_WORDS,
    PERCENT_SIGNS,
    PERCENT_WORDS,
    SPACES,
    Writing,
    digits_to_ascii,
    writing,
)
from service.content.number_words import days_of, large_of, pattern_of, value_of

BLANK = "\x00"
_CODE_WORD = (
    r"(?:(?:promo|discount|coupon|voucher|gutschein|rabatt|aktions|promotion)?[-\s]?(?:code|codes|kode|kod)|gutschein|"
    r"c[óo]digo(?:\s+promocional\b|\s+de\s+descuento\b)?|cup[óo]n|code\s+promo|kod\s+promo(?:si)?|โค้ด(?:ส่วนลด)?|รหัส(?:ส่วนลด)?)"
)
_KEYWORD_CODE = regex.compile(
    rf"(?<!\p{{L}})(?i:{_CODE_WORD})\s*(?:[:：=]|(?i:is|ist|es|est|ialah)(?![\p{{L}}\p{{N}}_-])|คือ)?\s*"
    r"(?:[\"'“”‘’«»„`]\s?(?P<quoted>[\p{L}\p{N}][\p{L}\p{N}_-]{2,})|"
    r"(?<=[:：=]\s?)(?P<told>[\p{L}\p{N}][\p{L}\p{N}_-]{2,})|(?P<code>[\p{Lu}\p{Nd}][\p{Lu}\p{Nd}_-]{2,})(?!\p{Ll}))"
)
_CODE_TO_ENTER = regex.compile(
    r"(?:(?<!\p{L})(?:[Uu]se|[Ee]nter|[Tt]ype|[Qq]uote|[Aa]pply|[Nn]utzen Sie|[Gg]eben Sie|[Uu]sa|"
    r"[Ii]ntroduce|[Uu]tilisez|[Ss]aisissez|[Gg]una(?:kan)?|[Pp]akai|[Mm]asukkan)\s+|(?:ใส่|ใช้)\s*)"
    r"(?P<code>\p{Lu}[\p{Lu}\p{Nd}_-]{3,})(?![\p{L}\p{N}])"
)
_LOOSE_CODE = regex.compile(
    r"(?<![\p{L}\p{N}_-])(?=[\p{Lu}\p{Nd}_-]*\p{Lu})(?=[\p{Lu}\p{Nd}_-]*\p{Nd})[\p{Lu}\p{Nd}][\p{Lu}\p{Nd}_-]{3,}(?![\p{L}\p{N}])"
)
_GENERIC_DOMAINS = [
    "com", "net", "org", "info", "biz", "io", "co", "me", "app", "shop", "store", "online", "site", "xyz", "top",
    "link", "click", "dev", "ai", "eu", "uk", "club", "live", "win", "page", "cloud", "tech", "news", "blog",
    "travel", "agency", "work", "support", "help", "market", "sale", "deals", "email", "zip", "mov",
]  # fmt: skip
# A scheme is short: without a bound each letter of a text without spaces (Thai) looked through the rest of it.
_LINK = regex.compile(
    r"(?i:(?:\p{L}[\p{L}\p{N}+.-]{0,30}:)?//|www\.|(?:mailto|tel|sms|javascript|data):)[^\s<>\"“”«»\x00]+"
)
_EMAIL = regex.compile(r"[\p{L}\p{N}._%+-]+@[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)+")
_ISO_DATE = regex.compile(r"(?<!\d)(?P<y>\d{4})([-/.])(?P<m>\d{1,2})\2(?P<d>\d{1,2})(?!\d)(?:T\d{2}:\d{2}\S*)?")
_CJK_DATE = regex.compile(r"(?:(?P<y>\d{4})\s*年)?\s*(?P<m>\d{1,2})\s*月\s*(?P<d>\d{1,2})\s*日")
_NUMERIC_DATE = regex.compile(
    r"(?<![\d.,/-])(?P<a>\d{1,2})\s?(?P<sep>[./-])\s?(?P<b>\d{1,2})\s?(?P=sep)(?:\s?(?P<y>\d{4})|(?P<y>\d{2}))(?!\d|\s?%)"
)
_SHORT_DATE = regex.compile(
    r"(?<![\d.,/])(?P<a>\d{1,2})(?:(?P<dot>\.)(?P<b>\d{1,2})\.|(?P<slash>/)(?P<b2>\d{1,2}))(?![\d/])"
)
_TIME = regex.compile(
    r"(?<![\d.,:])(?P<h>\d{1,2})(?:(?:[:h](?P<m>\d{2})|\.(?P<m2>\d{2})(?=\s?(?:[ap]\.?m\b|uhr|น\.)))(?::\d{2})?"
    r"(?:\s?(?P<half>[ap])\.?m\b\.?)?(?:\s?(?:uhr|น\.))?"
    r"|\s?(?P<half2>[ap])\.?m\b\.?|\s?(?:uhr|o['’]clock|นาฬิกา)|h\b)(?!\d)",
    regex.IGNORECASE,
)
_OF_MILLIONS = regex.compile(
    r"(?<=\bmill(?:ón|ones|ions?|iards?))\s+(?:de\s+|d['’]\s?)", regex.IGNORECASE
)  # as Spanish and French say it: "un millón de euros"
_DURATION = regex.compile(
    r"[\s-]*(?:(?:hours?|hrs?|days?|weeks?|months?|years?|(?P<short>minutes?|mins?|seconds?)|stunden?|tagen?|tage|wochen?|monaten?"
    r"|jahren?|horas?|días?|semanas?|mes(?:es)?|años?|heures?|jours?|semaines?|mois|ans|jam|hari|minggu|bulan|tahun)\b"
    r"|ชั่วโมง|วัน|สัปดาห์|เดือน|ปี)",
    regex.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Mention:
    """One figure: `kind` is link email code date time money percent number; `text[start:end]` is as written.

    `value`: Decimal for number and percent; (Decimal, frozenset of currencies) for money; (year | None, month |
    None, day | None) for a date, with a weekday 0-6 alone as `("weekday", n)`; (hour, minute) for a time; else str.
    """

    kind: str
    start: int
    end: int
    text: str
    value: Any
    duration: bool = False


def find_mentions(text: str, writing: Writing) -> list[Mention]:
    """Every mention in `text`, in order of place."""
    return sorted(_Finder(text, writing).run(), key=lambda mention: mention.start)


class _Finder:
    def __init__(self, text: str, writing: Writing) -> None:
        self.text = text
        self.left = digits_to_ascii(text)
        self.writing = writing
        self.language = writing.locale.language
        self.found: list[Mention] = []

    def run(self) -> list[Mention]:
        self._links()
        self._keyword_codes()
        self._take(_ISO_DATE, "date", lambda m: (int(m["y"]), int(m["m"]), int(m["d"])))
        self._take(_CJK_DATE, "date", lambda m: (int(m["y"]) if m["y"] else None, int(m["m"]), int(m["d"])))
        self._take(_NUMERIC_DATE, "date", self._numeric_date)
        for pattern in month_patterns(self.writing.tag):
            self._take(pattern, "date", self._named_date)
        self._take(spoken_date_pattern(self.writing.tag), "date", self._spoken_date)
        self._measured_numbers()
        self._number_words()
        self._take(_SHORT_DATE, "date", self._short_date)
        self._take(_TIME, "time", _time_value)
        self._take(_LOOSE_CODE, "code", lambda m: m.group())
        self._deadline_names()
        self._bare_numbers()
        return self.found

    def _add(self, kind: str, start: int, end: int, value: Any, duration: bool = False) -> None:
        self.found.append(Mention(kind, start, end, self.text[start:end], value, duration))
        self.left = self.left[:start] + BLANK * (end - start) + self.left[end:]

    def _take(self, pattern: regex.Pattern[str], kind: str, value: Callable[[Any], Any]) -> None:
        for match in pattern.finditer(self.left):
            read = value(match)
            if read is not None:
                self._add(kind, match.start(), match.end(), read)

    def _links(self) -> None:
        for pattern, kind in ((_LINK, "link"), (_EMAIL, "email"), (_domain_pattern(), "link")):
            for match in pattern.finditer(self.left):
                end = match.start() + len(match.group().rstrip(".,;:!?)]}'’…"))
                if end > match.start():
                    self._add(kind, match.start(), end, self.text[match.start() : end])

    def _keyword_codes(self) -> None:
        for match in _KEYWORD_CODE.finditer(self.left):
            group = next(name for name in ("quoted", "told", "code") if match[name])
            self._add("code", match.start(group), match.end(group), self.text[match.start(group) : match.end(group)])
        for match in _CODE_TO_ENTER.finditer(self.left):
            self._add(
                "code", match.start("code"), match.end("code"), self.text[match.start("code") : match.end("code")]
            )

    def _numeric_date(self, match: Any) -> tuple[int, int, int] | None:
        year = int(match["y"]) + (2000 if len(match["y"]) == 2 else 0)
        day, month = self._day_month(int(match["a"]), int(match["b"]))
        return (year, month, day) if _possible(month, day) else None

    def _short_date(self, match: Any) -> tuple[None, int, int] | None:
        day, month = self._day_month(int(match["a"]), int(match["b"] or match["b2"]))
        return (None, month, day) if _possible(month, day) else None

    def _day_month(self, first: int, second: int) -> tuple[int, int]:
        """(day, month) in the locale's order, or in the only possible one."""
        day, month = (first, second) if self.writing.day_first else (second, first)
        return (day, month) if month <= 12 else (month, day)

    def _named_date(self, match: Any) -> tuple[int | None, int, int] | None:
        month = self.writing.months.get(match["m"].casefold().rstrip("."))
        day = int(match["d"])
        if month is None or not _possible(month, day):
            return None
        return (int(match["y"]) if match["y"] else None, month, day)

    def _spoken_date(self, match: Any) -> tuple[int | None, int, int] | None:
        """The day in words: 'fifth of January', 'cinco de enero'."""
        month = self.writing.months[match["m"].casefold()]
        day = days_of(self.language)[regex.sub(r"\s+", " ", match["day"].casefold())]
        return (int(match["y"]) if match["y"] else None, month, day)

    def _measured_numbers(self) -> None:
        for match in _number_pattern(self.writing.group).finditer(self.left):
            measured = self._percent(match) or self._money(match)
            if measured is not None:
                self._add(*measured)

    def _percent(self, match: Any) -> tuple[str, int, int, Any] | None:
        value = self.writing.number(match.group())
        after = _PERCENT_AFTER.match(self.left, match.end())
        if after is not None:
            return ("percent", match.start(), after.end(), value)
        before = _PERCENT_BEFORE.search(self.left, max(0, match.start() - 14), match.start())
        return None if before is None else ("percent", before.start(), match.end(), value)

    def _money(self, match: Any) -> tuple[str, int, int, Any] | None:
        value = self.writing.number(match.group())
        dash = _NO_CENTS.match(self.left, match.end())  # "9,-"
        ends = dash.end() if dash else match.end()
        after = self._sign_after(ends)
        if after is None:
            times, ends = self._times(ends, money=True)
            value, after = value * times, self._sign_after(ends)
        before = self._sign_before(match.start())
        if before is None and after is None:
            return None
        meant = [sign for sign in (before, after) if sign is not None]
        codes = frozenset.intersection(*(codes for _, codes, _ in meant))
        if any(word in MINOR_WORDS for _, _, word in meant):
            value = value / 100
        start = before[0] if before else match.start()
        return ("money", start, after[0] if after else ends, (value, codes))

    def _times(self, at: int, money: bool = False) -> tuple[int, int]:
        """What the figure that ends at `at` is multiplied by ("5 million", "€5m"), and where that ends."""
        pattern, large = _times_pattern(self.language), large_of(self.language)
        times, last, match = 1, 0, pattern.match(self.left, at)
        while match is not None and match["word"] and (word := large[match["word"].casefold()]) > last:
            times, last, at = times * word, word, match.end()  # "5 mil millones", not "5 mil doscientos"
            match = pattern.match(self.left, at)
        if times == 1 and money and match is not None and match["letters"]:
            return _TIMES[match["letters"].casefold().strip(f"{SPACES}.")], match.end()
        return times, at

    def _sign_after(self, at: int) -> tuple[int, frozenset[str], str] | None:
        of = _OF_MILLIONS.match(self.left, at)
        at = of.end() if of else at
        gap = 1 if self.left[at : at + 1] in (*SPACES, "-", "\u2011") else 0  # "a 20-euro voucher"
        right = self.left[at + gap : at + gap + 40]
        for sign, exact, codes in _signs(self.writing.tag)[0].get(right[:1].casefold()[:1], ()):
            if _starts(right, sign, exact):
                follows = right[len(sign) : len(sign) + 1]
                if gap and follows.isdigit() and not sign[-1].isalpha():
                    return None  # "5 $10": the sign belongs to the next number
                if sign[-1].isalpha() and follows.isalpha() and sign[-1].isascii():
                    continue
                return at + gap + len(sign), codes, sign.casefold()
        if right and unicodedata.category(right[0]) == "Sc":
            return at + gap + 1, frozenset(), right[0]
        return None

    def _sign_before(self, at: int) -> tuple[int, frozenset[str], str] | None:
        gap = 1 if at and self.left[at - 1] in SPACES else 0
        left = self.left[max(0, at - gap - 40) : at - gap]
        for sign, exact, codes in _signs(self.writing.tag)[1].get(left[-1:].casefold()[-1:], ()):
            if _ends(left, sign, exact):
                if sign.casefold() in MINOR_WORDS or (len(sign) > 4 and sign.isalpha()):
                    continue  # "euros 5": words follow their number
                before = left[: len(left) - len(sign)][-1:]
                if sign[0].isalpha() and before.isalpha():
                    continue
                return at - gap - len(sign), codes, sign.casefold()
        if left and unicodedata.category(left[-1]) == "Sc":
            return at - gap - 1, frozenset(), left[-1]
        return None

    def _number_words(self) -> None:
        """Words count as figures beside a percent, a currency, hours and longer, and as thousands: else they mostly are
        none.
        """
        for match in pattern_of(self.language).finditer(self.left):
            value = value_of(match.group(), self.language)
            if value is None:
                continue
            after = _PERCENT_AFTER.match(self.left, match.end())
            before = _PERCENT_BEFORE.search(self.left, max(0, match.start() - 14), match.start())
            if after is not None or before is not None:
                start, end = before.start() if before else match.start(), after.end() if after else match.end()
                self._add("percent", start, end, Decimal(value))
                continue
            sign = self._sign_after(match.end())
            if sign is not None:
                amount = Decimal(value) / (100 if sign[2] in MINOR_WORDS else 1)
                self._add("money", match.start(), sign[0], (amount, sign[1]))
                continue
            lasts = _DURATION.match(self.left, match.end())
            long = value > 1 and lasts is not None and not lasts["short"]
            if long or (value > 1 and _OFF.match(self.left, match.end())) or (value > 1_000 and value not in _IDLE):
                self._add("number", match.start(), match.end(), Decimal(value), duration=long)

    def _deadline_names(self) -> None:
        """Weekdays and months after 'until' and its like."""
        for match in deadline_pattern(self.writing.tag).finditer(self.left):
            name = match["name"].casefold().rstrip(".")
            if name in self.writing.weekdays:
                self._add("date", match.start("name"), match.end("name"), ("weekday", self.writing.weekdays[name]))
            else:
                self._add("date", match.start("name"), match.end("name"), (None, self.writing.months[name], None))

    def _bare_numbers(self) -> None:
        for match in _number_pattern(self.writing.group).finditer(self.left):
            times, end = self._times(match.end())
            duration = _DURATION.match(self.left, end) is not None
            self._add("number", match.start(), end, self.writing.number(match.group()) * times, duration)
        for place, character in enumerate(self.left):
            if unicodedata.category(character) in ("No", "Nl"):
                value = Decimal(str(unicodedata.numeric(character)))
                self._add("number", place, place + 1, value)


_OFF = regex.compile(r"\s+off\b", regex.IGNORECASE)
_IDLE = frozenset({10**6, 10**9})
"""Words that alone are mostly no figures: 'thanks a million'."""
_PERCENT_AFTER = regex.compile(
    rf"[{SPACES}‑-]{{0,2}}(?:[{PERCENT_SIGNS}]|(?i:{'|'.join(regex.escape(w) for w in PERCENT_WORDS)})(?![a-z])"
    r"|\s?(?i:prozent)\p{L}*|‰)"
)
_PERCENT_BEFORE = regex.compile(rf"(?:[{PERCENT_SIGNS}]|(?i:ร้อยละ|yüzde))[{SPACES}]?$")
_TIMES = {"k": 10**3, "tsd": 10**3, "m": 10**6, "mn": 10**6, "mio": 10**6, "bn": 10**9, "mrd": 10**9,
          "万": 10**4, "萬": 10**4, "億": 10**8, "亿": 10**8}  # fmt: skip
_NO_CENTS = regex.compile(r"[.,]\s?[-–—]{1,2}")


def _possible(month: int, day: int) -> bool:
    return 1 <= month <= 12 and 1 <= day <= 31


def _time_value(match: Any) -> tuple[int, int] | None:
    hour, minute = int(match["h"]), int(match["m"] or match["m2"] or 0)
    half = (match["half"] or match["half2"] or "").lower()
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    return (hour % 24, minute) if hour <= 24 and minute < 60 else None


def _starts(text: str, sign: str, exact: bool) -> bool:
    return text.startswith(sign) if exact else text[: len(sign)].casefold() == sign


def _ends(text: str, sign: str, exact: bool) -> bool:
    return text.endswith(sign) if exact else len(text) >= len(sign) and text[-len(sign) :].casefold() == sign


_Signs = dict[str, list[tuple[str, bool, frozenset[str]]]]


@lru_cache(maxsize=64)
def _signs(tag: str) -> tuple[_Signs, _Signs]:
    """(sign, whether case counts, currencies), longest first, by the first character and by the last, casefolded."""
    local = writing(tag)
    rows = [(sign, True, frozenset(codes)) for sign, codes in local.currency_signs.items()]
    rows += [(word, False, frozenset(codes)) for word, codes in local.currency_words.items()]
    first: _Signs = {}
    last: _Signs = {}
    for row in sorted(rows, key=lambda row: len(row[0]), reverse=True):
        first.setdefault(row[0][0].casefold()[0], []).append(row)
        last.setdefault(row[0][-1].casefold()[-1], []).append(row)
    return first, last


@lru_cache(maxsize=64)
def _number_pattern(group: str) -> regex.Pattern[str]:
    tight = "".join(c for c in GROUPS + DECIMALS if c not in SPACES)
    spaced = rf"|[{SPACES}](?=\d{{3}}(?!\d))" if group in SPACES else ""
    return regex.compile(rf"(?<![\d])\d+(?:(?:[{regex.escape(tight)}]{spaced})\d+)*")


@lru_cache(maxsize=32)
def _times_pattern(language: str) -> regex.Pattern[str]:
    words = "|".join(sorted(map(regex.escape, large_of(language)), key=len, reverse=True))
    ends = "" if language == "th" else r"(?!\p{L})"
    letters = rf"[km](?!\p{{L}})|[{SPACES}]?(?:tsd|mn|mio|bn|mrd)(?!\p{{L}})\.?|[万萬億亿]"
    return regex.compile(rf"[{SPACES}-]?(?P<word>{words}){ends}|(?P<letters>{letters})", regex.IGNORECASE)


@lru_cache(maxsize=1)
def _domain_pattern() -> regex.Pattern[str]:
    countries = {code.lower() for code in get_global("territory_languages") if len(code) == 2}
    endings = "|".join(sorted({*_GENERIC_DOMAINS, *countries}, key=len, reverse=True))
    generic = "|".join(sorted(_GENERIC_DOMAINS, key=len, reverse=True))
    label = r"[\p{L}\p{N}](?:[\p{L}\p{N}-]{0,61}[\p{L}\p{N}])"
    ends = r"(?![\p{L}\p{N}-])(?:[/?#][^\s<>\"\x00]*)?"
    return regex.compile(  # "t.me" and "x.com" are places, "p.m" and "i.e" are none
        rf"(?<![\p{{L}}\p{{N}}@.-])(?:(?:{label}\.)+(?:(?:{endings}){ends}|\p{{L}}{{2,}}/[^\s<>\"\x00]*)"
        rf"|[\p{{L}}\p{{N}}]\.(?:{generic}){ends})"
    )
