"""Writes decisions and reserves what they return, in one transaction that counts again where something changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from service.clock import monotonic
from service.decisions.assortment import assortment
from service.decisions.case import Case, Shared, Usage, microseconds
from service.decisions.decision_store import add_decisions
from service.decisions.draft import Draft
from service.decisions.eligibility import candidates, judge
from service.decisions.gather import Sources
from service.decisions.ledger_store import lock, reserve
from service.decisions.ledger_view import LedgerView
from service.decisions.line import Line
from service.decisions.parts_store import add_parts
from service.decisions.record import Packed, pack
from service.offers.offer import past_of
from service.storage.database import Connection
from service.telemetry import DECISIONS, DEGRADED

PARTS_S = 60.0
"""How long what records share counts as written."""


class _TakenBack(Exception):
    """Ends a rehearsal's transaction."""


class DecisionWriter:
    """One for each `Decider`; safe for threads."""

    def __init__(self, sources: Sources, durable: bool, keep: timedelta) -> None:
        """`durable`: whether a commit waits for the disk; `keep`: how long behind its time an action stays reserved."""
        self._sources = sources
        self._durable = durable
        self._keep = keep
        self._parts: dict[str, float] = {}

    def write(self, drafts: Sequence[Draft], now: datetime, before: int | None = None, exact: bool = False) -> set[str]:
        """Records and reserves in one transaction; returns the decisions whose reservations no longer fit.

        `exact`: and those behind one that closed a candidate to them, whatever they drew: by the last place of a limit
        that customers share, or as the same customer's. Were only those drawn again who drew what is gone, the others
        would be too many for the propensities on their record.
        Nothing is counted again where the database is as it was when it was read (its mark `before` that) and no two
        of these decisions count the same.
        """
        lasting = [draft for draft in drafts if not draft.request.dry_run]
        if not lasting:
            return set()
        lines = {draft.decision_id: list(self.lines(draft)) for draft in lasting}
        packed = {draft.decision_id: pack(draft) for draft in lasting}
        reserving = [draft for draft in lasting if lines[draft.decision_id]]
        database = self._sources.database
        with database.write(self._durable) as connection:
            unchanged = before is not None and database.mark() == before and _apart(reserving)
            refused = set() if unchanged else self._admit(connection, lasting, lines, now, exact)
            admitted = [draft for draft in lasting if draft.decision_id not in refused]
            parts = self._store(connection, admitted, packed, lines)
        self._parts.update(dict.fromkeys(parts, monotonic()))
        count(admitted)
        return refused

    def rehearse(self, drafts: Sequence[Draft]) -> None:
        """Writes decisions and takes them back, so that the first caller does not wait for what is made once."""
        lines = {draft.decision_id: list(self.lines(draft)) for draft in drafts}
        packed = {draft.decision_id: pack(draft) for draft in drafts}
        with suppress(_TakenBack), self._sources.database.write(self._durable) as connection:
            self._store(connection, drafts, packed, lines)
            raise _TakenBack

    def _store(
        self,
        connection: Connection,
        drafts: Sequence[Draft],
        packed: dict[str, Packed],
        lines: dict[str, list[Line]],
    ) -> dict[str, bytes]:
        """Records and reservations; returns the parts that had to be written with them."""
        parts = self._missing_parts([packed[draft.decision_id] for draft in drafts])
        add_parts(connection, parts)
        add_decisions(connection, [packed[draft.decision_id].row for draft in drafts])
        reserve(connection, [line for draft in drafts for line in lines[draft.decision_id]])
        return parts

    def _missing_parts(self, packed: Sequence[Packed]) -> dict[str, bytes]:
        """What records share and this process has not written lately (the database may have been restored)."""
        long_ago = monotonic() - PARTS_S
        return {
            name: body
            for one in packed
            for name, body in one.parts.items()
            if self._parts.get(name, long_ago) <= long_ago
        }

    def lines(self, draft: Draft) -> Iterator[Line]:
        """What a decision reserves, at the times for which its actions are planned: there limits count it."""
        offers, place = draft.case.offers, assortment(draft.case.offers).place
        seen: set[str] = set()
        times: dict[datetime, tuple[int, int]] = {}
        for action in draft.actions:
            offer, when = action["offer_id"], action["send_at"]
            new = offer not in seen
            seen.add(offer)
            if when not in times:
                planned = max(when, draft.case.at)
                times[when] = microseconds(planned), microseconds(planned + self._keep)
            yield Line(
                draft.decision_id,
                action["rank"],
                draft.customer.customer_id,
                offer,
                action["channel"],
                action["rank"] == 1,
                new,
                offers[place[offer]].cost if new else 0.0,
                *times[when],
                draft.case.placement,
                offers[place[offer]].exclusion_group,
                draft.case.now_us,
            )

    def _admit(
        self,
        connection: Connection,
        drafts: Sequence[Draft],
        lines: dict[str, list[Line]],
        now: datetime,
        exact: bool,
    ) -> set[str]:
        """Counts again behind the locks, decision by decision, each seeing what the one before it took.

        Those that reserve nothing are refused, too, where their customer is another one by now, or erased: nobody moves
        or erases a record that comes afterwards. `exact`: see `write`.
        """
        reserving = [draft for draft in drafts if lines[draft.decision_id]]
        returned = {draft.decision_id: _returned(draft.case, lines[draft.decision_id]) for draft in reserving}
        shared = {offer.offer_id for case in returned.values() for offer in case.offers if offer.shared_limits}
        names = sorted({draft.customer.customer_id for draft in drafts})
        lock(connection, names, shared)
        moved = self._sources.owners(connection, names) if self._sources.owners is not None else {}
        known = [draft.customer.customer_id for draft in drafts if draft.customer.known]
        there = self._sources.there(connection, known) if self._sources.there is not None and known else known
        gone = set(known).difference(there).union(moved)
        refused = {draft.decision_id for draft in drafts if draft.customer.customer_id in gone}
        reserving = [draft for draft in reserving if draft.decision_id not in refused]
        if not reserving:
            return refused
        wanted = [(draft.customer.customer_id, draft.request) for draft in reserving]
        past = past_of(offer for case in returned.values() for offer in case.offers)
        past = past.and_of(self._sources.catalogue.last.past)  # so that what nobody changed is found equal
        view = LedgerView(connection, wanted, past, self._sources.rules, now)
        taken: list[Line] = []
        full: set[str] = set()
        own: dict[str, list[Line]] = {}
        for draft in drafts:
            case = returned.get(draft.decision_id)
            if exact and _closed(draft, full, own.get(draft.customer.customer_id, ())):
                refused.add(draft.decision_id)
            if case is None or draft.decision_id in refused:
                continue
            usage = view.usage(draft.customer.customer_id, case.offers, case.at, draft.request.at is not None)
            usage = with_lines(usage, case, draft.customer.customer_id, taken)
            if _fits(draft, replace(case, usage=usage)):
                taken += lines[draft.decision_id]
                own.setdefault(draft.customer.customer_id, []).extend(lines[draft.decision_id])
                full |= _filled(replace(case, usage=usage), lines[draft.decision_id]) if exact else set()
            else:
                refused.add(draft.decision_id)
        return refused


def _apart(drafts: Sequence[Draft]) -> bool:
    """Whether no two decisions count the same: other customers each, and no limit that customers share."""
    if any(assortment(draft.case.offers).shared for draft in drafts):
        return False
    return len({draft.customer.customer_id for draft in drafts}) == len(drafts)


def count(drafts: Sequence[Draft]) -> None:
    """What was decided, in `/metrics`: by arm, and by each part that a fallback stood in for."""
    for arm, many in Counter(draft.case.arm for draft in drafts).items():
        DECISIONS.labels(arm).inc(many)
    for part, many in Counter(part for draft in drafts for part in draft.degraded).items():
        DEGRADED.labels(part).inc(many)


def _returned(case: Case, lines: Sequence[Line]) -> Case:
    """The case cut down to the actions returned: what must still be allowed."""
    offers = {line.offer_id for line in lines}
    return replace(
        case,
        offers=tuple(offer for offer in case.offers if offer.offer_id in offers),
        channels=tuple(dict.fromkeys(line.channel for line in lines)),
    )


def _fits(draft: Draft, case: Case) -> bool:
    before = draft.case.usage
    if case.usage.entries == before.entries and all(
        before.shared.get(key) == value for key, value in case.usage.shared.items()
    ):
        return True
    verdicts = judge(case)
    return not any(verdicts.of(action["offer_id"], action["channel"]) for action in draft.actions)


def _closed(draft: Draft, full: set[str], own: Sequence[Line]) -> bool:
    """Whether a candidate that a draft was drawn from is none any more: its offer is `full`, or what the customer's
    `own` other decisions have just taken stops it.
    """
    case, usage = draft.case, draft.case.usage
    if full and any(case.offers[position].offer_id in full for position, _ in draft.eligible):
        return True
    if not own:
        return False
    entries = (*usage.entries, *(line.entry() for line in own))
    later = replace(case, usage=Usage(entries, usage.shared, usage.moments))
    return not set(draft.eligible) <= set(candidates(later, judge(later)))


def _filled(case: Case, lines: Sequence[Line]) -> set[str]:
    """The offers of which others may have no more once these lines are taken."""
    if not case.usage.shared:
        return set()
    after = Usage(case.usage.entries, with_lines(case.usage, case, "", lines).shared, case.usage.moments)
    return {name for name, failures in judge(replace(case, usage=after)).offers.items() if failures}


def with_lines(usage: Usage, case: Case, customer_id: str, lines: Sequence[Line]) -> Usage:
    """Usage as it stands after lines that this transaction is about to write."""
    if not lines:
        return usage
    own = tuple(line.entry() for line in lines if line.customer_id == customer_id)
    shared = dict(usage.shared)
    for offer_id, index in shared:
        used = [line for line in lines if line.offer_id == offer_id and line.impression]
        before = shared[offer_id, index]
        more = sum(line.cost for line in used) if index == -1 else len(used)
        slices = (before.slices[0] + more, *before.slices[1:]) if before.slices else ()
        shared[offer_id, index] = Shared(before.used + more, before.oldest, slices, before.free)
    return Usage((*usage.entries, *own), shared, usage.moments)
