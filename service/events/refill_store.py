"""Notices an online store that lacks rows, or has those of before, and asks for everybody's features.

A cache was emptied, or came back as it was at its last snapshot, a replica that was behind took over, a file was not
brought back, or the settings name another store. An event that comes after the loss would make its customer a newcomer,
or add to what is no longer so, with wrong features and without a word.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from features.row_stores import StoreAway
from service.clock import Clock, monotonic
from service.events.events_lease import EventsLease
from service.events.rebuild_store import ask_rebuild, layout_of, note_layout
from service.storage.database import Connection, Database

log = logging.getLogger(__name__)
AT_ONCE = 1_000
_EVERY_S = 5.0
Page = Callable[[Connection, str, int], list[str]]
"""(connection, after, limit): ids of customers in order."""
There = Callable[[Connection, Sequence[str]], set[str]]
"""Those of these ids that are customers."""


class Marked(Protocol):
    """The part of the online features that tells whether they were lost."""

    changes: int

    def marked(self) -> int | None: ...

    def mark(self, number: int) -> None: ...

    def is_empty(self) -> bool: ...

    def customers(self) -> Iterator[str]: ...

    def erase(self, customer_id: str) -> None: ...


class RefillStore:
    """A chore of the events loop: a number stands in the store and in the state, and goes up while rows are written."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        lease: EventsLease,
        features: Marked,
        page: Page,
        there: There,
        store: str,
        buckets: int,
    ) -> None:
        """`store` names the online store; `page` reads the customers."""
        self._database = database
        self._clock = clock
        self._lease = lease
        self._features = features
        self._page = page
        self._there = there
        self._name = f"{store} is marked"
        self._buckets = buckets
        self._after: str | None = None
        self._rows: Iterator[str] | None = None
        self._next = 0.0
        self._changes = features.changes

    def __call__(self) -> bool:
        if self._rows is not None:
            rows, self._rows = self._rows, None  # from the beginning, if this portion fails
            return self._forget_strangers(rows)
        if self._after is None and (monotonic() < self._next or not self._is_lost()):
            return False
        after, self._after = self._after or "", None
        return self._ask(after)

    def _is_lost(self) -> bool:
        self._next = monotonic() + _EVERY_S
        changes = self._features.changes
        try:
            stands, known = self._numbers()
            if stands == known and stands is not None and changes == self._changes:
                return False
            self._lease.claim()  # from here on nobody else moves them
            stands, known = self._numbers()
            if is_lost(stands, known) or (stands is None and self._features.is_empty()):
                return True
            self._finish()
            self._changes = changes
        except StoreAway:
            pass  # the next look tells
        return False

    def _numbers(self) -> tuple[int | None, int | None]:
        """Those in the store and in the state."""
        stands = self._features.marked()
        with self._database.read() as connection:
            known = layout_of(connection, self._name)
        return stands, None if known is None else int(known[0] or 1)

    def _ask(self, after: str) -> bool:
        with self._database.write() as connection:
            self._lease.hold(connection)
            some = self._page(connection, after, AT_ONCE)
            ask_rebuild(connection, some, self._buckets)
        if not some:
            self._rows = self._features.customers()
            return True
        if not after:
            log.warning(
                "the online store lacks rows (it was emptied, came back as it was before, or is another one): the "
                "features of all customers are made anew, those of offers by 'opportune features'"
            )
        self._after = some[-1]
        return True

    def _forget_strangers(self, rows: Iterator[str]) -> bool:
        """Whose rows are there though they are no customers: erased since, they came back with what the store was."""
        some = list(islice(rows, AT_ONCE))
        if not some:
            self._finish()
            return False
        with self._database.write() as connection:
            self._lease.hold(connection)
            there = self._there(connection, some)
        for name in set(some) - there:
            self._features.erase(name)
        self._rows = rows
        return True

    def _finish(self) -> None:
        number = 1 + max(number or 0 for number in self._numbers())
        self._features.mark(number)
        with self._database.write() as connection:
            self._lease.hold(connection)
            note_layout(connection, self._name, str(number), self._clock.now())


def is_lost(stands: int | None, known: int | None) -> bool:
    """Whether the store holds other rows than the state knows of. It is told first, so it may be one ahead."""
    return known is not None and (stands is None or not known <= stands <= known + 1)
