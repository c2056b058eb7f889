"""A customer's answers, told through the API or a link."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service.customers.customer_store import add_consents, lock_present, write_profiles
from service.customers.profile import ConsentChange, Profile, apply_consent, microseconds
from service.storage.database import Connection


def set_consents(
    connection: Connection,
    customer_id: str,
    answers: Mapping[str, Mapping[str, bool | None]],
    profiling: bool | None,
    now: datetime,
    source: str,
) -> tuple[Profile, bool]:
    """Notes answers per channel and purpose (None: back to saying nothing); what is not named stays.

    Makes the customer where the id is new. Returns the profile, and whether anything changed.
    """
    owner, stored = lock_present(connection, customer_id)
    profile = stored or Profile(owner, now, now)
    heard = dict(profile.consent_times)
    for key in [f"{channel}.{purpose}" for channel, purposes in answers.items() for purpose in purposes]:
        # an event's clock may have been ahead; what is said here is said last
        profile.consent_times[key] = min(heard.get(key, -1), microseconds(now))
    changes = [
        change
        for channel, purposes in answers.items()
        for purpose, answer in purposes.items()
        if apply_consent(profile, change := ConsentChange(owner, now, channel, purpose, answer, source))
    ]
    if profiling is not None and profiling != profile.profiling:
        profile.profiling = profiling
        changes.append(ConsentChange(owner, now, "all", "profiling", profiling, source))
    if changes or stored is None or heard != profile.consent_times:
        profile.updated_at = max(profile.updated_at, now)
        write_profiles(connection, [profile])
        add_consents(connection, changes)
    return profile, bool(changes)


def consents_of(profile: Profile) -> dict[str, Any]:
    """Answers in the shape of `PUT /v1/customers/{id}/consents`."""
    return {**profile.consents, "profiling": profile.profiling}
