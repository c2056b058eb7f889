"""Bodies of ingest requests: encodings, limits, every bad message named."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from service.errors import BadRequest, Problem, TooLarge
from service.events.normalize import Rules
from service.events.read_request import MAX_BATCH, MAX_MESSAGE, decoded, read_batch, read_single

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def batch(*messages: Any, **more: Any) -> bytes:
    return orjson.dumps({"batch": list(messages), **more})


def message(**fields: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Played", "userId": "c1", **fields}


def test_gzip_is_read_and_bounded() -> None:
    body = batch(message())
    assert decoded(gzip.compress(body), "gzip", MAX_BATCH) == body
    assert decoded(body, None, MAX_BATCH) == body
    bomb = gzip.compress(b"0" * 50_000_000)
    assert len(bomb) < MAX_BATCH
    with pytest.raises(TooLarge):
        decoded(bomb, "gzip", MAX_BATCH)
    with pytest.raises(BadRequest):
        decoded(b"no gzip", "gzip", MAX_BATCH)
    with pytest.raises(BadRequest):
        decoded(gzip.compress(body)[:-9], "gzip", MAX_BATCH)
    with pytest.raises(Problem) as unknown:
        decoded(body, "br", MAX_BATCH)
    assert unknown.value.status == 415


def test_one_bad_message_rejects_the_batch_and_every_bad_one_is_named() -> None:
    with pytest.raises(BadRequest) as bad:
        read_batch(batch(message(), message(userId=3), 7, message(event="")), Rules(), NOW)
    assert [error.field for error in bad.value.errors] == ["batch[1].userId", "batch[2]", "batch[3].event"]


def test_a_large_message_in_a_batch_is_named() -> None:
    with pytest.raises(TooLarge) as large:
        read_batch(batch(message(), message(properties={"a": "x" * MAX_MESSAGE})), Rules(), NOW)
    assert large.value.errors[0].field == "batch[1]"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"', b"\xff", b'{"batch":{}}', b"{}", b'{"batch":[],"more":1}'])
def test_a_broken_envelope_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        read_batch(body, Rules(), NOW)


def test_context_of_the_batch_is_everyones() -> None:
    rows = read_batch(batch(message(), message(context={"ip": "1"}), context={"timezone": "Asia/Tokyo"}), Rules(), NOW)
    assert [row["timezone"] for row in rows] == ["Asia/Tokyo", "Asia/Tokyo"]
    assert orjson.loads(rows[1]["context"]) == {"timezone": "Asia/Tokyo", "ip": "1"}


def test_the_path_names_the_type() -> None:
    body = orjson.dumps({"userId": "c", "event": "Played"})
    rows = read_single(body, "track", Rules(), NOW)
    assert rows[0]["type"] == "track"
    assert rows[0]["message_id"].startswith("made-")
    with pytest.raises(BadRequest) as wrong:
        read_single(orjson.dumps(message()), "page", Rules(), NOW)
    assert wrong.value.errors[0].field == "type"
