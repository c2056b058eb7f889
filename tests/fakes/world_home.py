"""A home folder as the service would leave it, made from the simulated world: events, tables, a decision log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from features.event_log import EventLog
from features.tables import DECISIONS, EVENTS, OFFERS, OUTCOMES
from service.events.frame import events_frame
from service.events.normalize import Rules, normalize
from training.world.world import CHANNELS, HISTORY_DAYS, Action, World


def world_home(home: Path, customers: int = 160, days: int = 40, seed: int = 7) -> datetime:
    """Random offers, channels and hours for everybody every fourth day, logged as decisions. Returns the end."""
    world = World(seed, customers)
    random = np.random.default_rng(seed)
    messages = world.history(HISTORY_DAYS)
    decisions: list[dict[str, Any]] = []
    outcomes: list[dict[str, Any]] = []
    for day in range(days):
        messages += world.daily_events(day)
        for index, customer in enumerate(world.customers):
            if (index + day) % 4:
                continue
            offer = world.offers[int(random.integers(len(world.offers)))]
            channel = CHANNELS[int(random.integers(len(CHANNELS)))]
            at = world.start + timedelta(days=day, hours=int(random.integers(8, 21)))
            decision = f"d-{day}-{index}"
            found = world.respond(Action(customer, offer.offer_id, channel, {"decision_id": decision}), at)
            messages += found
            decisions.append(_decision(decision, customer, at, offer.offer_id, channel, len(world.offers) * 3))
            outcomes += [_outcome(decision, customer, each) for each in found if each["event"] == "Coupon Redeemed"]
    end = world.start + timedelta(days=days)
    rules = Rules()
    rows = [normalize(message, rules, end + timedelta(days=9), imported=True) for message in messages]
    EventLog(home / "events").append(events_frame([row for row in rows if row["timestamp"] < end]), "world")
    (home / "tables").mkdir(parents=True, exist_ok=True)
    for name, table, content in (
        ("offers", OFFERS, [_offer(offer.offer_id, offer.contract()) for offer in world.offers]),
        ("decisions", DECISIONS, decisions),
        ("outcomes", OUTCOMES, outcomes),
    ):
        table.validate(pl.DataFrame(content, schema=table.schema)).write_parquet(home / "tables" / f"{name}.parquet")
    assert EventLog(home / "events").scan().collect().columns == list(EVENTS.columns)
    return end


def _offer(offer_id: str, document: dict[str, Any]) -> dict[str, Any]:
    facts = document["facts"]
    return {
        "offer_id": offer_id,
        "name": document["name"],
        "description": document["description"],
        "category": document["category"],
        "product_ids": document["product_ids"],
        "channels": document["channels"],
        "discount_percent": float(facts["discount"]["percent"]),
        "price_cents": round(float(facts["price"]["amount"]) * 100),
        "currency": "USD",
        "value": document["value"],
        "cost": document["cost"],
        "starts_at": None,
        "ends_at": None,
        "tags": document["tags"],
        "hash": "0",
    }


def _decision(decision: str, customer: str, at: datetime, offer: str, channel: str, candidates: int) -> dict[str, Any]:
    return {
        "decision_id": decision, "customer_id": customer, "decided_at": at, "placement": "test", "arm": "random",
        "policy": "default", "policy_version": "1", "offer_id": offer, "channel": channel, "rank": 1, "chosen": True,
        "propensity": 1 / candidates, "probability": None, "expected_value": None, "send_at": at,
    }  # fmt: skip


def _outcome(decision: str, customer: str, message: dict[str, Any]) -> dict[str, Any]:
    facts = message["properties"]
    return {
        "decision_id": decision, "customer_id": customer, "offer_id": facts["offer_id"], "channel": facts["channel"],
        "kind": "redeemed", "at": datetime.fromisoformat(message["timestamp"]).astimezone(UTC), "value_cents": None,
        "machine": False, "message_id": message["messageId"],
    }  # fmt: skip
