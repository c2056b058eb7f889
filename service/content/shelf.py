"""Approved copy in memory, ready for readers: by offer and channel, then by the reader's language, zone and segments.

A shelf is made anew when a variant changes. What was compiled before is kept: a variant's version and the hash of its
offer's facts name its text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, tzinfo
from typing import Any
from weakref import ref
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from service.content.fields import field_rules, fits
from service.content.fill import RenderError
from service.content.guardrails import Rules
from service.content.locales import fallbacks
from service.content.merge_values import moment_names
from service.content.render import Compiled, compile_copy, nearest
from service.content.variant import Variant, said_hash

MAX_COMPILED = 5_000
MAX_KINDS = 1_000
"""Kinds of readers (language, zone, segments) that a place keeps its copies for."""

CompiledCopies = dict[tuple[str, ...], Compiled | None]


def _nothing() -> None:
    """What stands where nothing is compiled yet."""


class Copy:
    """A variant as one kind of reader sees it; compiled when it is first wanted."""

    __slots__ = ("_key", "_known", "_made", "_max_sms_segments", "_offer", "_reader", "_variant", "_zone")

    def __init__(
        self,
        variant: Variant,
        offer: Mapping[str, Any],
        reader: str,
        zone: tzinfo | None,
        max_sms_segments: int,
        known: CompiledCopies,
    ) -> None:
        """`reader`: their locale; `zone` is None where the copy names no moment; `known`: what was compiled before."""
        self._variant, self._offer, self._zone, self._known = variant, offer, zone, known
        self._reader, self._max_sms_segments = nearest(variant.locale, reader), max_sms_segments
        self._made: Callable[[], Compiled | None] = _nothing
        self._key = (variant.variant_id, str(variant.version), variant.offer_hash, self._reader, str(zone))

    def compiled(self) -> Compiled | None:
        """Its fields behind `variant_id` and `locale`; None when it cannot be rendered for this offer."""
        made = self._made()  # found so without its key, while it is kept
        if made is not None:
            return made
        try:
            made = self._known[self._key]
        except KeyError:
            if len(self._known) >= MAX_COMPILED:
                self._known.clear()
            made = self._known[self._key] = self._compile()
        if made is not None:
            self._made = ref(made)
        return made

    def _compile(self) -> Compiled | None:
        of = self._variant
        try:
            made = compile_copy(of.channel, of.locale, of.fields, self._offer, self._zone or UTC, self._reader)
        except RenderError:
            return None
        texts = [rule for rule in field_rules(of.channel).values() if not rule.html and made.fixed.get(rule.name)]
        if not fits(of.channel, made.fixed, texts, self._max_sms_segments):
            return None  # figures and dates are as this reader writes them, which may be longer than when approved
        return replace(made, fixed={"variant_id": of.variant_id, "locale": of.locale, **made.fixed})


class Place:
    """The approved copy of an offer on a channel, for as long as the offer's document is this one."""

    __slots__ = ("_dated", "_default_locale", "_kinds", "_known", "_rules", "_segments", "_variants", "offer")

    def __init__(
        self,
        offer: Mapping[str, Any],
        variants: Sequence[Variant],
        default_locale: str,
        rules: Rules,
        known: CompiledCopies,
    ) -> None:
        hashed = said_hash(offer)
        self.offer = offer
        self._variants = [variant for variant in variants if variant.offer_hash == hashed]
        self._segments = frozenset(variant.segment for variant in self._variants if variant.segment is not None)
        self._dated = any(_names(variant, moment_names(offer)) for variant in self._variants)
        self._default_locale, self._rules, self._known = default_locale, rules, known
        self._kinds: dict[Any, tuple[tuple[Copy, ...], ...]] = {}

    def copies(self, locale: str, zone: str, segments: frozenset[str]) -> tuple[tuple[Copy, ...], ...]:
        """Variants in groups, the best first: language by language, in each those for the reader's segments first.

        A group is there for when nothing of those before it fits.
        """
        key: Any = locale
        if self._dated or self._segments:
            key = (locale, zone if self._dated else "", self._segments & segments)
        found = self._kinds.get(key)
        if found is None:
            if len(self._kinds) >= MAX_KINDS:
                self._kinds.clear()
            found = self._kinds[key] = tuple(self._choose(locale, zone, segments))
        return found

    def _choose(self, locale: str, zone: str, segments: frozenset[str]) -> Iterator[tuple[Copy, ...]]:
        usable = [variant for variant in self._variants if variant.segment is None or variant.segment in segments]
        dated = (zone_of(zone) or self._rules.zone) if self._dated else None
        most = self._rules.max_sms_segments
        for tongue in locales_in_order([variant.locale for variant in usable], locale, self._default_locale):
            spoken = [variant for variant in usable if variant.locale == tongue]
            for for_all in (False, True):
                some = [variant for variant in spoken if (variant.segment is None) == for_all]
                if some:
                    yield tuple(Copy(one, self.offer, locale, dated, most, self._known) for one in some)


class Shelf:
    """Every approved variant as of one change number."""

    def __init__(
        self,
        number: int,
        variants: Sequence[Variant],
        default_locale: str,
        rules: Rules,
        known: CompiledCopies,
    ) -> None:
        self.number = number
        self._for_places = (default_locale, rules, known)
        self._variants: dict[tuple[str, str], list[Variant]] = {}
        self._places: dict[tuple[str, str], Place] = {}
        for variant in variants:
            self._variants.setdefault((variant.offer_id, variant.channel), []).append(variant)

    def variants_of(self, offer_id: str) -> Iterator[Variant]:
        """Approved variants of an offer, whatever it said when they were approved."""
        for (of, _), variants in self._variants.items():
            if of == offer_id:
                yield from variants

    def copies(self, offers: Mapping[str, Mapping[str, Any]]) -> Iterator[Copy]:
        """What readers of each language get of these offers (documents by id), if no segment is theirs."""
        for (offer_id, channel), variants in list(self._variants.items()):
            place = self.place(offer_id, channel, offers[offer_id]) if offer_id in offers else None
            if place is not None:
                for locale in dict.fromkeys(variant.locale for variant in variants):
                    for group in place.copies(locale, "", frozenset())[:1]:
                        yield from group

    def place(self, offer_id: str, channel: str, offer: Mapping[str, Any]) -> Place | None:
        """The copy of an offer on a channel; None where nothing was ever approved."""
        at = (offer_id, channel)
        place = self._places.get(at)
        if place is not None and place.offer is offer:
            return place
        if at not in self._variants:
            return None
        place = self._places[at] = Place(offer, self._variants[at], *self._for_places)
        return place


def _names(variant: Variant, moments: Sequence[str]) -> bool:
    """Whether the copy may say a moment of its offer, which is another day in another zone."""
    return bool(moments) and any(
        "offer[" in source or any(name in source for name in moments) for source in variant.fields.values()
    )


def locales_in_order(offered: Sequence[str], wanted: str, default: str) -> tuple[str, ...]:
    """Those of `ms-MY`, `ms`, any other `ms-…`, the default, its language, `en` that there is copy in; each once."""
    found: list[str] = []
    for tag in fallbacks(wanted, default):
        if tag in offered:
            found.append(tag)
        if "-" not in tag:
            found += sorted(locale for locale in offered if locale.split("-")[0] == tag)
    return tuple(dict.fromkeys(found))


def zone_of(name: str | None) -> tzinfo | None:
    """The zone of an IANA name, or None when it is not one."""
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC if name.upper() == "UTC" else None
