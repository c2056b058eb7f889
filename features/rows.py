"""One packed row a customer: written one event at a time, read as features as of any later time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

HOURS = 168


@dataclass(frozen=True, slots=True)
class CustomerRow:
    """What is known of a customer as of a time.

    `values` has every feature (NaN: unknown). `affinity` maps a product category to orders in 90 and in 365 days
    and days since the last. `order_hours` counts orders by local hour of the week (168; Monday 00 is 0);
    `response_hours` maps a channel to messages delivered and human opens and clicks, each by its own local hour.
    """

    customer_id: str
    as_of: datetime
    values: Mapping[str, float]
    affinity: Mapping[str, tuple[float, float, float]]
    order_hours: NDArray[np.int64]
    response_hours: Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64]]]


Event = Mapping[str, Any]
