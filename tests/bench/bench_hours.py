"""CPU that the hours of sending take in a decision, compiled and in numpy. Run: make bench-hours

Decisions in the process, not written (else customers would have their fill of messages), in batches of 16 and one by
one. Hours are timed where they are planned: the other parts have used the caches in between. The least of some rounds.
BENCH_HOME=DIR keeps the home for the next run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from models.asked_hours import WEEK
from service.decisions import rank_actions
from service.decisions.hours import Planned
from service.decisions.schemas import DecisionIn
from service.decisions.send_hours import Message, SendHours
from service.settings import Settings
from service.wiring.parts import build
from tests.bench.decision_home import CHANNELS, customer_ids
from tests.bench.homes import in_both_ways

ROUNDS, DECISIONS, BATCHES = 7, 960, (16, 1)
INSIDE = "BENCH_INSIDE"


class TimedHours(SendHours):
    """Knows how long it took, all of them together."""

    spent = 0.0

    def plan(self, messages: Sequence[Message]) -> None:
        start = time.process_time()
        super().plan(messages)
        TimedHours.spent += time.process_time() - start

    def at(self, message: Message) -> Planned:
        start = time.process_time()
        found = super().at(message)
        TimedHours.spent += time.process_time() - start
        return found


def measure() -> None:
    """A line of the table for each size of a batch."""
    parts = build(Settings())
    rank_actions.SendHours = TimedHours  # type: ignore[misc]
    asked = [DecisionIn(customer_id=name, channels=CHANNELS, dry_run=True) for name in customer_ids()[::7]]
    for batch in BATCHES:
        hours, whole = [], []
        for number in range(ROUNDS):
            some = [asked[(number * DECISIONS + at) % len(asked)] for at in range(DECISIONS)]
            TimedHours.spent, start = 0.0, time.process_time()
            for at in range(0, DECISIONS, batch):
                parts.decider.decide_each(some[at : at + batch])
            whole.append((time.process_time() - start) / DECISIONS * 1e6)
            hours.append(TimedHours.spent / DECISIONS * 1e6)
        how = "in numpy" if WEEK is None else "compiled"
        print(f"| {how}, batches of {batch} | {min(hours):.0f} | {min(whole):.0f} |", flush=True)
    parts.close()


def main() -> None:
    """Prints the table; measures in a process of its own each way."""
    if INSIDE in os.environ:
        measure()
        return
    in_both_ways("tests.bench.bench_hours", INSIDE, "CPU µs a decision", "hours", "the whole, not written")


if __name__ == "__main__":
    main()
