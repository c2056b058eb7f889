"""A desk that decides by what it learns from outcomes."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from models.next_offer import NextOfferModel
from service.decisions.attribute_outcomes import AttributeOutcomes
from service.decisions.learn_outcomes import LearningModels, LearnOutcomes
from service.decisions.read_decision import DecisionReader
from service.decisions.schemas import DecisionIn
from service.offers.catalogue import CatalogueCache
from service.storage.database import Database
from tests.fakes.decisions import Desk, row, settings
from tests.fakes.model_cases import next_offer_case

COUNT = iter(range(1_000_000))


def learning_desk(database: Database) -> Desk:
    """Two offers, forty customers and a trained ranker, version 7."""
    made = Desk(database, settings(exploration=20.0, caps=[]))
    made.put(a={"category": "tea"}, b={"category": "shoes"})
    model = next_offer_case().model
    assert isinstance(model, NextOfferModel)
    made.served.models["next-offer"] = replace(model, version="7")
    for number in range(40):
        known = row(f"c{number}", orders_90d=float(number % 5), orders_365d=3.0)
        made.rows.rows[f"c{number}"] = replace(known, views={"tea": number % 3, "shoes": 1})
    return made


def event_of(name: str, decision: dict[str, Any], at: datetime, **fields: Any) -> dict[str, Any]:
    """An event as handlers get it, of a decision's customer and with its id."""
    empty = dict.fromkeys(
        ("anonymous_id", "channel", "offer_id", "campaign_id", "order_id", "currency", "revenue_cents",
         "discount_cents", "products", "timezone", "machine", "machine_reason", "url", "traits", "context")
    )  # fmt: skip
    return {**empty, "message_id": f"m{next(COUNT)}", "type": "track", "event": name, "timestamp": at,
            "received_at": at, "properties": "{}", "customer_id": decision["customer_id"],
            "decision_id": decision["decision_id"], **fields}  # fmt: skip


class Learning:
    """A desk that decides by what it learnt."""

    def __init__(self, desk: Desk, situations: tuple[str, ...] = ()) -> None:
        self.desk = desk
        self.models = LearningModels(desk.served, desk.database)
        self.learner = LearnOutcomes(desk.database, desk.clock, desk.served, situations)
        self.decider = replace(desk, served=self.models).decider  # type: ignore[arg-type]
        self.reader = DecisionReader(desk.database, self.models)

    def decide(self, customer: str, **asked: Any) -> dict[str, Any]:
        """A decision that sends something: now and then nothing is drawn."""
        request = DecisionIn(
            **{"customer_id": customer, "offers": ["a", "b"], "channels": ["email"], "top_k": 1, **asked}
        )
        return next(made for made in (self.decider.decide(request) for _ in range(50)) if made["actions"])

    def happens(self, name: str, decision: dict[str, Any], **fields: Any) -> None:
        event = event_of(name, decision, self.desk.clock.now(), **fields)
        with self.desk.database.write() as connection:
            AttributeOutcomes(CatalogueCache(), 14)(connection, [event])

    def learn(self) -> int:
        passes = 0
        while self.learner.run_pass():
            passes += 1
        self.models.refresh()
        return passes
