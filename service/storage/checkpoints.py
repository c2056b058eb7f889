"""What SQLite's write-ahead log has gathered goes into the file beside those who commit, not while they wait."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from service.errors import Unavailable

log = logging.getLogger(__name__)
EVERY_S = 0.01
"""A moment between two copies."""
AFTER_S = 2.0
"""How long a few commits may wait: two more waits for the disk after each would be many for little."""
MANY = 4
"""Commits that do not wait so long. Of more there is more to copy at once, and decisions share the processor with it
for longer: with 16 and a tenth of a second their p99 was 17 to 19 ms, 12.5 to 13 so, 13 to 14 without the thread."""


class Checkpoints:
    """A thread that copies (https://sqlite.org/wal.html, "passive"): nobody waits for it, and it for nobody.

    Where it falls behind, the committing connections still do it themselves (`wal_autocheckpoint`).
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        """`connect` gives a connection of its own."""
        self._connect = connect
        self._commits = 0
        self._some, self._many, self._closed = threading.Event(), threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def committed(self) -> None:
        """Something was written. Called behind the writers' lock, and fails for nothing: it is written."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # as many as the system lets us have; those who commit copy meanwhile
                log.warning("no thread can be started to copy the database's log into its file; tried again")
                return
            self._thread = thread
        self._commits += 1
        self._some.set()
        if self._commits >= MANY:
            self._many.set()

    def close(self) -> None:
        """Ends the thread."""
        self._closed.set()
        self._some.set()
        self._many.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        while not self._closed.is_set():
            self._some.wait()
            self._many.wait(AFTER_S)
            self._closed.wait(EVERY_S)
            self._some.clear()  # before the look at `_closed`, which is set first
            self._many.clear()
            self._commits = 0
            try:
                connection = connection or self._connect()
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            except (sqlite3.Error, SQLAlchemyError, Unavailable) as failure:  # a full disk: who commits next is told
                log.warning("the database's log could not be copied into its file: %s", failure)
                if connection is not None:  # one that was opened while the disk only let it read would never write
                    connection.close()
                    connection = None
        if connection is not None:
            connection.close()
