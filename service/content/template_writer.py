"""Writes variants without a model: the same request always gives the same texts, figures only as merge tags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson
import regex

from service.content.fields import field_rules
from service.content.guardrails import SAMPLE_LINK, SAMPLE_NAMES
from service.content.locales import fallbacks, writing
from service.content.merge_values import look_up, offer_values
from service.content.phrases import ANGLES, LAPSED_SEGMENTS, Phrases, languages, phrases
from service.content.sms_segments import sms_size
from service.content.visible import resolve

VERSION = "templates-1"


@dataclass(frozen=True, slots=True)
class Draft:
    """Copy before it is checked: its fields, the angle taken, the language it is written in."""

    fields: dict[str, str]
    angle: str
    locale: str


def template_locale(locale: str, default: str = "en") -> str:
    """The language that the templates will be in: that of `locale`, else the default's, else English."""
    return next(part for part in fallbacks(locale, default) if part in languages())


def usable_angles(angles: Sequence[str], offer: Mapping[str, Any]) -> list[str]:
    """The angles asked for that the templates know and the facts carry: urgency needs an end."""
    ends = bool(offer.get("ends_at") or offer.get("facts", {}).get("ends_at"))
    known = [angle for angle in (angles or ANGLES) if angle in ANGLES and (angle != "urgency" or ends)]
    return list(dict.fromkeys(known)) or ["plain"]


def write_templates(
    channel: str,
    locale: str,
    offer: Mapping[str, Any],
    n: int,
    angles: Sequence[str] = (),
    segment: str | None = None,
    default_locale: str = "en",
) -> list[Draft]:
    """`n` different drafts (fewer where the templates have no more), going round the angles."""
    language = template_locale(locale, default_locale)
    tag = locale if locale.replace("_", "-").split("-")[0] == language else language
    writer = _Writer(channel, phrases(language), offer, offer_values(offer, writing(tag, channel)), segment)
    drafts: dict[str, Draft] = {}
    for angle, turn in _turns(usable_angles(angles, offer)):
        fields = writer.fields(angle, turn)
        drafts.setdefault(repr(fields), Draft(fields, angle, tag))
        if len(drafts) == n:
            break
    return list(islice(drafts.values(), n))


def _turns(angles: Sequence[str]) -> Iterator[tuple[str, int]]:
    for turn in range(12):
        for angle in angles:
            yield angle, turn


class _Writer:
    def __init__(
        self, channel: str, phrases: Phrases, offer: Mapping[str, Any], values: Mapping[str, Any], segment: str | None
    ) -> None:
        self.channel = channel
        self.phrases = phrases
        self.offer = offer
        self.values = values
        self.lapsed = segment is not None and any(word in segment.casefold() for word in LAPSED_SEGMENTS)
        self.rules = field_rules(channel)

    def has(self, fact: str) -> bool:
        return look_up(self.values, fact) not in (None, "")

    @property
    def kind(self) -> str:
        """What the deal leads with; a name that tells its discount already stands by itself."""
        if self.has("discount"):
            return "name" if _states(str(self.offer.get("name", "")), look_up(self.values, "discount")) else "discount"
        return "price" if self.has("price") else "name"

    def fields(self, angle: str, turn: int) -> dict[str, str]:
        subjects, openings = self.phrases.subjects[angle], self.phrases.openings[angle]
        subject, opening = subjects[turn % len(subjects)], openings[(turn // len(subjects)) % len(openings)]
        write = {
            "email": self._email, "sms": self._sms, "push": self._push, "web": self._web, "call": self._call,
            "webhook": self._webhook,
        }[self.channel]  # fmt: skip
        return write(subject, opening, turn)

    def _email(self, subject: str, opening: str, turn: int) -> dict[str, str]:
        deal = self.phrases.deals[self.kind]
        said = _with(opening, deal)
        if self.lapsed:
            said = f"{self.phrases.welcome_back} {_capital(said)}"
        lines = [self.phrases.greeting, said, *self._details(opening)]
        paragraphs = [f"<p>{line}</p>" for line in lines]
        if self.has("description"):
            paragraphs.insert(2, "<p>{{ offer.description }}</p>")
        if self.has("url"):
            paragraphs.append(f'<p><a href="{{{{ offer.url }}}}">{self.phrases.see}</a></p>')
        paragraphs.append(f'<p><a href="{{{{ unsubscribe_url }}}}">{self.phrases.unsubscribe}</a></p>')
        preheader = self._fit("preheader", [*self._details(subject), "{{ offer.name }}"])
        return {
            "subject": self._short("subject", subject),
            "preheader": preheader,
            "body": "\n".join(paragraphs),
        }

    def _sms(self, subject: str, opening: str, turn: int) -> dict[str, str]:
        """The longest text that fits into two messages, if any does."""
        details = " ".join(self._details(subject))
        link = "{{ offer.url }}" if self.has("url") else ""
        deal, short = self.phrases.deals[self.kind], self.phrases.short_deals[self.kind]
        texts = [
            " ".join(part for part in parts if part)
            for parts in (
                (_ended(_with(subject, deal)), details, link, self.phrases.stop),
                (_ended(deal), details, link, self.phrases.stop),
                (_ended(short), link, self.phrases.stop),
            )
        ]
        fits = (text for text in texts if sms_size(self._read(text)).segments <= 2)
        return {"body": next(fits, texts[-1])}

    def _push(self, subject: str, opening: str, turn: int) -> dict[str, str]:
        deal = self.phrases.deals[self.kind]
        body = _capital(_with(opening, deal))
        details = " ".join(self._details(opening))
        return {
            "title": self._short("title", subject),
            "body": self._fit("body", [f"{body} {details}".strip(), body, deal, "{{ offer.name }}"]),
        }

    def _web(self, subject: str, opening: str, turn: int) -> dict[str, str]:
        return self._push(subject, opening, turn) | {"cta": self.phrases.cta[turn % len(self.phrases.cta)]}

    def _call(self, subject: str, opening: str, turn: int) -> dict[str, str]:
        deal = self.phrases.deals[self.kind]
        lines = [self.phrases.call_hello, _capital(_with(opening, deal)), *self._details(opening)]
        return {"script": "\n".join([*lines, self.phrases.call_bye])}

    def _webhook(self, subject: str, opening: str, turn: int) -> dict[str, str]:
        deal = self.phrases.deals[self.kind]
        payload = {"title": _with(subject, deal), "text": _capital(_with(opening, deal))}
        payload |= {fact: f"{{{{ offer.{fact} }}}}" for fact in ("price", "discount", "code", "url") if self.has(fact)}
        return {"payload": orjson.dumps(payload, option=orjson.OPT_INDENT_2).decode()}

    def _details(self, said: str) -> list[str]:
        """Price, code and end, where the offer has them and the text has not said them."""
        lines = []
        if self.kind == "discount" and self.has("price"):
            lines.append(self.phrases.price_line)
        if self.has("code"):
            lines.append(self.phrases.code_line)
        if self.has("ends_at") and "offer.ends_at" not in said:
            lines.append(self.phrases.ends_line)
        return lines

    def _short(self, field: str, subject: str) -> str:
        deal, short = self.phrases.deals[self.kind], self.phrases.short_deals[self.kind]
        texts = [_with(subject, deal), _with(subject, short), deal, short, "{{ offer.name }}"]
        return self._fit(field, [*texts, self.phrases.see])

    def _fit(self, field: str, texts: Sequence[str]) -> str:
        """The first text that fits as it will be read; the last where none does."""
        room = self.rules[field].longest
        fits = (text for text in texts if len(regex.findall(r"\X", self._read(text))) <= room)
        return next(fits, texts[-1])

    def _read(self, text: str) -> str:
        sample = {"offer": self.values, "customer": SAMPLE_NAMES, "unsubscribe_url": SAMPLE_LINK}
        return resolve(text, sample, escape=False)[0].text


def _with(text: str, deal: str) -> str:
    return text.replace("{deal}", deal)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _ended(text: str) -> str:
    """With a full stop, where the text has none and ends in a language that writes them."""
    return text if text.endswith((".", "!", "?")) or regex.search(r"\p{Thai}", text) else f"{text}."


def _states(name: str, discount: Any) -> bool:
    """Whether an offer's name holds the number of its discount ("50% off air care")."""
    number = regex.search(r"\d+(?:[.,]\d+)?", str(discount))
    return number is not None and number.group() in regex.findall(r"\d+(?:[.,]\d+)?", name)
