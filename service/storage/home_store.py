"""Which home's event log a Postgres belongs to: a name, written once into the home and into the database.

The log lies in the home, so processes with homes of their own on one database would each keep a part of it, and
features made from a part are wrong without a sign of it. A SQLite state lies in the home itself.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from sqlalchemy import Column, String, Table, select

from service.storage.database import Connection, Database, UtcTime, metadata, upsert

FILE = "home-id"
_ONLY = "events"

homes = Table(
    "homes",
    metadata,
    Column("holds", String, primary_key=True),  # what of the state lies there: the events, so there is one row
    Column("home_id", String, nullable=False),
    Column("since", UtcTime, nullable=False),
)


def settle_home(database: Database, home: Path, now: datetime) -> str | None:
    """The home's name, "" where it has none and the database belongs to another; None on SQLite. A database and a home
    that have none yet get one.

    A new database takes the name of the home: it was made anew, or is the first of an older home.
    """
    if database.is_sqlite:
        return None
    with database.read() as connection:
        known = home_of(connection)
    here = _read(home)  # after the database: who starts at the same moment writes the file first
    if known is None:
        here = here or _make(home)
        with database.write() as connection:
            _keep(connection, here, now, replace=False)
            known = home_of(connection)
    return here or ""


def other_home(of_database: str | None, here: str | None) -> str | None:
    """What is wrong where the database belongs to another home than the one here (as `settle_home` told it)."""
    if of_database is None or here is None or of_database == here:
        return None
    return (
        f"the database belongs to the event log of another home (home-id {of_database}, here {here or 'none'}): events "
        "that come through this one are missing there; set OPPORTUNE_HOME to the folder that the others share, itself "
        "and no copy; where that one is lost or came back without its file home-id, run 'opportune doctor --adopt-home'"
    )


def adopt_home(database: Database, home: Path, now: datetime) -> str | None:
    """Makes this home the database's, whatever it knew; the name, None on SQLite. Others are told from then on.

    Where it is that already, a copy of it may be, too, as it bears its name: it gets a new one.
    """
    if database.is_sqlite:
        return None
    here = _read(home)
    with database.read() as connection:
        known = home_of(connection)
    if here is not None and here == known:
        (home / FILE).unlink()
    here = _read(home) or _make(home)
    with database.write() as connection:
        _keep(connection, here, now, replace=True)
    return here


def home_of(connection: Connection) -> str | None:
    """The name of the home that the database belongs to."""
    return connection.execute(select(homes.c.home_id).where(homes.c.holds == _ONLY)).scalar_one_or_none()


def _keep(connection: Connection, home_id: str, now: datetime, replace: bool) -> None:
    row = {"holds": _ONLY, "home_id": home_id, "since": now}
    upsert(connection, homes, [row], update=("home_id", "since") if replace else ())


def _read(home: Path) -> str | None:
    try:
        return (home / FILE).read_text().strip() or None
    except FileNotFoundError:
        return None


def _make(home: Path) -> str:
    """Of several that make it at once the first one's stands."""
    from features.files import fsync_folder  # with Polars, which no other start needs

    draft = home / f".{FILE}.{secrets.token_hex(4)}.tmp"
    try:
        with open(draft, "x") as file:
            file.write(secrets.token_hex(8) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, home / FILE)
    finally:
        draft.unlink(missing_ok=True)
    fsync_folder(home)
    made = _read(home)
    if made is None:
        raise ValueError(f"{home / FILE} is empty; remove it, or bring it back from a backup")
    return made
