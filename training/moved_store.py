"""Brings the places that MLflow's SQLite file names to where its home lies now, before anything is written there.

MLflow writes to the place that an experiment was made with: a copy of a home would be trained into the original.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from models.artifacts import FOLDER

PATIENCE_S = 30.0
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def follow(file: Path, experiment: str, artifacts: Path) -> None:
    """Where the experiment's files were beside a home, they are in `artifacts` now, if that is there."""
    if artifacts.name != FOLDER or not artifacts.is_dir():
        return
    here = artifacts.absolute().as_uri()
    with closing(sqlite3.connect(file, timeout=PATIENCE_S)) as database, database:
        found = database.execute("SELECT artifact_location FROM experiments WHERE name = ?", [experiment]).fetchone()
        if found is None or found[0] == here or not str(found[0]).endswith(f"/{FOLDER}"):
            return
        before = f"{found[0]}/"
        for table, column in _PLACES:
            named = f"SELECT DISTINCT {column} FROM {table} WHERE substr({column} || '/', 1, ?) = ?"
            for (place,) in database.execute(named, [len(before), before]).fetchall():
                rest = place[len(before) :]
                # What is not here was written into the original, by a version that did not follow.
                if (artifacts / rest).exists():
                    moved = "/".join(filter(None, [here, rest]))
                    database.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", [moved, place])
