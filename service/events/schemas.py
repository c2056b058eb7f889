"""What the ingest routes say of themselves in OpenAPI. Bodies are read by `normalize`, not by pydantic, for speed."""

from __future__ import annotations

from typing import Any

from service.events.values import MAX_ID_BYTES, MAX_NAME_LENGTH
from service.web.shapes import PART

_ID = {"type": ["string", "null"], "minLength": 1, "maxLength": MAX_ID_BYTES}
_TIME = {"type": ["string", "null"], "format": "date-time"}
_OBJECT = {"type": ["object", "null"], "additionalProperties": True}
_COMMON: dict[str, Any] = {
    "userId": _ID,
    "anonymousId": _ID,
    "messageId": _ID,
    "timestamp": _TIME,
    "originalTimestamp": _TIME,
    "sentAt": _TIME,
    "receivedAt": _TIME,
    "context": _OBJECT,
    "integrations": _OBJECT,
    "properties": _OBJECT,
    "traits": _OBJECT,
    "name": {"type": ["string", "null"], "maxLength": MAX_NAME_LENGTH},
    "category": {"type": ["string", "null"], "maxLength": MAX_NAME_LENGTH},
    "channel": {},
    "version": {},
    "writeKey": {},
    "projectId": {},
    "_metadata": {},
    "event": {"type": ["string", "null"], "maxLength": MAX_NAME_LENGTH},
    "groupId": _ID,
    "previousId": _ID,
}
_MEANINGS = {
    "userId": "Who it is, by your own id",
    "anonymousId": "Who it is while no userId is known",
    "messageId": "Sent again under the same id, it counts once",
    "timestamp": "When it happened; by default when it came",
    "originalTimestamp": "The sender's clock when it happened",
    "sentAt": "The sender's clock when it was sent: corrects a wrong clock",
    "receivedAt": "Of a message that somebody passes on: its timestamp is taken as it is, whatever sentAt says",
    "context": "As Segment's: timezone, locale, location, decision_id …",
    "integrations": "Accepted, without meaning here",
    "properties": "Of track, page and screen: products, revenue, currency, offer_id, decision_id …",
    "traits": "Of identify and group: what is known of the person or company",
    "name": "Of page and screen: which one",
    "category": "Of page and screen: of which kind",
    "channel": "Accepted, without meaning here",
    "version": "Accepted, without meaning here",
    "writeKey": "Ignored: the key of the request counts",
    "projectId": "Accepted, without meaning here",
    "_metadata": "Accepted, without meaning here",
    "event": "Of track: what happened, such as Order Completed",
    "groupId": "Of group: the company",
    "previousId": "Of alias: the id until now",
    "type": "What kind of message it is",
    "sequence": "Accepted, without meaning here",
    "batch": "Messages, each with its type; 500 KB together at most",
}
_NEEDS = {"track": ["event"], "group": ["groupId"], "alias": ["previousId", "userId"]}
_ORDER = {"order_id": "o1", "revenue": 19.9, "currency": "EUR", "products": [{"product_id": "p1", "category": "tea"}]}
_KINDS = {
    "": "A message of any type",
    "identify": "Who somebody is",
    "track": "Something that somebody did, or that came of a message to them",
    "page": "A page that somebody looked at",
    "screen": "A screen of an app that somebody looked at",
    "group": "A company or group that somebody belongs to",
    "alias": "An id that somebody had until now",
}
_EXAMPLES: dict[str, dict[str, Any]] = {
    "identify": {"userId": "c42", "messageId": "m1", "traits": {"email": "ada@example.org"}},
    "track": {"userId": "c42", "messageId": "m2", "event": "Order Completed", "properties": _ORDER},
    "page": {
        "userId": "c42",
        "messageId": "m3",
        "name": "Pricing",
        "properties": {"url": "https://shop.example/pricing"},
    },
    "screen": {"userId": "c42", "messageId": "m4", "name": "Basket"},
    "group": {"userId": "c42", "messageId": "m5", "groupId": "acme", "traits": {"name": "Acme"}},
    "alias": {"userId": "c42", "messageId": "m6", "previousId": "visitor-7"},
}
_DELIVERY: dict[str, Any] = {
    "type": "track",
    "userId": "c42",
    "messageId": "m7",
    "event": "Email Delivered",
    "properties": {"decision_id": "01a2…", "offer_id": "coffee-20", "channel": "email"},
}


def _told(properties: dict[str, Any]) -> dict[str, Any]:
    return {name: {**schema, "description": _MEANINGS[name]} for name, schema in properties.items()}


def _message(kind: str | None) -> dict[str, Any]:
    """A message of a kind, or (None) of any. That one of two ids is needed is told in words: generators of clients take
    an `anyOf` beside properties for the whole of the body, and drop all else that it has.
    """
    needed = _NEEDS.get(kind or "", [])
    types = {"enum": [kind]} if kind else {"enum": ["identify", "track", "page", "screen", "group", "alias"]}
    schema: dict[str, Any] = {
        "type": "object",
        "description": f"{_KINDS[kind or '']}. It needs a userId{'' if kind == 'alias' else ' or an anonymousId'}.",
        "additionalProperties": False,
        "properties": _told(
            {**_COMMON, "type": types, **{name: {**_COMMON[name], "type": "string"} for name in needed}}
        ),
        "required": needed if kind else ["type"],
    }
    schema["examples"] = [_EXAMPLES[kind] if kind else _DELIVERY]
    return schema


def _body(**shapes: dict[str, Any]) -> dict[str, Any]:
    """The body of a route is the first of these named shapes."""
    named = {name: {"title": name, **shape} for name, shape in shapes.items()}
    schema = {"$ref": PART + next(iter(named)), "$defs": named}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def message_body(kind: str | None) -> dict[str, Any]:
    """OpenAPI of one message's request; None: of any kind."""
    return _body(**{f"{kind.title() if kind else 'Event'}In": _message(kind)})


BATCH_BODY: dict[str, Any] = _body(
    EventsIn={
        "type": "object",
        "description": "Many messages, which are taken together or not at all.",
        "additionalProperties": False,
        "required": ["batch"],
        "examples": [{"batch": [{"type": kind, **_EXAMPLES[kind]} for kind in ("identify", "track")] + [_DELIVERY]}],
        "properties": _told(
            {
                "batch": {"type": "array", "items": {"$ref": PART + "EventIn"}},
                "context": _OBJECT,
                "integrations": _OBJECT,
                "sentAt": _TIME,
                "timestamp": _TIME,
                "writeKey": {},
                "messageId": {},
                "type": {},
                "sequence": {},
            }
        ),
    },
    EventIn=_message(None),
)
ANSWERS: dict[int | str, dict[str, Any]] = {
    400: {"description": "A message is not valid; `errors` names the field, in a batch with its index."},
    413: {"description": "A message of more than 32 KB, or a batch of more than 500 KB."},
    415: {"description": "A content encoding other than gzip."},
    503: {"description": "The events could not be stored; send them again."},
}
