"""Words as numbers that a model can split on, and back: countries, the beginnings of postal codes, other labels."""

from __future__ import annotations

from functools import lru_cache

from xxhash import xxh3_64_intdigest

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PLACES = " 0123456789" + _LETTERS
LABELS = 1 << 20
"""Labels are told apart by this many numbers: among a thousand of them some two share one 4 times in 10."""


def country_number(text: str) -> float | None:
    """0 (AA) to 675 (ZZ), from ISO 3166 letters or the country's English name; None for anything else."""
    code = text.strip().upper()
    if len(code) != 2:
        code = _english_names().get(text.strip().casefold(), "")
    if len(code) != 2 or code[0] not in _LETTERS or code[1] not in _LETTERS:
        return None
    return float(_LETTERS.index(code[0]) * 26 + _LETTERS.index(code[1]))


def country_letters(number: float) -> str:
    """`country_number` back: DE."""
    first, second = divmod(int(number) % 676, 26)
    return _LETTERS[first] + _LETTERS[second]


@lru_cache(maxsize=1)
def _english_names() -> dict[str, str]:
    from babel import Locale

    names = Locale("en").territories
    return {name.casefold(): code for code, name in names.items() if len(code) == 2}


def area_number(text: str) -> float | None:
    """The first three letters or digits of a postal code: codes that begin alike are near. None without any."""
    kept = [place for character in text.upper() if (place := _PLACES.find(character)) > 0][:3]
    if not kept:
        return None
    first, second, third = (*kept, 0, 0)[:3]
    return float((first * 37 + second) * 37 + third)


def area_letters(number: float) -> str:
    """`area_number` back: 101, SW1."""
    rest, third = divmod(int(number) % 37**3, 37)
    return "".join(_PLACES[place] for place in (*divmod(rest, 37), third)).strip()


def label_number(text: str) -> float | None:
    """A number for a label, the same on every machine, without order (xxh3_64 of the folded text); None if empty."""
    plain = " ".join(text.casefold().split())
    return float(xxh3_64_intdigest(plain.encode()) % LABELS) if plain else None
