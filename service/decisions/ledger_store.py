"""The ledger of messages and impressions: reserved with the decision, used on delivery, else free again by time.

A reservation is made in the transaction that has just counted, behind a lock on the customer and on the offers that
customers share (SQLite has one writer; Postgres takes advisory locks in one order). So a cap of N never gives N+1.

Only lines of `counted_offers` are found by their offer (`shared`): the lines of a batch name many offers, and each
would be written to another page of that index. See `count_by_offer`.

Of a decision's lines only that of its message is a row, as a rule; those that only show are folded into it (`folded`).
What becomes of lines then: see `ledger_lines_store`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

import xxhash
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Float,
    Index,
    Integer,
    String,
    Table,
    TextClause,
    and_,
    bindparam,
    false,
    func,
    or_,
    select,
    text,
    update,
)

from service.decisions.case import PLANNED_US, Entry, Shared, microseconds
from service.decisions.folded import entries_in, rows_of, unfolded
from service.decisions.line import Line
from service.decisions.pacing import FINE, SLICES, ahead, by_slice, exceeds, free_after
from service.decisions.quiet import zone_of
from service.decisions.windows import Window, window
from service.offers.offer import Offer, Past
from service.storage.database import Connection, any_of, driver_of, metadata, texts, upsert
from service.storage.prepared import Prepared, insert_rows

ledger = Table(
    "ledger",
    metadata,
    Column("decision_id", String, primary_key=True),
    Column("rank", Integer, primary_key=True),
    Column("customer_id", String, nullable=False),
    Column("offer_id", String, nullable=False),
    Column("channel", String, nullable=False),
    Column("message", Boolean, nullable=False),
    Column("impression", Boolean, nullable=False),
    Column("cost", Float, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("expires", BigInteger),
    Column("placement", String),
    Column("exclusion_group", String),
    Column("reserved_at", BigInteger),
    Column("shared", Boolean, nullable=False, server_default=false()),
    Column("folded", String),
    Index("ix_ledger_customer_at", "customer_id", "at"),
    Index("ix_ledger_shared", "offer_id", "at", sqlite_where=text("shared"), postgresql_where=text("shared")),
)
counted_offers = Table("counted_offers", metadata, Column("offer_id", String, primary_key=True))
"""Offers that have, or once had, limits that customers share."""
IDS_AT_ONCE = 500


def _been_by(until: Any) -> ColumnElement[bool]:
    """Lines that there were at a time: those reserved by then for later, too."""
    return or_(ledger.c.at <= until, and_(ledger.c.expires.is_not(None), ledger.c.reserved_at <= until))


_ENTRIES = select(
    ledger.c.customer_id,
    ledger.c.decision_id,
    ledger.c.reserved_at,
    ledger.c.at,
    ledger.c.expires,
    ledger.c.channel,
    ledger.c.offer_id,
    ledger.c.message,
    ledger.c.impression,
    ledger.c.placement,
    ledger.c.exclusion_group,
    ledger.c.rank,
    ledger.c.folded,
).where(ledger.c.at > bindparam("since"))
_IN_ORDER = itemgetter(2, 0, -1)
"""Of lines without their customer: time, decision, rank. They come nearly so; SQLite's sorting costs as much again."""
_OF_ONE = Prepared(_ENTRIES.where(ledger.c.customer_id == bindparam("customer")))
_OF_MANY = Prepared(_ENTRIES.where(any_of(ledger.c.customer_id, texts("customers"))))
_SHARED = Prepared(
    select(func.count(), func.coalesce(func.sum(ledger.c.cost), 0.0), func.min(ledger.c.at)).where(
        text("shared"),
        ledger.c.offer_id == bindparam("offer"),
        ledger.c.at > bindparam("since"),
        ledger.c.at <= bindparam("planned"),
        _been_by(bindparam("until")),
        ledger.c.impression,
        or_(ledger.c.expires.is_(None), ledger.c.expires > bindparam("now")),
    )
)
_HELD = (
    "FROM ledger WHERE shared AND offer_id = :offer AND at > :since AND impression "
    "AND at <= :planned AND (at <= :until OR expires IS NOT NULL AND reserved_at <= :until) "
    "AND (expires IS NULL OR expires > :now)"
)
_BY_AGE = text(
    "SELECT (CAST(:now AS bigint) - at + CAST(:ahead AS bigint)) / CAST(:step AS bigint) AS age, sum(cost) "
    f"{_HELD} AND cost > 0 "
    "GROUP BY age ORDER BY age"
)
_MOST_PERIODS = 5
"""Of a calendar in which what counts may lie: this one, and those of the days for which is planned."""
_PERIODS = " ".join(f"WHEN at < CAST(:end_{n} AS bigint) THEN CAST(:end_{n} AS bigint)" for n in range(_MOST_PERIODS))
_BY_WINDOW = f"CASE WHEN CAST(:length AS bigint) > 0 THEN at + CAST(:length AS bigint) {_PERIODS} END"
_ENDS = (
    f"SELECT decision_id, rank, cost, CASE WHEN expires < {_BY_WINDOW} THEN expires ELSE {_BY_WINDOW} END AS free "
    f"{_HELD}"
)
"""When each line counts no more: with its window, or where its reservation ends before that."""
_NTH_END = text(f"SELECT free FROM ({_ENDS}) AS ends ORDER BY free LIMIT 1 OFFSET :more")
_END_BY_COST = text(
    f"SELECT min(free) FROM (SELECT free, sum(cost) OVER (ORDER BY free, decision_id, rank) AS gone FROM ({_ENDS}) "
    "AS ends) AS summed WHERE gone >= :excess"
)
LINE_HERE = (ledger.c.decision_id == bindparam("b_decision")) & (ledger.c.rank == bindparam("b_rank"))
_COUNTED = Prepared(select(counted_offers.c.offer_id).where(any_of(counted_offers.c.offer_id, texts("offers"))))
_FOLDS_ONE_OF = {
    "sqlite": "EXISTS (SELECT 1 FROM json_each(folded) AS one "
    "WHERE json_extract(one.value, '$[3]') IN (SELECT value FROM json_each(:offers)))",
    "postgresql": "EXISTS (SELECT 1 FROM jsonb_array_elements(CAST(folded AS jsonb)) AS one "
    "WHERE one ->> 3 = ANY(:offers))",
}
"""Rows with a line folded into them that is of one of these offers: the fourth of what `folded.rows_of` writes."""
_LEDGER = 7_067_267_824  # any number of our own, for Postgres' advisory locks
_LOCK = (
    f"SELECT pg_advisory_xact_lock_shared({_LEDGER})::text "
    "UNION ALL SELECT pg_advisory_xact_lock(key)::text FROM unnest(%s::bigint[]) AS key"
)
FOREVER = 2**62
"""`expires` of a line whose message went out, while the event of its delivery is on its way."""


def lock(connection: Connection, customers: Iterable[str], offers: Iterable[str]) -> None:
    """Makes others who count for the same customers and shared offers wait until this transaction ends.

    Whoever reserves calls it first, because of `count_by_offer`.
    """
    if connection.dialect.name == "sqlite":
        return
    names = {f"customer {name}" for name in customers} | {f"offer {name}" for name in offers}
    keys = sorted(xxhash.xxh3_64_intdigest(name.encode()) - 2**63 for name in names)
    driver_of(connection).execute(_LOCK, [keys])


def entries_by(lines: Iterable[Sequence[Any]], until: int = FOREVER) -> tuple[Entry, ...]:
    """Of lines as `read_lines` tells them, those that there were at `until`."""
    if until == FOREVER:
        return tuple([Entry._make(line[2:-1]) for line in lines])
    entries = ((line[1], Entry._make(line[2:-1])) for line in lines)
    return tuple(
        e for made, e in entries if e.at <= until or (e.expires is not None and made is not None and made <= until)
    )


def read_lines(
    connection: Connection, customers: Sequence[str], since: int, past: Past | None = None
) -> dict[str, list[Sequence[Any]]]:
    """Each customer's lines after `since`, oldest first: the decision, when reserved, what an `Entry` has, the rank.

    With `past`, only messages and what else counts for it: customers who are shown something all day have many others.
    """
    reach = since - PLANNED_US  # a line may be folded into one that is planned for as much earlier
    if len(customers) == 1:
        rows = _OF_ONE.rows(connection, customer=customers[0], since=reach)
    else:
        rows = _OF_MANY.rows(connection, customers=customers, since=reach)
    found: dict[str, list[Sequence[Any]]] = {}
    unfolds = past is None or past.counted or past.grouped
    for row in rows:
        lines = found.setdefault(row[0], [])
        if row[3] > since and (past is None or row[7] or past.counts(row[6], row[10])):
            lines.append(row[1:-1])
        if row[-1] is not None and unfolds:
            made = row[1:3]
            lines += [
                (*made, *entry)
                for entry in entries_in(row[-1])
                if entry[0] > since and (past is None or past.counts(entry[3], entry[7]))
            ]
    for lines in found.values():
        lines.sort(key=_IN_ORDER)
    return found


def read_shared(
    connection: Connection, offers: Iterable[Offer], now: datetime, default_zone: str, until: int = FOREVER
) -> dict[tuple[str, int], Shared]:
    """What all customers have used of each shared limit: by (offer, index of its cap; -1 is the budget).

    Periods of a calendar are those of the `default_zone`. A limit that is full tells when a place comes `free` (None:
    with the end of no line).
    """
    found: dict[tuple[str, int], Shared] = {}
    zone, at = zone_of(None, default_zone)[0], microseconds(now)
    for offer in offers:
        for index, cap in enumerate(offer.caps):
            if cap.per == "everyone":
                within = window(at, now, cap.per_days, cap.calendar, zone)
                held = _held(offer.offer_id, within, at, until)
                count, _, oldest = _used(connection, held)
                free: int | None = None
                if count >= cap.max:
                    more = {**held, **_ends(within), "more": count - cap.max}
                    free = connection.execute(_NTH_END, more).scalar()
                found[offer.offer_id, index] = Shared(float(count), oldest, (), free)
        if offer.budget is not None and offer.cost > 0:
            within = window(at, now, offer.budget.per_days, offer.budget.calendar, zone)
            held = _held(offer.offer_id, within, at, until)
            _, cost, oldest = _used(connection, held)
            free = None
            if exceeds(cost + offer.cost, offer.budget.amount):
                excess = cost + offer.cost - offer.budget.amount - 1e-9 * (1 + offer.budget.amount)
                free = connection.execute(_END_BY_COST, {**held, **_ends(within), "excess": excess}).scalar()
            slices: tuple[float, ...] = ()
            if offer.budget.even and within.length is not None:
                step = -(-within.length // (SLICES * FINE))
                ages = _by_age(connection, held, step)
                slices = by_slice(ages)
                if ahead(offer.budget.amount, offer.cost, 0.0, slices, 1.0) > 1e-9 * (1 + offer.budget.amount):
                    paced = at + step * free_after(offer.budget.amount, offer.cost, ages)
                    free = paced if free is None else max(paced, free)
            found[offer.offer_id, -1] = Shared(float(cost), oldest, slices, free)
    return found


def _held(offer: str, within: Window, now: int, until: int) -> dict[str, Any]:
    """Parameters of what is told of an offer's lines in a window."""
    planned = min(until + PLANNED_US, within.horizon - 1)
    return {"offer": offer, "since": within.since, "now": now, "until": until, "planned": planned}


def _ends(within: Window) -> dict[str, int]:
    """Parameters of when an offer's lines leave a window."""
    ends = within.ends() or (0,)
    ends = (*ends, *[ends[-1]] * (_MOST_PERIODS - len(ends)))
    return {"length": within.length or 0, **{f"end_{n}": end for n, end in enumerate(ends)}}


def _used(connection: Connection, held: Mapping[str, Any]) -> tuple[int, float, int | None]:
    ((count, cost, oldest),) = _SHARED.rows(connection, **held)
    return int(count), float(cost), None if oldest is None else int(oldest)


def _by_age(connection: Connection, held: Mapping[str, Any], step: int) -> dict[int, float]:
    """Money spent, by its age in steps of so many microseconds; below 0 what is planned for later."""
    ahead_steps = (held["planned"] - held["now"]) // step + 1
    told = {**held, "step": step, "ahead": ahead_steps * step}  # databases round what is below 0 upwards
    return {int(age) - ahead_steps: float(cost) for age, cost in connection.execute(_BY_AGE, told)}


def reserve(connection: Connection, lines: Sequence[Line]) -> None:
    """Writes reservations; behind `lock`."""
    if lines:
        counted = counted_of(connection, {line.offer_id for line in lines})
        insert_rows(connection, ledger, rows_of(lines, counted))


def counted_of(connection: Connection, offers: Iterable[str]) -> set[str]:
    """Those of these offers whose lines are found by their offer."""
    return {offer for (offer,) in _COUNTED.rows(connection, offers=list(offers))}


def count_by_offer(connection: Connection, offers: Sequence[str], used_before: Sequence[str]) -> None:
    """From now on the lines of these offers are found by their offer. `used_before`: those that may have lines.

    Waits for all who are reserving, who may not know of it yet; looks through the ledger where any was used before.
    Of many who come with the same offers at once, the first one does it.
    """
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LEDGER})")
    done = counted_of(connection, offers)
    new = sorted(set(offers) - done)
    upsert(connection, counted_offers, [{"offer_id": offer} for offer in new], update=())
    used = sorted(set(used_before) - done)
    if used:
        unfold(connection, text(_FOLDS_ONE_OF[connection.dialect.name]).bindparams(texts("offers")), {"offers": used})
        lines = any_of(ledger.c.offer_id, texts("offers")) & ledger.c.shared.is_(False)
        connection.execute(update(ledger).where(lines).values(shared=True), {"offers": used})


def unfold_all(connection: Connection, decision_ids: Iterable[str]) -> None:
    """Makes every line of these decisions a row."""
    names = sorted(set(decision_ids))
    for start in range(0, len(names), IDS_AT_ONCE):
        unfold(connection, ledger.c.decision_id.in_(names[start : start + IDS_AT_ONCE]))


def unfold(
    connection: Connection, where: ColumnElement[bool] | TextClause, told: Mapping[str, Any] | None = None
) -> None:
    """Makes every line that is folded into these rows a row of its own."""
    query = select(ledger).where(where, ledger.c.folded.is_not(None)).with_for_update()
    found = connection.execute(query, told).all()
    if found:
        heads = {(row.decision_id, row.rank) for row in found}
        rows = [(*line, False, None) for line in unfolded(found) if (line.decision_id, line.rank) not in heads]
        connection.execute(
            update(ledger).where(LINE_HERE).values(folded=None),
            [{"b_decision": name, "b_rank": rank} for name, rank in sorted(heads)],
        )
        insert_rows(connection, ledger, rows)
