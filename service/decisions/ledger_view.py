"""What the ledger says for the decisions of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from service.decisions.arbitration import FATIGUE_DAYS
from service.decisions.assortment import assortment
from service.decisions.case import DAY_US, Shared, Usage, instant, microseconds
from service.decisions.ledger_store import FOREVER, entries_by, read_lines, read_shared
from service.decisions.moments_store import read_moments
from service.decisions.rules import RuleBook
from service.decisions.schemas import DecisionIn
from service.decisions.windows import reach
from service.offers.offer import Offer, Past
from service.storage.database import Connection


class LedgerView:
    """What the ledger says for a set of requests, read with few queries."""

    def __init__(
        self,
        connection: Connection,
        wanted: Sequence[tuple[str, DecisionIn]],
        past: Past,
        rules: RuleBook,
        now: datetime,
    ) -> None:
        """`wanted`: customers with what is asked for them; `past`: what the offers' rules ask for."""
        books = {request.placement: rules.rules(request.placement) for _, request in wanted}
        caps = [reach(cap.per_days, cap.calendar) for book in books.values() for cap in book.caps]
        days = max([*caps, past.days, FATIGUE_DAYS])
        first = min(microseconds(request.at or now) for _, request in wanted)
        names = sorted({name for name, _ in wanted})
        self._lines = read_lines(connection, names, first - round(days * DAY_US), past)
        asked = past.moments or any(book.cool_downs for book in books.values())
        self._moments = read_moments(connection, names) if asked else {}
        self._default_zone = rules.default_zone
        self._connection = connection
        self._shared: dict[tuple[int, int, str], dict[tuple[str, int], Shared]] = {}

    def usage(self, customer_id: str, offers: tuple[Offer, ...], at: datetime, as_of: bool) -> Usage:
        """The customer's messages, what else the offers' rules count, and the offers' shared limits; with `as_of`, only
        what had been by then.
        """
        now = instant(at)
        until = now if as_of else FOREVER
        entries = entries_by(self._lines.get(customer_id, ()), until)
        shared: dict[tuple[str, int], Shared] = {}
        for offer in assortment(offers).shared:
            key = (now, until, offer.offer_id)
            if key not in self._shared:
                self._shared[key] = read_shared(self._connection, [offer], at, self._default_zone, until)
            shared.update(self._shared[key])
        return Usage(entries, shared, self._moments.get(customer_id, {}))
