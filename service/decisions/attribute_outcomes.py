"""Puts what happened down to the decision that led to it: by its id, else by customer, offer and window.

A delivery turns the reservation into use (so do an open, a click, an order that name their decision). What names a
decision and another offer than it has is the decision's, but no response to its own offers. Orders without
an id belong to the newest delivered offer that has one of their products, else their category, else is for anything.
A refund of an order is its decision's outcome, too, and in full takes it back (`take_back_orders`).
Machine opens and clicks are kept with their flag; nothing rewards them. A message of another sender counts for the
caps. A hard bounce suppresses the channel until a delivery, or a new address; one of an older address does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from features.currencies import CURRENCIES
from features.vocabulary import NAMES, REPEATED
from service.customers.customer_store import read_customers
from service.customers.identity_store import joined_by
from service.customers.keep_refunds import orders_among
from service.customers.refunds_store import refunds_of
from service.decisions.bounced import TRAIT, bounced_address, same_address
from service.decisions.case import DAY_US, microseconds
from service.decisions.channel_habits import ChannelHabits
from service.decisions.decision_store import count_response, move_decisions, read_heads
from service.decisions.ledger_lines_store import (
    FOREIGN,
    Delivered,
    add_foreign,
    decided_for,
    delivered_to,
    move_ledger,
    offered_to,
    release,
    use,
)
from service.decisions.ledger_store import FOREVER, lock
from service.decisions.lessons_store import Delivery, add_conversion, add_deliveries, deliveries_among
from service.decisions.line import Line
from service.decisions.maturity import PROMPT
from service.decisions.moments_store import Moment, move_moments, note_moments, note_unknown
from service.decisions.outcome_store import RESPONSES, add_outcome, delivered_since, responded
from service.decisions.people_store import with_history
from service.decisions.suppression_store import addresses_of, lift, move_suppressions, suppress
from service.decisions.take_back_orders import join_orders, move_order, price_order, refund_order
from service.offers.catalogue import CatalogueCache
from service.offers.offer import Offer, offer_from_document
from service.offers.offers_store import read_offers
from service.storage.database import Connection

KINDS = {
    "delivered": "delivered",
    "opened": "opened",
    "clicked": "clicked",
    "ordered": "converted",
    "redeemed": "redeemed",
    "unsubscribed": "unsubscribed",
    "complained": "complained",
}
_PROVE_DELIVERY = ("delivered", "opened", "clicked", "converted", "redeemed")
_SOFT = frozenset({"soft", "transient", "temporary", "block", "deferred"})


@dataclass(frozen=True, slots=True)
class Link:
    """The decision that an event belongs to, the offer and channel that the event tells, and those decided first.

    `at`: when it happened, or when it was decided where the sender's clock says that it happened before.
    """

    decision_id: str
    customer_id: str
    at: datetime
    offer_id: str | None
    channel: str | None
    first_offer: str | None
    first_channel: str | None
    decided_at: datetime | None = None


class AttributeOutcomes:
    """A handler of events, behind `keep_refunds`: call it with a connection and EVENTS-shaped events, in order, in
    their transaction.
    """

    def __init__(self, catalogue: CatalogueCache, attribution_days: float) -> None:
        self._catalogue = catalogue
        self._window = round(attribution_days * DAY_US)
        self._habits = ChannelHabits()

    def __call__(self, connection: Connection, events: Sequence[Mapping[str, Any]]) -> None:
        self._join_people(connection, events)
        self._new_addresses(connection, events)
        decided = decided_for(connection, [event["customer_id"] for event in events])
        heads = read_heads(connection, sorted({event["decision_id"] for event in events if event["decision_id"]}))
        moments: list[Moment] = []
        proofs: list[Moment] = []
        for event in events:
            if event["event"] == REPEATED and event["type"] == "track":
                note_moments(connection, moments)  # which it may take back
                moments = self._tie(connection, event, heads) if event["decision_id"] else []
                price_order(connection, event)
            meaning = NAMES.get(event["event"] or "") if event["type"] == "track" else None
            if meaning is None:
                continue
            channel = event["channel"] or meaning.channel
            if meaning.verb == "bounced":
                self._bounce(connection, event, channel or "email")
            elif meaning.verb in KINDS:
                kind = KINDS[meaning.verb]
                link = self._link(connection, event, kind, channel, decided, heads)
                offer_id, delivered = self._outcome(connection, event, kind, channel, link)
                at = microseconds(event["timestamp"] if link is None else link.at)
                moments += _moments(event, at, meaning.verb, kind, offer_id, delivered)
                if offer_id is not None and kind in _PROVE_DELIVERY:
                    proofs.append((event["customer_id"], "delivered", offer_id, at))
        note_moments(connection, moments)
        note_unknown(connection, proofs)
        for refunds in refunds_of(connection, orders_among(connection, events)).values():
            for refund in refunds:  # behind the orders that they are of, in whatever order both came
                refund_order(connection, refund)

    def _tie(self, connection: Connection, event: Mapping[str, Any], heads: Mapping[str, Any]) -> list[Moment]:
        """An order that was told before, now with its decision: the outcome, unless it was taken for that already."""
        link = self._link(connection, event, "converted", None, set(), heads)
        if link is None or not move_order(connection, event, link.decision_id):
            return []
        told = self._outcome(connection, event, "converted", None, link)
        return list(_moments(event, microseconds(link.at), REPEATED, "converted", *told))

    def _outcome(
        self, connection: Connection, event: Mapping[str, Any], kind: str, channel: str | None, link: Link | None
    ) -> tuple[str | None, bool]:
        """Records what happened; the offer that it was about, if that is known, and whether this tells its delivery."""
        at: datetime = event["timestamp"]
        if kind == "delivered" and channel is not None:
            lift(connection, event["customer_id"], channel, at)
        if link is None:
            told: str | None = event["offer_id"]
            if kind == "delivered":
                self._foreign(connection, event["message_id"], event["customer_id"], told, channel, at)
            return told, kind == "delivered"
        at = link.at
        offer_id, sent_by = link.offer_id or link.first_offer, link.channel or link.first_channel
        line = None
        if kind in _PROVE_DELIVERY:
            told_so = kind == "delivered"
            line = use(connection, link.decision_id, link.offer_id, link.channel, microseconds(at), told_so)
        if line is not None:
            offer_id, sent_by = line.offer_id, line.channel
            if line.first:
                self._delivered(connection, event, link, line, kind == "delivered")
        elif kind == "delivered":
            self._foreign(connection, event["message_id"], link.customer_id, offer_id, sent_by, at)
        machine = event["machine"] is True
        counts = [] if machine or line is None else _first_of_its_kind(connection, link.decision_id, offer_id, kind)
        added = add_outcome(
            connection,
            {
                "message_id": event["message_id"],
                "kind": kind,
                "decision_id": link.decision_id,
                "customer_id": link.customer_id,
                "offer_id": offer_id,
                "channel": sent_by,
                "at": at,
                "value_cents": CURRENCIES.in_home(event["revenue_cents"], event["currency"])
                if kind in RESPONSES
                else None,
                "machine": machine,
                "order_id": event["order_id"] if kind in RESPONSES else None,
            },
        )
        if counts and added and line is not None:
            counts += _delay(line, link.decided_at, microseconds(at)) if "converted" in counts else ()
            count_response(connection, line.offer_id, line.channel, counts, microseconds(at))
        if kind in RESPONSES and added and line is not None and not machine:
            tied = kind == "redeemed" or _tied(connection, event, link.decision_id, offer_id)
            if tied or "converted" in counts:
                add_conversion(connection, link.decision_id, link.customer_id, line.offer_id, line.channel, at, tied)
        return offer_id, kind == "delivered" or (line is not None and line.first)

    def _delivered(
        self, connection: Connection, event: Mapping[str, Any], link: Link, line: Delivered, told: bool
    ) -> None:
        """Counts a delivery, and what it will teach; `told`: as such, not by an answer to it."""
        habits, at = self._habits.at(connection, event["received_at"]), microseconds(link.at)
        this = (link.decision_id, line.offer_id, line.channel)
        if line.channel in habits.presumed and this in deliveries_among(connection, [link.decision_id]):
            if told:  # it was presumed
                count_response(connection, line.offer_id, line.channel, ["presumed"], at, by=-1)
            return
        count_response(connection, line.offer_id, line.channel, ["shown"] if told else ["shown", "proven"], at)
        arrived = Delivery(link.decision_id, link.customer_id, line.offer_id, line.channel, link.at)
        add_deliveries(connection, [arrived], line.channel in habits.prompt)

    def _link(
        self,
        connection: Connection,
        event: Mapping[str, Any],
        kind: str,
        channel: str | None,
        decided: set[str],
        heads: Mapping[str, Any],
    ) -> Link | None:
        head = heads.get(event["decision_id"])
        if head is not None:
            told = None if kind in RESPONSES else channel  # an order comes by the web, whatever was sent
            at, offer = max(event["timestamp"], head.decided_at), self._named(connection, event)
            first = (head.offer_id, head.channel)
            return Link(head.decision_id, head.customer_id, at, offer, told, *first, head.decided_at)
        customer, until = event["customer_id"], microseconds(event["timestamp"])
        if customer not in decided:
            return None
        since = until - self._window
        lines: Sequence[Any]
        if offer_id := self._named(connection, event):
            lines = offered_to(connection, customer, offer_id, since, until)
            if kind == "delivered":
                lines = [line for line in lines if channel in {None, line.channel} and line.expires is not None]
            else:
                lines = _likeliest(lines, None if kind in RESPONSES else channel)
        elif kind == "converted":
            bought = _bought(event)
            offers: dict[str, Offer | None] = {}
            lines = [
                line
                for line in delivered_to(connection, customer, since, until)
                if _covers(self._offer(connection, line.offer_id, offers), bought)
            ]
        else:
            return None
        own = [line for line in lines if not line.decision_id.startswith(FOREIGN)]
        if not own:
            return None
        told, sent_by = own[0].offer_id, own[0].channel
        return Link(own[0].decision_id, customer, event["timestamp"], told, sent_by, told, sent_by)

    def _named(self, connection: Connection, event: Mapping[str, Any]) -> str | None:
        """The offer that an event tells. One that is none of ours says nothing, as codes of campaigns."""
        offer_id: str | None = event["offer_id"]
        return offer_id if offer_id and self._offer(connection, offer_id, {}) is not None else None

    def _foreign(
        self,
        connection: Connection,
        message_id: str,
        customer: str,
        offer_id: str | None,
        channel: str | None,
        at: datetime,
    ) -> None:
        """Counts a message that no decision reserved."""
        offer = self._offer(connection, offer_id, {}) if offer_id else None
        group = None if offer is None else offer.exclusion_group
        add_foreign(connection, message_id, customer, offer_id, channel, at, group)

    def _offer(self, connection: Connection, offer_id: str, known: dict[str, Offer | None]) -> Offer | None:
        if offer_id not in known:
            live = self._catalogue.current(connection).by_id.get(offer_id)
            if live is None:
                for stored in read_offers(connection, [offer_id], deleted=True):
                    live = offer_from_document(stored.offer_id, stored.version, stored.document)
            known[offer_id] = live
        return known[offer_id]

    def _bounce(self, connection: Connection, event: Mapping[str, Any], channel: str) -> None:
        properties = orjson.loads(event["properties"] or "{}")
        kind = str(properties.get("bounce_type") or properties.get("type") or "").lower()
        if event["decision_id"] and kind != "deferred":  # which is tried again
            release(connection, event["decision_id"])
        if kind in _SOFT:
            return
        customer, at = event["customer_id"], event["timestamp"]
        if _reached(connection, customer, channel, at):
            return
        held = read_customers(connection, [customer])[customer].traits.get(TRAIT.get(channel, ""))
        told = bounced_address(properties, channel)
        if told is not None and held and not same_address(told, held, channel):
            return  # of before: nothing is known against the address that they have now
        address = held or told
        reason = f"a message bounced on {at:%Y-%m-%d}"
        suppress(connection, customer, channel, reason, at, address if isinstance(address, str) else None)

    def _new_addresses(self, connection: Connection, events: Sequence[Mapping[str, Any]]) -> None:
        told = [event for event in events if event["type"] == "identify" and event["traits"]]
        stopped = addresses_of(connection, [event["customer_id"] for event in told]) if told else {}
        for event in told:
            for channel, address in stopped.get(event["customer_id"], {}).items():
                new = orjson.loads(event["traits"]).get(TRAIT.get(channel, ""))
                if isinstance(new, str) and new != address:
                    lift(connection, event["customer_id"], channel, event["timestamp"])

    def _join_people(self, connection: Connection, events: Sequence[Mapping[str, Any]]) -> None:
        """One person has one count: what was decided for an anonymous id follows it to its customer."""
        joined = joined_by(connection, events)
        if joined:  # a decision about one of them ends first, or sees who they are now; all at once, as decisions lock
            lock(connection, [*joined, *joined.values()], ())
        known = with_history(connection, joined) if joined else set()
        for alias, owner in ((alias, owner) for alias, owner in joined.items() if alias in known):
            join_orders(connection, alias, owner)
            move_decisions(connection, alias, owner)
            move_ledger(connection, alias, owner)
            move_suppressions(connection, alias, owner)
            move_moments(connection, alias, owner)


def _delay(line: Delivered, decided_at: datetime | None, at: int) -> tuple[str, ...]:
    """The counts that a conversion adds to where it is known how long after the delivery it came, or, where nothing but
    itself tells that, how long after the decision.
    """
    since = line.at if not line.first else None if decided_at is None else microseconds(decided_at)
    if since is None or at < since:
        return ()
    return ("delays", "prompt") if at - since <= PROMPT // timedelta(microseconds=1) else ("delays",)


def _reached(connection: Connection, customer: str, channel: str, since: datetime) -> bool:
    """Whether a delivery proves that a customer could be reached after a bounce that is told late."""
    lines = delivered_to(connection, customer, microseconds(since), FOREVER)
    foreign = any(line.channel == channel and line.decision_id.startswith(FOREIGN) for line in lines)
    return foreign or delivered_since(connection, customer, channel, since)


def _moments(
    event: Mapping[str, Any], at: int, verb: str, kind: str, offer_id: str | None, delivered: bool
) -> Iterator[Moment]:
    """What rules may ask for later; machines' clicks are none, but prove that something was `delivered`."""
    customer = event["customer_id"]
    if verb == "ordered":
        yield customer, "purchase", "", at
    if kind == "complained":
        yield customer, "complaint", "", at
    if offer_id is None:
        return
    if delivered:
        yield customer, "delivered", offer_id, at
    name = "converted" if kind in RESPONSES else kind
    if name in {"clicked", "converted"} and event["machine"] is not True:
        yield customer, name, offer_id, at


def _likeliest(lines: Sequence[Line], channel: str | None) -> Sequence[Line]:
    """Those of an offer's lines that an answer on a channel may be to: of that channel, and delivered, if any are."""
    here = [line for line in lines if line.channel == channel] or lines
    return [line for line in here if line.expires is None] or here


def _first_of_its_kind(connection: Connection, decision_id: str, offer_id: str | None, kind: str) -> list[str]:
    """The counts that an outcome of a decision's offer adds to: each rises once a delivery."""
    counted = {"converted": RESPONSES, "clicked": ("clicked",), "redeemed": ("redeemed",)}
    return [
        name
        for name, kinds in counted.items()
        if kind in kinds and responded(connection, decision_id, offer_id, kinds) == 0
    ]


def _tied(connection: Connection, event: Mapping[str, Any], decision_id: str, offer_id: str | None) -> bool:
    """Whether anything ties an order to the message beside its products and its time: what it names, or a click."""
    named = event["decision_id"] == decision_id or event["offer_id"] == offer_id
    return named or responded(connection, decision_id, offer_id, ("clicked",)) > 0


def _bought(event: Mapping[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    products = event["products"] or ()
    return (
        frozenset(line["product_id"] for line in products if line.get("product_id")),
        frozenset(line["category"] for line in products if line.get("category")),
    )


def _covers(offer: Offer | None, bought: tuple[frozenset[str], frozenset[str]]) -> bool:
    """Whether an order is what an offer was for: its products, else its category, else anything."""
    if offer is None:
        return False
    products, categories = bought
    if offer.info.product_ids:
        return not offer.info.product_ids.isdisjoint(products)
    return offer.info.category is None or offer.info.category in categories
