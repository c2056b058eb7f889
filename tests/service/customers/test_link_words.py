"""Words behind unsubscribe links: complete in each language, chosen for who reads, one's own in their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from features.channels import CHANNELS
from service.customers.link_words import SHIPPED, Speech, accepted_languages, faults_of, read_words

DUTCH = SHIPPED.read_text("utf-8").partition("[nl]")[2].partition("# For Portugal")[0]


def test_every_shipped_language_has_every_line_and_channel() -> None:
    words = read_words()
    assert set(words) == {"en", "de", "fr", "es", "it", "nl", "pt", "pl"}
    assert list(faults_of(words)) == []
    assert {name for name in words["en"] if name.startswith("by.")} == {f"by.{channel}" for channel in CHANNELS}
    for name in ("ask", "done", "wrong", "later"):
        assert len({lines[name] for lines in words.values()}) == len(words)  # none was left in English


@pytest.mark.parametrize(
    ("locale", "accepted", "default", "language"),
    [
        ("fr-CA", "de", "en", "fr"),
        ("de_AT", None, "en", "de"),
        ("PT-BR", None, "en", "pt"),
        ("th-TH", "pl,en", "de", "pl"),
        (None, "en;q=0.2, it-CH;q=0.9", "de", "it"),
        (None, "*, fr;q=0, th", "de-CH", "de"),
        (None, None, "ms", "en"),
        ("", "fr;q=x,;;", "", "en"),
    ],
)
def test_the_language_is_the_customers_then_the_browsers_then_the_default(
    locale: str | None, accepted: str | None, default: str, language: str
) -> None:
    assert Speech(read_words(), default).language(locale, accepted) == language


def test_what_a_browser_likes_equally_stays_in_order() -> None:
    assert accepted_languages("es, de;q=0.8 ,en ;q=0.8,fr; q=0.9") == ["es", "fr", "de", "en"]


def test_an_installation_adds_a_language_and_replaces_words(tmp_path: Path) -> None:
    own = tmp_path / "link_words.toml"
    own.write_text("[pt-BR]" + DUTCH.replace("[nl.by]", "[pt-BR.by]"), "utf-8")
    speech = Speech(read_words(own))
    assert speech.language("pt-BR", None) == "pt-br"
    assert speech.language("pt-PT", None) == "pt"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("[sv]" + DUTCH.replace("[nl.by]", "[sv.by]").replace("button", "knapp"), "[sv] lacks button; [sv] has knapp"),
        ("[sv]" + DUTCH.replace("[nl.by]", "[sv.by]").replace("ontvangt geen reclameberichten {by}", ""),
         "[sv] done has {by} in English"),
        ("[sv]" + DUTCH.replace("[nl.by]", "[sv.by]").replace("minuten", "{minuter}"),
         "[sv] later has no {} in English"),
        ("[sv]" + DUTCH.partition("[nl.by]")[0], "[sv] lacks by.email"),
        ('["a<b"]' + DUTCH.replace("[nl.by]", '["a<b".by]'), "[a<b] is no language"),
        ("sv = 1", "[sv] lacks title"),
        ("[sv", "cannot be read"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_complete_is_refused_with_what_it_lacks(tmp_path: Path, wrong: str, told: str) -> None:
    own = tmp_path / "link_words.toml"
    own.write_text(wrong, "utf-8")
    with pytest.raises(ValueError) as refused:
        read_words(own)
    assert str(refused.value).startswith("link_words.toml")
    assert told in str(refused.value)
