"""A customer's weeks in a few numbers: how much is known, and at which times of the day and week it happened."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from features.rows import CustomerRow

Floats = npt.NDArray[np.float64]
_TIMES = {"night": (0, 6), "morning": (6, 12), "afternoon": (12, 18), "evening": (18, 24)}


def summary(rows: Sequence[CustomerRow | None]) -> dict[str, Floats]:
    """Of n rows, each (n,): counts of orders, visits, messages, clicks and opens; shares of all that people did by
    time of day, and of the weekend. NaN where nothing is known.
    """
    told = [_numbers(row) for row in rows]
    return {name: np.array([one.get(name, np.nan) for one in told], np.float64) for name in _NAMES}


def _numbers(row: CustomerRow | None) -> dict[str, float]:
    if row is None:
        return {}
    channels = list(row.response_hours.values())
    clicks, opens = (sum((getattr(one, kind) for one in channels), np.zeros(168)) for kind in ("clicks", "opens"))
    done = row.order_hours + row.visit_hours + clicks + opens
    counted = {
        "orders": row.order_hours, "visits": row.visit_hours, "clicks": clicks, "opens": opens,
        "messages": sum((one.sends for one in channels), np.zeros(168)),
    }  # fmt: skip
    found = {f"{name}_counted": float(weeks.sum()) for name, weeks in counted.items()}
    total = float(done.sum())
    if total > 0:
        days = done.reshape(7, 24)
        found |= {f"share_{name}": float(days[:, a:b].sum()) / total for name, (a, b) in _TIMES.items()}
        found["share_weekend"] = float(days[5:].sum()) / total
    return found


_NAMES = (
    *(f"{name}_counted" for name in ("orders", "visits", "clicks", "opens", "messages")),
    *(f"share_{name}" for name in _TIMES),
    "share_weekend",
)
