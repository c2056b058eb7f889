"""Which approved words go with an offer, for one customer. On the path of every decision, so kept in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import xxhash

from service.clock import monotonic
from service.content.fields import fits
from service.content.fill import Filled, RenderError, Values
from service.content.guardrails import Rules
from service.content.shelf import MAX_COMPILED, CompiledCopies, Copy, Shelf
from service.content.variant import Variant, said_hash
from service.content.variant_store import approved_variants, change_number
from service.storage.database import Database


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
        self._unsubscribe_url = unsubscribe_url
        self._default_locale = default_locale
        self._rules = rules or Rules()
        self._recheck_s = recheck_s
        self._may_ask = may_ask
        self._compiled: CompiledCopies = {}
        self._approved: Mapping[str, Variant] = {}
        self._shelf = Shelf(-1, (), default_locale, self._rules, self._compiled)
        self._checked_at = float("-inf")
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """The next choice looks at the database first."""
        self._checked_at = float("-inf")

    def get_ready(self, offers: Mapping[str, Mapping[str, Any]], most: int = MAX_COMPILED // 2) -> None:
        """Compiles what is approved for these offers (documents by id), so that no customer waits for it.

        A language's data alone take a tenth of a second to load.
        """
        for copy in islice(self._fresh().copies(offers), most):
            copy.compiled()

    def is_approved(self, variant_id: str, offer_id: str, offer: Mapping[str, Any]) -> bool:
        """Whether a variant may still be sent: approved, for the offer as it is now."""
        hashed = said_hash(offer)
        return any(
            variant.variant_id == variant_id and variant.offer_hash == hashed
            for variant in self._fresh().variants_of(offer_id)
        )

    def for_customer(
        self,
        customer_id: str,
        locale: str | None = None,
        timezone: str | None = None,
        traits: Mapping[str, Any] | None = None,
        segments: Sequence[str] = (),
    ) -> Reader:
        """What chooses this customer's copy, from what is approved now; good for one decision."""
        kind = locale or self._default_locale, timezone or "", frozenset(segments)
        return Reader(self._fresh(), customer_id, kind, traits or {}, self._rules, self._unsubscribe_url)

    def choose(
        self, offer_id: str, offer: Mapping[str, Any], channel: str, customer: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """One choice: see `Reader.choose`. `customer` has what `for_customer` asks for."""
        return self.for_customer(**customer).choose(offer_id, offer, channel)

    def _fresh(self) -> Shelf:
        if monotonic() - self._checked_at < self._recheck_s or not self._may_ask():
            return self._shelf
        with self._lock:
            started = monotonic()
            with self._database.read() as connection:
                number = change_number(connection)
                if number != self._shelf.number:
                    self._approved = approved_variants(connection, self._approved)
                    texts = tuple(self._approved.values())
                    self._shelf = Shelf(number, texts, self._default_locale, self._rules, self._compiled)
            self._checked_at = started
        return self._shelf


class Reader:
    """One customer, for whom copy is chosen: what holds for all of a decision's actions is worked out once."""

    def __init__(
        self,
        shelf: Shelf,
        customer_id: str,
        kind: tuple[str, str, frozenset[str]],
        traits: Mapping[str, Any],
        rules: Rules,
        unsubscribe_url: Callable[[str, str], str],
    ) -> None:
        """`kind` of reader: locale, zone ("": none) and segments."""
        self._shelf, self._id, self._kind, self._values = shelf, customer_id, kind, Values(traits)
        self._rules, self._unsubscribe_url = rules, unsubscribe_url
        self._filled: dict[str, Filled] = {}

    def choose(self, offer_id: str, offer: Mapping[str, Any], channel: str) -> dict[str, Any] | None:
        """`variant_id`, `locale` and the fields as this customer reads them; None when nothing approved fits.

        `offer`: the offer's document (name, description, category, facts, starts_at, ends_at), which is not changed
        in place. The same customer gets the same variant of an offer. Where nothing in the best language fits, the
        next one is tried (`locales_in_order`); `locale` tells which it is.
        """
        place = self._shelf.place(offer_id, channel, offer)
        if place is None:
            return None
        for copies in place.copies(*self._kind):
            for copy in copies if len(copies) < 2 else self._in_turn(copies, offer_id):
                rendered = self._render(copy, channel)
                if rendered is not None:
                    return rendered
        return None

    def _in_turn(self, copies: tuple[Copy, ...], offer_id: str) -> tuple[Copy, ...]:
        """Which of several comes first is told by the customer's hash."""
        turn = xxhash.xxh3_64_intdigest(f"{self._id}\0{offer_id}".encode()) % len(copies)
        return copies[turn:] + copies[:turn]

    def _render(self, copy: Copy, channel: str) -> dict[str, str] | None:
        compiled = copy.compiled()
        if compiled is None:
            return None
        filled = self._filled.get(channel)
        if filled is None:
            filled = self._filled[channel] = Filled(self._values, partial(self._unsubscribe_url, self._id, channel))
        limited, most = compiled.limited, self._rules.max_sms_segments
        try:
            rendered = compiled.render(filled)
            if not limited or fits(channel, rendered, limited, most):
                return rendered
            rendered = compiled.render(filled.nameless())  # a name too long for its place
        except RenderError:
            return None
        return rendered if fits(channel, rendered, limited, most) else None
