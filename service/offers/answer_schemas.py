"""The shapes of the catalogue's answers."""

from __future__ import annotations

from datetime import datetime

from pydantic import ConfigDict, Field

from service.offers.schemas import OfferIn, Word
from service.web.shapes import Told


class OfferOut(OfferIn):
    """An offer as it was put, with what it got by that."""

    model_config = ConfigDict(json_schema_extra=None)

    offer_id: Word
    hash: str = Field(description="Of what copy may say of it")
    version: int = Field(description="Grows whenever anything of it changes")
    created_at: datetime
    updated_at: datetime


class VersionOut(Told):
    """An offer that was put."""

    offer_id: str
    version: int


class BulkOut(Told):
    """All of them were put."""

    put: int
    offers: list[VersionOut]


class OffersOut(Told):
    """Offers in the order of their ids."""

    offers: list[OfferOut]
    next: str | None = Field(description="`after` of the next page; null: this is the last")
