"""In which language a customer reads the page behind an unsubscribe link, and its words (`link_words.toml`)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHIPPED = Path(__file__).with_name("link_words.toml")
Words = Mapping[str, Mapping[str, str]]
"""By language, in small letters: each line by its name; of the channels as `by.email`."""
_PLACEHOLDER = re.compile(r"{[^}]*}")
_TAG = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*")
_MOST_ASKED = 20


def read_words(own: Path | None = None) -> Words:
    """The shipped languages, and those of one's own file in their place; ValueError says what such a file lacks."""
    words = _read(SHIPPED)
    if own is not None:
        try:
            words |= _read(own)
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
            raise ValueError(f"{own.name} cannot be read: {fault}") from fault
        if faults := list(faults_of(words)):
            raise ValueError(f"{own.name}: {'; '.join(faults)}")
    return words


def faults_of(words: Words) -> Iterator[str]:
    """What is missing, too much or without its place for the channel, of every language beside English."""
    english = words["en"]
    for language, lines in words.items():
        if not _TAG.fullmatch(language):
            yield f"[{language}] is no language, such as de or pt-br"
        yield from (f"[{language}] lacks {name}" for name in english if not lines.get(name, "").strip())
        yield from (f"[{language}] has {name}, which nothing shows" for name in lines if name not in english)
        for name, line in lines.items():
            wanted = _PLACEHOLDER.findall(english.get(name, ""))
            if sorted(_PLACEHOLDER.findall(line)) != sorted(wanted):
                yield f"[{language}] {name} has {' and '.join(wanted) or 'no {}'} in English"


@dataclass(frozen=True, slots=True)
class Speech:
    """The words by language; `default` is the locale of customers of whom none is known."""

    words: Words
    default: str = "en"

    def language(self, locale: str | None, accepted: str | None) -> str:
        """The first of the locale on record, what the browser accepts and the default that has words; else English."""
        for tag in (locale or "", *accepted_languages(accepted or ""), self.default):
            parts = tag.lower().replace("_", "-").split("-")
            for size in range(len(parts), 0, -1):
                if (found := "-".join(parts[:size])) in self.words:
                    return found
        return "en"


def accepted_languages(header: str) -> list[str]:
    """The languages of `Accept-Language` (RFC 9110, 12.5.4), the one liked best first."""
    liked: list[tuple[float, str]] = []
    for part in header.split(",")[:_MOST_ASKED]:
        tag, _, weight = part.partition(";")
        found = re.fullmatch(r"\s*q\s*=\s*(\d(?:\.\d{0,3})?)\s*", weight) if weight else None
        how_much = float(found.group(1)) if found else 0.0 if weight else 1.0
        if how_much > 0 and tag.strip():
            liked.append((how_much, tag.strip()))
    return [tag for _, tag in sorted(liked, key=lambda each: -each[0])]


def _read(path: Path) -> dict[str, dict[str, str]]:
    return {tag.lower(): dict(_flat(lines)) for tag, lines in tomllib.loads(path.read_text("utf-8")).items()}


def _flat(lines: Any, before: str = "") -> Iterator[tuple[str, str]]:
    for name, line in lines.items() if isinstance(lines, dict) else (("", lines),):
        if isinstance(line, dict):
            yield from _flat(line, f"{before}{name}.")
        else:
            yield f"{before}{name}", str(line)
