"""An ingest request's body to rows: bounded inflation, JSON, limits, every bad message named."""

from __future__ import annotations

import zlib
from datetime import datetime
from typing import Any

import orjson
import xxhash

from service.clock import new_id
from service.errors import BadRequest, FieldError, TooLarge, UnknownEncoding, bad_body, summary
from service.events.normalize import BadMessage, Row, Rules, normalize

MAX_MESSAGE = 32 * 1024
MAX_BATCH = 500 * 1024
BATCH_FIELDS = frozenset(
    {"batch", "context", "integrations", "sentAt", "timestamp", "writeKey", "messageId", "type", "sequence"}
)
_FAULTS_SHOWN = 5
_MADE = "made-"
"""How ids begin of messages that came without one."""


def decoded(raw: bytes, encoding: str | None, limit: int) -> bytes:
    """The body without its content encoding; never inflates more than `limit` bytes."""
    kind = (encoding or "identity").strip().lower()
    if kind in {"identity", ""}:
        body = raw
    elif kind in {"gzip", "x-gzip"}:
        body = _inflated(raw, limit)
    else:
        raise UnknownEncoding(f"Content-Encoding {kind[:40]!r} is not known here; send gzip or none")
    if len(body) > limit:
        raise _too_large(limit)
    return body


def read_single(body: bytes, kind: str | None, rules: Rules, now: datetime) -> list[Row]:
    """The row of one message of the kind that the path names (None: that the message does)."""
    message = _parsed(body)
    told = message.get("type")
    if kind is not None and told not in (None, kind):  # a tuple: what was sent may be a list, which no set can look up
        detail = f"is {str(told)[:40]!r}, but the path says {kind!r}; leave it out or make them equal"
        raise BadRequest(f"type {detail}", [FieldError("type", detail)])
    if kind is not None:
        message["type"] = kind
    try:
        return [_row(message, rules, now, None)]
    except BadMessage as bad:
        raise BadRequest(summary(bad.errors), bad.errors) from bad


def read_batch(body: bytes, rules: Rules, now: datetime) -> list[Row]:
    """The rows of a batch; one bad message rejects all, and each bad one is named by its index."""
    envelope = _parsed(body)
    unknown = envelope.keys() - BATCH_FIELDS
    errors = [FieldError(key, "unknown field; a batch has 'batch', 'context' and 'sentAt'") for key in sorted(unknown)]
    batch: Any = envelope.get("batch")
    if type(batch) is not list:
        errors.append(FieldError("batch", 'is missing or no list; send {"batch": [messages]}'))
    shared = envelope.get("context") or {}
    if type(shared) is not dict:
        errors.append(FieldError("context", "is no object; send an object"))
    if errors:
        raise BadRequest(summary(errors), errors)
    _check_sizes(batch, body)
    rows = []
    for index, message in enumerate(batch):
        if shared and type(message) is dict and type(message.get("context") or {}) is dict:
            message["context"] = {**shared, **(message.get("context") or {})}
        try:
            rows.append(_row(message, rules, now, envelope.get("sentAt")))
        except BadMessage as bad:
            errors += [
                FieldError(f"batch[{index}].{error.field}" if error.field else f"batch[{index}]", error.detail)
                for error in bad.errors[:_FAULTS_SHOWN]
            ]
    if errors:
        raise BadRequest(f"nothing of the batch was taken: {summary(errors)}", errors)
    return rows


def name_by(rows: list[Row], request: str, body: bytes) -> None:
    """Names the messages that came without an id by their request, so that they are the same if it is done again."""
    whole = xxhash.xxh3_128_hexdigest(request.encode() + b"\0" + body)
    for index, row in enumerate(rows):
        if row["message_id"].startswith(_MADE):
            row["message_id"] = f"{_MADE}{whole}-{index}"


def _row(message: Any, rules: Rules, now: datetime, sent_at: Any) -> Row:
    row = normalize(message, rules, now, sent_at=sent_at)
    if row["message_id"] is None:
        row["message_id"] = f"{_MADE}{new_id(now)}"
    return row


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as wrong:
        raise bad_body(f"is no JSON ({wrong}); send a JSON object in UTF-8") from wrong
    if type(value) is not dict:
        raise bad_body("is no JSON object; send an object")
    return value


def _check_sizes(batch: list[Any], body: bytes) -> None:
    """Only a body above the limit of one message can hold a message above it."""
    if len(body) <= MAX_MESSAGE:
        return
    for index, message in enumerate(batch):
        try:
            size = len(orjson.dumps(message))
        except orjson.JSONEncodeError:  # nested too deeply: normalization says so
            continue
        if size > MAX_MESSAGE:
            detail = f"is {size:,} bytes; a message has at most {MAX_MESSAGE:,}"
            raise TooLarge(f"batch[{index}] {detail}", [FieldError(f"batch[{index}]", detail)])


def _inflated(raw: bytes, limit: int) -> bytes:
    inflate = zlib.decompressobj(wbits=31)
    try:
        body = inflate.decompress(raw, limit + 1)
    except zlib.error as wrong:
        raise bad_body("is no gzip stream, though Content-Encoding says so") from wrong
    if len(body) > limit:
        raise _too_large(limit)
    if not inflate.eof:
        raise bad_body("is a gzip stream that ends too early; send it whole")
    return body


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit:,} bytes; send it in parts")
