from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from service.storage.database import Database, metadata
from service.storage.migrate import import_every_table, migrate

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    return str(request.getfixturevalue("postgres_url")).replace("postgresql://", "postgresql+psycopg://")


def test_migrations_make_the_declared_tables(empty_url: str) -> None:
    import_every_table()
    declared = [table for table in metadata.tables if not table.startswith("test_")]
    database = Database(empty_url)
    migrate(database)
    migrate(database)
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)
    database.close()
    assert len(declared) > 20
    assert [d for d in differences if "test_" not in str(d)] == []


def test_a_migration_may_take_as_long_as_it_needs(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[str] = []

    def upgrade(config: Config, _: str) -> None:
        asked = config.attributes["connection"].execute(text("SHOW statement_timeout"))
        limits.append(asked.scalar_one())

    database = Database(postgres_url.replace("postgresql://", "postgresql+psycopg://"))
    monkeypatch.setattr(command, "upgrade", upgrade)
    migrate(database)
    database.close()
    assert limits == ["0"]


def test_the_state_of_a_newer_version_is_refused_by_name(empty_url: str) -> None:
    database = Database(empty_url)
    migrate(database)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ValueError, match="of a newer version of opportune"):
        migrate(database)
    database.close()


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ("CREATE TABLE customers (id INTEGER)", "it has tables named customers"),
        ("CREATE TABLE alembic_version AS SELECT 'f3a9' AS version_num", "its revision is f3a9"),
    ],
)
def test_another_applications_database_is_told_as_such_and_left_alone(empty_url: str, made: str, told: str) -> None:
    database = Database(empty_url)
    with database.write() as connection:
        connection.execute(text(made))
        before = inspect(connection).get_table_names()
    with pytest.raises(ValueError, match=rf"is another application's \({told}\)"):
        migrate(database)
    with database.read() as connection:
        assert inspect(connection).get_table_names() == before
    database.close()


def test_a_database_that_lacks_most_letters_is_refused_before_it_is_used(postgres_server: str) -> None:
    """One in LATIN1 took all that it had letters for, and nothing more of who has a name in others."""
    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as admin:
        admin.execute("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        database = Database(f"{postgres_server}/latin".replace(":", "+psycopg:", 1))
        assert database.letters() == "LATIN1"
        with pytest.raises(ValueError, match="LATIN1: make one in UTF8"):
            migrate(database)
        with database.read() as connection:
            assert inspect(connection).get_table_names() == []
        database.close()
        admin.execute("DROP DATABASE latin")


def test_a_damaged_file_is_told_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    file.write_bytes(b"no database" * 1_000)
    with pytest.raises(
        ValueError, match=r"state\.db is damaged \(file is not a database\); bring it back from a backup"
    ):
        migrate(Database(f"sqlite:///{file}"))


def test_many_processes_may_migrate_at_once(empty_url: str) -> None:
    code = (
        "import sys; from service.storage.database import Database; from service.storage.migrate import migrate;"
        "migrate(Database(sys.argv[1]))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, empty_url], cwd=ROOT, stderr=subprocess.PIPE) for _ in range(4)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()


def test_lines_from_before_the_index_by_offer_count_where_they_must(empty_url: str) -> None:
    """Revision 0008 on a filled database: offers with limits for all, without, taken out, and of other senders."""
    import orjson
    from alembic import command

    from service.storage.migrate import _config

    database = Database(empty_url)
    plain: dict[str, Any] = {"caps": [{"max": 1, "per_days": 1, "per": "customer", "of": None}], "budget": None}
    plain |= {"cost": 1.0}
    documents = {
        "plain": plain,
        "free": plain | {"budget": {"amount": 1.0, "per_days": 1.0}, "cost": 0.0},
        "capped": plain | {"caps": [{"max": 1, "per_days": 1, "per": "everyone", "of": None}]},
        "monthly": plain | {"caps": [{"max": 1, "per_days": None, "per": "calendar_month", "of": "everyone"}]},
        "paid": plain | {"budget": {"amount": 1.0, "per_days": 1.0}},
    }
    offer = text(
        "INSERT INTO offers (offer_id, version, change, hash, document, created_at, updated_at, deleted_at) "
        "VALUES (:name, 1, 1, '', :document, 0, 0, :gone)"
    )
    line = text(
        "INSERT INTO ledger (decision_id, rank, customer_id, offer_id, channel, message, impression, cost, at) "
        "VALUES (:decision, 1, 'c', :offer, 'sms', true, true, 1, 5)"
    )
    with database.write() as connection:
        command.upgrade(_config(connection), "0007")
        for name, document in documents.items():
            gone = 1 if name == "paid" else None
            connection.execute(offer, {"name": name, "document": orjson.dumps(document), "gone": gone})
            connection.execute(line, {"decision": f"d-{name}", "offer": name})
        connection.execute(line, {"decision": "event:m1", "offer": "plain"})
        connection.execute(line, {"decision": "event:m2", "offer": ""})
    migrate(database)
    with database.write() as connection:
        found = connection.execute(text("SELECT decision_id FROM ledger WHERE shared ORDER BY 1")).scalars().all()
        assert found == ["d-capped", "d-monthly", "d-paid", "event:m1"]
        counted = connection.execute(text("SELECT offer_id FROM counted_offers ORDER BY 1")).scalars().all()
        assert counted == ["capped", "monthly", "paid"]
        command.downgrade(_config(connection), "0007")
        assert connection.execute(text("SELECT count(*) FROM ledger")).scalar_one() == 7
    database.close()


def test_folded_lines_are_rows_again_for_an_older_version(empty_url: str) -> None:
    from alembic import command

    from service.decisions.ledger_lines_store import lines_of
    from service.decisions.ledger_store import reserve
    from service.decisions.line import Line
    from service.storage.migrate import _config

    database = Database(empty_url)
    migrate(database)
    lines = [Line("d", n, "c", f"o{n}", "sms", n == 1, True, 0.5, 5, 9, "p", None, 4) for n in (1, 2, 3)]
    with database.write() as connection:
        reserve(connection, lines)
        assert connection.execute(text("SELECT count(*) FROM ledger")).scalar_one() == 1
        command.downgrade(_config(connection), "0010")
        assert connection.execute(text("SELECT count(*) FROM ledger")).scalar_one() == 3
        command.upgrade(_config(connection), "head")
        assert list(map(tuple, lines_of(connection, ["d"]).values())) == list(map(tuple, lines))
    database.close()


def test_decisions_from_before_they_were_found_by_their_lines_are_found(empty_url: str) -> None:
    """Revision 0010 on a filled database, and back."""
    from alembic import command

    from service.decisions.decision_store import latest_decisions
    from service.storage.migrate import _config

    database = Database(empty_url)
    row = text(
        "INSERT INTO decisions (decision_id, customer_id, decided_at, placement, arm, policy, policy_version, "
        "candidates, record) VALUES (:name, :customer, 5, 'p', 'model', 'default', '1', :body, :body)"
    )
    with database.write() as connection:
        command.upgrade(_config(connection), "0009")
        for name, customer in (("d1", "anna"), ("d2", "bob")):
            connection.execute(row, {"name": name, "customer": customer, "body": b"x"})
    migrate(database)
    with database.write() as connection:
        assert latest_decisions(connection, "anna", 9) == ["d1"]
        command.downgrade(_config(connection), "0009")
        assert connection.execute(text("SELECT count(*) FROM decisions")).scalar_one() == 2
    database.close()
