"""What a locale writes: digits, separators, months, percent words, currency signs (CLDR, by Babel)."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache

import regex
from babel import Locale, UnknownLocaleError
from babel.core import get_global

# Percent in words. CLDR has no such list; languages outside it are still held to the signs.
PERCENT_WORDS = (
    "percent", "per cent", "per-cent", "pct", "procent", "prozent", "por ciento", "por cien", "pour cent",
    "pour-cent", "peratus", "persen", "เปอร์เซ็นต์", "เปอร์เซนต์", "ร้อยละ", "per cento", "por cento", "prosent",
    "prosentti", "prosenttia", "procenta", "procent", "процент", "процента", "процентов", "відсотків", "yüzde",
    "بالمائة", "بالمئة", "في المئة", "في المائة", "درصد", "प्रतिशत", "パーセント", "퍼센트", "phần trăm",
    "אחוז", "אחוזים",
)  # fmt: skip
PERCENT_SIGNS = "%٪％﹪"
_DIGIT = regex.compile(r"\d")
SPACES = " \u00a0\u202f\u2009"
GROUPS = ",.'’٬" + SPACES
DECIMALS = ".,٫"

# Common everyday signs that CLDR gives only in the currency's own country.
EXTRA_SIGNS = {
    "$": {"USD", "CAD", "AUD", "NZD", "SGD", "HKD", "MXN", "CLP", "COP", "ARS", "TWD"},
    "US$": {"USD"}, "£": {"GBP"}, "€": {"EUR"}, "¥": {"JPY", "CNY"}, "￥": {"JPY", "CNY"}, "RM": {"MYR"},
    "฿": {"THB"}, "₹": {"INR"}, "Rs": {"INR", "PKR", "LKR"}, "Rp": {"IDR"}, "₩": {"KRW"}, "₫": {"VND"},
    "R$": {"BRL"}, "A$": {"AUD"}, "C$": {"CAD"}, "S$": {"SGD"}, "HK$": {"HKD"}, "NZ$": {"NZD"}, "MX$": {"MXN"},
    "zł": {"PLN"}, "Kč": {"CZK"}, "Fr.": {"CHF"}, "₺": {"TRY"}, "₴": {"UAH"}, "₽": {"RUB"}, "₪": {"ILS"},
}  # fmt: skip
# Everyday words, casefolded.
EXTRA_WORDS = {
    "euro": {"EUR"}, "euros": {"EUR"}, "dollar": {"USD", "CAD", "AUD", "NZD", "SGD", "HKD"}, "bucks": {"USD"},
    "dollars": {"USD", "CAD", "AUD", "NZD", "SGD", "HKD"}, "pound": {"GBP"}, "pounds": {"GBP"},
    "quid": {"GBP"}, "ringgit": {"MYR"}, "baht": {"THB"}, "บาท": {"THB"}, "rupees": {"INR"}, "yen": {"JPY"},
    "dólar": {"USD", "MXN", "CLP", "COP", "ARS"}, "dólares": {"USD", "MXN", "CLP", "COP", "ARS"}, "libras": {"GBP"},
    "pesos": {"MXN", "CLP", "COP", "ARS", "PHP"}, "livres": {"GBP"}, "francs": {"CHF"}, "franken": {"CHF"},
    "rupiah": {"IDR"}, "dolar": {"USD", "SGD", "AUD", "BND", "HKD"}, "yuan": {"CNY"}, "pfund": {"GBP"},
    "dirham": {"AED", "MAD"}, "dirhams": {"AED", "MAD"}, "kronor": {"SEK"}, "kroner": {"NOK", "DKK"},
    "kronen": {"SEK", "NOK", "DKK"}, "lira": {"TRY"}, "zloty": {"PLN"}, "złoty": {"PLN"}, "forint": {"HUF"},
    "ดอลลาร์": {"USD", "SGD", "AUD", "HKD"}, "ปอนด์": {"GBP"}, "เยน": {"JPY"}, "หยวน": {"CNY"}, "ริงกิต": {"MYR"},
    "รูเปียห์": {"IDR"}, "ฟรังก์": {"CHF"},
    "cents": {"USD", "EUR"}, "cent": {"USD", "EUR"}, "pence": {"GBP"}, "penny": {"GBP", "USD"},
    "pennies": {"GBP", "USD"}, "céntimos": {"EUR"}, "céntimo": {"EUR"}, "centavos": {"MXN", "CLP", "COP", "ARS"},
    "centimes": {"EUR", "CHF"}, "rappen": {"CHF"}, "sen": {"MYR"}, "สตางค์": {"THB"},
}  # fmt: skip
# Codes that are also everyday words in capitals ("TOP 10").
WORDLIKE_CODES = frozenset({"ALL", "CUP", "MOP", "TOP", "TRY"})
MINOR_WORDS = frozenset(
    {
        "cent",
        "cents",
        "pence",
        "penny",
        "pennies",
        "céntimo",
        "céntimos",
        "centavos",
        "centimes",
        "rappen",
        "sen",
        "สตางค์",
    }
)


def parse_locale(tag: str) -> Locale | None:
    """The Babel locale of a BCP 47 tag (`ms-MY`, `th`), or None when CLDR does not know it."""
    try:
        return Locale.parse(tag.replace("-", "_"), sep="_")
    except (UnknownLocaleError, ValueError, TypeError):
        return None


@lru_cache(maxsize=1_000)
def fallbacks(tag: str, default: str = "en") -> tuple[str, ...]:
    """`ms-MY` -> `ms-MY`, `ms`, the default locale, its language, `en`; each once."""
    chain: list[str] = []
    for start in (tag, default, "en"):
        parts = start.replace("_", "-").split("-")
        chain += ["-".join(parts[:size]) for size in range(len(parts), 0, -1)]
    return tuple(dict.fromkeys(part for part in chain if part))


def digits_to_ascii(text: str) -> str:
    """Every decimal digit of any script (Thai, Arabic-Indic, full width …) as 0-9; one character stays one."""
    return text if text.isascii() else _DIGIT.sub(lambda found: _ascii_digit(found.group()), text)


@lru_cache(maxsize=1024)
def _ascii_digit(digit: str) -> str:
    """Of a script newer than Python's tables (`regex` has its own), too: all ten stand in a row, zero first."""
    known = unicodedata.decimal(digit, None)
    if known is not None:
        return str(known)
    first = ord(digit)
    while _DIGIT.match(chr(first - 1)):
        first -= 1
    return str((ord(digit) - first) % 10)


@dataclass(frozen=True)
class Writing:
    """How numbers, money and dates are written in one locale."""

    tag: str
    locale: Locale
    plain_spaces: bool = False

    def tidy(self, text: str) -> str:
        """Formatted figures; in SMS with plain spaces, because a no-break space would halve the room."""
        return text.replace("\u00a0", " ").replace("\u202f", " ") if self.plain_spaces else text

    @cached_property
    def decimal(self) -> str:
        return str(self.locale.number_symbols["latn"].get("decimal", "."))

    @cached_property
    def group(self) -> str:
        return str(self.locale.number_symbols["latn"].get("group", ","))

    @cached_property
    def day_first(self) -> bool:
        pattern = self.locale.date_formats["short"].pattern
        return bool(pattern.find("d") < pattern.find("M"))

    @cached_property
    def months(self) -> dict[str, int]:
        """Month names, casefolded and without a final dot, in this locale and in English."""
        return _names(self.locale, "months") | {
            name: number for name, number in _names(Locale("en"), "months").items() if len(name) > 2
        }

    @cached_property
    def weekdays(self) -> dict[str, int]:
        """Full weekday names, casefolded; Monday is 0."""
        return {
            str(name).casefold(): number
            for locale in (self.locale, Locale("en"))
            for form in ("format", "stand-alone")
            for number, name in locale.days[form]["wide"].items()
        }

    @cached_property
    def currency_signs(self) -> dict[str, set[str]]:
        """Sign or ISO code, as written -> the currencies that it can mean here."""
        signs: dict[str, set[str]] = {sign: set(codes) for sign, codes in EXTRA_SIGNS.items()}
        for locale in (self.locale, Locale("en")):
            for code, sign in locale.currency_symbols.items():
                signs.setdefault(str(sign), set()).add(code)
        for code in _living_currencies():
            signs.setdefault(code, set()).add(code)
        return {sign: codes for sign, codes in signs.items() if sign not in WORDLIKE_CODES}

    @cached_property
    def currency_words(self) -> dict[str, set[str]]:
        """Name of a currency in this locale, casefolded -> the currencies that it can mean."""
        words = {word: set(codes) for word, codes in EXTRA_WORDS.items()}
        for code in _living_currencies():
            for name in _currency_names(self.locale, code):
                words.setdefault(name.casefold(), set()).add(code)
        return words

    def number(self, written: str) -> Decimal:
        """The value that a reader of this locale sees in `written` (`1.500` is 1500 in German).

        Where the separators cannot be the locale's (`9.90` in German), the only sensible reading is taken.
        """
        text = digits_to_ascii(written)
        text = text.replace("٫", self.decimal).replace("٬", self.group)
        marks = [c for c in text if not c.isdigit()]
        if not marks:
            return Decimal(text)
        last = marks[-1]
        groups_only = all(_same_space(mark, self.group) for mark in marks) and _grouped(text, marks)
        if groups_only:
            return Decimal("".join(c for c in text if c.isdigit()))
        if last in ".," and marks.count(last) == 1 and (last == self.decimal or not _grouped(text, marks)):
            whole, _, part = text.rpartition(last)
            return Decimal("".join(c for c in whole if c.isdigit()) + "." + part)
        return Decimal("".join(c for c in text if c.isdigit()))


def _same_space(mark: str, group: str) -> bool:
    return mark == group or (mark in SPACES and group in SPACES) or (mark in "'’" and group in "'’")


def _grouped(text: str, marks: list[str]) -> bool:
    """Whether the parts have the sizes of digit groups: 1-3, then 2 or 3, the last 3 (lakh style included)."""
    parts = regex.split(r"\D", text)
    return (
        len(set(marks)) == 1
        and 1 <= len(parts[0]) <= 3
        and len(parts[-1]) == 3
        and all(len(part) in (2, 3) for part in parts[1:])
    )


def _names(locale: Locale, kind: str) -> dict[str, int]:
    table = getattr(locale, kind)
    return {
        str(name).casefold().rstrip("."): number
        for form in ("format", "stand-alone")
        for width in ("wide", "abbreviated")
        for number, name in table.get(form, {}).get(width, {}).items()
        if not str(name).isdigit()
    }


def _currency_names(locale: Locale, code: str) -> set[str]:
    plural = locale._data["currency_names_plural"].get(code) or {}
    names = {str(name) for name in plural.values()} | {str(locale.currencies.get(code, code))}
    return {name for name in names if name and not regex.search(r"[\d()]", name)}


@lru_cache(maxsize=1)
def _living_currencies() -> tuple[str, ...]:
    """Currencies that are legal tender somewhere today, by CLDR."""
    living = {
        code
        for entries in get_global("territory_currencies").values()
        for code, _, end, tender in entries
        if end is None and tender
    }
    return tuple(sorted(living))


@lru_cache(maxsize=256)
def writing(tag: str, channel: str = "email") -> Writing:
    """The writing of a locale; of its language, then of English, when CLDR does not know it."""
    for part in fallbacks(tag):
        locale = parse_locale(part)
        if locale is not None:
            return Writing(part, locale, plain_spaces=channel == "sms")
    raise AssertionError("English is always known")


def script_of(tag: str) -> str:
    """The script that the language is written in, by CLDR's likely subtags: `Thai`, `Latn`, `Arab` …"""
    locale = parse_locale(tag)
    if locale is None:
        return "Latn"
    if locale.script:
        return str(locale.script)
    likely = get_global("likely_subtags")
    found = likely.get(f"{locale.language}_{locale.territory}") or likely.get(locale.language) or "en_Latn_US"
    return str(found.split("_")[1])
