"""Number words of each language are complete from 0 to 100, mean one number each, and make larger ones together."""

from __future__ import annotations

import pytest

from service.content.number_words import pattern_of, value_of, words_of


@pytest.mark.parametrize("language", ["en", "de", "es", "fr", "ms", "id", "th"])
def test_every_number_to_a_hundred_has_a_word(language: str) -> None:
    assert set(words_of(language).values()) == set(range(101))


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
        ("es", "mil millones", 10**9), ("es", "dos mil quinientos millones", 2_500_000_000),
        ("es", "mil doscientos millones trescientos mil", 1_200_300_000), ("es", "veintiún mil", 21_000),
        ("es", "treinta y un mil", 31_000), ("en", "two thousand million five", 2_000_000_005),
        ("fr", "deux cents", 200), ("fr", "deux mille trois cents", 2_300), ("fr", "mille milliards", 10**12),
        ("de", "zwei Millionen tausend", 2_001_000), ("de", "tausend Millionen", 10**9), ("ms", "seribu juta", 10**9),
        ("th", "สองหมื่นห้าพัน", 25_000), ("th", "สองแสนล้าน", 200_000_000_000), ("th", "สามสิบสองล้านห้าแสน", 32_500_000),
        ("th", "หนึ่งหมื่นห้าพันล้าน", 15_000_000_000),
        ("th", "ร้อยเอ็ด", 101), ("th", "สองพันเอ็ด", 2_001),
    ],
)  # fmt: skip
def test_words_mean_their_number(language: str, words: str, number: int) -> None:
    assert pattern_of(language).fullmatch(words)
    assert value_of(words, language) == number


def test_a_thai_one_of_the_end_is_none_by_itself() -> None:
    assert pattern_of("th").search("เอ็ดเวิร์ด") is None  # Edward
