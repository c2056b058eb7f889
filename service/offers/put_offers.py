"""Use cases of the catalogue: put, list, take out, and read from a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from service.errors import BadRequest
from service.offers.offers_store import StoredOffer, put_offers
from service.offers.schemas import BulkOffer
from service.storage.database import Database

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file gave: offers put, and lines refused, with their reasons in `rejects`; of the first in `such_as`."""

    put: int
    rejected: int
    rejects: Path | None
    such_as: str | None = None


def described(offer: StoredOffer) -> dict[str, Any]:
    """An offer as the API shows it."""
    return {
        "offer_id": offer.offer_id,
        **offer.document,
        "hash": offer.hash,
        "version": offer.version,
        "created_at": offer.created_at,
        "updated_at": offer.updated_at,
    }


def import_offers(
    path: Path, database: Database, now: datetime, progress: Callable[[int], None] = lambda _: None
) -> Imported:
    """Reads offers from JSONL, or JSON (a list, or `{"offers": […]}`), each with its `offer_id`.

    A broken line stops nothing: it goes with its number and reason to `NAME.rejects.jsonl` beside the source.
    Running it again changes nothing that is already so. `BadRequest` when the file cannot be read as either form.
    """
    rejects: list[dict[str, Any]] = []
    chunk: dict[str, Mapping[str, Any]] = {}
    put = 0
    for line, raw, given in _entries(path):
        try:
            if isinstance(given, str):
                raise ValueError(given)
            offer = BulkOffer.model_validate(given)
        except ValidationError as fault:
            rejects.append({"line": line, "reason": _reasons(fault), "text": raw})
            continue
        except ValueError as fault:
            rejects.append({"line": line, "reason": str(fault), "text": raw})
            continue
        chunk[offer.offer_id] = offer.document()
        if len(chunk) >= _CHUNK:
            put += _put(database, chunk, now)
            progress(put)
    put += _put(database, chunk, now)
    progress(put)
    such_as = f"line {rejects[0]['line']}: {rejects[0]['reason']}" if rejects else None
    return Imported(put, len(rejects), _write_rejects(path, rejects), such_as)


def _put(database: Database, chunk: dict[str, Mapping[str, Any]], now: datetime) -> int:
    if not chunk:
        return 0
    with database.write() as connection:
        count = len(put_offers(connection, chunk, now))
    chunk.clear()
    return count


def _entries(path: Path) -> Iterator[tuple[int, str, Any]]:
    """(line or position, its text, the value or a sentence saying why there is none)."""
    try:
        data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as fault:
        raise BadRequest(f"cannot read {path}: {fault.strerror}") from fault
    whole = _whole(data)
    if whole is not None:
        for position, value in enumerate(whole, 1):
            yield position, orjson.dumps(value).decode()[:2_000], value
        return
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        text = line.decode("utf-8", "replace")[:2_000]
        try:
            yield number, text, orjson.loads(line)
        except orjson.JSONDecodeError as fault:
            yield number, text, f"not JSON: {fault.msg} at column {fault.colno}"


def _whole(data: bytes) -> list[Any] | None:
    """The offers of a file that is one JSON value; None when it is a file of lines."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and isinstance(value.get("offers"), list):
        return list(value["offers"])
    return [value]


def _reasons(fault: ValidationError) -> str:
    errors = fault.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, error['loc'])) or 'offer'}: {error['msg']}" for error in errors)


def _write_rejects(path: Path, rejects: list[dict[str, Any]]) -> Path | None:
    """Writes the refused lines whole or not at all; takes away those of an earlier run when there are none now."""
    target = path.with_name(f"{path.name}.rejects.jsonl")
    if not rejects:
        target.unlink(missing_ok=True)
        return None
    from features.files import write_bytes

    write_bytes(target, b"".join(orjson.dumps(reject) + b"\n" for reject in rejects))
    return target
