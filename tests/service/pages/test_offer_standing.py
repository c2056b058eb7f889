"""An offer that is not shown says why, whoever the customer is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from service.pages.offer_standing import standing_of

NOW = datetime(2026, 5, 1, tzinfo=UTC)
PAST, AHEAD = datetime(2026, 4, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
OFFER = {"channels": ["email", "sms"], "priority": 1.0, "requires_approval": True, "facts": {}}
COPY = [("email", ["en"]), ("sms", ["en", "de"])]


@pytest.mark.parametrize(
    ("change", "copy", "told"),
    [
        ({}, COPY, [("good", "yes", None)]),
        ({"ends_at": AHEAD.isoformat()}, COPY, [("good", "yes, until", AHEAD)]),
        ({"ends_at": PAST.isoformat()}, COPY, [("bad", "no: ended", PAST)]),
        ({"facts": {"ends_at": PAST.isoformat()}, "ends_at": AHEAD.isoformat()}, COPY, [("bad", "no: ended", PAST)]),
        ({"ends_at": NOW.isoformat()}, COPY, [("bad", "no: ended", NOW)]),
        ({"starts_at": AHEAD.isoformat()}, COPY, [("warn", "not yet: starts", AHEAD)]),
        ({"priority": 0}, COPY, [("bad", "no: switched off, its priority is 0", None)]),
        ({}, COPY[:1], [("warn", "no approved copy for sms", None)]),
        ({}, [("email", []), ("sms", [])], [("warn", "no approved copy for email, sms", None)]),
        ({"requires_approval": False}, [], [("good", "yes", None)]),
    ],
)
def test_what_stands_in_the_way_is_told(change: dict[str, Any], copy: list[Any], told: list[Any]) -> None:
    assert standing_of(OFFER | change, copy, NOW) == told
