"""Approved copy, rendered for one customer with the offer's facts.

A variant is compiled once: the offer's values are put in, HTML is cleaned, and what is left to do for each customer
is to join strings. Copy with conditions is rendered by Liquid for each customer instead; both give the same text.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any

import nh3
import orjson
import regex
from liquid.exceptions import LiquidError

from service.content.fields import field_rules
from service.content.guardrails import looks_like_html
from service.content.locales import Writing, writing
from service.content.markup import ALLOWED_ATTRIBUTES, ALLOWED_STYLES, ALLOWED_TAGS, SCHEMES
from service.content.merge_tags import Piece, environment, pieces, uses
from service.content.merge_values import look_up, offer_values
from service.content.phrases import languages, phrases

MAX_NAME = 40
_UNSUITABLE = regex.compile(r"[\p{C}\p{N}<>@/\\{}%=&;:\"|$\[\]()*#!?]|www\.|https?", regex.IGNORECASE)
# Stand-ins for a customer's values while HTML is cleaned: private-use characters, or an address where a link goes.
_STAND_IN, _LINK_STAND_IN = "\ue000{}\ue001", "https://opportune-slot-{}.invalid"
_STAND_INS = regex.compile(r"\ue000(\d+)\ue001|https://opportune-slot-(\d+)\.invalid")
_URL = regex.compile(r"https?://[^\s<>\"\ue000\ue001]*[^\s<>\".,;:!?)'\ue000\ue001]")
DEFAULT_NAMES = {
    "en": "there", "de": "und willkommen", "es": "de nuevo", "fr": "et bienvenue", "ms": "pelanggan", "th": "ลูกค้า",
}  # fmt: skip


class RenderError(Exception):
    """Copy that cannot be rendered; the message says why. It is never sent half-rendered."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A place that a customer's value goes to."""

    path: str
    filters: tuple[str, ...]
    default: str | None
    escape: bool


Part = str | Slot
Filler = Callable[[Mapping[str, str]], str]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A variant ready for any customer: a function from the customer's values to the text of each field."""

    locale: str
    fields: Mapping[str, Filler]
    uses_customer: bool
    uses_link: bool = True

    def render(self, customer: Mapping[str, str]) -> dict[str, str]:
        """Every field as the customer reads it. `customer`: path of a merge tag -> clean value."""
        return {name: fill(customer) for name, fill in self.fields.items()}


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
    local = writing(_nearest(locale, reader_locale), channel)
    values = offer_values(offer, local, zone)
    rules = field_rules(channel)
    compiled = {
        name: _compile_field(channel, name, source, values, local, rules[name].html)
        for name, source in fields.items()
        if name in rules and source
    }
    personal = any(piece.path.startswith("customer.") for source in fields.values() for piece in pieces(source))
    linked = channel in {"email", "webhook"} or any("unsubscribe_url" in source for source in fields.values())
    return Compiled(locale, compiled, personal, linked)


def _nearest(locale: str, reader: str | None) -> str:
    same = reader is not None and reader.replace("_", "-").split("-")[0] == locale.replace("_", "-").split("-")[0]
    return reader if same and reader is not None else locale


def _compile_field(
    channel: str, name: str, source: str, values: Mapping[str, Any], local: Writing, is_html: bool
) -> Filler:
    if channel == "webhook":
        return _compile_json(source, values, local)
    cut = pieces(source)
    if not is_html:
        return _joined(_parts(cut, source, values, local, False)) if _plain(cut) else _liquid(source, values, local)
    if channel == "email":
        source = _with_unsubscribe(source, local)
    cut = pieces(source)
    if not _plain(cut):
        shown = _liquid(source, values, local, autoescape=True)
        return lambda customer: clean_html(_paragraphs(shown(customer), source))
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
    if root == "customer" or piece.path == "unsubscribe_url":
        default = literal if literal is not None else _default_name(piece.path, local)
        return Slot(piece.path, piece.filters, default, escape)
    value = look_up(values, path) if root == "offer" else None
    text = "" if value is None else str(value)
    if not text:
        if literal is None:
            raise RenderError(f"the offer has nothing for '{piece.path}'")
        text = literal
    return _filtered(text, piece.filters, escape)


def _default_name(path: str, local: Writing) -> str | None:
    return DEFAULT_NAMES.get(local.locale.language, DEFAULT_NAMES["en"]) if path == "customer.first_name" else None


_CASES: dict[str, Callable[[str], str]] = {
    "upcase": str.upper,
    "downcase": str.lower,
    "capitalize": str.capitalize,
    "strip": str.strip,
}


def _filtered(text: str, filters: Sequence[str], escape: bool) -> str:
    for name in filters:
        if name in _CASES:
            text = _CASES[name](text)
    return html.escape(text) if escape or "escape" in filters else text


def _fill(slot: Slot, customer: Mapping[str, str]) -> str:
    text = customer.get(slot.path) or slot.default
    if text is None:
        if slot.path == "unsubscribe_url":
            raise RenderError("there is no unsubscribe link for this customer")
        text = ""
    return _filtered(text, slot.filters, slot.escape)


def _joined(parts: Sequence[Part]) -> Filler:
    merged: list[Part] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    if not any(isinstance(part, Slot) for part in merged):
        text = "".join(part for part in merged if isinstance(part, str))
        return lambda customer: text
    return lambda customer: "".join(part if isinstance(part, str) else _fill(part, customer) for part in merged)


# --- HTML ----------------------------------------------------------------------------------------------------------


def _html(parts: Sequence[Part], source: str) -> Filler:
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
    return _joined([*split, cleaned[place:]])


def _stand_in(slot: Slot, number: int) -> str:
    return (_LINK_STAND_IN if slot.path == "unsubscribe_url" else _STAND_IN).format(number)


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
    if uses(source, "unsubscribe_url"):
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

    def fill(customer: Mapping[str, str]) -> str:
        person = {path.removeprefix("customer."): text for path, text in customer.items() if "." in path and text}
        links = {path: text for path, text in customer.items() if "." not in path}
        try:
            return str(template.render(offer=offer, customer=person, **links))
        except LiquidError as error:
            raise RenderError(str(error)) from error

    return fill


def _with_defaults(source: str, local: Writing) -> str:
    """Customer tags without a default get one, so that a missing name is never an error."""
    for piece in reversed(pieces(source)):
        if piece.path.startswith("customer.") and "default" not in piece.filters:
            default = _default_name(piece.path, local) or ""
            at = source.index(piece.path, piece.start) + len(piece.path)
            source = f'{source[:at]} | default: "{default}"{source[at:]}'
    return source


def _compile_json(source: str, values: Mapping[str, Any], local: Writing) -> Filler:
    """Tags stand inside JSON strings and are filled there, so that no value can break the document."""
    try:
        document = orjson.loads(source)
    except orjson.JSONDecodeError as error:
        raise RenderError(f"the payload is not JSON: {error}") from error
    fillers: dict[str, Filler] = {}

    def learn(value: Any) -> None:
        if isinstance(value, str) and "{" in value:
            fillers[value] = _compile_field("call", "script", value, values, local, False)
        elif isinstance(value, dict):
            for item in value.values():
                learn(item)
        elif isinstance(value, list):
            for item in value:
                learn(item)

    def put(value: Any, customer: Mapping[str, str]) -> Any:
        if isinstance(value, str):
            return fillers[value](customer) if value in fillers else value
        if isinstance(value, dict):
            return {key: put(item, customer) for key, item in value.items()}
        return [put(item, customer) for item in value] if isinstance(value, list) else value

    learn(document)
    return lambda customer: orjson.dumps(put(document, customer)).decode()


# --- the customer ----------------------------------------------------------------------------------------------------


def customer_values(customer: Mapping[str, Any], unsubscribe_url: str | None) -> dict[str, str]:
    """Values of the customer's merge tags from `traits`; a name that is not a name is left to the default."""
    traits = customer.get("traits") or {}
    address = traits.get("address")
    found = {
        "customer.first_name": traits.get("first_name") or traits.get("firstName") or _first(traits.get("name")),
        "customer.last_name": traits.get("last_name") or traits.get("lastName"),
        "customer.city": traits.get("city") or (address.get("city") if isinstance(address, Mapping) else None),
    }
    values = {path: clean for path, value in found.items() if (clean := clean_name(value))}
    if unsubscribe_url:
        values["unsubscribe_url"] = unsubscribe_url
    return values


def _first(name: Any) -> str | None:
    return name.split()[0] if isinstance(name, str) and name.split() else None


def clean_name(value: Any) -> str | None:
    """A personal value fit to be printed, else None: nothing long, no digits, links, markup or control characters."""
    if not isinstance(value, str):
        return None
    text = " ".join(value.split())
    return text if 0 < len(text) <= MAX_NAME and not _UNSUITABLE.search(text) else None
