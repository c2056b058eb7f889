"""Numbers written out in words, in the languages that templates speak: 'fifty percent' is a figure too.

Each language spells 0 to 100 as one; beyond that the words of a number are added up and multiplied.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import regex

_EN = [
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_EN_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_DE = [
    "ein", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf", "dreizehn",
    "vierzehn", "fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn",
]  # fmt: skip
_DE_TENS = ["zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig"]
_ES = [
    "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve", "diez", "once", "doce", "trece",
    "catorce", "quince", "dieciséis", "diecisiete", "dieciocho", "diecinueve",
]  # fmt: skip
_ES_TENS = ["veinte", "treinta", "cuarenta", "cincuenta", "sesenta", "setenta", "ochenta", "noventa"]
_FR = [
    "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf", "dix", "onze", "douze", "treize",
    "quatorze", "quinze", "seize", "dix-sept", "dix-huit", "dix-neuf",
]  # fmt: skip
_FR_TENS = {20: "vingt", 30: "trente", 40: "quarante", 50: "cinquante", 60: "soixante", 80: "quatre-vingt"}
_ES_HUNDREDS = ["doscient", "trescient", "cuatrocient", "quinient", "seiscient", "setecient", "ochocient", "novecient"]
_MS = ["satu", "dua", "tiga", "empat", "lima", "enam", "tujuh", "lapan", "sembilan"]
_ID = ["delapan" if word == "lapan" else word for word in _MS]
_TH = ["หนึ่ง", "สอง", "สาม", "สี่", "ห้า", "หก", "เจ็ด", "แปด", "เก้า"]
_ZERO = {
    "en": ("zero",), "de": ("null",), "es": ("cero",), "fr": ("zéro",), "ms": ("sifar", "kosong"), "id": ("nol",),
    "th": ("ศูนย์",),
}  # fmt: skip


def _english() -> dict[str, int]:
    words = {word: number for number, word in enumerate(_EN, 1)} | {"hundred": 100, "a hundred": 100}
    for tens, word in enumerate(_EN_TENS, 2):
        words[word] = tens * 10
        for unit in range(1, 10):
            words[f"{word}-{_EN[unit - 1]}"] = words[f"{word} {_EN[unit - 1]}"] = tens * 10 + unit
    return words | {"one hundred": 100}


def _german() -> dict[str, int]:
    words = {word: number for number, word in enumerate(_DE, 1)} | {"eins": 1, "hundert": 100, "einhundert": 100}
    for tens, word in enumerate(_DE_TENS, 2):
        words[word] = tens * 10
        for unit in range(1, 10):
            words[f"{_DE[unit - 1]}und{word}"] = tens * 10 + unit
    return words


def _spanish() -> dict[str, int]:
    words = {word: number for number, word in enumerate(_ES, 1)} | {"cien": 100, "ciento": 100}
    for tens, word in enumerate(_ES_TENS, 2):
        words[word] = tens * 10
        for unit in range(1, 10):
            words[f"{word} y {_ES[unit - 1]}"] = tens * 10 + unit
        words[f"{word} y un"] = tens * 10 + 1
    joined = "veintiuno veintidós veintitrés veinticuatro veinticinco veintiséis veintisiete veintiocho veintinueve"
    return words | {word: number for number, word in enumerate(joined.split(), 21)} | {"veintiún": 21}


def _french() -> dict[str, int]:
    words = {word: number for number, word in enumerate(_FR, 1)} | {"cent": 100}
    words |= dict.fromkeys(["quatre-vingts", "quatre vingts", "quatre vingt"], 80)
    for tens, word in _FR_TENS.items():
        words[word] = tens
        for unit in range(1, 20 if tens in (60, 80) else 10):
            join = "-et-" if unit in (1, 11) and tens != 80 else "-"
            words[f"{word}{join}{_FR[unit - 1]}"] = tens + unit
            words[f"{word}{join}{_FR[unit - 1]}".replace("-", " ")] = tens + unit
    return words


def _malay(units: Sequence[str] = _MS) -> dict[str, int]:
    words = {word: number for number, word in enumerate(units, 1)} | {"sepuluh": 10, "sebelas": 11, "seratus": 100}
    for number, word in enumerate(units, 1):
        if number > 1:
            words[f"{word} belas"] = 10 + number
            words[f"{word} puluh"] = number * 10
            words |= {f"{word} puluh {unit}": number * 10 + place for place, unit in enumerate(units, 1)}
    return words


def _indonesian() -> dict[str, int]:
    return _malay(_ID)


def _thai() -> dict[str, int]:
    words = {word: number for number, word in enumerate(_TH, 1)} | {"ร้อย": 100, "หนึ่งร้อย": 100}
    for tens in range(1, 10):
        ten = {1: "สิบ", 2: "ยี่สิบ"}.get(tens, f"{_TH[tens - 1]}สิบ")
        words[ten] = tens * 10
        words |= {f"{ten}{unit}": tens * 10 + place for place, unit in enumerate(_TH, 1)}
        words[f"{ten}เอ็ด"] = tens * 10 + 1
    return words


_THOUSAND, _MILLION, _BILLION = 10**3, 10**6, 10**9
_LARGE: dict[str, dict[str, int]] = {
    "en": {"hundred": 100, "thousand": _THOUSAND, "million": _MILLION, "millions": _MILLION, "billion": _BILLION},
    "de": {"hundert": 100, "tausend": _THOUSAND, "million": _MILLION, "millionen": _MILLION, "milliarde": _BILLION,
           "milliarden": _BILLION},
    "es": {"mil": _THOUSAND, "millón": _MILLION, "millones": _MILLION}
        | {f"{word}{end}": 100 * n for n, word in enumerate(_ES_HUNDREDS, 2) for end in ("os", "as")},
    "fr": {"mille": _THOUSAND, "million": _MILLION, "millions": _MILLION, "milliard": _BILLION, "milliards": _BILLION},
    "ms": {"ratus": 100, "ribu": _THOUSAND, "seribu": _THOUSAND, "juta": _MILLION, "sejuta": _MILLION},
    "id": {"ratus": 100, "ribu": _THOUSAND, "seribu": _THOUSAND, "juta": _MILLION, "sejuta": _MILLION,
           "miliar": _BILLION, "semiliar": _BILLION},
    "th": {"ร้อย": 100, "พัน": _THOUSAND, "หมื่น": 10 * _THOUSAND, "แสน": 100 * _THOUSAND, "ล้าน": _MILLION},
}  # fmt: skip
_MORE = {"fr": {f"{word} cents": 100 * number for number, word in enumerate(_FR[1:9], 2)}, "th": {"เอ็ด": 1}}
"""What is no word of a number by itself: in French `cents`, which are money, in Thai a one at the end."""
_WITHIN = {"เอ็ด": "(?<=ร้อย|พัน|หมื่น|แสน|ล้าน)เอ็ด"}
_LANGUAGES = {
    "en": _english, "de": _german, "es": _spanish, "fr": _french, "ms": _malay, "id": _indonesian, "th": _thai,
}  # fmt: skip


@lru_cache(maxsize=32)
def words_of(language: str) -> dict[str, int]:
    """Number words of a language together with the English ones; only English for a language not listed."""
    none = dict.fromkeys((*_ZERO["en"], *_ZERO.get(language, ())), 0)
    return none | _english() | _LANGUAGES.get(language, _english)()


_EN_DAYS = [
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth",
    "twentieth", *(f"twenty-{unit}" for unit in ("first", "second", "third", "fourth", "fifth", "sixth", "seventh",
    "eighth", "ninth")), "thirtieth", "thirty-first",
]  # fmt: skip
_DE_FIRST = {1: "erste", 3: "dritte", 7: "siebte", 8: "achte"}


@lru_cache(maxsize=32)
def days_of(language: str) -> dict[str, int]:
    """How a date says its day in words, casefolded: 'fifth', 'fünften', 'cinco'. None for a language not listed."""
    if language == "en":
        return {form: day for day, word in enumerate(_EN_DAYS, 1) for form in (word, word.replace("-", " "))}
    words = {word: number for word, number in _LANGUAGES.get(language, dict)().items() if number <= 31}
    if language == "de":
        stems = {number: word for word, number in words.items() if word != "eins"}
        said = {day: _DE_FIRST.get(day, stem + ("te" if day < 20 else "ste")) for day, stem in stems.items()}
        return {(word + end).casefold(): day for day, word in said.items() for end in ("n", "r", "")}
    return words | {"es": {"primero": 1}, "fr": {"premier": 1}}.get(language, {})


@lru_cache(maxsize=32)
def large_of(language: str) -> dict[str, int]:
    """What a number before it is multiplied by, with the English ones: 'hundred', 'million' …"""
    return _LARGE["en"] | _LARGE.get(language, {})


@lru_cache(maxsize=32)
def pattern_of(language: str) -> regex.Pattern[str]:
    """Matches all words of one number, not inside a longer word except in Thai, which has no spaces."""
    word = _word(language)
    if language == "th":
        return regex.compile(rf"{word}(?:\s?{word})*", regex.IGNORECASE)
    join = r"[\s-]*(?:und[\s-]*)?" if language == "de" else r"(?:[\s-]+|(?<=hundred|thousand|million)\s+and\s+)"
    end = r"(?=prozent|(?!\p{L}))" if language == "de" else r"(?!\p{L})"  # "fünfzigprozentig"
    article = r"(?!ein\s+(?!hundert|tausend|million|milliarde|und\b))" if language == "de" else ""  # "ein zwanzig…"
    return regex.compile(rf"(?<!\p{{L}}){article}{word}(?:{join}{word})*{end}", regex.IGNORECASE)


@lru_cache(maxsize=32)
def _word(language: str) -> str:
    """Matches one word, the longest that there is; atomic, so that no text takes long."""
    words = sorted({*words_of(language), *_folded(language)}, key=len, reverse=True)
    written = (_WITHIN.get(word) or regex.escape(word).replace(chr(92) + " ", chr(92) + "s+") for word in words)
    return f"(?>{'|'.join(written)})"


def value_of(written: str, language: str) -> int | None:
    """The number that the words mean."""
    known, text = _folded(language), regex.sub(r"\s+", " ", written.casefold().strip())
    if text in known:
        return known[text]
    words = regex.findall(_word(language), text)
    return _sum([known[word] for word in words]) if words else None


def _sum(numbers: Sequence[int]) -> int:
    """Of 'two', 'hundred', 'thousand', 'five': 200005."""
    total, below = 0, 0
    for number in numbers:
        if number == 100 and 0 < below < 100:
            below *= number
        elif number >= _THOUSAND:
            smaller = total % number + below  # 'mil millones', 'แสนล้าน': what stands before it and is smaller
            total, below = total - total % number + max(smaller, 1) * number, 0
        else:
            below += number
    return total + below


@lru_cache(maxsize=32)
def _folded(language: str) -> dict[str, int]:
    every = large_of(language) | words_of(language) | _MORE.get(language, {})
    return {word.casefold(): number for word, number in every.items()}
