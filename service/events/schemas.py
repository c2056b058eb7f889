"""What the ingest routes say of themselves in OpenAPI. Bodies are read by `normalize`, not by pydantic, for speed."""

from __future__ import annotations

from typing import Any

from service.events.values import MAX_ID_BYTES, MAX_NAME_LENGTH

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
_NEEDS = {"track": ["event"], "group": ["groupId"], "alias": ["previousId", "userId"]}
_TEXT = {"type": "string", "minLength": 1}


def _message(kind: str | None) -> dict[str, Any]:
    needed = _NEEDS.get(kind or "", [])
    types = {"enum": [kind]} if kind else {"enum": ["identify", "track", "page", "screen", "group", "alias"]}
    schema: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {**_COMMON, "type": types, **{name: {**_COMMON[name], "type": "string"} for name in needed}},
        "required": needed if kind else ["type"],
    }
    if kind != "alias":
        schema["anyOf"] = [{"required": [name], "properties": {name: _TEXT}} for name in ("userId", "anonymousId")]
    return schema


def message_body(kind: str) -> dict[str, Any]:
    """OpenAPI of one message's request."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": _message(kind)}}}}


BATCH_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["batch"],
                    "properties": {
                        "batch": {"type": "array", "items": _message(None)},
                        "context": _OBJECT,
                        "integrations": _OBJECT,
                        "sentAt": _TIME,
                        "timestamp": _TIME,
                        "writeKey": {},
                        "messageId": {},
                        "type": {},
                    },
                }
            }
        },
    }
}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"example": {"success": True}}}, "description": "The events are durable."},
    400: {"description": "A message is not valid; `errors` names the field, in a batch with its index."},
    413: {"description": "A message of more than 32 KB, or a batch of more than 500 KB."},
    415: {"description": "A content encoding other than gzip."},
    503: {"description": "The events could not be stored; send them again."},
}
