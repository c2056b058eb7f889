"""Connections to Postgres that give up: a server that hangs refuses nothing, and would hold its askers for good."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

STATEMENT_S = 30
"""How long the server itself lets a statement take."""
PATIENCE_S = STATEMENT_S + 5.0
"""How long a server is waited for that does not even say that a statement took too long."""
IDLE_S = 600
"""How long the server lets a transaction stand open without a statement: whoever was stopped in it holds its locks."""
_GONE = {"tcp_keepalives_idle": 30, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 3}
"""After a minute the server takes a client's host for vanished and lets go of its locks; by default after two hours."""
_LIMITS = {"statement_timeout": 1000 * STATEMENT_S, "idle_in_transaction_session_timeout": 1000 * IDLE_S, **_GONE}
_WAYS = {"connect_timeout": 5, "keepalives_idle": 60, "tcp_user_timeout": 10_000}
"""A host that has vanished is noticed within seconds (https://www.postgresql.org/docs/current/libpq-connect.html); the
system's own limits are a quarter of an hour for what was sent, and two hours for who only listens."""


class Silent(psycopg.OperationalError):
    """The server has not answered."""


class Patient(psycopg.Connection[Any]):
    """Closes itself when the server has said nothing to a request for `patience_s`; what became of it is not known."""

    patience_s: float | None = PATIENCE_S

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, self.patience_s if timeout is None else timeout)
        except psycopg.errors._WaitTimeout:
            if timeout is None:
                self.close()
                raise Silent(f"the server has not answered for {self.patience_s:g} s") from None
            raise


def connect(url: str = "", **told: Any) -> Patient:
    """A connection by a URL, by the parameters of libpq and psycopg, or both; they go before our own.

    Its transactions are READ COMMITTED, whatever the server does by default: what is read behind a lock is then what
    others have written before they let go of it.
    """
    given = {**conninfo_to_dict(url), **told}
    limits = (f"-c {name}={value}" for name, value in _LIMITS.items())
    options = " ".join(part for part in (given.get("options"), *limits) if part)
    connection = Patient.connect(**{**_WAYS, "client_encoding": "UTF8", **given, "options": options})
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    return connection
