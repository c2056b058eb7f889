"""What was decided in the world, and what each decision was truly worth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np


@dataclass(slots=True)
class Entry:
    """One decision. `value` is its true expected value; `best` and `uniform` what the best and a random choice had."""

    decision_id: str
    customer_id: str
    decided_at: datetime
    arm: str
    trained: bool
    best: float
    uniform: float
    offer_id: str | None = None
    channel: str | None = None
    send_at: datetime | None = None
    value: float = 0.0
    bought: bool = False
    earned: float = 0.0


@dataclass
class Ledger:
    """Every decision of a run."""

    entries: dict[str, Entry] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        self.entries[entry.decision_id] = entry

    def summary(self) -> dict[str, Any]:
        """Figures by arm, and of the model's arm before and after it had learnt; all simulated."""
        entries = list(self.entries.values())
        arms: dict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            arms[entry.arm].append(entry)
        model = arms.get("model", [])
        return {
            "decisions": len(entries),
            "arms": {arm: _figures(those) for arm, those in sorted(arms.items())},
            "model_untrained": _figures(entry for entry in model if not entry.trained),
            "model_trained": _figures(entry for entry in model if entry.trained),
            "random": _mean(entry.uniform for entry in entries),
            "best": _mean(entry.best for entry in entries),
        }


def _figures(entries: Iterable[Entry]) -> dict[str, Any]:
    """Mean true value of a decision, between a random choice's (0% of the gap) and the best's (100%)."""
    those = list(entries)
    value, low, high = (_mean(getattr(entry, name) for entry in those) for name in ("value", "uniform", "best"))
    return {
        "decisions": len(those),
        "sent": sum(entry.offer_id is not None for entry in those),
        "sales": sum(entry.bought for entry in those),
        "value": value,
        "interval": _interval([entry.value for entry in those]),
        "random": low,
        "best": high,
        "lift": value / low if low > 0 else None,
        "gap_closed": (value - low) / (high - low) if high > low else None,
        "earned_per_decision": _mean(entry.earned for entry in those),
    }


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return float(np.mean(found)) if found else 0.0


def _interval(values: list[float]) -> list[float] | None:
    """The mean's 95% interval, by the normal approximation; None under two decisions."""
    if len(values) < 2:
        return None
    half = 1.96 * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return [float(np.mean(values)) - half, float(np.mean(values)) + half]
