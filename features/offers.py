"""What a model may know of an offer: facts only, no rules and no words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class OfferInfo:
    """One offer, as a ranker sees it. Money is in minor units (`*_cents`), except `value` and `cost`,
    which are in the catalogue's currency as the marketer wrote them. `text` is the key of its text
    (features/texts.py) where that has a vector.
    """

    offer_id: str
    category: str | None = None
    product_ids: frozenset[str] = frozenset()
    channels: tuple[str, ...] = ()
    discount_percent: float | None = None
    price_cents: int | None = None
    value: float = 0.0
    cost: float = 0.0
    starts_at: datetime | None = None
    tags: tuple[str, ...] = ()
    ends_at: datetime | None = None
    text: int | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> OfferInfo:
        """From one row of the OFFERS table (features/tables.py). Missing optional columns are taken as unknown."""
        return cls(
            offer_id=str(row["offer_id"]),
            category=row.get("category"),
            product_ids=frozenset(row.get("product_ids") or ()),
            channels=tuple(row.get("channels") or ()),
            discount_percent=row.get("discount_percent"),
            price_cents=row.get("price_cents"),
            value=float(row.get("value") or 0.0),
            cost=float(row.get("cost") or 0.0),
            starts_at=row.get("starts_at"),
            tags=tuple(row.get("tags") or ()),
            ends_at=row.get("ends_at"),
        )


def offer_infos(rows: Iterable[Mapping[str, Any]]) -> list[OfferInfo]:
    """Every row of an OFFERS table as `OfferInfo`, in their order."""
    return [OfferInfo.from_row(row) for row in rows]
