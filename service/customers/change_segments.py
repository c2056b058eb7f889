"""Puts a customer into a segment or takes one out (a journey's step)."""

from __future__ import annotations

from datetime import datetime

from service.customers.customer_store import lock_present, write_profiles
from service.customers.profile import Profile
from service.storage.database import Connection


def change_segments(
    connection: Connection,
    customer_id: str,
    now: datetime,
    add: tuple[str, ...] = (),
    remove: tuple[str, ...] = (),
) -> bool:
    """Adds and removes segments; False when the customer was already so. Call it in a `write()` transaction."""
    owner, stored = lock_present(connection, customer_id)
    profile = stored or Profile(owner, now, now)
    segments = {name: by for name, by in profile.segments.items() if name not in remove}
    segments = {**dict.fromkeys(add, "journey"), **segments}
    if segments == profile.segments:
        return False
    profile.segments = segments
    profile.updated_at = max(profile.updated_at, now)
    write_profiles(connection, [profile])
    return True
