"""Who may not be profiled is known of the state, whoever starts a training and whenever tables were exported."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from features.event_log import EventLog
from service.customers.set_consents import set_consents
from service.storage.database import Database
from tests.fakes.shop_history import shop_history
from training.consent_store import UnknownConsents, unprofiled
from training.train import train

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def home(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose exported table says of `late` alone that they refused, and whose state knows better."""
    url = database.engine.url
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPPORTUNE_CONFIG", raising=False)
    if database.is_sqlite:
        monkeypatch.delenv("OPPORTUNE_DATABASE_URL", raising=False)
        made = Path(str(url.database)).parent
    else:
        monkeypatch.setenv("OPPORTUNE_DATABASE_URL", url.render_as_string(hide_password=False))
        made = tmp_path
    (made / "tables").mkdir(exist_ok=True)
    table = pl.DataFrame({"customer_id": ["c1", "late"], "profiling": [True, False]})
    table.write_parquet(made / "tables" / "customers.parquet")
    with database.write() as connection:
        set_consents(connection, "c1", {}, False, NOW, "api")
        set_consents(connection, "late", {}, False, NOW, "api")
        set_consents(connection, "late", {}, True, NOW, "api")
    return made


def test_the_state_is_asked_rather_than_an_older_table(home: Path) -> None:
    assert unprofiled(home) == {"c1"}


def test_settings_tell_where_the_state_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPPORTUNE_DATABASE_URL", raising=False)
    Path("opportune.toml").write_text('database_url = "postgresql+psycopg://nobody@127.0.0.1:1/none"')
    with pytest.raises(UnknownConsents, match="database_url"):
        unprofiled(home)


def test_the_state_may_be_a_file_elsewhere(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "elsewhere" / "of.db"
    monkeypatch.setenv("OPPORTUNE_DATABASE_URL", f"sqlite:///{state}")
    with pytest.raises(UnknownConsents, match="database_url"):
        unprofiled(home)
    database = Database(f"sqlite:///{state}")
    database.create_tables()
    with database.write() as connection:
        set_consents(connection, "c2", {}, False, NOW, "api")
    database.close()
    assert unprofiled(home) == {"c2"}


def test_nothing_is_trained_where_it_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPPORTUNE_DATABASE_URL", raising=False)
    EventLog(tmp_path / "events").append(shop_history(40, 260), "history")
    (tmp_path / "state.db").write_bytes(b"no database at all")
    for name in ("churn", "send-time"):
        with pytest.raises(UnknownConsents, match=r"cannot be read from .*state\.db.*nothing is trained"):
            train([name], tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}")
