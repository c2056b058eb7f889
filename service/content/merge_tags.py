"""The merge tags that copy may use, and the small part of Liquid that it may be written in.

Allowed: `{{ path }}`, `{{ path | default: "words" }}` with a few harmless filters, `{% if … %}` with `elsif`,
`else`, `unless`, and `{% comment %}`. No arithmetic, no assignments, no loops: a figure must stay a fact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

import regex
from liquid import Environment, Mode
from liquid.exceptions import LiquidError
from liquid.undefined import FalsyStrictUndefined

from service.content.merge_values import look_up

CUSTOMER_TAGS = ("customer.first_name", "customer.last_name", "customer.city")
LINK_TAGS = ("unsubscribe_url",)
OFFER_TAGS = (
    "offer.name", "offer.description", "offer.category", "offer.price", "offer.price.amount", "offer.price.currency",
    "offer.discount", "offer.discount.percent", "offer.discount.amount", "offer.discount.currency", "offer.code",
    "offer.url", "offer.starts_at", "offer.ends_at",
)  # fmt: skip
FILTERS = ("default", "upcase", "downcase", "capitalize", "strip", "escape")
TAGS = ("if", "unless", "comment")

_SEGMENT = regex.compile(r"\{\{-?(?P<output>.*?)-?\}\}|\{%-?(?P<tag>.*?)-?%\}", regex.DOTALL)
_COMMENT = regex.compile(r"\{%-?\s*comment\s*-?%\}.*?\{%-?\s*endcomment\s*-?%\}", regex.DOTALL)
_HTML_COMMENT = regex.compile(r"<!--.*?(?:-->|$)", regex.DOTALL)
_OUTPUT = regex.compile(
    r"\s*(?P<path>[A-Za-z_][\w-]*(?:\.[\w-]+)*)\s*(?P<filters>(?:\|\s*[a-z_]+(?:\s*:\s*(?:\"[^\"]*\"|'[^']*'))?\s*)*)"
)
_FILTER = regex.compile(r"\|\s*(?P<name>[a-z_]+)(?:\s*:\s*(?P<literal>\"[^\"]*\"|'[^']*'))?")
_CONDITION_PATH = regex.compile(r"(?<![\w\"'.])[A-Za-z_][\w-]*(?:\.[\w-]+)+|\bunsubscribe_url\b")
_QUOTED = regex.compile(r"\"[^\"]*\"|'[^']*'")


class CopyEnvironment(Environment):
    """A strict Liquid environment without loops, files or assignments; its limits bound even hostile copy."""

    block_nesting_limit = 10
    context_depth_limit = 20
    loop_iteration_limit = 100
    local_namespace_limit = 10_000
    output_stream_limit = 200_000

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        super().setup_tags_and_filters(extra=extra)
        built_in = {"content", "output", "illegal"}
        self.tags = {
            name: tag for name, tag in self.tags.items() if name in TAGS or name in built_in or not name.isidentifier()
        }
        self.tags.pop("#", None)
        self.filters = {name: filter_ for name, filter_ in self.filters.items() if name in FILTERS}


class Missing(FalsyStrictUndefined):
    """False in a condition, replaced by `default`, an error when it would be printed."""

    force_liquid_default = True


@lru_cache(maxsize=2)
def environment(autoescape: bool) -> CopyEnvironment:
    """One shared environment for HTML (escaping every value) and one for plain text."""
    return CopyEnvironment(tolerance=Mode.STRICT, undefined=Missing, strict_filters=True, autoescape=autoescape)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a template's source: `kind` is text, output, tag or comment."""

    kind: str
    start: int
    end: int
    path: str = ""
    filters: tuple[str, ...] = ()
    literal: tuple[int, int] | None = None
    inner: str = ""
    trim_left: bool = False
    trim_right: bool = False


@dataclass(frozen=True, slots=True)
class TagFault:
    """What is wrong with a merge tag at `[start, end)`."""

    detail: str
    start: int
    end: int


def pieces(source: str) -> list[Piece]:
    """The source cut at its tags; covers it without gaps."""
    return list(_pieces(source))


def _pieces(source: str) -> Iterator[Piece]:
    place = 0
    comments = {match.start(): match.end() for match in _COMMENT.finditer(source)}
    for match in _SEGMENT.finditer(source):
        if match.start() < place:
            continue
        if match.start() > place:
            yield Piece("text", place, match.start())
        if match.start() in comments:
            place = comments[match.start()]
            yield Piece("comment", match.start(), place)
            continue
        place = match.end()
        yield _output(match) if match["output"] is not None else _tag(match)
    if place < len(source):
        yield Piece("text", place, len(source))


def _output(match: Any) -> Piece:
    trims = {"trim_left": match.group().startswith("{{-"), "trim_right": match.group().endswith("-}}")}
    inner = match["output"]
    read = _OUTPUT.fullmatch(inner)
    if read is None:
        return Piece("output", match.start(), match.end(), inner=inner.strip(), **trims)
    offset = match.start("output") + read.start("filters")
    names, literal = [], None
    for used in _FILTER.finditer(read["filters"]):
        names.append(used["name"])
        if used["literal"] is not None:
            literal = (offset + used.start("literal") + 1, offset + used.end("literal") - 1)
    return Piece("output", match.start(), match.end(), read["path"], tuple(names), literal, inner.strip(), **trims)


def _tag(match: Any) -> Piece:
    trims = {"trim_left": match.group().startswith("{%-"), "trim_right": match.group().endswith("-%}")}
    return Piece("tag", match.start(), match.end(), inner=match["tag"].strip(), **trims)


def known_paths(values: Mapping[str, Any]) -> frozenset[str]:
    """Every declared tag, with the offer's own facts (`offer.points`, `offer.shipping.amount` …)."""
    own = {f"offer.{path}" for path in _paths(values)}
    return frozenset({*CUSTOMER_TAGS, *LINK_TAGS, *OFFER_TAGS, *own})


def _paths(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        yield name
        if isinstance(value, Mapping):
            yield from (f"{name}.{path}" for path in _paths(value))


def tag_faults(source: str, values: Mapping[str, Any], channel: str) -> list[TagFault]:
    """Syntax errors, tags that are not declared, and tags for which this offer has no fact."""
    faults = [fault for piece in pieces(source) for fault in _piece_faults(piece, source, values)]
    if not faults:
        faults += _syntax_faults(source, r"\{\{|\{%|%\}" if channel == "webhook" else r"\{\{|\}\}|\{%|%\}")
    if not faults:
        faults += _split_figures(source)
    return faults


_GLUED = regex.compile(r"[\p{N}\p{Sc}%٪][.,'’٫٬]?\0[.,'’٫٬]?[\p{N}\p{Sc}%٪]|\p{N}\s\0\p{N}|\p{N}\0\s\p{N}")


def _split_figures(source: str) -> Iterator[TagFault]:
    """Conditions within a figure: checks read all branches in a row, but `€{% if … %}1{% endif %}9.90` may be 9.90."""
    cut = [piece for piece in pieces(source) if piece.kind != "comment"]
    open_conditions: list[tuple[str, list[str]]] = []  # what stands before a condition, and at the end of each branch
    for place, piece in enumerate(cut):
        if piece.kind != "tag":
            continue
        left, right = _edge(cut[place - 1 :: -1] if place else [], source, -1), _edge(cut[place + 1 :], source, 1)
        left, right = left.rstrip() if piece.trim_left else left, right.lstrip() if piece.trim_right else right
        word = piece.inner.partition(" ")[0]
        if word in ("if", "unless"):
            open_conditions.append((left, []))
            meets = [(left, right)]
        elif word.startswith("end"):
            before, ends = open_conditions.pop()
            meets = [(end, right) for end in (*ends, left, before)]
        else:
            before, ends = open_conditions[-1]
            ends.append(left)
            meets = [(before, right)]
        if any(_GLUED.search(f"{one}\0{other}") for one, other in meets):
            detail = "a condition may not begin or end within a figure; write the whole figure in each branch"
            yield TagFault(detail, piece.start, piece.end)


def _edge(cut: Sequence[Piece], source: str, way: int) -> str:
    """The two characters that come next; what a merge tag gives may be a figure."""
    for piece in cut:
        if piece.kind == "output":
            return "9"
        if piece.kind == "text":
            text = source[piece.start : piece.end]
            return text[:2] if way > 0 else text[-2:]
    return ""


def _syntax_faults(source: str, halves: str) -> list[TagFault]:
    """What Liquid's own parser refuses, and halves of tags (JSON may well end in `}}`)."""
    try:
        environment(False).from_string(source)
    except LiquidError as error:
        start = error.token.start_index if error.token is not None and error.token.start_index >= 0 else 0
        start = min(start, max(0, len(source) - 1))
        return [TagFault(f"Liquid syntax: {str(error).splitlines()[0]}", start, min(len(source), start + 2))]
    stray = regex.search(halves, "".join(_blank_tags(source)))
    if stray is not None:
        return [TagFault(f"Liquid syntax: '{stray.group()}' without its other half", stray.start(), stray.end())]
    return []


def _blank_tags(source: str) -> Iterator[str]:
    for piece in pieces(source):
        yield source[piece.start : piece.end] if piece.kind == "text" else " " * (piece.end - piece.start)


def _piece_faults(piece: Piece, source: str, values: Mapping[str, Any]) -> Iterator[TagFault]:
    if piece.kind == "output":
        yield from (TagFault(detail, piece.start, piece.end) for detail in _output_faults(piece, source, values))
    elif piece.kind == "tag":
        yield from (TagFault(detail, piece.start, piece.end) for detail in _block_faults(piece, values))


def _output_faults(piece: Piece, source: str, values: Mapping[str, Any]) -> Iterator[str]:
    if not piece.path:
        yield f"'{piece.inner[:60]}' is not a merge tag; write a declared name, then filters such as | default: \"…\""
        return
    for name in piece.filters:
        if name not in FILTERS:
            yield f"the filter '{name}' is not allowed; use {', '.join(FILTERS)}"
    known = known_paths(values)
    if piece.path not in known:
        yield f"unknown merge tag '{piece.path}'{_hint(piece.path, known)}"
    elif _lacks(piece.path, values) and "default" not in piece.filters and not _guarded(piece, source):
        yield f"the offer has no fact for '{piece.path}'; add it to the offer or take the tag out"


def _block_faults(piece: Piece, values: Mapping[str, Any]) -> Iterator[str]:
    word, _, rest = piece.inner.partition(" ")
    if word not in {"if", "elsif", "else", "endif", "unless", "endunless"}:
        yield f"the tag '{word}' is not allowed; use if, elsif, else, unless or comment"
        return
    known = known_paths(values)
    for match in _CONDITION_PATH.finditer(_QUOTED.sub('""', rest)):
        if match.group() not in known:
            yield f"unknown merge tag '{match.group()}'{_hint(match.group(), known)}"


def _lacks(path: str, values: Mapping[str, Any]) -> bool:
    return path.startswith("offer.") and look_up(values, path.removeprefix("offer.")) in (None, "")


def _guarded(piece: Piece, source: str) -> bool:
    """Whether the tag stands in an `if` that names it."""
    open_conditions: list[str] = []
    for other in pieces(source):
        if other.start >= piece.start:
            break
        if other.kind == "tag":
            word, _, rest = other.inner.partition(" ")
            if word in ("if", "unless"):
                open_conditions.append(rest if word == "if" else "")
            elif word in ("elsif", "else") and open_conditions:
                open_conditions[-1] = rest if word == "elsif" else ""
            elif word.startswith("end") and open_conditions:
                open_conditions.pop()
    wanted = regex.compile(rf"(?<![\w.]){regex.escape(piece.path)}(?![\w])")
    return any(wanted.search(condition) for condition in open_conditions)


def _hint(path: str, known: frozenset[str]) -> str:
    close = get_close_matches(path, known, 1, 0.6)
    return f"; did you mean '{close[0]}'?" if close else f"; declared are {', '.join(sorted(known)[:12])} …"


def uses(source: str, path: str) -> bool:
    """Whether the source outputs the tag to every reader: in no condition, and in no comment of HTML."""
    depth = 0
    for piece in pieces(_HTML_COMMENT.sub("", source)):
        if piece.kind == "output" and piece.path == path and depth == 0:
            return True
        word = piece.inner.partition(" ")[0] if piece.kind == "tag" else ""
        depth += (word in {"if", "unless"}) - (word in {"endif", "endunless"})
    return False
