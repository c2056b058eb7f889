"""Approved copy, rendered for one customer with the offer's facts.

A variant is compiled once: the offer's values are put in, HTML is cleaned, and what is left to do for each customer
is to fill slots (`service.content.fill`). Copy with conditions is rendered by Liquid for each customer instead; both
give the same text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any

import nh3
import orjson
import regex
from liquid.exceptions import LiquidError

from service.content.fields import FieldRule, field_rules
from service.content.fill import LINK, Filled, Filler, Part, RenderError, Slot, default_names, filtered, joined, slot
from service.content.guardrails import looks_like_html
from service.content.locales import Writing, writing
from service.content.markup import ALLOWED_ATTRIBUTES, ALLOWED_STYLES, ALLOWED_TAGS, SCHEMES
from service.content.merge_tags import Piece, environment, pieces, uses
from service.content.merge_values import look_up, offer_values
from service.content.phrases import languages, phrases
from service.web.json_values import DEEPEST, nested_deeper

# Stand-ins for a customer's values while HTML is cleaned: private-use characters, or an address where a link goes.
_STAND_IN, _LINK_STAND_IN = "\ue000{}\ue001", "https://opportune-slot-{}.invalid"
_STAND_INS = regex.compile(r"\ue000(\d+)\ue001|https://opportune-slot-(\d+)\.invalid")
_URL = regex.compile(r"https?://[^\s<>\"\ue000\ue001]*[^\s<>\".,;:!?)'\ue000\ue001]")


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Compiled:
    """A variant ready for any customer.

    `fixed` holds every field, as text where it is the same for all; `fillers` make the rest. `limited`: fields that a
    customer's values, or the link to unsubscribe, may make too long for the channel.
    """

    fixed: Mapping[str, str]
    fillers: tuple[tuple[str, Filler], ...]
    limited: tuple[FieldRule, ...]

    def render(self, filled: Filled) -> dict[str, str]:
        """Every field as the customer reads it."""
        made = dict(self.fixed)
        for name, fill in self.fillers:
            made[name] = fill(filled)
        return made


def compile_copy(
    channel: str,
    locale: str,
    fields: Mapping[str, str],
    offer: Mapping[str, Any],
    zone: tzinfo = UTC,
    reader_locale: str | None = None,
) -> Compiled:
    """Prepares copy for one offer; figures are written as `reader_locale` writes them (same language only).

    Raises RenderError when the copy names what the offer does not have, or is not allowed Liquid.
    """
    local = writing(nearest(locale, reader_locale), channel)
    values = offer_values(offer, local, zone)
    rules = field_rules(channel)
    compiled = {
        name: _compile_field(channel, name, source, values, local, rules[name].html)
        for name, source in fields.items()
        if name in rules and source
    }
    return Compiled(
        {name: made if isinstance(made, str) else "" for name, made in compiled.items()},
        tuple((name, made) for name, made in compiled.items() if not isinstance(made, str)),
        tuple(rule for name, rule in rules.items() if not rule.html and callable(compiled.get(name))),
    )


def nearest(locale: str, reader: str | None) -> str:
    """The locale that figures are written for: the reader's own where it is one of the copy's language."""
    same = reader is not None and reader.replace("_", "-").split("-")[0] == locale.replace("_", "-").split("-")[0]
    return reader if same and reader is not None else locale


def _compile_field(
    channel: str, name: str, source: str, values: Mapping[str, Any], local: Writing, is_html: bool
) -> Filler | str:
    if channel == "webhook":
        return _compile_json(source, values, local)
    cut = pieces(source)
    if not is_html:
        return joined(_parts(cut, source, values, local, False)) if _plain(cut) else _liquid(source, values, local)
    if channel == "email":
        source = _with_unsubscribe(source, local)
    cut = pieces(source)
    if not _plain(cut):
        shown = _liquid(source, values, local, autoescape=True)
        return lambda filled: clean_html(_paragraphs(shown(filled), source))
    return _html(_parts(cut, source, values, local, True), source)


def _plain(cut: Sequence[Piece]) -> bool:
    return all(piece.kind != "tag" and not piece.trim_left and not piece.trim_right for piece in cut)


# --- copy without conditions ---------------------------------------------------------------------------------------


def _parts(cut: Sequence[Piece], source: str, values: Mapping[str, Any], local: Writing, escape: bool) -> list[Part]:
    parts: list[Part] = []
    for piece in cut:
        if piece.kind == "text":
            parts.append(source[piece.start : piece.end])
        elif piece.kind == "output":
            parts.append(_part(piece, source, values, local, escape))
    return parts


def _part(piece: Piece, source: str, values: Mapping[str, Any], local: Writing, escape: bool) -> Part:
    literal = source[slice(*piece.literal)] if piece.literal is not None else None
    root, _, path = piece.path.partition(".")
    if root == "customer" or piece.path == LINK:
        default = literal if literal is not None else default_names(local.locale.language).get(piece.path)
        return slot(piece.path, piece.filters, default, escape)
    value = look_up(values, path) if root == "offer" else None
    text = "" if value is None else str(value)
    if not text:
        if literal is None:
            raise RenderError(f"the offer has nothing for '{piece.path}'")
        text = literal
    return filtered(text, piece.filters, escape)


# --- HTML ----------------------------------------------------------------------------------------------------------


def _html(parts: Sequence[Part], source: str) -> Filler | str:
    """Cleans once, with a stand-in for each slot, then splits at the stand-ins."""
    slots = [part for part in parts if isinstance(part, Slot)]
    numbers = iter(range(len(slots)))
    text = "".join(part if isinstance(part, str) else _stand_in(part, next(numbers)) for part in parts)
    cleaned = clean_html(_paragraphs(text, source))
    split: list[Part] = []
    place = 0
    for match in _STAND_INS.finditer(cleaned):
        split += [cleaned[place : match.start()], slots[int(match[1] or match[2])]]
        place = match.end()
    return joined([*split, cleaned[place:]])


def _stand_in(part: Slot, number: int) -> str:
    return (_LINK_STAND_IN if part.path == LINK else _STAND_IN).format(number)


def clean_html(fragment: str) -> str:
    """Only what e-mail may hold: no script, no style sheet, no attribute beyond the list (nh3)."""
    return nh3.clean(
        fragment,
        tags=set(ALLOWED_TAGS),
        attributes={tag: set(names) - {"rel"} for tag, names in ALLOWED_ATTRIBUTES.items()},
        url_schemes=set(SCHEMES),
        filter_style_properties=set(ALLOWED_STYLES),
        strip_comments=True,
        link_rel="noopener noreferrer",
    )


def _paragraphs(text: str, source: str) -> str:
    """Plain text as HTML: blank lines part paragraphs, addresses become links. HTML stays as it is.

    Merge values are escaped already; the author's own text is not, when it is plain.
    """
    if looks_like_html(source):
        return text
    blocks = regex.split(r"\n\s*\n", text.strip())
    return "\n".join(
        f"<p>{_linked(_escape_once(block)).replace(chr(10), '<br>')}</p>" for block in blocks if block.strip()
    )


def _escape_once(text: str) -> str:
    escaped = regex.sub(r"&(?!(?:amp|lt|gt|quot|#x27|#39);)", "&amp;", text)
    return str(escaped).replace("<", "&lt;").replace(">", "&gt;")


def _linked(text: str) -> str:
    return str(_URL.sub(lambda match: f'<a href="{match.group()}">{match.group()}</a>', text))


def _with_unsubscribe(source: str, local: Writing) -> str:
    """Every e-mail ends with a way out, whether its author wrote one or not."""
    if uses(source, LINK):
        return source
    language = local.locale.language if local.locale.language in languages() else "en"
    word = phrases(language).unsubscribe
    if looks_like_html(source):
        return f'{source}\n<p><a href="{{{{ unsubscribe_url }}}}">{word}</a></p>'
    return f"{source}\n\n{word}: {{{{ unsubscribe_url }}}}"


# --- copy with conditions, and JSON -----------------------------------------------------------------------------------


def _liquid(source: str, values: Mapping[str, Any], local: Writing, autoescape: bool = False) -> Filler:
    try:
        template = environment(autoescape).from_string(_with_defaults(source, local))
    except LiquidError as error:
        raise RenderError(str(error)) from error
    offer = {key: value for key, value in values.items() if value != ""}
    linked = LINK in source

    def fill(filled: Filled) -> str:
        links = {LINK: filled.link} if linked and filled.link else {}
        try:
            return str(template.render(offer=offer, customer=filled.names, **links))
        except LiquidError as error:
            raise RenderError(str(error)) from error

    return fill


def _with_defaults(source: str, local: Writing) -> str:
    """Customer tags without a default get one, so that a missing name is never an error."""
    for piece in reversed(pieces(source)):
        if piece.path.startswith("customer.") and "default" not in piece.filters:
            default = default_names(local.locale.language).get(piece.path, "")
            at = source.index(piece.path, piece.start) + len(piece.path)
            source = f'{source[:at]} | default: "{default}"{source[at:]}'
    return source


def _compile_json(source: str, values: Mapping[str, Any], local: Writing) -> Filler:
    """Tags stand inside JSON strings and are filled there, so that no value can break the document."""
    try:
        document = orjson.loads(source)
    except orjson.JSONDecodeError as error:
        raise RenderError(f"the payload is not JSON: {error}") from error
    if nested_deeper(document, DEEPEST):
        raise RenderError(f"the payload is nested deeper than {DEEPEST} levels")
    fillers: dict[str, Filler | str] = {}

    def learn(value: Any) -> None:
        if isinstance(value, str) and "{" in value:
            fillers[value] = _compile_field("call", "script", value, values, local, False)
        elif isinstance(value, dict):
            for item in value.values():
                learn(item)
        elif isinstance(value, list):
            for item in value:
                learn(item)

    def put(value: Any, filled: Filled) -> Any:
        if isinstance(value, str):
            made = fillers.get(value, value)
            return made if isinstance(made, str) else made(filled)
        if isinstance(value, dict):
            return {key: put(item, filled) for key, item in value.items()}
        return [put(item, filled) for item in value] if isinstance(value, list) else value

    learn(document)
    return lambda filled: orjson.dumps(put(document, filled)).decode()
