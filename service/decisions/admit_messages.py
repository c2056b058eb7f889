"""The last question before a message goes out: does every rule still let it, and is there a place in the ledger?

A decision reserves its place when it is made. Its message may go out days later, or a second time, when rules would
say something else; so the same rules are asked again of the one candidate, in the transaction that reserves its place
anew. A message that is refused has given its place back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from service.decisions.case import Case, microseconds
from service.decisions.draft import Draft
from service.decisions.eligibility import judge
from service.decisions.gather import Sources, gather
from service.decisions.ledger_lines_store import delivery_id, lines_of, release_all, settle
from service.decisions.ledger_store import FOREVER, lock, reserve
from service.decisions.ledger_view import LedgerView
from service.decisions.line import Line
from service.decisions.rank_actions import Contended
from service.decisions.schemas import DecisionIn
from service.decisions.verdicts import Failure, first_of
from service.decisions.write_decisions import with_lines
from service.errors import Problem
from service.offers.offer import past_of
from service.storage.database import Connection

_FRESH_US = 5_000_000
"""A reservation of so long ago at most stands as it is: every rule was asked just now."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message about to go out; `key` names it for ever. Without `offer_id` it is about no offer (a call).

    `decision_id` and `rank` name the action that it carries out, `placement` and `context` what was asked for then.
    """

    key: str
    customer_id: str
    channel: str
    placement: str
    decision_id: str | None = None
    rank: int = 1
    offer_id: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict)

    @property
    def line(self) -> tuple[str, int]:
        """Its own line in the ledger, beside the decision's: of a message that the decision did not reserve."""
        return delivery_id(self.key), 1


class Admission:
    """Admits messages. One for each process; safe for threads."""

    def __init__(self, sources: Sources, reservation_hours: float) -> None:
        self._sources = sources
        self._keep = timedelta(hours=reservation_hours)

    def admit(self, messages: Sequence[Outgoing], now: datetime) -> dict[str, Failure]:
        """Reserves a place for each message that may go out now; the rule that stops each of the others, by key."""
        with self._sources.database.read() as connection:
            known = lines_of(connection, _names(messages))
        asked = [one for one in messages if not _just_decided(known.get(_decided(one)), microseconds(now))]
        refused: dict[int, Problem] = {}
        drafts = gather(self._sources, [_request(one) for one in asked], now, None, refused=refused) if asked else []
        stopped = {asked[place].key: Failure("offer", problem.detail) for place, problem in refused.items()}
        right = [one for place, one in enumerate(asked) if place not in refused]
        if asked:
            with self._sources.database.write() as connection:
                if drafts:
                    stopped |= self._reserve(connection, list(zip(right, drafts, strict=True)), now)
                release_all(connection, [name for one in asked if one.key in stopped for name in _places(one)])
        return stopped

    def _reserve(
        self, connection: Connection, pairs: Sequence[tuple[Outgoing, Draft]], now: datetime
    ) -> dict[str, Failure]:
        """Counts behind the locks, message by message, each seeing what the one before it took."""
        names = sorted({draft.customer.customer_id for _, draft in pairs})
        cases = [draft.case for _, draft in pairs]
        lock(connection, names, {offer.offer_id for case in cases for offer in case.offers if offer.shared_limits})
        if self._sources.owners is not None and self._sources.owners(connection, names):
            raise Contended("a customer was joined to another id meanwhile; try again")
        known = lines_of(connection, _names([one for one, _ in pairs]))
        release_all(connection, [place for one, _ in pairs for place in _places(one)])
        wanted = [(draft.customer.customer_id, draft.request) for _, draft in pairs]
        past = past_of(offer for case in cases for offer in case.offers)
        view = LedgerView(connection, wanted, past, self._sources.rules, now)
        held = microseconds(now)
        taken: list[Line] = []
        stopped: dict[str, Failure] = {}
        # those whose place was still theirs come first: nobody may take it from them here
        for one, draft in sorted(pairs, key=lambda pair: not _holds(known.get(_decided(pair[0])), held)):
            customer_id = draft.customer.customer_id
            usage = with_lines(view.usage(customer_id, draft.case.offers, now, False), draft.case, customer_id, taken)
            failure = _stopped_by(replace(draft.case, usage=usage), one)
            if failure is not None:
                stopped[one.key] = failure
                continue
            before = known.get(_decided(one))
            repeated = before is not None and not _unused(before)
            place = one.line if one.decision_id is None or repeated else (one.decision_id, one.rank)
            taken.append(self._line(place, one, draft, now))
        reserve(connection, taken)
        return stopped

    def _line(self, place: tuple[str, int], one: Outgoing, draft: Draft, now: datetime) -> Line:
        offer = next(iter(draft.case.offers), None)
        return Line(
            *place,
            draft.customer.customer_id,
            one.offer_id or "",
            one.channel,
            True,
            offer is not None,
            0.0 if offer is None else offer.cost,
            microseconds(now),
            microseconds(now + self._keep),
            one.placement,
            None if offer is None else offer.exclusion_group,
            microseconds(now),
        )


def settled(connection: Connection, used: Sequence[Outgoing], unused: Sequence[Outgoing]) -> None:
    """Messages that went out keep their places for good; the places of the others are free again."""
    settle(connection, [place for one in used for place in _places(one)])
    release_all(connection, [place for one in unused for place in _places(one)])


def _request(one: Outgoing) -> DecisionIn:
    channels: list[Any] = [one.channel]
    return DecisionIn.model_construct(
        customer_id=one.customer_id,
        placement=one.placement,
        channels=channels,
        offers=[] if one.offer_id is None else [one.offer_id],
        context=dict(one.context),
        top_k=1,
        at=None,
        dry_run=True,
        explain=False,
    )


def _stopped_by(case: Case, one: Outgoing) -> Failure | None:
    verdicts = judge(case)
    if one.offer_id is None:
        failures = verdicts.channels[one.channel]
        return first_of(failures) if failures else None
    offer = case.offers[0]
    if one.channel not in offer.channels:
        return Failure("offer_channel", f"the offer goes by {', '.join(offer.channels)} only")
    for rule, places in zip(case.rules.steering, case.steered, strict=False):
        if rule.do == "exclude" and places:
            return Failure("business_rule", f"the rule {rule.name} excludes it")
    return next(iter(verdicts.of(one.offer_id, one.channel)), None)


def _decided(one: Outgoing) -> tuple[str, int]:
    return (one.decision_id, one.rank) if one.decision_id is not None else one.line


def _places(one: Outgoing) -> list[tuple[str, int]]:
    """Where its reservation may stand: its own line, or the decision's."""
    return list(dict.fromkeys([one.line, _decided(one)]))


def _names(messages: Sequence[Outgoing]) -> list[str]:
    return sorted({name for one in messages for name, _ in _places(one)})


def _unused(line: Any) -> bool:
    return line.expires is not None and line.expires < FOREVER


def _holds(line: Any | None, now: int) -> bool:
    return line is not None and _unused(line) and line.expires > now


def _just_decided(line: Any | None, now: int) -> bool:
    """Whether the line was reserved at this moment, for whenever it is planned."""
    if line is None or line.reserved_at is None or not _holds(line, now) or not line.message:
        return False
    return 0 <= now - int(line.reserved_at) <= _FRESH_US
