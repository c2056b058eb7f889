"""Where nobody tells deliveries, answers count as delivered: else only those that led to an order would be known.

On a page the answer is what is shown, and many senders tell orders alone. On such a channel (`channel_habits`) rates
and lessons take each decision's first action for delivered a minute after it, as the training of rankers does
(`training.exposures`). Limits do not: a place that was reserved and never used comes back.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

from service.clock import Clock, SystemClock
from service.decisions.case import microseconds
from service.decisions.channel_habits import ChannelHabits, Habits
from service.decisions.decision_store import answers_on, count_response
from service.decisions.ledger_lines_store import delivered_among
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

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._wall = SystemClock()
        self._holder = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._habits = ChannelHabits()
        self._behind: dict[str, tuple[datetime, str]] = {}

    def run_pass(self) -> bool:
        """One portion of answers. True when there may be more."""
        now = self._clock.now()
        with self._database.read() as connection:
            habits = self._habits.at(connection, now)
        self._behind = {channel: key for channel, key in self._behind.items() if channel in habits.untold}
        more = False
        for channel in sorted(habits.untold):
            if channel not in self._behind:
                log.warning("deliveries by %s are not told: answers count as delivered in rates and lessons", channel)
            behind, until = self._behind.get(channel, (now - BACK, "")), now - AFTER
            with self._database.read() as connection:
                rows = answers_on(connection, [channel], behind, until, AT_ONCE)
            if rows:
                with self._database.write() as connection:
                    if not take(connection, LEASE, self._holder, self._wall.now(), LEASE_S):
                        return False
                    _presume(connection, rows, channel, habits)
            full = len(rows) == AT_ONCE
            self._behind[channel] = (rows[-1].decided_at, rows[-1].decision_id) if full else (until, "")
            more |= full
        return more


def _presume(connection: Connection, rows: list[Any], channel: str, habits: Habits) -> None:
    ids = [row.decision_id for row in rows]
    told = delivered_among(connection, ids)
    counted = {decision_id for decision_id, _, _ in deliveries_among(connection, ids)}
    new = [row for row in rows if row.decision_id not in told | counted]
    by_offer: defaultdict[str, list[datetime]] = defaultdict(list)
    for row in new:
        by_offer[row.offer_id].append(row.decided_at)
    for offer_id, times in sorted(by_offer.items()):
        count_response(connection, offer_id, channel, ["shown", "presumed"], microseconds(min(times)), by=len(times))
    arrived = [Delivery(row.decision_id, row.customer_id, row.offer_id, channel, row.decided_at) for row in new]
    add_deliveries(connection, arrived, channel in habits.prompt)
