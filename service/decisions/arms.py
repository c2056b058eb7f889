"""Which arm of a placement a customer is in: always the same one, by hash. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import xxhash


def arm_of(customer_id: str, placement: str, shares: Sequence[tuple[str, float]], secret: str) -> str:
    """The arm whose share of the hash's range holds this customer. Shares sum to 1; other placements hash apart."""
    digest = xxhash.xxh3_64_intdigest(f"{secret}\0arm\0{placement}\0{customer_id}".encode())
    at = (digest >> 11) * 2.0**-53
    running = 0.0
    for arm, share in shares:
        running += share
        if at < running and share > 0:
            return arm
    return next(arm for arm, share in reversed(shares) if share > 0)
