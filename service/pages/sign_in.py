"""Who reads a page: a signed session cookie, a key in `Authorization`, or anyone on loopback where pages are open."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from itsdangerous import BadSignature, TimestampSigner

from service.clock import monotonic
from service.customers.customer_store import secret
from service.errors import Forbidden, Unauthorized
from service.storage.database import Database
from service.storage.key_store import ApiKey, find_key
from service.web.auth import hash_key, presented_key, require

COOKIE = "opportune_session"
LASTS_S = 12 * 3600
READ = ("review", "decide")
REVIEW = ("review",)
_REMEMBER_S = 5.0
_ANYONE = ApiKey("open", "anyone on this machine", ("review", "decide"), datetime(1970, 1, 1, tzinfo=UTC), None)


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who may read pages; `csrf` goes into every form of theirs. `by_key`: the request itself has the key."""

    key: ApiKey
    csrf: str
    by_key: bool = False
    signed_in: bool = False

    @property
    def who(self) -> str:
        return self.key.label

    def may(self, scope: str) -> bool:
        """Whether to show what this scope allows; whoever does it is asked again."""
        return not {scope, "admin"}.isdisjoint(self.key.scopes)


class Sessions:
    """Signs readers in and recognizes them. Cookies hold a key's hash, never the key; a revoked key ends them."""

    def __init__(self, database: Database, open_to_all: bool = False) -> None:
        self._database = database
        self._open = open_to_all
        self._secret: str | None = None
        self._known: dict[str, tuple[float, ApiKey | None]] = {}

    def sign_in(self, presented: str) -> tuple[Reader, str]:
        """The reader and the cookie's value for a key; `Unauthorized` or `Forbidden` when it may not read pages."""
        hashed = hash_key(presented.strip())
        key = self._find(hashed)
        if key is None:
            raise Unauthorized("This key is not known, or was revoked.")
        require(key, READ)
        return self._reader(key, hashed, signed_in=True), self._signer().sign(hashed).decode()

    def read(self, headers: Mapping[str, str], cookies: Mapping[str, str], client_host: str | None) -> Reader:
        """Who asks. `Unauthorized` when nobody is signed in, `Forbidden` when the key lacks the scope."""
        presented = presented_key(headers)
        if presented is not None:
            hashed = hash_key(presented)
            return self._allowed(hashed, by_key=headers.get("authorization", "").lower().startswith("bearer"))
        session = self._session(cookies.get(COOKIE))
        if session:
            return self._allowed(session, signed_in=True)
        if self._open and is_loopback(client_host) and is_loopback(_host(headers.get("host", ""))):
            return self._reader(_ANYONE, "open")
        if cookies.get(COOKIE):
            raise Unauthorized(f"Your session has ended, as each does after {LASTS_S // 3600} hours. Sign in again.")
        raise Unauthorized("Sign in with a key that has the scope review or decide.")

    def _allowed(self, hashed: str, by_key: bool = False, signed_in: bool = False) -> Reader:
        key = self._find(hashed)
        if key is None:
            raise Unauthorized("This key is not known, or was revoked.")
        require(key, READ)
        return self._reader(key, hashed, by_key, signed_in)

    def _reader(self, key: ApiKey, owner: str, by_key: bool = False, signed_in: bool = False) -> Reader:
        token = hmac.new(self._key().encode(), b"csrf\0" + owner.encode(), hashlib.sha256).hexdigest()[:32]
        return Reader(key, token, by_key, signed_in)

    def _session(self, cookie: str | None) -> str | None:
        if not cookie:
            return None
        try:
            return self._signer().unsign(cookie, max_age=LASTS_S).decode()
        except BadSignature:
            return None

    def _find(self, hashed: str) -> ApiKey | None:
        """Keys are remembered for a few seconds, as the API does."""
        at, key = self._known.get(hashed, (float("-inf"), None))
        if monotonic() - at >= _REMEMBER_S:
            with self._database.read() as connection:
                key = find_key(connection, hashed)
            if len(self._known) > 1_000:
                self._known.clear()
            self._known[hashed] = (monotonic(), key)
        return key

    def _signer(self) -> TimestampSigner:
        return TimestampSigner(self._key(), salt="opportune.pages")

    def _key(self) -> str:
        if self._secret is None:
            with self._database.write() as connection:
                self._secret = secret(connection, "pages", secrets.token_hex(32))
        return self._secret


def check_form(reader: Reader, headers: Mapping[str, str], form: Mapping[str, Any]) -> None:
    """Refuses a form that another site may have sent. A request that carries the key itself needs no token."""
    if reader.by_key:
        return
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise Forbidden("this form was sent by another site")
    if not hmac.compare_digest(str(form.get("csrf", "")).encode(errors="replace"), reader.csrf.encode()):
        raise Forbidden("this form is out of date; load the page again and repeat")


def is_loopback(host: str | None) -> bool:
    """Whether a host or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _host(header: str) -> str:
    """The host of a `Host` header without its port (`[::1]:8000` -> `::1`)."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def local_path(path: str | None) -> str:
    """A path of this site to go back to; `/` for anything that could lead elsewhere."""
    if not path or not path.startswith("/") or path.startswith(("//", "/\\")) or any(ord(c) < 33 for c in path):
        return "/"
    return path
