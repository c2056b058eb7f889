"""The handler that keeps profiles: traits, zones, groups and consents, as events tell them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from service.customers.customer_store import add_consents, read_profiles, write_profiles
from service.customers.profile import ConsentChange, Profile, absorb
from service.storage.database import Connection


def update_customers(connection: Connection, events: Sequence[Mapping[str, Any]], now: datetime | None = None) -> None:
    """Applies EVENTS rows, in order, to the profiles of their customers. Repeating it changes nothing.

    By `now` it is known which answers were noted by a clock that was ahead.
    """
    if not events:
        return
    profiles = read_profiles(connection, (event["customer_id"] for event in events), lock=True)
    changed: dict[str, Profile] = {}
    told: list[ConsentChange] = []
    for event in events:
        customer_id = event["customer_id"]
        profile = profiles.get(customer_id)
        if profile is None:
            profile = Profile(customer_id, event["timestamp"], event["received_at"])
            profiles[customer_id] = changed[customer_id] = profile
        is_changed, consent = absorb(profile, event, now)
        if is_changed:
            changed[customer_id] = profile
        if consent is not None:
            told.append(consent)
    write_profiles(connection, list(changed.values()))
    add_consents(connection, told)
