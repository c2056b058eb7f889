"""Links by which a person unsubscribes without signing in (RFC 8058): signed tokens, and what they do."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from service.clock import Clock, new_id
from service.customers.consent import MARKETING
from service.customers.customer_store import read_customer, secret
from service.customers.set_consents import set_consents
from service.events.record_events import record_events
from service.storage.database import Database

_SECRET = "unsubscribe"
_SIGNATURE_BYTES = 16


@dataclass(frozen=True, slots=True)
class Link:
    """Whom a token unsubscribes, and from which channel."""

    customer_id: str
    channel: str


class Unsubscriber:
    """Makes and honours tokens. They do not expire: a link in an old message must still work."""

    def __init__(self, database: Database, clock: Clock, wake: Callable[[], None] = lambda: None) -> None:
        self._database = database
        self._clock = clock
        self._wake = wake
        self._signing: hmac.HMAC | None = None

    def make_token(self, customer_id: str, channel: str) -> str:
        """The token of `{public_url}/u/{token}`."""
        return self._token(_payload(customer_id, channel))

    def read_token(self, token: str) -> Link | None:
        """Whom a token is about; None when it was not made here."""
        try:
            payload = _decoded(token.partition(".")[0])
        except (binascii.Error, ValueError):
            return None
        # The whole text is compared: one link has one spelling, though base64 would decode several.
        if not hmac.compare_digest(token.encode(), self._token(payload).encode()):
            return None
        customer_id, channel = orjson.loads(payload)
        return Link(customer_id, channel)

    def locale(self, link: Link) -> str | None:
        """The customer's locale, if one is on record."""
        with self._database.read() as connection:
            return read_customer(connection, link.customer_id).locale

    def unsubscribe(self, link: Link) -> str | None:
        """Ends marketing on the channel at once, and records the event (once, however often it is asked).

        Gives the customer's locale, if one is on record.
        """
        now = self._clock.now()
        with self._database.write() as connection:
            answers = {link.channel: {MARKETING: False}}
            profile, changed = set_consents(connection, link.customer_id, answers, None, now, "link")
            if changed:
                event = {
                    "type": "track",
                    "event": "Unsubscribed",
                    "userId": profile.customer_id,
                    "messageId": f"unsubscribe-{new_id(now)}",
                    "properties": {"channel": link.channel, "by": "link"},
                }
                record_events(connection, [event], now)
        self._wake()
        return profile.locale

    def _token(self, payload: bytes) -> str:
        return f"{_encoded(payload)}.{_encoded(self._signature(payload))}"

    def _signature(self, payload: bytes) -> bytes:
        if self._signing is None:
            with self._database.write() as connection:
                key = secret(connection, _SECRET, secrets.token_hex(32)).encode()
            self._signing = hmac.new(key, digestmod="sha256")
        signature = self._signing.copy()  # the key is taken in once, not at every link
        signature.update(payload)
        return signature.digest()[:_SIGNATURE_BYTES]


def token_length(customer_id: str, channel: str) -> int:
    """How many characters `make_token` gives, without the key."""
    return len(_encoded(_payload(customer_id, channel))) + 1 + len(_encoded(bytes(_SIGNATURE_BYTES)))


def _payload(customer_id: str, channel: str) -> bytes:
    return orjson.dumps([customer_id, channel])


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
