"""One Segment message to one row of the EVENTS table, or errors that name the field and what to do. Pure.

Stated normalizations: ids become Unicode NFC; a time without an offset is UTC; a device clock that is off is
corrected as Segment does, `receivedAt - (sentAt - originalTimestamp)`, unless a `receivedAt` says that somebody did
who passes the message on (it may take hours, and would have happened as much later); a time up to a day ahead becomes
the time of arrival; money becomes whole minor units of its currency, half up, a refund's without its sign; a time zone
that is none is left out; an identified customer's e-mail address and phone number take one form (`contacts.py`). A row
that such a thing was done to says so in `notes`, which is counted and not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import orjson
import xxhash

from features.channels import CHANNELS
from features.currencies import minor_scale
from features.default_zone import known_zone
from service.errors import FieldError
from service.events.contacts import tidy_traits
from service.events.machine import is_engagement, judge
from service.events.values import (
    FIRST_YEAR,
    Errors,
    currency,
    first_of,
    identifier,
    instant,
    minor_units,
    name,
    person,
    quantity,
    reference,
)
from service.web.json_values import DEEPEST, nested_deeper

TYPES = ("identify", "track", "page", "screen", "group", "alias")
_IDS = {"messageId", "userId", "anonymousId", "previousId", "groupId", "writeKey", "projectId"}
_TIMES = {"timestamp", "originalTimestamp", "sentAt", "receivedAt"}
_CONTENT = {"type", "event", "name", "category", "properties", "traits", "context", "integrations"}
TOP_LEVEL = frozenset(_IDS | _TIMES | _CONTENT | {"version", "channel", "_metadata"})
_ENRICHED = frozenset({"page", "screen", "group"})
AHEAD = timedelta(days=1)
REFUND = "Order Refunded"
# A shorter difference between the clocks is the network's delay, and the event's own time is the better one.
SMALLEST_SKEW = timedelta(seconds=1)

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rules:
    """What an installation decides about its events: renamed events, and the currency of money that names none.

    `country` (ISO 3166) is where phone numbers without a country are.
    """

    event_names: Mapping[str, str] = field(default_factory=dict)
    currency: str = "USD"
    country: str | None = None


class BadMessage(Exception):
    """A message that cannot become a row."""

    def __init__(self, errors: Errors) -> None:
        super().__init__("; ".join(f"{error.field}: {error.detail}" for error in errors))
        self.errors = tuple(errors)


def normalize(message: Any, rules: Rules, now: datetime, *, imported: bool = False, sent_at: Any = None) -> Row:
    """The EVENTS row of a message; raises `BadMessage` with every fault found.

    `now` is the time of arrival. For an imported message it only bounds the future: its `receivedAt`, else its own
    time, is when it was known. `message_id` is None where the message has none. `sent_at` is the batch's, used where
    the message has none of its own.
    """
    if type(message) is not dict:
        raise BadMessage([FieldError("", "is no object; send a Segment message")])
    errors: Errors = []
    if not message.keys() <= TOP_LEVEL:
        errors += [
            FieldError(key, "unknown field; put it into properties, traits or context")
            for key in sorted(map(str, message.keys() - TOP_LEVEL))
        ]
    kind = message.get("type")
    if kind not in TYPES:
        hint = "; is it an offer? they are read by --offers FILE" if imported and "offer_id" in message else ""
        hint = "; a customer is erased by DELETE /v1/customers/{id}" if kind == "delete" else hint
        errors.insert(0, FieldError("type", f"is {_shown(kind)}; send one of {', '.join(TYPES)}{hint}"))
        raise BadMessage(errors)
    properties = _object(message, "properties", errors)
    properties = dict(properties) if kind in _ENRICHED else properties
    context = _object(message, "context", errors)
    traits = _object(message, "traits", errors) or (_inner(context, "traits") if kind == "identify" else {})
    notes: list[str] = []
    if kind == "identify" and traits:
        tidied, notes = tidy_traits(traits, traits.get("locale") or context.get("locale"), rules.country)
        traits = dict(tidied)
    timestamp, received_at = _times(message, now, imported, sent_at, errors, notes)
    row: Row = {
        "message_id": identifier(message.get("messageId"), "messageId", errors),
        "type": kind,
        "event": None,
        "timestamp": timestamp,
        "received_at": received_at,
    }
    _who(message, kind, row, errors)
    _what(message, kind, rules, properties, row, errors)
    _references(properties, context, row, errors)
    _money(kind, properties, rules, row, errors)
    _where(kind, properties, context, traits, row, notes)
    _by_machine(kind, properties, context, row, errors)
    row["properties"] = _json(properties, "properties", errors) if properties else "{}"
    row["traits"] = _json(traits, "traits", errors) if traits else None
    row["context"] = _json(context, "context", errors) if context else None
    if notes:
        row["notes"] = notes
    if errors:
        raise BadMessage(errors)
    return row


def content_id(message: Mapping[str, Any]) -> str:
    """A message id made from the message itself: the same event in two files is one event."""
    digest = xxhash.xxh3_128_hexdigest(orjson.dumps(message, option=orjson.OPT_SORT_KEYS))
    return f"content-{digest}"


def _object(message: Mapping[str, Any], key: str, errors: Errors) -> dict[str, Any]:
    value = message.get(key)
    if value is None:
        return {}
    if type(value) is not dict:
        errors.append(FieldError(key, f"is {_shown(value)}; send an object"))
        return {}
    return value


def _json(value: Mapping[str, Any], key: str, errors: Errors) -> str | None:
    try:
        text = orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # nested deeper than 254 levels
        text = None
    if text is None or (text.count("{") + text.count("[") > DEEPEST and nested_deeper(value, DEEPEST)):
        errors.append(FieldError(key, "is nested too deeply; flatten it"))
        return None
    return text


def _inner(outer: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = outer.get(key)
    return value if type(value) is dict else {}


def _times(
    message: Mapping[str, Any], now: datetime, imported: bool, batch_sent_at: Any, errors: Errors, notes: list[str]
) -> tuple[datetime, datetime]:
    given = instant(message.get("timestamp"), "timestamp", errors)
    original = instant(message.get("originalTimestamp"), "originalTimestamp", errors)
    sent = instant(message.get("sentAt"), "sentAt", errors) or instant(batch_sent_at, "sentAt", errors)
    received = instant(message.get("receivedAt"), "receivedAt", errors)
    arrived = received if imported else now
    corrected = given is not None and (imported or received is not None)
    at = given or original
    if at is None:
        if imported and not errors:
            errors.append(FieldError("timestamp", "is missing; an imported event needs its time"))
        at = arrived or now
    elif sent is not None and arrived is not None and not corrected:
        skew = arrived - sent
        at = original or at
        if abs(skew) > SMALLEST_SKEW:
            at += skew
            notes.append("clock_skew")
            if at.year < FIRST_YEAR:
                errors.append(FieldError("sentAt", f"puts the event into the year {at.year}; correct the clock"))
    if at > now:
        if at - now > AHEAD:
            errors.append(FieldError("timestamp", f"{at.isoformat()} is more than a day ahead; correct the clock"))
        elif not imported:
            at = now
            notes.append("future_time")
    if imported and arrived is not None and arrived - now > AHEAD:
        errors.append(FieldError("receivedAt", f"{arrived.isoformat()} is more than a day ahead; correct it"))
    return at, max(arrived, at) if arrived is not None else at


def _who(message: Mapping[str, Any], kind: str, row: Row, errors: Errors) -> None:
    before = len(errors)
    user = person(message.get("userId"), "userId", errors)
    anonymous = person(message.get("anonymousId"), "anonymousId", errors)
    if kind == "alias":
        anonymous = person(message.get("previousId"), "previousId", errors) or anonymous
        if anonymous is None and len(errors) == before:
            errors.append(FieldError("previousId", "is missing; an alias joins previousId to userId"))
        if user is None and len(errors) == before:
            errors.append(FieldError("userId", "is missing; an alias joins previousId to userId"))
    elif user is None and anonymous is None and len(errors) == before:
        errors.append(FieldError("userId", "is missing; send userId or anonymousId"))
    row["customer_id"] = user or anonymous
    row["anonymous_id"] = anonymous


def _what(message: Mapping[str, Any], kind: str, rules: Rules, properties: Row, row: Row, errors: Errors) -> None:
    """The event's name; what a page's category and a group's id are goes into the properties."""
    if kind == "track":
        event = name(message.get("event"), "event", errors)
        if message.get("event") is None:
            errors.append(FieldError("event", "is missing; a track call names its event, such as Order Completed"))
        row["event"] = rules.event_names.get(event, event) if event else event
    elif kind in {"page", "screen"}:
        row["event"] = name(message.get("name") or None, "name", errors)
        if name(message.get("category") or None, "category", errors):
            properties.setdefault("category", message["category"])
    elif kind == "group":
        group = identifier(message.get("groupId"), "groupId", errors)
        if message.get("groupId") is None:
            errors.append(FieldError("groupId", "is missing; a group call names its group"))
        properties["groupId"] = group


def _references(properties: Mapping[str, Any], context: Mapping[str, Any], row: Row, errors: Errors) -> None:
    for key in ("offer_id", "decision_id"):
        row[key] = reference(properties.get(key), f"properties.{key}", errors) or reference(
            context.get(key), f"context.{key}", errors
        )
    campaign = reference(properties.get("campaign_id"), "properties.campaign_id", errors)
    if campaign is None and context:
        inner = _inner(context, "campaign")
        where, value = first_of(
            [
                ("context.campaign_id", context.get("campaign_id")),
                ("context.campaign.id", inner.get("id")),
                ("context.campaign.name", inner.get("name")),
            ]
        )
        campaign = reference(value, where, errors)
    row["campaign_id"] = campaign
    row["order_id"] = reference(properties.get("order_id"), "properties.order_id", errors)


def _money(kind: str, properties: Mapping[str, Any], rules: Rules, row: Row, errors: Errors) -> None:
    row["currency"] = row["revenue_cents"] = row["discount_cents"] = row["products"] = None
    event = row["event"]
    if kind != "track" or event is None or not properties:
        return
    code = currency(properties.get("currency"), "properties.currency", errors)
    scale = minor_scale(code or rules.currency)
    an_order = event.startswith(("Order ", "Checkout "))
    refund = event == REFUND
    lines = properties.get("products")
    if lines is None and event.startswith("Product ") and _has_product(properties):
        row["products"] = [_product(properties, "properties", scale, errors, refund)]
    elif lines is not None:
        row["products"] = _products(lines, scale, errors, refund)
    candidates = [("properties.revenue", properties.get("revenue"))]
    if an_order:
        candidates += [(f"properties.{key}", properties.get(key)) for key in ("total", "value")]
    where, amount = first_of(candidates)
    row["revenue_cents"] = minor_units(amount, where, scale, errors, refund=refund)
    row["discount_cents"] = minor_units(properties.get("discount"), "properties.discount", scale, errors, refund=refund)
    if row["revenue_cents"] is None and amount is None and an_order and row["products"]:
        row["revenue_cents"] = _sum_of_lines(row["products"], row["discount_cents"])
    if code is not None or row["revenue_cents"] is not None:
        row["currency"] = code or rules.currency


def _sum_of_lines(products: list[Row], order_discount: int | None) -> int | None:
    if any(line["price_cents"] is None for line in products):
        return None
    total: int = sum(line["price_cents"] * line["quantity"] - (line["discount_cents"] or 0) for line in products)
    return max(0, total - (order_discount or 0))


def _has_product(properties: Mapping[str, Any]) -> bool:
    return any(properties.get(key) is not None for key in ("product_id", "sku"))


def _products(lines: Any, scale: int, errors: Errors, refund: bool) -> list[Row] | None:
    if type(lines) is not list:
        errors.append(FieldError("properties.products", f"is {_shown(lines)}; send a list of objects"))
        return None
    products = []
    for index, line in enumerate(lines):
        # The common line is read without building the field's name, which only an error needs.
        if type(line) is dict:
            faults = len(errors)
            products.append(_product(line, "", scale, errors, refund))
            if len(errors) > faults:
                at = f"properties.products[{index}]"
                errors[faults:] = [FieldError(at + error.field, error.detail) for error in errors[faults:]]
        else:
            errors.append(FieldError(f"properties.products[{index}]", f"is {_shown(line)}; send an object"))
    return products


def _product(line: Mapping[str, Any], at: str, scale: int, errors: Errors, refund: bool) -> Row:
    product = line.get("product_id")
    if product is None:
        product = line.get("sku")
    product = (
        product
        if type(product) is str and product.isalnum() and len(product) < 200
        else None or reference(product, f"{at}.product_id", errors)
    )
    if product is None and (not errors or errors[-1].field != f"{at}.product_id"):
        errors.append(FieldError(f"{at}.product_id", "is missing; name the product"))
    category = line.get("category")
    if category is not None and type(category) is not str:
        errors.append(FieldError(f"{at}.category", f"is {_shown(category)}; send a string"))
        category = None
    count = line.get("quantity")
    return {
        "product_id": product,
        "category": category or None,
        "price_cents": minor_units(line.get("price"), f"{at}.price", scale, errors, refund=refund),
        "quantity": count
        if type(count) is int and 0 <= count < 1_000_000
        else quantity(count, f"{at}.quantity", errors, refund=refund),
        "discount_cents": minor_units(line.get("discount"), f"{at}.discount", scale, errors, refund=refund)
        if "discount" in line
        else None,
    }


def _where(
    kind: str,
    properties: Mapping[str, Any],
    context: Mapping[str, Any],
    traits: Mapping[str, Any],
    row: Row,
    notes: list[str],
) -> None:
    channel = properties.get("channel")
    channel = channel.lower() if type(channel) is str else None
    row["channel"] = channel if channel in CHANNELS else _channel_of(row["event"]) if kind == "track" else None
    zone = context.get("timezone") or traits.get("timezone") or properties.get("timezone")
    row["timezone"] = zone if type(zone) is str and known_zone(zone) else None
    if zone and row["timezone"] is None:
        notes.append("bad_timezone")
    url = (
        properties.get("url") or properties.get("link_url") or (_inner(context, "page").get("url") if context else None)
    )
    row["url"] = url[:2048] if type(url) is str else None


@lru_cache(maxsize=1024)
def _channel_of(event: str | None) -> str | None:
    if event is None:
        return None
    if event in {"Unsubscribed", "Resubscribed", "Marked as Spam"}:
        return "email"  # Segment's e-mail specification
    first = event.partition(" ")[0].lower()
    return {"text": "sms", "phone": "call"}.get(first, first if first in CHANNELS else None)


def _by_machine(kind: str, properties: Mapping[str, Any], context: Mapping[str, Any], row: Row, errors: Errors) -> None:
    row["machine"] = row["machine_reason"] = None
    if kind != "track" or not row["event"] or not is_engagement(row["event"]):
        return
    agent = context.get("userAgent") or properties.get("user_agent") or properties.get("userAgent")
    delivered = instant(properties.get("delivered_at"), "properties.delivered_at", errors)
    row["machine"], row["machine_reason"] = judge(row["event"], agent, properties, row["timestamp"], delivered)


def _shown(value: Any) -> str:
    if value is None:
        return "missing"
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
