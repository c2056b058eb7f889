"""What the runner asks of the rest of the service; wiring gives it. Nothing here is known of journeys' rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from service.storage.database import Connection

Verdict = bool | str
"""True: yes. False, or the reason in words: no."""


RecordEvents = Callable[[Connection, Sequence[Mapping[str, Any]], datetime], object]
"""(connection, Segment messages, now): into the inbox, in the caller's transaction, each once by its `messageId`."""


class Decide(Protocol):
    """Decides as `POST /v1/decisions` does and records it. `key` names the visit of the step that asks: a repeated key
    after a crash may be answered with the first decision.
    """

    def __call__(
        self,
        *,
        customer_id: str,
        placement: str,
        channels: Sequence[str],
        context: Mapping[str, Any],
        at: datetime,
        offers: Sequence[str] | None,
        key: str,
    ) -> Mapping[str, Any]: ...


def _any_content(content: Mapping[str, Any], offer_id: str | None) -> Verdict:
    return True


def _no_url(customer_id: str, channel: str, decision_id: str | None) -> str | None:
    return None


def _no_hour(customer_id: str, channel: str, start: datetime, end: datetime) -> datetime | None:
    return None


def _no_members(segment: str) -> Iterable[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Collaborators:
    """All of them are called outside transactions, but for `record_events`, which writes in the caller's.

    decide: see `Decide`.
    may_send: (customer, channel) -> whether a message may go out now (consent, suppression, erased).
    quiet_until: (customer, channel, at) -> the end of the quiet hours in which `at` lies, or None.
    zone_of: the customer's IANA zone, or None where it is not known.
    facts: (customer, at) -> `{"traits", "segments", "features", "scores"}` for branches.
    recipient: (customer, channel) -> the address (e-mail, phone number, token), or None.
    record_events: (connection, Segment messages, now): into the inbox, each once by its `messageId`.
    change_segments: (customer, segment to enter, segment to leave or None, at).
    assign: (experiment, customer, at) -> the arm, its exposure recorded; None: not in the experiment.
    good_hour: (customer, channel, start, end) -> the best allowed time, or None.
    content_ok: (content, offer) -> whether this variant may still be sent.
    unsubscribe_url: (customer, channel, decision) -> the address `/u/{token}`.
    members_of: the customers in a segment, for journeys that a segment enters.
    """

    decide: Decide
    may_send: Callable[[str, str], Verdict]
    quiet_until: Callable[[str, str, datetime], datetime | None]
    zone_of: Callable[[str], str | None]
    facts: Callable[[str, datetime], Mapping[str, Any]]
    recipient: Callable[[str, str], str | None]
    record_events: RecordEvents
    change_segments: Callable[[str, str, str | None, datetime], object]
    assign: Callable[[str, str, datetime], str | None]
    good_hour: Callable[[str, str, datetime, datetime], datetime | None] = _no_hour
    content_ok: Callable[[Mapping[str, Any], str | None], Verdict] = _any_content
    unsubscribe_url: Callable[[str, str, str | None], str | None] = _no_url
    members_of: Callable[[str], Iterable[str]] = _no_members
    default_zone: str = "UTC"


def reason_against(verdict: Verdict) -> str | None:
    """Why not; None for yes."""
    if verdict is True:
        return None
    return verdict if isinstance(verdict, str) and verdict else "not allowed"
