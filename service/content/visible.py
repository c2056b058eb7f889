"""What a reader sees of a field: merge tags resolved, HTML taken off; each character remembers its source place."""

from __future__ import annotations

import html
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import regex

from service.content.hiding_styles import PAGE, Look
from service.content.merge_tags import pieces
from service.content.merge_values import look_up
from service.content.plain_text import PIECE, plain_piece

BLOCKS = frozenset(
    [
    "address", "article", "aside", "blockquote", "br", "caption", "center", "dd", "div", "dl", "dt", "footer",
    "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "table",
    "tbody", "td", "tfoot", "th", "thead", "tr", "ul", "body", "html", "head", "title",
    ]
)  # fmt: skip
SEEN_ATTRIBUTES = ("alt", "title", "aria-label", "placeholder")
LINK_ATTRIBUTES = ("href", "src", "action", "formaction", "background", "poster", "cite", "srcset", "data")
VOID = frozenset({"br", "hr", "img", "wbr", "input", "meta", "link", "col", "area", "base", "source", "embed"})
BARRIERS = frozenset({"table", "ul", "ol"})
_CELLS = {"td", "th"}
_ENDED_BY: dict[str, Collection[str]] = {
    "li": {"li"},
    "td": _CELLS,
    "th": _CELLS,
    "tr": {"tr"},
    **dict.fromkeys(BLOCKS - {"br", "td", "th", "tr", "li"}, frozenset({"p"})),
}
"""What an element ends that was not ended itself (HTML, 13.1.2.4)."""
UNSEEN = frozenset({"script", "style", "head", "template", "noscript"})
_MARKUP = regex.compile(
    r"<!--(?P<comment>.*?)(?:-->|$)|<(?P<close>/)?(?P<name>[a-zA-Z][\w:-]*)(?P<attributes>(?:\"[^\"]*\"|'[^']*'|[^'\">])*)(?:>|$)"
    r"|<[!?][^>]*>|&(?:#\d+|#[xX][0-9a-fA-F]+|[a-zA-Z][a-zA-Z0-9]*);?",
    regex.DOTALL,
)
_BLANKS = " \t\r\n\f"
_FLOW = regex.compile(rf"[{_BLANKS}]+|[^{_BLANKS}]+")
_ATTRIBUTE = regex.compile(
    r"(?P<name>[^\s=/\"'<>]+)(?:\s*=\s*(?:\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'|(?P<bare>[^\s\"'>]+)))?"
)


@dataclass
class Mapped:
    """A text whose character `i` came from `source[starts[i]:ends[i]]`."""

    text: str = ""
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The source span of `text[start:end]`."""
        if not self.starts:
            return 0, 0
        if start >= end:
            at = self.starts[min(start, len(self.starts) - 1)]
            return at, at
        return min(self.starts[start:end]), max(self.ends[start:end])

    def cut(self, start: int, end: int) -> Mapped:
        return Mapped(self.text[start:end], self.starts[start:end], self.ends[start:end])

    def plain(self) -> Mapped:
        """The text in plain form; each character remembers its source place."""
        writer = _Writer()
        for match in PIECE.finditer(self.text):
            writer.put(plain_piece(match.group()), *self.span(*match.span()))
        return writer.done()


@dataclass(frozen=True, slots=True)
class Element:
    """An HTML start tag with its attributes (name -> value and source span)."""

    name: str
    attributes: Mapping[str, tuple[str, tuple[int, int]]]
    span: tuple[int, int]
    around: Look = PAGE

    @property
    def style(self) -> str:
        return self.attributes.get("style", ("", self.span))[0]


@dataclass
class Seen:
    """A field as read: its text, the texts of attributes and defaults, its elements, its links."""

    text: Mapped
    others: list[Mapped] = field(default_factory=list)
    elements: list[Element] = field(default_factory=list)
    links: list[tuple[str, str, tuple[int, int]]] = field(default_factory=list)
    comments: list[tuple[int, int]] = field(default_factory=list)

    @property
    def texts(self) -> list[Mapped]:
        return [self.text, *self.others]


class _Writer:
    def __init__(self) -> None:
        self.parts: list[str] = []
        self.starts: list[int] = []
        self.ends: list[int] = []

    def put(self, text: str, start: int, end: int) -> None:
        self.parts.append(text)
        self.starts += [start] * len(text)
        self.ends += [end] * len(text)

    def copy(self, text: str, start: int) -> None:
        self.parts.append(text)
        self.starts += range(start, start + len(text))
        self.ends += range(start + 1, start + len(text) + 1)

    def flow(self, mapped: Mapped) -> None:
        """Text of HTML: a line break or a run of spaces is one space to the reader."""
        for match in _FLOW.finditer(mapped.text):
            start, end = match.span()
            if match.group()[0] in _BLANKS:
                self.put(" ", *mapped.span(start, end))
            else:
                self.parts.append(match.group())
                self.starts += mapped.starts[start:end]
                self.ends += mapped.ends[start:end]

    def done(self) -> Mapped:
        return Mapped("".join(self.parts), self.starts, self.ends)


def resolve(
    source: str, values: Mapping[str, Any], escape: bool, defaults: Mapping[str, str] | None = None
) -> tuple[Mapped, list[Mapped]]:
    """Tags replaced by their values, every branch of a condition kept; and the literals of `default` filters.

    A value that is missing is replaced by the tag's default, if it has one, else by that of its path in `defaults`.
    """
    writer, literals = _Writer(), []
    strip_next = False
    for piece in pieces(source):
        if piece.kind == "text":
            text = source[piece.start : piece.end]
            lead = len(text) - len(text.lstrip()) if strip_next else 0
            writer.copy(text[lead:], piece.start + lead)
        elif piece.kind == "output":
            value = look_up(values, piece.path) if piece.path else None
            text = "" if value is None else str(value)
            if piece.literal is not None:
                literal = source[slice(*piece.literal)]
                mapped = _Writer()
                mapped.copy(literal, piece.literal[0])
                literals.append(mapped.done())
                text = text or literal
            elif defaults is not None:
                text = text or defaults.get(piece.path, "")
            writer.put(html.escape(text) if escape else text, piece.start, piece.end)
        strip_next = piece.trim_right
    return writer.done(), literals


def see(source: str, values: Mapping[str, Any], is_html: bool, defaults: Mapping[str, str] | None = None) -> Seen:
    """The field as its reader sees it. `defaults`: see `resolve`."""
    resolved, literals = resolve(source, values, is_html, defaults)
    if not is_html:
        return Seen(resolved, literals)
    return _see_html(resolved, literals)


def _see_html(resolved: Mapped, literals: list[Mapped]) -> Seen:
    seen, writer, place, unseen = Seen(Mapped(), literals), _Writer(), 0, ""
    open_elements: list[tuple[str, Look]] = []
    for match in _MARKUP.finditer(resolved.text):
        if not unseen:
            writer.flow(resolved.cut(place, match.start()))
        place = match.end()
        span = resolved.span(match.start(), match.end())
        if match["comment"] is not None:
            seen.comments.append(span)
        elif match["name"]:
            name = match["name"].lower()
            if match["close"]:
                unseen = "" if name == unseen else unseen
                _close(open_elements, {name})
            else:
                _close(open_elements, _ENDED_BY.get(name, frozenset()), BARRIERS)
                element = _element(match, resolved, seen, open_elements[-1][1] if open_elements else PAGE)
                seen.elements.append(element)
                if name not in VOID:
                    open_elements.append((name, element.around.within(element.style)))
                unseen = name if name in UNSEEN and not unseen else unseen
            if name in BLOCKS:
                writer.put("\n", *span)
        elif match.group().startswith("&") and not unseen:
            writer.put(html.unescape(match.group()), *span)
    if not unseen:
        writer.flow(resolved.cut(place, len(resolved.text)))
    seen.text = writer.done()
    return seen


def _close(open_elements: list[tuple[str, Look]], names: Collection[str], barriers: Collection[str] = ()) -> None:
    """Ends the innermost element of one of these names, with all in it; none beyond a barrier."""
    for place in range(len(open_elements) - 1, -1, -1):
        if open_elements[place][0] in names:
            del open_elements[place:]
            return
        if open_elements[place][0] in barriers:
            return


def _element(match: Any, resolved: Mapped, seen: Seen, around: Look) -> Element:
    offset, attributes = match.start("attributes"), {}
    for found in _ATTRIBUTE.finditer(match["attributes"] or ""):
        name = found["name"].lower()
        group = next((g for g in ("double", "single", "bare") if found[g] is not None), "name")
        value = html.unescape(found[group]) if group != "name" else ""
        first, last = offset + found.start(group), offset + found.end(group)
        attributes[name] = (value, resolved.span(first, last))
        if name in SEEN_ATTRIBUTES and value:
            seen.others.append(resolved.cut(first, last))
        if name in LINK_ATTRIBUTES and value:
            seen.links.append((name, value, resolved.span(first, last)))
    return Element(match["name"].lower(), attributes, resolved.span(match.start(), match.end()), around)
