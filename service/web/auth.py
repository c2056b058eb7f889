"""API keys: made, hashed, and asked for by routes through `Guard.needs(scope)`."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from fastapi import Request
from fastapi.params import Depends

from service.clock import new_id
from service.errors import Forbidden, Unauthorized, Unavailable
from service.storage.database import Database
from service.storage.key_store import ApiKey, add_key, find_key, good_keys
from service.web.threads import within
from service.web.unknown_inputs import refuse_unknown_inputs

SCOPES = ("ingest", "decide", "review", "admin")
_REMEMBER_S = 5.0
_REMEMBER_AWAY_S = 3_600.0
_AT_START = 1_000


def hash_key(secret: str) -> str:
    """SHA-256: the secret has 256 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(secret.encode()).hexdigest()


def create_key(database: Database, scopes: tuple[str, ...], label: str, now: datetime) -> str:
    """Makes and stores a key; returns the secret, which is never seen again."""
    secret = "op_" + secrets.token_urlsafe(32)
    with database.write() as connection:
        add_key(connection, ApiKey(new_id(now)[:16], label, scopes, now, None), hash_key(secret))
    return secret


def presented_key(headers: Any) -> str | None:
    """The key of `Authorization: Bearer KEY`, or of HTTP Basic with the key as user name."""
    header: str = headers.get("authorization", "")
    bearer = bearer_of(header.encode("latin-1"))
    if bearer is not None:
        return bearer
    kind, _, value = header.partition(" ")
    if kind.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[0] or None
        except (binascii.Error, UnicodeDecodeError):
            return None
    return None


def bearer_of(header: bytes) -> str | None:
    """The key of an `Authorization: Bearer KEY` header."""
    kind, _, value = header.partition(b" ")
    return value.strip().decode("latin-1") or None if kind == b"Bearer" or kind.lower() == b"bearer" else None


class Guard:
    """Checks keys. A key is remembered for a few seconds, so a revocation holds everywhere within that time.

    While the database is away no key can be revoked: one seen within the last hour, or at the start, is still good.
    """

    def __init__(
        self,
        database: Database,
        may_ask: Callable[[], bool] = lambda: True,
        patience_s: float | None = None,
        too_slow: Callable[[], None] = lambda: None,
    ) -> None:
        """`may_ask`: whether the database is known to answer. `too_slow` is told where it did not in `patience_s`."""
        self._database = database
        self._may_ask = may_ask
        self._patience_s = patience_s
        self._too_slow = too_slow
        self._known: dict[str, tuple[float, ApiKey]] = {}

    def needs(self, *scopes: str) -> Depends:
        """A route dependency: the request's key, which has one of `scopes` or `admin`; also in `request.state.key`.

        What every route of the API asks, so what the route does not read is refused here, too.
        """

        async def check(request: Request) -> ApiKey:
            key = await self.identify(presented_key(request.headers))
            require(key, scopes)
            await refuse_unknown_inputs(request)
            request.state.key = key
            return key

        vars(check)["scopes"] = scopes  # for the OpenAPI document
        marked: Callable[[Request], Awaitable[ApiKey]] = check
        return Depends(marked)

    def remember(self) -> None:
        """Looks the newest keys up before anybody asks: the first call finds its own, should the database go away, too.

        Raises `Unavailable`.
        """
        with self._database.read() as connection:
            keys = good_keys(connection, _AT_START)
        self._known.update((hashed, (time.monotonic(), key)) for hashed, key in keys.items())

    def remembered(self, secret: str) -> ApiKey | None:
        """The key behind a secret, where it was looked up in the last few seconds."""
        found = self._known.get(hash_key(secret))
        return found[1] if found is not None and time.monotonic() - found[0] < _REMEMBER_S else None

    async def identify(self, secret: str | None) -> ApiKey:
        """The key behind a secret; `Unauthorized` when there is none."""
        if secret is None:
            raise Unauthorized("send 'Authorization: Bearer KEY'; make a key with 'opportune keys create --scope …'")
        hashed = hash_key(secret)
        remembered = self._known.get(hashed)
        if remembered is not None and time.monotonic() - remembered[0] < _REMEMBER_S:
            return remembered[1]
        lately = remembered is not None and time.monotonic() - remembered[0] < _REMEMBER_AWAY_S
        if remembered is not None and lately and not self._may_ask():
            return remembered[1]
        try:
            key = await within(self._patience_s, self._find, hashed)
        except Unavailable:
            self._too_slow()  # what is asked next need not wait as long again
            if remembered is None or not lately:
                raise
            return remembered[1]
        if key is None:
            self._known.pop(hashed, None)
            raise Unauthorized("this key is not known or was revoked; make one with 'opportune keys create'")
        if len(self._known) > 10_000:
            self._known.clear()
        self._known[hashed] = (time.monotonic(), key)
        return key

    def _find(self, hashed: str) -> ApiKey | None:
        with self._database.read() as connection:
            return find_key(connection, hashed)


def require(key: ApiKey, scopes: tuple[str, ...]) -> None:
    """`Forbidden` unless the key has one of the scopes, or is an admin's."""
    if "admin" not in key.scopes and not any(scope in key.scopes for scope in scopes):
        raise Forbidden(f"this key has the scopes {', '.join(key.scopes)}; this call needs {' or '.join(scopes)}")
