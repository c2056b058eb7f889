"""Which approved words go with an offer, for one customer. On the path of every decision, so kept in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import regex
import xxhash

from service.clock import monotonic
from service.content.fields import CHANNEL_FIELDS
from service.content.guardrails import Rules
from service.content.locales import fallbacks
from service.content.render import Compiled, RenderError, compile_copy, customer_values
from service.content.sms_segments import sms_size
from service.content.variant import Variant, said_hash
from service.content.variant_store import approved_variants, change_number
from service.storage.database import Database

MAX_COMPILED = 5_000
MAX_LINKS = 1_000
"""Links kept: a customer's actions of one channel share one, whose signature takes longer than its words."""


@dataclass
class _Shelf:
    """Every approved variant by (offer, channel), as of one change number."""

    number: int = -1
    by_place: dict[tuple[str, str], list[Variant]] = field(default_factory=dict)
    compiled: dict[tuple[str, ...], Compiled | None] = field(default_factory=dict)


class ContentLibrary:
    """Chooses and renders approved copy.

    `unsubscribe_url(customer_id, channel)` makes the link of a message. A change made through this process is seen
    at once (`refresh`), one made elsewhere within `recheck_s`.
    """

    def __init__(
        self,
        database: Database,
        unsubscribe_url: Callable[[str, str], str],
        default_locale: str = "en",
        rules: Rules | None = None,
        recheck_s: float = 0.25,
        may_ask: Callable[[], bool] = lambda: True,
    ) -> None:
        """`may_ask`: whether the database is known to answer; while it does not, nothing can be approved or refused."""
        self._database = database
        self._unsubscribe_url = lru_cache(MAX_LINKS)(unsubscribe_url)
        self._default_locale = default_locale
        self._rules = rules or Rules()
        self._recheck_s = recheck_s
        self._may_ask = may_ask
        self._shelf = _Shelf()
        self._checked_at = float("-inf")
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """The next choice looks at the database first."""
        self._checked_at = float("-inf")

    def has_content(self, offer_id: str, channel: str, offer: Mapping[str, Any]) -> bool:
        """Whether any approved variant fits the offer as it is now, in any language."""
        return bool(self._current(offer_id, channel, offer))

    def is_approved(self, variant_id: str, offer_id: str, offer: Mapping[str, Any]) -> bool:
        """Whether a variant may still be sent: approved, for the offer as it is now."""
        hashed = said_hash(offer)
        return any(
            variant.variant_id == variant_id and variant.offer_hash == hashed
            for (of, _), variants in self._fresh().by_place.items()
            if of == offer_id
            for variant in variants
        )

    def choose(
        self, offer_id: str, offer: Mapping[str, Any], channel: str, customer: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """`variant_id`, `locale` and the fields as this customer reads them; None when nothing approved fits.

        `offer`: the offer's document (name, description, category, facts, starts_at, ends_at). `customer`:
        customer_id, locale, timezone, traits, segments. The same customer gets the same variant of an offer.
        """
        candidates = self._current(offer_id, channel, offer)
        if not candidates:
            return None
        locale = customer.get("locale") or self._default_locale
        for variant in self._in_order(candidates, locale, customer, offer_id):
            rendered = self._render(variant, offer, channel, locale, customer)
            if rendered is not None:
                return {"variant_id": variant.variant_id, "locale": variant.locale, **rendered}
        return None

    def _current(self, offer_id: str, channel: str, offer: Mapping[str, Any]) -> list[Variant]:
        variants = self._fresh().by_place.get((offer_id, channel))
        if not variants:
            return []
        hashed = said_hash(offer)
        return [variant for variant in variants if variant.offer_hash == hashed]

    def _fresh(self) -> _Shelf:
        if monotonic() - self._checked_at < self._recheck_s or not self._may_ask():
            return self._shelf
        with self._lock:
            started = monotonic()
            with self._database.read() as connection:
                number = change_number(connection)
                if number != self._shelf.number:
                    self._shelf = _shelve(number, approved_variants(connection))
            self._checked_at = started
        return self._shelf

    def _in_order(
        self, variants: Sequence[Variant], locale: str, customer: Mapping[str, Any], offer_id: str
    ) -> list[Variant]:
        """The best language's variants, those for the customer's segments first, each group by the customer's hash."""
        segments = set(customer.get("segments") or ())
        usable = [variant for variant in variants if variant.segment is None or variant.segment in segments]
        tongue = best_locale([variant.locale for variant in usable], locale, self._default_locale)
        spoken = [variant for variant in usable if variant.locale == tongue]
        own = [variant for variant in spoken if variant.segment is not None]
        group = own or spoken
        if not group:
            return []
        turn = xxhash.xxh3_64_intdigest(f"{customer.get('customer_id', '')}\0{offer_id}".encode()) % len(group)
        return group[turn:] + group[:turn]

    def _render(
        self, variant: Variant, offer: Mapping[str, Any], channel: str, locale: str, customer: Mapping[str, Any]
    ) -> dict[str, str] | None:
        compiled = self._compiled(variant, offer, channel, locale, customer.get("timezone"))
        if compiled is None:
            return None
        url = self._unsubscribe_url(str(customer.get("customer_id", "")), channel) if compiled.uses_link else None
        values = customer_values(customer, url)
        try:
            rendered = compiled.render(values)
            if compiled.uses_customer and not fits(channel, rendered, self._rules):  # a name too long for its place
                rendered = compiled.render({"unsubscribe_url": url} if url else {})
        except RenderError:
            return None
        return rendered

    def _compiled(
        self, variant: Variant, offer: Mapping[str, Any], channel: str, locale: str, zone_name: str | None
    ) -> Compiled | None:
        key = (variant.variant_id, str(variant.version), variant.offer_hash, locale, zone_name or "")
        shelf = self._shelf
        if key not in shelf.compiled:
            if len(shelf.compiled) >= MAX_COMPILED:
                shelf.compiled.clear()
            zone = zone_of(zone_name) or self._rules.zone
            try:
                made: Compiled | None = compile_copy(channel, variant.locale, variant.fields, offer, zone, locale)
            except RenderError:
                made = None
            shelf.compiled[key] = made
        return shelf.compiled[key]


def _shelve(number: int, variants: Sequence[Variant]) -> _Shelf:
    shelf = _Shelf(number)
    for variant in variants:
        shelf.by_place.setdefault((variant.offer_id, variant.channel), []).append(variant)
    return shelf


def best_locale(offered: Sequence[str], wanted: str, default: str) -> str | None:
    """The first of `ms-MY`, `ms`, any other `ms-…`, the default, its language, `en` that there is copy in."""
    for tag in fallbacks(wanted, default):
        if tag in offered:
            return tag
        if "-" not in tag:
            cousins = sorted(locale for locale in offered if locale.split("-")[0] == tag)
            if cousins:
                return cousins[0]
    return None


def zone_of(name: str | None) -> tzinfo | None:
    """The zone of an IANA name, or None when it is not one."""
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC if name.upper() == "UTC" else None


def fits(channel: str, rendered: Mapping[str, str], rules: Rules) -> bool:
    """Whether the rendered fields keep to the channel's limits."""
    for rule in CHANNEL_FIELDS[channel]:
        text = rendered.get(rule.name, "")
        if channel == "sms":
            if sms_size(text).segments > rules.max_sms_segments:
                return False
        elif not rule.html and len(text) > rule.longest and len(regex.findall(r"\X", text)) > rule.longest:
            return False
    return True
