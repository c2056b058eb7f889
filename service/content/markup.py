"""What HTML an e-mail may hold, and what in a text is hidden, dangerous or made to look like something else."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from urllib.parse import urlsplit

import regex

from service.content.hiding_styles import hides
from service.content.visible import Element, Seen

ALLOWED_TAGS = frozenset(
    [
    "a", "abbr", "b", "blockquote", "br", "div", "em", "h1", "h2", "h3", "h4", "hr", "i", "img", "li", "ol", "p",
    "s", "small", "span", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "u", "ul",
    ]
)  # fmt: skip
ALLOWED_ATTRIBUTES: dict[str, frozenset[str]] = {
    "*": frozenset({"title", "lang", "dir", "align", "valign", "style"}),
    "a": frozenset({"href", "target", "rel"}),
    "img": frozenset({"src", "alt", "width", "height"}),
    "table": frozenset({"width", "cellpadding", "cellspacing", "border", "role"}),
    "td": frozenset({"width", "height", "colspan", "rowspan"}),
    "th": frozenset({"width", "height", "colspan", "rowspan", "scope"}),
}
ALLOWED_STYLES = frozenset(
    [
    "background-color", "border", "border-radius", "color", "font-family", "font-size", "font-style",
    "font-weight", "height", "line-height", "margin", "margin-bottom", "margin-left", "margin-right", "margin-top",
    "max-width", "padding", "padding-bottom", "padding-left", "padding-right", "padding-top", "text-align",
    "text-decoration", "vertical-align", "width",
    ]
)  # fmt: skip
SCHEMES = frozenset({"http", "https", "mailto", "tel"})
_UNSAFE_STYLE = regex.compile(
    r"expression\s*\(|url\s*\(|javascript:|behavior\s*:|-moz-binding|@import", regex.IGNORECASE
)
_HIDDEN = regex.compile(r"[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\u115f\u1160\u3164\uffa0\u034f\u17b4\u17b5\u2028\u2029]")
_WORD = regex.compile(r"[\p{L}\p{M}]+")
_LOOKALIKE_SCRIPTS = ("Latin", "Cyrillic", "Greek", "Armenian", "Cherokee")
_SCRIPTS = {name: regex.compile(rf"\p{{{name}}}") for name in _LOOKALIKE_SCRIPTS}
_NO_SPACE_SCRIPT = regex.compile(r"[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")
_JOINING_SCRIPT = regex.compile(
    r"[\p{Arabic}\p{Devanagari}\p{Bengali}\p{Gujarati}\p{Gurmukhi}\p{Kannada}\p{Malayalam}\p{Oriya}\p{Sinhala}\p{Tamil}"
    r"\p{Telugu}\p{Syriac}\p{Mongolian}\p{Khmer}\p{Tibetan}]"
)
_EMOJI = regex.compile(r"[\p{Extended_Pictographic}\p{Emoji_Modifier}\ufe0f]")
_RIGHT_TO_LEFT = regex.compile(r"[\p{Arabic}\p{Hebrew}\p{Syriac}\p{Thaana}]")

Finding = tuple[str, tuple[int, int]]


def unsafe_elements(seen: Seen) -> Iterator[Finding]:
    """Tags, attributes and styles that e-mail may not hold."""
    for element in seen.elements:
        if element.name not in ALLOWED_TAGS:
            yield f"<{element.name}> is not allowed in a message", element.span
            continue
        allowed = ALLOWED_ATTRIBUTES["*"] | ALLOWED_ATTRIBUTES.get(element.name, frozenset())
        for name, (value, span) in element.attributes.items():
            if name.startswith("on"):
                yield f"the script attribute {name} is not allowed", span
            elif name not in allowed and name != "hidden":
                yield f"the attribute {name} is not allowed on <{element.name}>", span
            elif name == "style" and _UNSAFE_STYLE.search(value):
                yield "a style that loads or runs something is not allowed", span


def hidden_elements(seen: Seen) -> Iterator[Finding]:
    """Text that a person cannot see but a filter or a machine can."""
    for element in seen.elements:
        style, span = element.attributes.get("style", ("", element.span))
        if "hidden" in element.attributes or hides(style, element.around):
            yield f"<{element.name}> hides its text from the reader", span
        if element.name == "img" and _tiny(element):
            yield "an image of one pixel is a hidden tracker", element.span
    for span in seen.comments:
        yield "an HTML comment is text that the reader does not see", span


def _tiny(element: Element) -> bool:
    return any(
        element.attributes.get(name, ("", (0, 0)))[0] in {"0", "1", "0px", "1px"} for name in ("width", "height")
    )


def hidden_characters(text: str) -> Iterator[tuple[str, int, int]]:
    """(what, start, end) of control, format and other unseen characters, those that a script needs left out."""
    for match in _HIDDEN.finditer(text):
        place, character = match.start(), match.group()
        if character in "\n\t" or (character == "\r" and text[place + 1 : place + 2] == "\n"):
            continue
        if not _needed(character, text[place - 1 : place] if place else "", text[place + 1 : place + 2], text):
            name = unicodedata.name(character, "a control character").lower()
            yield f"U+{ord(character):04X} ({name}) is not seen by the reader", place, place + 1


def _needed(character: str, before: str, after: str, text: str) -> bool:
    around = before + after
    if character == "\u200b":  # a break between words of scripts without spaces
        return bool(_NO_SPACE_SCRIPT.search(around))
    if character in "\u200c\u200d":
        return bool(_JOINING_SCRIPT.search(before)) or (
            character == "\u200d" and bool(_EMOJI.match(before)) and bool(_EMOJI.match(after))
        )
    if character in "\u200e\u200f\u061c":
        return bool(_RIGHT_TO_LEFT.search(text))
    return 0xE0020 <= ord(character) <= 0xE007F and "\U0001f3f4" in text


def mixed_words(text: str) -> Iterator[tuple[str, int, int]]:
    """(what, start, end) of words that mix scripts whose letters look alike ("pаypal" with a Cyrillic а)."""
    for match in _WORD.finditer(text):
        word = match.group()
        scripts = [name for name, pattern in _SCRIPTS.items() if pattern.search(word)]
        if len(scripts) > 1:
            yield f"'{word}' mixes {' and '.join(scripts)} letters that look alike", match.start(), match.end()


def link_fault(link: str) -> str | None:
    """What is deceptive or dangerous about a link, else None."""
    text = "".join(c for c in link.strip() if ord(c) > 32)
    scheme = (
        text.split(":", 1)[0].lower()
        if regex.match(r"[a-zA-Z][\w+.-]*:", text) and "." not in text.split(":", 1)[0]
        else ""
    )
    if scheme and scheme not in SCHEMES:
        return f"links of the kind '{scheme}:' are not allowed"
    if scheme in ("mailto", "tel"):
        return None
    try:
        host = urlsplit(text if "//" in text else f"//{text}").netloc
    except ValueError:
        return "this is not a valid link"
    if "@" in host:
        return "a link may not carry a user name; it hides the true host"
    if "xn--" in host.lower() or not host.isascii():
        return f"the host '{host}' has letters that may look like others"
    return "this link has characters that are not seen" if any(hidden_characters(link)) else None
