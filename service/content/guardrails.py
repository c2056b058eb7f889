"""Checks of copy against the offer's facts and the channel's limits. Pure: text and facts in, verdicts out.

Every figure that a reader would see must be a fact of the offer; every claim and urgency needs one behind it.
Figures are looked for in the text as it is read: merge tags resolved, HTML removed, all scripts' digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from decimal import Decimal
from itertools import islice
from typing import Any

import orjson
import regex

from service.content import claims
from service.content.facts import Facts, as_decimal, facts_of, plain_link
from service.content.fields import CHANNEL_FIELDS, FieldRule, field_rules
from service.content.fill import default_names
from service.content.locales import Writing, digits_to_ascii, script_of, writing
from service.content.markup import hidden_characters, hidden_elements, link_fault, mixed_words, unsafe_elements
from service.content.mentions import Mention, find_mentions
from service.content.merge_tags import tag_faults, uses
from service.content.merge_values import offer_values
from service.content.plain_text import plain
from service.content.sms_segments import first_unusual, sms_size
from service.content.visible import Mapped, Seen, see

SAMPLE_NAMES = {"first_name": "Maximiliana", "last_name": "Featherstone", "city": "Kuala Lumpur"}
MOST_TAGS = 500
_LONGEST_WORD = 80
SAMPLE_LINK = "https://example.invalid/u/0123456789abcdef0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Check:
    """A verdict. `span` is `[start, end)` in code points of `field`; a check that passed has neither."""

    name: str
    passed: bool
    detail: str
    field: str | None = None
    span: tuple[int, int] | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "passed": self.passed,
            "detail": self.detail,
            "field": self.field,
            "span": list(self.span) if self.span is not None else None,
        }


@dataclass(frozen=True, slots=True)
class Rules:
    """What an installation asks of its copy. `link_length`: characters of its links to unsubscribe."""

    max_sms_segments: int = 3
    sms_opt_out: bool = False
    unsubscribe_in_body: bool = False
    zone: tzinfo = UTC
    link_length: int = len(SAMPLE_LINK)

    @property
    def sample_link(self) -> str:
        """A link as long as those that are sent: SMS are paid for by their length."""
        return SAMPLE_LINK.ljust(self.link_length, "0")


@dataclass(frozen=True)
class Copy:
    """The copy under check, with everything that the checks need, worked out once."""

    channel: str
    fields: Mapping[str, str]
    writing: Writing
    language: str
    tag: str
    offer: Mapping[str, Any]
    values: Mapping[str, Any]
    facts: Facts
    seen: Mapping[str, Seen]
    mentions: Mapping[str, tuple[tuple[Mapped, Mention], ...]]
    rules: Rules

    def found(self, *kinds: str) -> Iterator[tuple[str, Mention, tuple[int, int]]]:
        """(field, mention, source span) of every mention of these kinds."""
        for name, mentions in self.mentions.items():
            for mapped, mention in mentions:
                if mention.kind in kinds:
                    yield name, mention, _span(mapped, mention)

    def texts(self) -> Iterator[tuple[str, Mapped]]:
        for name, seen in self.seen.items():
            for mapped in seen.texts:
                yield name, mapped


def _span(mapped: Mapped, mention: Mention) -> tuple[int, int]:
    return mapped.span(mention.start, mention.end)


Finding = tuple[str, str | None, tuple[int, int] | None]


def check_copy(
    channel: str,
    locale: str,
    fields: Mapping[str, str],
    offer: Mapping[str, Any] | None = None,
    rules: Rules | None = None,
) -> list[Check]:
    """All checks: one passed verdict a check, or one failed verdict for each finding.

    `offer` has `facts`, `name`, `description`, `category`, `starts_at`, `ends_at`; without it no figure is a fact.
    Raises KeyError for an unknown channel.
    """
    crowded = [Check("merge_tags", *found) for found in _crowded(fields)]
    if crowded:
        return crowded
    copy = _prepare(channel, locale, fields, offer or {}, rules or Rules())
    return [check for name, (finder, fine) in CHECKS.items() for check in _verdicts(name, finder(copy), fine)]


def _crowded(fields: Mapping[str, str]) -> Iterator[tuple[bool, str, str]]:
    """Fields with so many tags that reading them would take minutes: of each half, the other one is looked for."""
    for name, source in fields.items():
        tags = source.count("{{") + source.count("{%")
        if tags > MOST_TAGS:
            yield False, f"has {tags:,} merge tags; at most {MOST_TAGS} fit, and nothing else was checked", name


def _prepare(channel: str, locale: str, fields: Mapping[str, str], offer: Mapping[str, Any], rules: Rules) -> Copy:
    local = writing(locale, channel)
    values = offer_values(offer, local, rules.zone)
    known = field_rules(channel)
    sample = _sample(values, SAMPLE_NAMES, rules)
    seen = {
        name: see(text, sample, known[name].html and looks_like_html(text))
        for name, text in fields.items()
        if name in known
    }
    mentions = {
        name: tuple((mapped, mention) for mapped in view.texts for mention in find_mentions(mapped.text, local))
        for name, view in seen.items()
    }
    facts = facts_of(offer, local, rules.zone)
    language = local.locale.language
    return Copy(channel, fields, local, language, locale, offer, values, facts, seen, mentions, rules)


def _sample(values: Mapping[str, Any], names: Mapping[str, str], rules: Rules) -> dict[str, Any]:
    return {"offer": values, "customer": names, "unsubscribe_url": rules.sample_link}


def looks_like_html(text: str) -> bool:
    """Whether a body is written in HTML; else it is plain text whose lines become paragraphs."""
    return regex.search(r"<(?:/?[a-zA-Z][^<>]*|!--)(?:>|$)|&(?:#\d+|#[xX][0-9a-fA-F]+|[a-zA-Z]+);", text) is not None


def _verdicts(name: str, findings: Iterable[Finding], fine: str) -> list[Check]:
    failed = [Check(name, False, detail, field, span) for detail, field, span in dict.fromkeys(findings)]
    return failed or [Check(name, True, fine)]


# --- the form of the message -------------------------------------------------------------------------------------


def _fields(copy: Copy) -> Iterator[Finding]:
    known = field_rules(copy.channel)
    for name in copy.fields:
        if name not in known:
            yield f"{copy.channel} has no field '{name}'; it has {', '.join(known)}", name, None
    for name, rule in known.items():
        if rule.required and not copy.fields.get(name, "").strip():
            yield f"the field '{name}' is missing or empty", name, None


def _lengths(copy: Copy) -> Iterator[Finding]:
    measure = _sms_length if copy.channel == "sms" else _length
    for rule in CHANNEL_FIELDS[copy.channel]:
        if rule.name in copy.seen:
            found = (finding for text in _readings(copy, rule) for finding in measure(copy, rule, text))
            yield from islice(found, 1)


def _readings(copy: Copy, rule: FieldRule) -> Iterator[Mapped]:
    """The field for a reader whose values are known, and for one of whom nothing is: defaults may be longer."""
    yield copy.seen[rule.name].text
    source = copy.fields[rule.name]
    if "customer." in source:
        sample = _sample(copy.values, {}, copy.rules)
        yield see(source, sample, rule.html and looks_like_html(source), default_names(copy.language)).text


def _length(copy: Copy, rule: FieldRule, text: Mapped) -> Iterator[Finding]:
    graphemes = list(regex.finditer(r"\X", text.text.strip()))
    if len(graphemes) > rule.longest:
        over = text.span(graphemes[rule.longest].start(), len(text.text))
        yield f"{len(graphemes)} characters; at most {rule.longest} fit", rule.name, over


def _sms_length(copy: Copy, rule: FieldRule, text: Mapped) -> Iterator[Finding]:
    size = sms_size(text.text)
    if size.segments <= copy.rules.max_sms_segments:
        return
    detail = f"{size.units} {size.encoding} units make {size.segments} messages; at most {copy.rules.max_sms_segments}"
    place = first_unusual(text.text)
    if place is None:
        yield detail, rule.name, None
    else:
        unusual = f"{detail} ('{text.text[place]}' makes it {size.encoding})"
        yield unusual, rule.name, text.span(place, place + 1)


def _merge_tags(copy: Copy) -> Iterator[Finding]:
    for name, source in copy.fields.items():
        for fault in tag_faults(source, copy.values, copy.channel):
            yield fault.detail, name, (fault.start, fault.end)


def _payload(copy: Copy) -> Iterator[Finding]:
    if copy.channel != "webhook" or "payload" not in copy.seen:
        return
    try:
        orjson.loads(copy.seen["payload"].text.text)
    except orjson.JSONDecodeError as error:
        place = min(error.pos, len(copy.fields["payload"]))
        yield f"the payload is not JSON: {error.msg}", "payload", (place, place)


# --- figures ------------------------------------------------------------------------------------------------------


def _numbers(copy: Copy) -> Iterator[Finding]:
    figures = copy.facts.percents | {amount for amount, _ in copy.facts.money}
    for field, mentions in copy.mentions.items():
        for mapped, mention in mentions:
            value = mention.value
            if mention.kind != "number" or value in copy.facts.numbers:
                continue
            if (mention.duration or value not in figures) and not _part_of_offer_word(copy, mapped, mention):
                yield f"the number {mention.text} is not a fact of the offer", field, _span(mapped, mention)


_IN_WORD = r"\p{L}\p{N}.,/'’-"
_WORD_FROM = regex.compile(rf"[{_IN_WORD}]{{0,{_LONGEST_WORD}}}")
_WORD_UNTIL = regex.compile(rf"(?r)[{_IN_WORD}]{{0,{_LONGEST_WORD}}}")


def _part_of_offer_word(copy: Copy, mapped: Mapped, mention: Mention) -> bool:
    """Whether the number's whole word ("B12", "3-pack") stands in the offer's own text."""
    before, after = _WORD_UNTIL.match(mapped.text, endpos=mention.start), _WORD_FROM.match(mapped.text, mention.start)
    assert before is not None  # it matches nothing at least
    assert after is not None
    word = before.group().lstrip(".,/'’-") + after.group()
    plain = digits_to_ascii(word).casefold().rstrip(".,'’-")
    if len(word) > _LONGEST_WORD or not plain or plain.isdigit():
        return False
    whole = rf"(?<![\p{{L}}\p{{N}}]){regex.escape(plain)}(?![\p{{L}}\p{{N}}])"
    return regex.search(whole, copy.facts.text) is not None


def _percents(copy: Copy) -> Iterator[Finding]:
    for field, mention, span in copy.found("percent"):
        if mention.value not in copy.facts.percents or "‰" in mention.text:
            yield f"{mention.text} is not a percent of the offer{_named(copy.facts.percents, '%')}", field, span


def _prices(copy: Copy) -> Iterator[Finding]:
    for field, mention, span in copy.found("money"):
        amount, codes = mention.value
        fits = [currency for value, currency in copy.facts.money if value == amount]
        if not any(currency is None or currency in codes for currency in fits):
            known = ", ".join(sorted(f"{value} {currency or ''}".strip() for value, currency in copy.facts.money)[:5])
            why = f"; the offer's are {known}" if known else ""
            yield f"{mention.text} is not a price of the offer{why}", field, span


def _named(values: Iterable[Decimal], unit: str) -> str:
    known = ", ".join(f"{value}{unit}" for value in sorted(values)[:5])
    return f"; the offer's are {known}" if known else ""


def _dates(copy: Copy) -> Iterator[Finding]:
    days, said = copy.facts.days, copy.facts.said
    known = f"; the offer's are {', '.join(day.isoformat() for day in sorted(days)[:4])}" if days else ""
    for field, mention, span in copy.found("date"):
        if mention.value not in said and not any(_same_day(mention.value, day) for day in days):
            yield f"{mention.text} is not a date of the offer{known}", field, span
    for field, mention, span in copy.found("time"):
        if mention.value not in copy.facts.times | said:
            yield f"{mention.text} is not a time of the offer", field, span


def _same_day(value: Any, day: Any) -> bool:
    """A date fact has the parts that the text names; years may be Buddhist."""
    if value[0] == "weekday":
        return bool(day.weekday() == value[1])
    year, month, number = value
    return (
        (year is None or year in (day.year, day.year + 543))
        and (month is None or month == day.month)
        and (number is None or number == day.day)
    )


def _codes(copy: Copy) -> Iterator[Finding]:
    for field, mention, span in copy.found("code"):
        if not copy.facts.allows_code(mention.text):
            yield f"'{mention.text}' is not a code of the offer", field, span


def _links(copy: Copy) -> Iterator[Finding]:
    allowed = copy.facts.links | {plain_link(copy.rules.sample_link)}
    for field, mention, span in copy.found("link", "email"):
        if plain_link(mention.text) not in allowed and mention.text not in allowed:
            yield f"{mention.text} is not a link of the offer", field, span
    for field, seen in copy.seen.items():
        for _, link, span in seen.links:
            if plain_link(link) not in allowed:
                yield f"{link[:80]} is not a link of the offer", field, span


# --- promises -----------------------------------------------------------------------------------------------------


def _claims(copy: Copy) -> Iterator[Finding]:
    own = [match.group() for match in claims.pattern("claims", copy.language).finditer(plain(copy.facts.text))]
    for field, start, end, text in _matches(copy, "claims"):
        if not any(_begins_word(text, claim) for claim in own) and not _share_is_a_fact(copy, text):
            yield f"'{text}' is a claim that no fact of the offer supports", field, (start, end)


def _begins_word(text: str, claim: str) -> bool:
    """'guarantee' supports itself in 'guaranteed'; 'free' does not in 'risk-free'."""
    return regex.search(rf"(?<![\p{{Latin}}-]){regex.escape(text)}", claim, regex.IGNORECASE) is not None


# Shares in words, and the whole percents that they may stand for; the first that is found counts.
_SHARES = (
    (("half", "halb", "hälfte", "mitad", "moitié", "separuh", "setengah", "ครึ่ง"), (50, 50)),
    (
        (
            "three-quarters",
            "three quarters",
            "drei viertel",
            "tres cuartos",
            "trois quarts",
            "tiga suku",
            "tiga perempat",
            "สามในสี่",
        ),
        (75, 75),
    ),
    (("two-thirds", "two thirds", "zwei drittel", "dos tercios", "deux tiers", "dua pertiga", "สองในสาม"), (66, 67)),
    (("third", "drittel", "tercio", "tiers", "pertiga", "ในสาม"), (33, 34)),
    (("quarter", "viertel", "cuarto", "quart", "suku", "seperempat", "ในสี่"), (25, 25)),
    (("fifth", "fünftel", "quinto", "cinquième", "seperlima", "ในห้า"), (20, 20)),
    (("tenth", "zehntel", "décimo", "dixième", "sepersepuluh", "ในสิบ"), (10, 10)),
)


def _share_is_a_fact(copy: Copy, text: str) -> bool:
    said = text.casefold()
    low, high = next((bounds for words, bounds in _SHARES if any(word in said for word in words)), (1, 0))
    return any(low <= percent <= high for percent in copy.facts.percents)


def _urgency(copy: Copy) -> Iterator[Finding]:
    for field, start, end, text in _matches(copy, "urgency"):
        if not copy.facts.ends:
            yield f"'{text}' presses for time, but the offer has no end", field, (start, end)
        elif claims.pattern("floating", copy.language).search(text):
            yield f"'{text}' depends on the day it is read; write {{{{ offer.ends_at }}}}", field, (start, end)


def _matches(copy: Copy, table: str) -> Iterator[tuple[str, int, int, str]]:
    pattern = claims.pattern(table, copy.language)
    for field, mapped in copy.texts():
        read = mapped.plain()
        for match in pattern.finditer(read.text):
            yield (field, *read.span(match.start(), match.end()), match.group())


# --- safety -------------------------------------------------------------------------------------------------------

_TAG_IN_TEXT = regex.compile(
    r"<\s*/?\s*(?:[a-zA-Z!][^<>]*>|script|iframe|img|svg|style|object|embed)|javascript\s*:", regex.I
)


def _markup(copy: Copy) -> Iterator[Finding]:
    known = field_rules(copy.channel)
    for field, seen in copy.seen.items():
        if known[field].html and looks_like_html(copy.fields[field]):
            for detail, span in unsafe_elements(seen):
                yield detail, field, span
        else:
            for match in _TAG_IN_TEXT.finditer(seen.text.text):
                place = seen.text.span(match.start(), match.end())
                yield f"'{match.group()[:40]}' is HTML or script; this field is plain text", field, place


def _characters(copy: Copy) -> Iterator[Finding]:
    for field, source in copy.fields.items():
        for detail, start, end in hidden_characters(source):
            yield detail, field, (start, end)
        one_line = field not in {"body", "script", "payload"}
        for match in regex.finditer(r"[\r\n\t]", source if one_line else ""):
            yield "a line break or tab does not belong into this field", field, (match.start(), match.end())
    for field, mapped in copy.texts():
        if mapped.text not in copy.fields.get(field, ""):  # what entities such as &#8203; turn into
            for detail, start, end in hidden_characters(mapped.text):
                yield detail, field, mapped.span(start, end)


def _hidden_text(copy: Copy) -> Iterator[Finding]:
    for field, seen in copy.seen.items():
        for detail, span in hidden_elements(seen):
            yield detail, field, span


def _lookalikes(copy: Copy) -> Iterator[Finding]:
    for field, mention, span in copy.found("link"):
        fault = link_fault(mention.text)
        if fault:
            yield fault, field, span
    for field, seen in copy.seen.items():
        for _, link, span in seen.links:
            fault = link_fault(link)
            if fault:
                yield fault, field, span
    for field, mapped in copy.texts():
        for detail, start, end in mixed_words(mapped.text):
            yield detail, field, mapped.span(start, end)


# --- what must be there -------------------------------------------------------------------------------------------


def _unsubscribe(copy: Copy) -> Iterator[Finding]:
    if (
        copy.channel == "email"
        and copy.rules.unsubscribe_in_body
        and not uses(copy.fields.get("body", ""), "unsubscribe_url")
    ):
        yield "the body has no {{ unsubscribe_url }} that every reader sees", "body", None


def _opt_out(copy: Copy) -> Iterator[Finding]:
    if copy.channel != "sms" or not copy.rules.sms_opt_out:
        return
    body = copy.seen.get("body")
    if body is None or not claims.OPT_OUT_PATTERN.search(body.text.text):
        yield "the message does not say how to stop further ones (such as 'STOP')", "body", None


_LETTERS = regex.compile(r"\p{L}")
_ISO_SCRIPTS = {
    "Thai": r"\p{Thai}", "Arab": r"\p{Arabic}", "Cyrl": r"\p{Cyrillic}", "Hebr": r"\p{Hebrew}",
    "Deva": r"\p{Devanagari}", "Hans": r"\p{Han}", "Hant": r"\p{Han}", "Jpan": r"[\p{Han}\p{Hiragana}\p{Katakana}]",
    "Kore": r"[\p{Hangul}\p{Han}]", "Grek": r"\p{Greek}", "Latn": r"\p{Latin}",
    "Beng": r"\p{Bengali}", "Taml": r"\p{Tamil}", "Khmr": r"\p{Khmer}",
    "Laoo": r"\p{Lao}", "Mymr": r"\p{Myanmar}", "Geor": r"\p{Georgian}", "Armn": r"\p{Armenian}",
}  # fmt: skip


def _language(copy: Copy) -> Iterator[Finding]:
    """The copy must at least be in the script of its locale; an answer in English for Thai is caught here."""
    own = _ISO_SCRIPTS.get(script_of(copy.tag))
    texts = "".join(source for name, source in copy.fields.items() if name in copy.seen)
    letters = _LETTERS.findall(regex.sub(r"\{\{.*?\}\}|\{%.*?%\}|<[^>]*>|https?://\S+", " ", texts, flags=regex.DOTALL))
    if own is None or copy.channel == "webhook" or not letters:
        return
    if not regex.search(own, "".join(letters)):
        yield f"no letter is in the script of {copy.tag} ({script_of(copy.tag)})", None, None


CHECKS: dict[str, tuple[Callable[[Copy], Iterable[Finding]], str]] = {
    "fields": (_fields, "all fields are there"),
    "length": (_lengths, "every field fits"),
    "merge_tags": (_merge_tags, "all merge tags are known"),
    "payload": (_payload, "the payload is well formed"),
    "numbers": (_numbers, "every number is a fact of the offer"),
    "percents": (_percents, "every percent is a fact of the offer"),
    "prices": (_prices, "every price is a fact of the offer"),
    "dates": (_dates, "every date and time is a fact of the offer"),
    "codes": (_codes, "every code is a fact of the offer"),
    "links": (_links, "every link is a fact of the offer"),
    "claims": (_claims, "no claim without a fact"),
    "urgency": (_urgency, "no urgency without an end"),
    "markup": (_markup, "no forbidden HTML or script"),
    "characters": (_characters, "no control or unseen characters"),
    "hidden_text": (_hidden_text, "nothing is hidden from the reader"),
    "lookalikes": (_lookalikes, "no letters or links that imitate others"),
    "unsubscribe": (_unsubscribe, "a way to unsubscribe is in the message"),
    "opt_out": (_opt_out, "a way to stop is in the message, or not asked for"),
    "language": (_language, "the text is in the locale's script"),
}

__all__ = ["CHECKS", "Check", "Rules", "as_decimal", "check_copy", "looks_like_html"]
