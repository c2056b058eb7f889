"""What decisions were served, read back from their records, and what a model says of it. Nothing is decided here."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from features.offers import OfferInfo
from features.rows import CustomerRow
from service.decisions.frozen_row import row_from_json
from service.decisions.offers_then import offers_then
from service.decisions.skew_store import ids_between
from service.decisions.whole import records_whole
from service.storage.database import Connection

_MOST = 20_000
_AT_ONCE = 100
Pair = tuple[OfferInfo, str]


@dataclass(frozen=True, slots=True)
class ServedVector:
    """What a decision knew of its customer. `drawn` is one of the pairs of offer and channel that it looked at, by
    chance; `first` is what it put first, with the probability that it promised; None where it sent nothing.
    """

    decision_id: str
    customer_id: str
    decided_at: datetime
    row: CustomerRow
    drawn: Pair | None
    first: Pair | None
    promised: float | None


@dataclass(frozen=True, slots=True)
class Sample:
    """Vectors, and the decisions among those looked at whose records are damaged."""

    vectors: list[ServedVector]
    damaged: list[str]


def sample(connection: Connection, first: datetime, last: datetime, most: int, seed: float) -> Sample:
    """At most `most` decisions of a span, drawn by chance, one a customer; those without features are left out.

    A customer's is the first of those listed: which one it is, and whether it is drawn, may not hang on what they did
    afterwards. Whoever came again has ordered more often, and of all their decisions the first would seldom be drawn.
    """
    listed = ids_between(connection, first, last, _MOST, seed)
    of_customer = {customer_id: decision_id for decision_id, customer_id, _ in listed}  # the oldest is written last
    drawn = list(of_customer.values())
    random.Random(seed).shuffle(drawn)
    return read_vectors(connection, drawn, listed, most)


def read_vectors(
    connection: Connection, decision_ids: Sequence[str], listed: Sequence[tuple[str, str, datetime]], most: int
) -> Sample:
    """The vectors of these decisions, at most `most`; `listed` has (decision, customer, time) of each."""
    about = {decision_id: (customer_id, at) for decision_id, customer_id, at in listed}
    found = Sample([], [])
    for start in range(0, len(decision_ids), _AT_ONCE):
        if len(found.vectors) >= most:
            break
        records, damaged = records_whole(connection, decision_ids[start : start + _AT_ONCE])
        found.damaged.extend(damaged)
        offers = _offers(connection, records)
        for decision_id, record in records.items():
            row = row_from_json(record["features"])
            if row is not None and record["request"].get("at") is None and len(found.vectors) < most:
                found.vectors.append(_vector(decision_id, *about[decision_id], row, record, offers))
    return found


def scores(model: Any, vectors: Sequence[ServedVector], pair: str = "drawn") -> list[float | None]:
    """What a served model says of each: None where it does not apply, or asks for features that were not served then.

    Propensities and uplift are of the customer; a ranker's is of the offer and channel that `pair` names (`drawn` or
    `first`); send time's the chance of a response at the best hour. Models of other kinds say nothing here.
    """
    rows = [vector.row for vector in vectors]
    if hasattr(model, "best_chances"):  # asked first: it has probabilities, too, by channel
        chances: list[float | None] = model.best_chances(rows)
        return chances
    if hasattr(model, "probabilities"):
        return _of_whole(model.columns, rows, model.probabilities)
    if hasattr(model, "uplifts") and model.serves:
        return _of_whole(model.columns, rows, lambda whole: model.uplifts(whole).tolist())
    if hasattr(model, "weigh"):
        return [_of_pair(model, vector, getattr(vector, pair)) for vector in vectors]
    return [None] * len(rows)


def _of_whole(
    columns: Sequence[str], rows: Sequence[CustomerRow], ask: Callable[[list[CustomerRow]], list[float | None]]
) -> list[float | None]:
    """Asks of the rows that have all of `columns`; what was decided before a feature was there lacks it."""
    wanted = frozenset(columns)
    whole = [place for place, row in enumerate(rows) if wanted <= row.values.keys()]
    found: list[float | None] = [None] * len(rows)
    for place, score in zip(whole, ask([rows[place] for place in whole]), strict=True):
        found[place] = score
    return found


def _of_pair(model: Any, vector: ServedVector, pair: Pair | None) -> float | None:
    if pair is None:
        return None
    offer, channel = pair
    return float(np.asarray(model.score(vector.row, [offer], [channel], vector.decided_at))[0, 0])


def _offers(connection: Connection, records: Mapping[str, Any]) -> dict[str, dict[str, OfferInfo]]:
    """The offers that each decision looked at, as they were then."""
    weighed = offers_then(connection, records)
    return {decision: {offer.offer_id: offer.info for offer in offers} for decision, offers in weighed.items()}


def _vector(
    decision_id: str,
    customer_id: str,
    at: datetime,
    row: CustomerRow,
    record: Mapping[str, Any],
    offers: Mapping[str, Mapping[str, OfferInfo]],
) -> ServedVector:
    mine = offers[decision_id]
    chance = random.Random(decision_id)
    name = chance.choice(sorted(mine)) if mine else None
    open_to = sorted(set(record["channels"]) & set(mine[name].channels)) if name is not None else []
    drawn = (mine[name], chance.choice(open_to)) if name is not None and open_to else None
    action = record["actions"][0] if record["actions"] else None
    first = None if action is None or action["offer_id"] not in mine else (mine[action["offer_id"]], action["channel"])
    promised = action["probability"] if action is not None and record["scored_by"] == "next-offer" else None
    return ServedVector(decision_id, customer_id, at, row, drawn, first, promised)
