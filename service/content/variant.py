"""One variant of copy and what may happen to it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson
import xxhash

State = Literal["pending", "approved", "rejected"]
STATES: tuple[State, ...] = ("pending", "approved", "rejected")
_SAID_IN_COPY = ("name", "description", "category", "facts", "starts_at", "ends_at")


@dataclass(frozen=True, slots=True)
class Variant:
    """Copy for one offer, channel and locale. `version` grows with each change and is its ETag."""

    variant_id: str
    offer_id: str
    offer_hash: str
    channel: str
    locale: str
    segment: str | None
    angle: str
    state: State
    fields: Mapping[str, str]
    checks: tuple[Mapping[str, Any], ...]
    lineage: Mapping[str, Any]
    version: int
    created_at: datetime
    updated_at: datetime

    @property
    def etag(self) -> str:
        return f'"{self.version}"'

    @property
    def failed(self) -> list[str]:
        """Names of the checks that failed, each once."""
        return list(dict.fromkeys(str(check["name"]) for check in self.checks if not check["passed"]))

    def as_dict(self) -> dict[str, Any]:
        """The variant on the wire."""
        return {
            "variant_id": self.variant_id,
            "offer_id": self.offer_id,
            "offer_hash": self.offer_hash,
            "channel": self.channel,
            "locale": self.locale,
            "segment": self.segment,
            "angle": self.angle,
            "state": self.state,
            "fields": dict(self.fields),
            "checks": [dict(check) for check in self.checks],
            "lineage": dict(self.lineage),
            "etag": self.etag,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }


def said_hash(offer: Mapping[str, Any]) -> str:
    """16 hex digits over everything that copy may say of an offer, its dates included.

    An approval holds for this hash only: when a fact changes, the copy must be looked at again.
    """
    said = {key: offer.get(key) for key in _SAID_IN_COPY}
    return xxhash.xxh3_64_hexdigest(orjson.dumps(said, option=orjson.OPT_SORT_KEYS))
