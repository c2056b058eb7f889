"""First and last time of what happened to a customer, by kind and offer: for cool-downs and prerequisites. SQL only.

Kinds: `delivered` (or what proves it), `clicked`, `converted` of an offer (people only, no machines); `purchase` and
`complaint` of any (the offer is "").
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import BigInteger, Column, String, Table, delete, select, text, update

from service.storage.database import Connection, any_of, metadata, texts
from service.storage.prepared import Prepared

moments = Table(
    "customer_moments",
    metadata,
    Column("customer_id", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("offer_id", String, primary_key=True),
    Column("first_at", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
)
Moment = tuple[str, str, str, int]
"""Customer, kind, offer ("" for any), microseconds since 1970."""
_READ = Prepared(select(moments).where(any_of(moments.c.customer_id, texts("customers"))))
_WIDEN = text(
    "INSERT INTO customer_moments (customer_id, kind, offer_id, first_at, last_at) "
    "VALUES (:customer_id, :kind, :offer_id, :first_at, :last_at) "
    "ON CONFLICT (customer_id, kind, offer_id) DO UPDATE SET "
    "first_at = CASE WHEN excluded.first_at < customer_moments.first_at "
    "THEN excluded.first_at ELSE customer_moments.first_at END, "
    "last_at = CASE WHEN excluded.last_at > customer_moments.last_at "
    "THEN excluded.last_at ELSE customer_moments.last_at END"
)


def note_moments(connection: Connection, seen: Iterable[Moment]) -> None:
    """Widens what is known by these; noting one again changes nothing."""
    spans: dict[tuple[str, str, str], tuple[int, int]] = {}
    for customer, kind, offer, at in seen:
        first, last = spans.get((customer, kind, offer), (at, at))
        spans[customer, kind, offer] = (min(first, at), max(last, at))
    _widen(connection, spans)


def note_unknown(connection: Connection, proven: Iterable[Moment]) -> None:
    """Notes what must have happened by the time told, unless it is known to have happened by then."""
    earliest: dict[tuple[str, str, str], int] = {}
    for customer, kind, offer, at in proven:
        earliest[customer, kind, offer] = min(at, earliest.get((customer, kind, offer), at))
    known = read_moments(connection, sorted({customer for customer, _, _ in earliest})) if earliest else {}
    spans = {key: known.get(key[0], {}).get(key[1:]) for key in earliest}
    new = {key: at for key, at in earliest.items() if (span := spans[key]) is None or at < span[0]}
    _widen(connection, {key: (at, at) for key, at in new.items()})


def _widen(connection: Connection, spans: Mapping[tuple[str, str, str], tuple[int, int]]) -> None:
    rows = [
        {"customer_id": customer, "kind": kind, "offer_id": offer, "first_at": first, "last_at": last}
        for (customer, kind, offer), (first, last) in sorted(spans.items())
    ]
    if rows:
        connection.execute(_WIDEN, rows)


def read_moments(connection: Connection, customers: Sequence[str]) -> dict[str, dict[tuple[str, str], tuple[int, int]]]:
    """(kind, offer) -> first and last time, of each customer who has any."""
    found: dict[str, dict[tuple[str, str], tuple[int, int]]] = {}
    for customer, kind, offer, first, last in _READ.rows(connection, customers=customers):
        found.setdefault(customer, {})[kind, offer] = (first, last)
    return found


def take_back(connection: Connection, moment: Moment, others: Collection[int]) -> None:
    """What happened at this time is known not to have: the span ends at what else is known, of which `others` are."""
    customer, kind, offer, at = moment
    span = read_moments(connection, [customer]).get(customer, {}).get((kind, offer), ())
    left = {*others, *span} if at in others else {*others, *span} - {at}
    here = (moments.c.customer_id == customer) & (moments.c.kind == kind) & (moments.c.offer_id == offer)
    if left:
        connection.execute(update(moments).where(here).values(first_at=min(left), last_at=max(left)))
    else:
        connection.execute(delete(moments).where(here))


def move_moments(connection: Connection, from_id: str, to_id: str) -> None:
    """Joins what happened to two ids of one person."""
    theirs = read_moments(connection, [from_id]).get(from_id, {})
    _widen(connection, {(to_id, kind, offer): span for (kind, offer), span in theirs.items()})
    erase_moments(connection, from_id)


def erase_moments(connection: Connection, customer_id: str) -> int:
    """Forgets a customer's; returns how many."""
    return connection.execute(delete(moments).where(moments.c.customer_id == customer_id)).rowcount
