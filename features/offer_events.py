"""An offer's history as events of its own, so that what makes customers' features makes offers' features too.

Each version of the catalogue is an `identify` event with the facts as traits; each event that names an offer, or that
names a decision and so the offer decided, happens to that offer.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson
import polars as pl

from features.codes import label_number
from features.declare import DAY
from features.facts import microseconds
from features.numbers import NEEDED
from features.tables import EVENTS
from features.text_keys import offer_text, text_key

ABOUT = pl.Schema(
    (name, kind)
    for name, kind in EVENTS.schema.items()
    if (name in NEEDED and name not in ("products", "timezone", "traits", "context"))
    or name in ("offer_id", "decision_id")
)
"""What features of offers need of an event."""
_SEVERAL = '"offer_ids"'
_ID_BYTES, _CONTROL = 1024, re.compile(r"[\x00-\x1f\x7f-\x9f]")
NONE = -1e15
"""A fact that a version lacks: it takes the place of what an earlier version said."""


def version_event(version: Mapping[str, Any]) -> dict[str, Any]:
    """One row of OFFER_VERSIONS as an event of the offer."""
    # Versions of the same moment keep their order.
    at = version["at"] + timedelta(microseconds=version["version"])
    gone = version["deleted"]
    event = dict.fromkeys(EVENTS.schema)
    event |= {
        "message_id": f"offer:{version['offer_id']}:{version['version']}:{'gone' if gone else 'put'}",
        "type": "identify",
        "customer_id": version["offer_id"],
        "timestamp": at,
        "received_at": at,
        "properties": "{}",
        "traits": orjson.dumps({"live": 0.0} if gone else _facts(version)).decode(),
    }
    return event


def _facts(version: Mapping[str, Any]) -> dict[str, float]:
    category = label_number(version["category"] or "")
    told = {
        "price_cents": version["price_cents"],
        "discount_percent": version["discount_percent"],
        "value": version["value"],
        "cost": version["cost"],
        "products": len(version["product_ids"]),
        "channels": len(version["channels"]),
        "live": 1.0,
        "category_code": category,
        "starts_day": _day(version["starts_at"]),
        "ends_day": _day(version["ends_at"]),
        "text_key": text_key(offer_text(version["name"], version["description"])),
    }
    return {name: NONE if value is None else float(value) for name, value in told.items()}


def _day(moment: datetime | None) -> float | None:
    return None if moment is None else microseconds(moment) / DAY


def response_events(event: Mapping[str, Any], decided: Mapping[str, str]) -> list[dict[str, Any]]:
    """An event of a customer as one of each offer that it is about: the offer that it names, else the one decided, else
    those of a message that carried several (`properties.offer_ids`).

    decided: decision -> the offer that it put first.
    """
    if event["type"] != "track":
        return []
    told = {**event, "products": None, "timezone": None, "traits": None, "context": None}
    offer = event.get("offer_id") or decided.get(event.get("decision_id") or "")
    if offer is not None:
        return [{**told, "customer_id": offer}]
    if event.get("decision_id") is not None:
        return []
    return [
        {**told, "customer_id": one, "message_id": _of_several(event["message_id"], one)}
        for one in several_offers(event.get("properties"))
    ]


def several_offers(properties: str | None) -> list[str]:
    """The offers that a message carried, by its properties (JSON): `offer_ids`, each once, what is no id left out."""
    if properties is None or _SEVERAL not in properties:
        return []
    told = orjson.loads(properties)
    named = told.get("offer_ids") if isinstance(told, dict) else None
    offers = [unicodedata.normalize("NFC", one) for one in named if isinstance(one, str)] if type(named) is list else []
    return [one for one in dict.fromkeys(offers) if 0 < len(one.encode()) <= _ID_BYTES and not _CONTROL.search(one)]


def _of_several(message_id: str, offer: str) -> str:
    return f"{message_id}:{offer}"


def about_offers(events: pl.LazyFrame) -> pl.DataFrame:
    """ABOUT of the events (EVENTS-shaped) that are about an offer or a decision, a row for each offer."""
    one = pl.col("offer_id").is_not_null() | pl.col("decision_id").is_not_null()
    several = ~one & pl.col("properties").str.contains(_SEVERAL, literal=True)
    wanted = [*ABOUT, "properties"]
    found = events.filter((pl.col("type") == "track") & (one | several)).select(wanted).collect()
    apart = found.filter(several)
    named = apart.with_columns(
        offer_id=pl.Series([several_offers(text) for text in apart["properties"]], dtype=pl.List(pl.String))
    ).explode("offer_id", empty_as_null=False, keep_nulls=False)  # fmt: skip
    own = pl.Series(map(_of_several, named["message_id"], named["offer_id"]), dtype=pl.String)
    return pl.concat([found.filter(~several), named.with_columns(message_id=own)]).select(list(ABOUT))


def unnamed_decisions(events: pl.DataFrame) -> list[str]:
    """The decisions of events that name no offer: those whose offer `offer_history` has to be told."""
    asked = events.filter(pl.col("offer_id").is_null() & pl.col("decision_id").is_not_null())
    return asked["decision_id"].unique().sort().to_list()


def offer_history(events: pl.DataFrame, versions: pl.DataFrame, decided: Mapping[str, str]) -> pl.DataFrame:
    """All events of offers, ABOUT and `traits`, with the offer as `customer_id`: `response_events` of many, and the
    versions.

    events: `about_offers`. versions: OFFER_VERSIONS-shaped. decided: decision -> offer, of `unnamed_decisions`.
    """
    offers = pl.DataFrame(
        {"decision_id": list(decided), "_offer": list(decided.values())},
        schema={"decision_id": pl.String, "_offer": pl.String},
    )
    named = pl.col("offer_id").is_not_null() | pl.col("decision_id").is_not_null()
    about = (
        events.filter((pl.col("type") == "track") & named)
        .join(offers, on="decision_id", how="left", maintain_order="left")
        .with_columns(pl.coalesce("offer_id", "_offer").alias("customer_id"), pl.lit(None, pl.String).alias("traits"))
        .filter(pl.col("customer_id").is_not_null())
        .select(*ABOUT, "traits")
    )
    return pl.concat([about, version_events(versions.iter_rows(named=True)).select(about.columns)])


def version_events(versions: Any) -> pl.DataFrame:
    """`version_event` of many rows."""
    rows: Sequence[dict[str, Any]] = [version_event(version) for version in versions]
    return EVENTS.conform(pl.DataFrame(rows, schema=EVENTS.schema))
