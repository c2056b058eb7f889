"""Number words of each language are complete from 1 to 100 and mean one number each."""

from __future__ import annotations

import pytest

from service.content.number_words import pattern_of, value_of, words_of


@pytest.mark.parametrize("language", ["en", "de", "es", "fr", "ms", "th"])
def test_every_number_to_a_hundred_has_a_word(language: str) -> None:
    assert set(words_of(language).values()) == set(range(1, 101))


@pytest.mark.parametrize(
    ("language", "words", "number"),
    [
        ("en", "Twenty-Five", 25), ("en", "ninety  nine", 99), ("de", "fünfundzwanzig", 25), ("de", "DREISSIG", 30),
        ("es", "treinta y cinco", 35), ("es", "veintidós", 22), ("fr", "soixante-et-onze", 71),
        ("fr", "quatre-vingt-dix-neuf", 99), ("ms", "tiga puluh lima", 35), ("ms", "dua belas", 12),
        ("th", "ยี่สิบเอ็ด", 21), ("th", "ห้าสิบห้า", 55),
    ],
)  # fmt: skip
def test_words_mean_their_number(language: str, words: str, number: int) -> None:
    assert pattern_of(language).fullmatch(words)
    assert value_of(words, language) == number
