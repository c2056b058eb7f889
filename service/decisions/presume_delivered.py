"""Where nobody tells deliveries, answers count as delivered: else only those that led to an order would be known.

On a page the answer is what is shown, and many senders tell orders alone. On such a channel (`channel_habits`) rates
and lessons take each decision's first action for delivered a minute after it, as the training of rankers does
(`training.exposures`). Limits do not: a place that was reserved and never used comes back.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from service.clock import CLOCKS_APART, Clock, SystemClock
from service.decisions.case import microseconds
from service.decisions.channel_habits import ChannelHabits, Habits
from service.decisions.decision_store import answers_on, count_response, read_heads
from service.decisions.ledger_lines_store import delivered_among
from service.decisions.ledger_store import lock
from service.decisions.lessons_store import Delivery, add_deliveries, deliveries_among
from service.storage.database import Connection, Database
from service.storage.lease import take

log = logging.getLogger(__name__)
LEASE, LEASE_S = "presuming deliveries", 20.0
AT_ONCE = 500
AFTER, BACK = timedelta(minutes=1), timedelta(days=2)
"""How old an answer is by then: its delivery may still be told; and how far back answers are looked at."""


class PresumeDelivered:
    """For a loop. Of several processes only one does it at a time; what was counted is not counted again."""

    def __init__(self, database: Database, clock: Clock, brought: Callable[[], datetime | None] = lambda: None) -> None:
        """`brought`: since when decisions were made that came late, as they waited on the disk for the database."""
        self._database, self._clock = database, clock
        self._brought = brought
        self._wall = SystemClock()
        self._holder = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._habits = ChannelHabits()
        self._behind: dict[str, tuple[datetime, str]] = {}

    def run_pass(self) -> bool:
        """One portion of answers. True when there may be more."""
        now = self._clock.now()
        with self._database.read() as connection:
            habits = self._habits.at(connection, now)
        since = self._brought()
        self._behind = {
            channel: key if since is None else min(key, (since, ""))
            for channel, key in self._behind.items()
            if channel in habits.untold
        }
        more = False
        for channel in sorted(habits.untold):
            if channel not in self._behind:
                log.warning("deliveries by %s are not told: answers count as delivered in rates and lessons", channel)
            behind, until = self._behind.get(channel), now - AFTER
            if behind is None or behind[0] > until + CLOCKS_APART:  # that was by a clock that was ahead
                behind = now - BACK, ""
            with self._database.read() as connection:
                rows = answers_on(connection, channel, behind, until, AT_ONCE)
            for offer_id in sorted({row.offer_id for row in rows}):  # one by one: events count several, in their order
                with self._database.write() as connection:
                    if not take(connection, LEASE, self._holder, self._wall.now(), LEASE_S):
                        return False
                    _presume(connection, [row for row in rows if row.offer_id == offer_id], habits)
            full = len(rows) == AT_ONCE
            self._behind[channel] = (rows[-1].decided_at, rows[-1].decision_id) if full else (until, "")
            more |= full
        return more


def _presume(connection: Connection, rows: list[Any], habits: Habits) -> None:
    """Answers with one offer on one channel. Behind the customers' locks: who is erased meanwhile has none any more."""
    offer_id, channel, ids = rows[0].offer_id, rows[0].channel, [row.decision_id for row in rows]
    lock(connection, sorted({row.customer_id for row in rows}), ())
    there = read_heads(connection, ids)
    known = delivered_among(connection, ids) | {decision for decision, _, _ in deliveries_among(connection, ids)}
    new = [there[name] for name in ids if name in there and name not in known]
    if not new:
        return
    first = min(row.decided_at for row in new)
    count_response(connection, offer_id, channel, ["shown", "presumed"], microseconds(first), by=len(new))
    arrived = [Delivery(row.decision_id, row.customer_id, offer_id, channel, row.decided_at) for row in new]
    add_deliveries(connection, arrived, channel in habits.prompt)
