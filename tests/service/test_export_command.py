"""The tables for training hold nobody who was erased while they were written."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from service import commands
from service.customers.customer_store import delete_profiles
from service.customers.erasure_store import begin_erasure
from service.customers.set_consents import set_consents
from service.settings import Settings
from service.storage.database import Database
from service.storage.migrate import migrate

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_who_is_erased_while_tables_are_written_is_in_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, export = Settings(home=tmp_path), commands._export
    database = Database(settings.state_url)
    migrate(database)
    with database.write() as connection:
        for customer in ("c1", "c2"):
            set_consents(connection, customer, {}, True, NOW, "api")

    def then_erased(of: Database, log: Path, tables: Path) -> None:
        export(of, log, tables)
        with of.write() as connection:
            if delete_profiles(connection, ["c1"]):
                begin_erasure(connection, "e1", ["c1"], {}, NOW)

    monkeypatch.setattr(commands, "_export", then_erased)
    commands.export_command(settings)
    database.close()
    assert pl.read_parquet(tmp_path / "tables" / "customers.parquet")["customer_id"].to_list() == ["c2"]
