"""Calls to addresses of the user's own, signed as Standard Webhooks (standardwebhooks.com, symmetric, `v1`).

The same message carries the same `webhook-id` however often it is sent, so the other side can drop repeats. Addresses
inside private networks are refused unless a setting allows them: a journey must not be a way into the machine's
neighbourhood (server-side request forgery). The address that was checked is the one that is called.

Of an answer only its status counts: whatever the other side says, and however slowly, a call ends within `timeout_s`
and keeps nothing of it. An address that has left several calls in a row unanswered is left alone for a while, so that
calls to others need not wait for it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from datetime import timedelta
from threading import Lock, Thread
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import orjson

from service.clock import Clock, SystemClock, monotonic
from service.journeys.channels.message import Message, OneByOne, SendResult

Resolve = Callable[[str, int], Sequence[str]]
_PREFIX = "whsec_"
_SECONDS = re.compile(r"[0-9]{1,9}")
"""What is heeded of Retry-After, which may be a date, too."""
_READ = 65_536
"""Bytes of an answer that are read for the sake of its connection, which then takes the next call."""
_SILENT_CALLS, _LEFT_ALONE_S = 8, 30.0


class WebhookChannel(OneByOne):
    """Posts JSON. 2xx is sent; 408, 425, 429 and 5xx may pass; anything else, also a redirect, is a refusal."""

    repeatable = True
    parallel = 8

    def __init__(
        self,
        secret: str,
        url: str | None = None,
        *,
        allow_private: bool = False,
        timeout_s: float = 10.0,
        clock: Clock | None = None,
        resolve: Resolve | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`url` is where `send` steps of the channel `webhook` go; webhook steps carry their own in `to`.

        Several secrets with blanks between them sign side by side, so that one can be changed without a gap. Raises
        `ValueError` for a secret that is none.
        """
        self._keys = [secret_bytes(one) for one in secret.split() or [""]]
        self._url = url
        self._allow_private = allow_private
        self._clock = clock or SystemClock()
        self._resolve = resolve or _addresses
        self._timeout_s = timeout_s
        self._client = httpx.AsyncClient(
            timeout=timeout_s, follow_redirects=False, trust_env=False, transport=transport
        )
        self._silent = Silent()
        # Only a loop ends a call as a whole; a client without one waits as long for each piece of an answer.
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="webhooks", daemon=True)
        self._thread.start()

    def send(self, message: Message) -> SendResult:
        url = message.to or self._url
        if not url:
            return SendResult("failed", "no address: set the webhook channel's url")
        body = orjson.dumps(_payload(message), default=str)
        try:
            target, headers, extensions = self._target(url)
        except ValueError as refused:
            return SendResult("failed", str(refused))
        except OSError as unknown:
            return SendResult("retry", f"{urlsplit(url).hostname}: {unknown}"[:300])
        headers |= self._signed(message.key, body) | {"content-type": "application/json", "user-agent": "Opportune"}
        request = self._client.build_request("POST", target, content=body, headers=headers, extensions=extensions)
        host = urlsplit(url).netloc
        if (why := self._silent.why(host)) is not None:
            return SendResult("retry", f"not tried, {host} did not answer just now: {why}"[:300])
        result, lost = asyncio.run_coroutine_threadsafe(self._call(request), self._loop).result()
        self._silent.heard(host, lost)
        return result

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._client.aclose(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _call(self, request: httpx.Request) -> tuple[SendResult, str | None]:
        """How a call ended; and why there was no answer, if there was none."""
        answer = None
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._client.send(request, stream=True)
                await _read_a_little(answer)
        except (httpx.HTTPError, TimeoutError) as lost:
            if answer is None:
                why = f"{type(lost).__name__}: {lost}" if str(lost) else f"no answer within {self._timeout_s:g} s"
                return SendResult("retry", why[:300]), why
        finally:
            if answer is not None:
                await answer.aclose()
        return _result(answer), None

    def _signed(self, key: str, body: bytes) -> dict[str, str]:
        stamp = str(int(self._clock.now().timestamp()))
        signatures = " ".join(sign(secret, key, stamp, body) for secret in self._keys)
        return {"webhook-id": key, "webhook-timestamp": stamp, "webhook-signature": signatures}

    def _target(self, url: str) -> tuple[str, dict[str, str], dict[str, Any]]:
        """The address to connect to. The name is looked up once, checked, and then called by number."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url[:200]!r} is no http or https address")
        if parts.username or parts.password:
            raise ValueError("an address must not carry a user name or password")
        try:
            written = httpx.URL(url)
        except httpx.InvalidURL as fault:
            raise ValueError(f"{url[:200]!r} is no http or https address: {fault}") from None
        if self._allow_private:
            return url, {}, {}
        port = parts.port or (443 if parts.scheme == "https" else 80)
        name = written.raw_host.decode()  # in ASCII, as DNS, TLS and headers have names in other scripts
        numbers = [ipaddress.ip_address(number) for number in self._resolve(name, port)]
        if not numbers or not all(_is_public(number) for number in numbers):
            raise ValueError(f"{parts.hostname} is inside a private network; the setting allow_private permits that")
        host = f"[{numbers[0]}]" if numbers[0].version == 6 else str(numbers[0])
        target = urlunsplit((parts.scheme, f"{host}:{port}", parts.path or "/", parts.query, ""))
        secure = {"sni_hostname": name} if parts.scheme == "https" else {}
        return target, {"host": written.netloc.decode()}, secure


class Silent:
    """Hosts that have left several calls in a row without an answer, and were asked a moment ago."""

    def __init__(self) -> None:
        self._lost: dict[str, tuple[int, float, str]] = {}
        self._lock = Lock()

    def why(self, host: str) -> str | None:
        """Why there is no use in asking it now; None where it may be asked."""
        with self._lock:
            calls, last, why = self._lost.get(host, (0, 0.0, ""))
        return why if calls >= _SILENT_CALLS and monotonic() - last < _LEFT_ALONE_S else None

    def heard(self, host: str, lost: str | None) -> None:
        """How a call ended: `lost` says why there was no answer."""
        with self._lock:
            if lost is None:
                self._lost.pop(host, None)
            else:
                self._lost[host] = (self._lost.get(host, (0,))[0] + 1, monotonic(), lost)


async def _read_a_little(answer: httpx.Response) -> None:
    size = 0
    async for part in answer.aiter_raw():
        size += len(part)
        if size > _READ:
            return


def secret_bytes(secret: str) -> bytes:
    """The key in `whsec_BASE64`; `ValueError` where it is malformed or has not 24 to 64 bytes."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("a webhook secret is 'whsec_' and base64; make one of 32 random bytes") from None
    if not 24 <= len(key) <= 64:
        raise ValueError(f"a webhook secret has 24 to 64 bytes; this one has {len(key)}")
    return key


def sign(secret: bytes, key: str, stamp: str, body: bytes) -> str:
    """`v1,BASE64` of HMAC-SHA256 over `id.timestamp.body`."""
    digest = hmac.new(secret, f"{key}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def _payload(message: Message) -> dict[str, Any]:
    data: dict[str, Any] = {
        "customer_id": message.customer_id,
        "journey_id": message.journey_id,
        "step": message.step,
        "decision_id": message.decision_id,
        "offer_id": message.offer_id,
    }
    if message.payload is not None:
        return {"type": "journey.webhook", "timestamp": message.created_at, "data": data | {"payload": message.payload}}
    data |= {"content": message.content, "unsubscribe_url": message.unsubscribe_url}
    return {"type": "journey.message", "timestamp": message.created_at, "data": data}


def _result(answer: httpx.Response) -> SendResult:
    said = f"{answer.status_code} {answer.reason_phrase}"
    if answer.is_success:
        return SendResult("sent", said)
    if answer.status_code in {408, 425, 429} or answer.status_code >= 500:
        wait = answer.headers.get("retry-after", "")
        return SendResult("retry", said, timedelta(seconds=int(wait)) if _SECONDS.fullmatch(wait) else timedelta())
    return SendResult("failed", said)


def _addresses(host: str, port: int) -> list[str]:
    return [str(found[4][0]).partition("%")[0] for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _is_public(number: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Not loopback, private, link-local, shared or reserved; also not such an address in IPv6's clothes."""
    if isinstance(number, ipaddress.IPv6Address):
        if number in _NAT64:
            return _is_public(ipaddress.IPv4Address(int(number) & 0xFFFFFFFF))
        inner = number.ipv4_mapped or number.sixtofour or (number.teredo[1] if number.teredo else None)
        if inner is not None:
            return _is_public(inner)
    return number.is_global and not number.is_multicast


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
