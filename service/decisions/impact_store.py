"""Which decisions are of customers who do not take part yet in the test of their placement's arms. SQL only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    LargeBinary,
    TextClause,
    and_,
    case,
    exists,
    func,
    literal,
    select,
    text,
    type_coerce,
    union,
)

from service.decisions.case import microseconds
from service.decisions.decision_store import decisions
from service.decisions.ledger_store import ledger
from service.experiments.experiment_store import Exposure, exposures
from service.storage.database import Connection

_MADE = [decisions.c[name] for name in ("decision_id", "customer_id", "decided_at", "placement", "arm")]
_UNTOLD = decisions.alias("untold")
_CANDIDATES = type_coerce(decisions.c.candidates, LargeBinary).label("candidates")


def end_of_portion(connection: Connection, after: datetime, until: datetime, most: int) -> datetime:
    """When the decision was made that is `most` behind a time; `until` where there are fewer. Of the index alone."""
    made = (decisions.c.decided_at > after) & (decisions.c.decided_at <= until)
    query = select(decisions.c.decided_at).where(made).order_by(decisions.c.decided_at).offset(most).limit(1)
    return connection.execute(query).scalar_one_or_none() or until


def not_enrolled(
    connection: Connection, after: datetime, until: datetime, tests: Mapping[str, str], but: Collection[str]
) -> list[Any]:
    """Decisions behind `after` and not behind `until` of customers who are in no exposure of the placement's test.

    `tests`: the test's id by placement; of placements without one all come, but for those of `but`. The first first.
    """
    made = (decisions.c.decided_at > after) & (decisions.c.decided_at <= until)
    query = select(*_MADE).where(made, decisions.c.placement.not_in(sorted(but)), ~_enrolled(tests))
    return list(connection.execute(query.order_by(decisions.c.decided_at, decisions.c.decision_id)))


def not_enrolled_of(
    connection: Connection, customer_ids: Sequence[str], since: datetime, tests: Mapping[str, str], but: Collection[str]
) -> list[Any]:
    """The same of these customers, made at `since` or later."""
    reserved = ledger.c.customer_id.in_(customer_ids), ledger.c.reserved_at >= microseconds(since)
    none_reserved = *_none_reserved(customer_ids), _UNTOLD.c.decided_at >= since
    theirs = union(select(ledger.c.decision_id).where(*reserved), select(_UNTOLD.c.decision_id).where(*none_reserved))
    made = decisions.c.customer_id.in_(customer_ids), decisions.c.decided_at >= since
    wanted = decisions.c.placement.not_in(sorted(but)), ~_enrolled(tests)
    query = select(*_MADE).where(decisions.c.decision_id.in_(theirs), *made, *wanted)
    return list(connection.execute(query.order_by(decisions.c.decided_at, decisions.c.decision_id)))


def first_decided(connection: Connection, customer_ids: Sequence[str]) -> dict[tuple[str, str], datetime]:
    """When the oldest known decision of these customers was made, by placement and customer."""
    reserved = select(ledger.c.decision_id).where(ledger.c.customer_id.in_(customer_ids))
    theirs = union(reserved, select(_UNTOLD.c.decision_id).where(*_none_reserved(customer_ids)))
    mine = decisions.c.decision_id.in_(theirs), decisions.c.customer_id.in_(customer_ids)
    key = decisions.c.placement, decisions.c.customer_id
    query = select(*key, func.min(decisions.c.decided_at)).where(*mine).group_by(*key)
    return {(placement, customer): at for placement, customer, at in connection.execute(query)}


def _none_reserved(customer_ids: Sequence[str]) -> tuple[ColumnElement[bool], TextClause]:
    return _UNTOLD.c.customer_id.in_(customer_ids), text("NOT untold.in_ledger")


def in_another_arm(
    connection: Connection, after: datetime, until: datetime, tests: Mapping[str, str]
) -> list[tuple[Exposure, datetime]]:
    """Who was decided for in another arm than they count for, and when: decisions behind `after`, not behind `until`.

    Of who is known to have been (`crossed`) nothing is told.
    """
    made = (decisions.c.decided_at > after) & (decisions.c.decided_at <= until)
    here = exposures.c.experiment_id == _test_of(tests), exposures.c.customer_id == decisions.c.customer_id
    other = exposures.c.variant != decisions.c.arm, exposures.c.crossed.is_(False)
    query = select(exposures, decisions.c.decided_at).select_from(decisions).join(exposures, and_(*here))
    found = connection.execute(query.where(made, *other).order_by(decisions.c.decided_at)).mappings()
    names = [column.name for column in exposures.c]
    return [(Exposure(**{name: row[name] for name in names}), row["decided_at"]) for row in found]


def _test_of(tests: Mapping[str, str]) -> ColumnElement[str | None]:
    return case(dict(tests), value=decisions.c.placement) if tests else literal(None)


def _enrolled(tests: Mapping[str, str]) -> ColumnElement[bool]:
    here = exposures.c.experiment_id == _test_of(tests), exposures.c.customer_id == decisions.c.customer_id
    return exists(select(literal(1)).where(*here))


def candidates_stored(connection: Connection, decision_ids: Sequence[str]) -> dict[str, bytes]:
    """The candidates of these decisions, as stored; empty where they are kept no longer."""
    query = select(decisions.c.decision_id, _CANDIDATES).where(decisions.c.decision_id.in_(decision_ids))
    return {row.decision_id: bytes(row.candidates) for row in connection.execute(query)}
