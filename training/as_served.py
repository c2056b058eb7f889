"""What a ranker would have said in the decisions of the log: of candidates by chance, as of their times."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from features.event_log import EventLog
from features.offers import OfferInfo
from models.next_offer import NextOfferModel
from training.challenger import customer_rows
from training.decision_log import asked_in_time
from training.offer_data import Versions, offer_at

MOST, LEAST = 1_000, 200
"""Decisions that are asked again; with fewer in the log there is no telling."""
Floats = npt.NDArray[np.float64]


def scores_as_served(
    model: NextOfferModel,
    home: Path,
    log: EventLog,
    offers: Sequence[OfferInfo],
    versions: Versions,
    excluded: Collection[str],
) -> Floats | None:
    """Probabilities (n,) of one candidate each of decisions drawn by chance; None of a small log. `excluded`: customers
    who may not be profiled.

    Decisions know on which channels offers go out, who answers there and which offers move whom; pairs of a cut do not.
    """
    path, by_id = home / "tables" / "decisions.parquet", {offer.offer_id: offer for offer in offers}
    if not path.exists():
        return None
    asked = asked_in_time(pl.scan_parquet(path)).filter(
        pl.col("offer_id").is_in(list(by_id)), ~pl.col("customer_id").is_in(list(excluded))
    )
    made = asked.select("decision_id").unique().collect().to_series().sort()
    if len(made) < LEAST:
        return None
    some = made.sample(min(MOST, len(made)), seed=3)
    drawn = (
        asked.filter(pl.col("decision_id").is_in(some.implode()))
        .select("decision_id", "customer_id", "offer_id", "channel", as_of="decided_at")
        .collect()
        .sort("decision_id", "offer_id", "channel")
        .sample(fraction=1.0, shuffle=True, seed=5)
        .unique("decision_id", keep="first", maintain_order=True)
    )
    events = log.scan(customer_ids=drawn["customer_id"].unique().to_list()).collect()
    rows = customer_rows(events, drawn.select("customer_id", "as_of").unique(maintain_order=True))
    said = []
    for customer, offer, channel, at in drawn.select("customer_id", "offer_id", "channel", "as_of").iter_rows():
        row, then = rows.get((customer, at)), offer_at(by_id[offer], versions, at)
        if row is not None:
            said.append(float(model.score(row, [then], [channel], at)[0, 0]))
    return np.array(said) if len(said) >= LEAST else None
