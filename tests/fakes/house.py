"""A whole service without its loops, on a simulated clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from service.decisions.schemas import DecisionIn
from service.events.inbox_store import add_events
from service.events.normalize import normalize
from service.settings import Settings
from service.wiring import Parts, build


class House:
    """A whole service without its loops, on a simulated clock."""

    def __init__(self, home: Path) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self.clock = home.with_name("now")
        self.clock.write_text(self.now.isoformat())
        self.settings = Settings(home=home, clock=f"file:{self.clock}")
        self.parts: Parts = build(self.settings)

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.clock.write_text(self.now.isoformat())

    def send(self, number: int, customer: str, apply: bool = True) -> None:
        message = {"type": "track", "event": "Order Completed", "userId": customer, "messageId": f"m{number}",
                   "properties": {"revenue": number, "order_id": str(number)}}  # fmt: skip
        with self.parts.database.write() as connection:
            add_events(connection, [normalize(message, self.parts.rules, self.parts.clock.now())], self.now)
        if apply:
            self.settle()
        self.forward(5)

    def settle(self) -> None:
        while self.parts.events.run_pass():
            pass

    def decide(self, customer: str, **fields: Any) -> str:
        [made] = self.parts.decider.decide_many([DecisionIn(customer_id=customer, placement="p", **fields)])
        self.forward(5)
        return str(made["decision_id"])

    def check(self) -> dict[str, Any]:
        return self.parts.skew.run()
