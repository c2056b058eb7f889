"""customers.parquet: the profiles as training reads them."""

from __future__ import annotations

from pathlib import Path

import orjson

from service.customers.customer_store import all_profiles
from service.customers.profile import Profile
from service.storage.database import Database


def export_customers(database: Database, path: Path) -> int:
    """Writes the CUSTOMERS table (features/tables.py) whole or not at all; returns how many customers it has."""
    import polars as pl

    from features.files import write_parquet
    from features.tables import CUSTOMERS

    with database.read() as connection:
        frames = [
            pl.DataFrame([_row(profile) for profile in page], schema=CUSTOMERS.schema)
            for page in all_profiles(connection)
        ]
    table = pl.concat([CUSTOMERS.empty(), *frames])
    write_parquet(table, path)
    return table.height


def _row(profile: Profile) -> dict[str, object]:
    return {
        "customer_id": profile.customer_id,
        "timezone": profile.timezone,
        "locale": profile.locale,
        "country": profile.country,
        "traits": orjson.dumps(profile.traits).decode(),
        "segments": list(profile.segments),
        "consents": orjson.dumps(profile.consents).decode(),
        "profiling": profile.profiling,
        "first_seen": profile.first_seen,
        "updated_at": profile.updated_at,
    }
