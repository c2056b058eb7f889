"""Number words of each language are complete from 1 to 100, mean one number each, and make larger ones together."""

from __future__ import annotations

import pytest

from service.content.number_words import pattern_of, value_of, words_of


@pytest.mark.parametrize("language", ["en", "de", "es", "fr", "ms", "id", "th"])
def test_every_number_to_a_hundred_has_a_word(language: str) -> None:
    assert set(words_of(language).values()) == set(range(1, 101))


@pytest.mark.parametrize(
    ("language", "words", "number"),
    [
        ("en", "Twenty-Five", 25), ("en", "ninety  nine", 99), ("de", "fünfundzwanzig", 25), ("de", "DREISSIG", 30),
        ("es", "treinta y cinco", 35), ("es", "veintidós", 22), ("fr", "soixante-et-onze", 71),
        ("fr", "quatre-vingt-dix-neuf", 99), ("ms", "tiga puluh lima", 35), ("ms", "dua belas", 12),
        ("th", "ยี่สิบเอ็ด", 21), ("th", "ห้าสิบห้า", 55),
        ("en", "two hundred and fifty thousand five", 250_005), ("en", "twelve hundred", 1_200),
        ("en", "a hundred twenty", 120), ("en", "three million", 3_000_000),
        ("de", "zweihundertfünfundzwanzig", 225), ("de", "zwei Millionen dreitausend", 2_003_000),
        ("es", "dos mil quinientos treinta y uno", 2_531), ("es", "ciento veinte", 120),
        ("fr", "deux mille cent vingt", 2_120), ("fr", "quatre vingt", 80),
        ("ms", "dua ribu seratus dua puluh", 2_120), ("ms", "tiga ratus", 300),
        ("id", "delapan puluh delapan", 88), ("id", "dua miliar", 2_000_000_000),
        ("th", "สองหมื่นห้าพันหนึ่งร้อยยี่สิบ", 25_120), ("th", "สองร้อย", 200),
    ],
)  # fmt: skip
def test_words_mean_their_number(language: str, words: str, number: int) -> None:
    assert pattern_of(language).fullmatch(words)
    assert value_of(words, language) == number
