"""Where the CPU of a decision goes, by part, in this process: `python -m tests.bench.bench_parts [--home DIR]`.

Batches of 16 as JSON, durable, other customers each time; the home of `bench_decisions.py --home DIR`, or a new one.
µs a decision without the parts within, and how often each is called. The clocks take about 50 µs in all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.bench.bench_front import request_body
from tests.bench.homes import home_by_argument

BATCH, BATCHES, WARM = 16, 150, 20


class Clocks:
    """CPU seconds of functions, less those of the timed functions that they call."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}
        self._inner: list[float] = []

    def time(self, name: str, owner: Any, function: str) -> None:
        """Replaces a function by one that is timed."""
        plain = getattr(owner, function)

        def timed(*args: Any, **more: Any) -> Any:
            started = time.process_time()
            self._inner.append(0.0)
            try:
                return plain(*args, **more)
            finally:
                took = time.process_time() - started
                within = self._inner.pop()
                if self._inner:
                    self._inner[-1] += took
                told = self.spent.setdefault(name, [0.0, 0.0])
                told[0] += took - within
                told[1] += 1

        setattr(owner, function, timed)


def main() -> None:
    with home_by_argument(__doc__):
        _measure()


def _measure() -> None:
    from service.decisions import (
        gather,
        ledger_view,
        rank_actions,
        score,
        send_hours,
        steady,
        together,
        write_decisions,
    )
    from service.decisions.schemas import DecisionIn
    from service.memory import keep_freed_memory, leave_alone_what_stays
    from service.settings import Settings
    from service.web.bodies import parse
    from service.wiring import build

    keep_freed_memory()  # this and what stays: as at the start of a server
    parts = build(Settings())
    leave_alone_what_stays()
    clocks = Clocks()
    timed: list[tuple[str, Any, str]] = [
        ("people", gather, "_people"), ("features", gather, "_rows"), ("ledger", ledger_view.LedgerView, "__init__"),
        ("propensities", gather, "_told"), ("answers of rules", gather, "_answers"), ("cases", gather, "_case"),
        ("verdicts", gather, "judge"), ("candidates, drafts", gather, "_drafts"), ("reading", rank_actions, "gather"),
        ("probabilities", score.Scorer, "score"), ("choice", rank_actions, "choose"),
        ("reasons", score.Scorer, "reasons"), ("hours", send_hours.SendHours, "plan"), ("actions", rank_actions, "act"),
        ("words", rank_actions, "word"), ("record", write_decisions, "pack"),
        ("writing", write_decisions.DecisionWriter, "write"), ("answer", rank_actions, "answer"),
        ("JSON", together, "json_of"), ("the rest", steady.SteadyDecider, "decide_each"),
    ]  # fmt: skip
    for name, owner, function in timed:
        clocks.time(name, owner, function)

    def decide(first: int) -> float:
        asked = [parse(DecisionIn, request_body(first + n, False)) for n in range(BATCH)]
        started = time.process_time()
        for answer in parts.steady.decide_each(asked):
            together.json_of(answer)
        return time.process_time() - started

    _repeat(decide, 0, WARM)
    clocks.spent.clear()
    took = _repeat(decide, WARM, BATCHES)
    each = 1e6 / (BATCH * BATCHES)
    for name, (seconds, calls) in sorted(clocks.spent.items(), key=lambda told: -told[1][0]):
        print(f"{name:24} {seconds * each:7.1f} µs {calls / BATCH / BATCHES:6.2f} calls")
    print(f"{'all':24} {took * each:7.1f} µs a decision")
    parts.close()


def _repeat(decide: Callable[[int], float], first: int, many: int) -> float:
    return sum(decide((first + n) * BATCH) for n in range(many))


if __name__ == "__main__":
    main()
