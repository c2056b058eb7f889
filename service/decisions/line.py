"""A line of the ledger."""

from __future__ import annotations

from typing import Any, NamedTuple

from service.decisions.case import Entry


class Line(NamedTuple):
    """What a returned action, or a message, reserves: the ledger's columns in their order, without the last two.

    `at`: when it is planned to go out, or when it was delivered, and then it does not expire; `reserved_at`: when this
    was written (spooled lines of before have none).
    """

    decision_id: str
    rank: int
    customer_id: str
    offer_id: str
    channel: str
    message: bool
    impression: bool
    cost: float
    at: int
    expires: int | None
    placement: str | None
    exclusion_group: str | None
    reserved_at: int | None = None

    def entry(self) -> Entry:
        return Entry(
            self.at,
            self.expires,
            self.channel,
            self.offer_id,
            self.message,
            self.impression,
            self.placement,
            self.exclusion_group,
        )

    def row(self) -> dict[str, Any]:
        return self._asdict()
