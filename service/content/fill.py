"""What goes into the slots of compiled copy: one customer's clean values, and the link to unsubscribe."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from operator import itemgetter
from typing import Any

import regex

from service.content.markup import hidden_characters

MAX_NAME = 40
LINK = "unsubscribe_url"
DEFAULT_NAMES = {
    "en": "there", "de": "und willkommen", "es": "de nuevo", "fr": "et bienvenue", "ms": "pelanggan",
    "id": "pelanggan", "th": "ลูกค้า",
}  # fmt: skip
_UNSUITABLE = regex.compile(r"[\p{N}<>@/\\{}%=&;:\"|$\[\]()*#!?]|www\.|https?", regex.IGNORECASE)
_CASES: dict[str, Callable[[str], str]] = {
    "upcase": str.upper,
    "downcase": str.lower,
    "capitalize": str.capitalize,
    "strip": str.strip,
}


class RenderError(Exception):
    """Copy that cannot be rendered; the message says why. It is never sent half-rendered."""


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """A place that a customer's value goes to. Made by `slot`, so that equal places are one object."""

    path: str
    filters: tuple[str, ...]
    default: str | None
    escape: bool


@lru_cache(maxsize=10_000)
def slot(path: str, filters: tuple[str, ...], default: str | None, escape: bool) -> Slot:
    """The slot of a merge tag; the same one for the same tag, so that `Filled` finds its text by identity."""
    return Slot(path, filters, default, escape)


class Values(dict[str, str | None]):
    """`customer_value` of one customer, by the tag's path, worked out when it is first asked for.

    `traits`: what the customer's profile says.
    """

    def __init__(self, traits: Mapping[str, Any]) -> None:
        super().__init__()
        self._traits = traits

    def __missing__(self, path: str) -> str | None:
        self[path] = value = customer_value(self._traits, path)
        return value


class Filled(dict[Slot, str]):
    """The text of each slot for one customer on one channel, worked out when it is first asked for.

    `link`: makes the link to unsubscribe; None where there is none.
    """

    def __init__(self, values: Values, link: Callable[[], str | None]) -> None:
        super().__init__()
        self._values = values
        self._make_link = link
        self._links: list[str | None] = []

    @property
    def link(self) -> str | None:
        """Signing takes longer than the words: done where it is shown, once."""
        if not self._links:
            self._links.append(self._make_link())
        return self._links[0]

    @property
    def names(self) -> dict[str, str]:
        """Every value of the customer by the last part of its tag, for copy that Liquid renders."""
        found = {name: self._values[f"customer.{name}"] for name in _NAMES}
        return {name: value for name, value in found.items() if value}

    def nameless(self) -> Filled:
        """The same without any of the customer's values: for copy that a long name does not fit in."""
        return Filled(Values({}), lambda: self.link)

    def __missing__(self, place: Slot) -> str:
        text = (self.link if place.path == LINK else self._values[place.path]) or place.default
        if text is None:
            if place.path == LINK:
                raise RenderError("there is no unsubscribe link for this customer")
            text = ""
        self[place] = made = filtered(text, place.filters, place.escape)
        return made


Part = str | Slot
Filler = Callable[[Filled], str]


def joined(parts: Sequence[Part]) -> Filler | str:
    """What fills the slots between pieces of text; just the text where there are none."""
    slots = [part for part in parts if isinstance(part, Slot)]
    if not slots:
        return "".join(part for part in parts if isinstance(part, str))
    pattern = "".join(part.replace("%", "%%") if isinstance(part, str) else "%s" for part in parts)
    return partial(_fill, pattern, itemgetter(*slots))


def _fill(pattern: str, take: Callable[[Filled], str | tuple[str, ...]], filled: Filled) -> str:
    return pattern % take(filled)


def filtered(text: str, filters: Sequence[str], escape: bool) -> str:
    """The text after the filters of its tag, escaped where it goes into HTML."""
    for name in filters:
        if name in _CASES:
            text = _CASES[name](text)
    return html.escape(text) if escape or "escape" in filters else text


def _first_name(traits: Mapping[str, Any]) -> Any:
    name = traits.get("name")
    first = name.split()[:1] if isinstance(name, str) else []
    return traits.get("first_name") or traits.get("firstName") or (first[0] if first else None)


def _last_name(traits: Mapping[str, Any]) -> Any:
    return traits.get("last_name") or traits.get("lastName")


def _city(traits: Mapping[str, Any]) -> Any:
    address = traits.get("address")
    return traits.get("city") or (address.get("city") if isinstance(address, Mapping) else None)


_NAMES: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "first_name": _first_name,
    "last_name": _last_name,
    "city": _city,
}


def default_names(language: str) -> dict[str, str]:
    """By tag, what stands for a value that is not known where the tag has no default of its own."""
    return {"customer.first_name": DEFAULT_NAMES.get(language, DEFAULT_NAMES["en"])}


def customer_value(traits: Mapping[str, Any], path: str) -> str | None:
    """The value of `customer.…`; None where there is none, or where a name is not a name: the default stands then."""
    root, _, name = path.partition(".")
    read = _NAMES.get(name) if root == "customer" else None
    return None if read is None else clean_name(read(traits))


def clean_name(value: Any) -> str | None:
    """A personal value fit to be printed, else None: nothing long, no digits, links, markup or control characters.

    Joiners that a script needs, as in many Persian and Indian names, are part of one.
    """
    if not isinstance(value, str):
        return None
    text = " ".join(value.split())
    unfit = not 0 < len(text) <= MAX_NAME or _UNSUITABLE.search(text) or any(hidden_characters(text))
    return None if unfit else text
