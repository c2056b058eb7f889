"""Pages, questions and journeys where tables are large: `make bench-large` (`BENCH_ARGS="--times 400"`: larger).

A home with a journey, an experiment and decisions is asked; then its rows are copied under other ids so many times, and
it is asked again. Times in ms, the least of three. SQLite, one worker on one core. Then a wave: every enrolment is new,
and the runner brings as many as it can to their first wait in ten seconds.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import httpx

from service.storage.database import Database
from service.web.auth import create_key
from tests.bench.decision_home import customer_ids, make_home
from tests.bench.loads import HERE, opportune, outside, serving, settings_of
from tests.conftest import free_port

T = TypeVar("T")
STARTER = HERE.parents[1] / "service" / "starter"
PEOPLE, DECISIONS = 1_000, 1_000
WAVE_S = 10
OF_CUSTOMER = {"customer_id": "customer_id || '-{n}'"}
COPIED: Mapping[str, Mapping[str, str]] = {
    "customers": OF_CUSTOMER,
    "decisions": OF_CUSTOMER | {"decision_id": "decision_id || '-{n}'", "decided_at": "decided_at - {n} * 60000000"},
    "ledger": OF_CUSTOMER | {"decision_id": "decision_id || '-{n}'"},
    "journey_enrolments": OF_CUSTOMER | {"id": "id || '-{n}'", "guard": "guard || '-{n}'"},
    "experiment_exposures": OF_CUSTOMER,
    "experiment_values": OF_CUSTOMER,
    "content_variants": {"variant_id": "variant_id || '-{n}'", "state": "'pending'"},
}
"""Tables whose rows are copied, and the columns that differ in copy n."""
ASKED: Sequence[tuple[str, str, str]] = (
    ("report", "GET", "/"),
    ("review", "GET", "/review"),
    ("customers", "GET", "/customers"),
    ("a customer", "GET", "/customers/customer-00001"),
    ("offers", "GET", "/offers"),
    ("journeys", "GET", "/journeys"),
    ("experiments", "GET", "/experiments"),
    ("models", "GET", "/models"),
    ("data", "GET", "/data"),
    ("a journey's figures", "GET", "/v1/journeys/winback/stats"),
    ("an experiment's results", "GET", "/v1/experiments/winback-hour/results"),
    ("a customer's enrolments", "GET", "/v1/journeys/winback/enrollments?customer_id=customer-00001"),
    ("what is kept of a customer", "GET", "/v1/customers/customer-00001"),
    ("copy to review", "GET", "/v1/content/variants?state=pending"),
    ("enrolling", "POST", "/v1/journeys/winback/enrollments"),
    ("a decision", "POST", "/v1/decisions"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=200, help="copies of every row; of customers a twentieth as many")
    times = parser.parse_args().times
    with TemporaryDirectory() as scratch:
        home = Path(scratch)
        make_home(home)
        with (home / "opportune.toml").open("a") as settings:
            settings.write("[pages]\nopen = true\n")
        database = Database(f"sqlite:///{home / 'state.db'}")
        key = create_key(database, ("decide", "admin", "review"), "bench", datetime.now(UTC))
        database.close()
        _with_service(home, key, _fill)
        before = _with_service(home, key, lambda api: _ask(api, 2_000))
        rows = _grow(home, times)
        after = _with_service(home, key, lambda api: _ask(api, 3_000))
        print(f"rows: {', '.join(f'{table} {count:,}' for table, count in rows.items())}\n")
        print("| | small home, ms | large home, ms | ratio |\n|---|---|---|---|")
        for name, small in before.items():
            print(f"| {name} | {small:.1f} | {after[name]:.1f} | {after[name] / small:.1f} |")
        print(f"\na wave of {rows['journey_enrolments']:,}: {_wave(home):,.0f} a second come to their first wait")


def _with_service(home: Path, key: str, work: Callable[[httpx.Client], T]) -> T:
    port = free_port()
    environment = {**settings_of(home), "OPPORTUNE_PORT": str(port)}
    with (
        serving(opportune(sys.executable), port, "/health/live", environment),
        httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {key}"},
            timeout=120,
            trust_env=False,
        ) as api,
    ):
        return work(api)


def _fill(api: httpx.Client) -> None:
    """A journey with an experiment in it, people in both, and decisions."""
    files = (
        ("/v1/experiments/winback-hour", "winback-hour.experiment.json", "application/json"),
        ("/v1/journeys/winback", "winback.yaml", "application/yaml"),
    )
    for path, name, kind in files:
        _done(api.put(path, content=(STARTER / name).read_bytes(), headers={"Content-Type": kind}))
    _done(api.post("/v1/journeys/winback/activate"))
    for customer in customer_ids()[:PEOPLE]:
        _done(api.post("/v1/journeys/winback/enrollments", json={"customer_id": customer}))
        _done(api.post("/ofrep/v1/evaluate/flags/winback-hour", json={"context": {"targetingKey": customer}}))
    for start in range(0, DECISIONS, 100):
        asked = [{"customer_id": customer} for customer in customer_ids()[start : start + 100]]
        _done(api.post("/v1/decisions/batch", json={"requests": asked}))


def _ask(api: httpx.Client, first: int) -> dict[str, float]:
    """The least of three times of each, in ms; `first` of the customers who are enrolled."""
    found: dict[str, float] = {}
    for name, method, path in ASKED:
        took = []
        for attempt in range(3):
            body = {"json": {"customer_id": customer_ids()[first + attempt]}} if method == "POST" else {}
            started = time.perf_counter()
            _done(api.request(method, path, **body))  # type: ignore[arg-type]
            took.append(1e3 * (time.perf_counter() - started))
        found[name] = min(took)
    return found


def _done(answer: httpx.Response) -> None:
    if answer.status_code not in {200, 201}:
        raise RuntimeError(f"{answer.request.url.path}: {answer.status_code} {answer.text[:500]}")


def _grow(home: Path, times: int) -> dict[str, int]:
    """Copies every row so many times, of customers a twentieth as often; how many rows each table has then."""
    with sqlite3.connect(home / "state.db") as connection:
        rows = {table: _copy(connection, table, change, times) for table, change in COPIED.items()}
    os.sync()  # else what is asked waits for the disk to take it
    return rows


def _copy(connection: sqlite3.Connection, table: str, change: Mapping[str, str], times: int) -> int:
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    connection.execute(f"CREATE TEMP TABLE copied AS SELECT * FROM {table}")
    for number in range(1, (times // 20 if table == "customers" else times) + 1):
        told = ", ".join(change.get(name, f'"{name}"').format(n=number) for name in names)
        into = ", ".join(f'"{name}"' for name in names)
        connection.execute(f"INSERT INTO {table} ({into}) SELECT {told} FROM copied")
    connection.execute("DROP TABLE copied")
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def _wave(home: Path) -> float:
    """Enrolments a second that the runner brings to their first wait, where all are new."""
    environment = {**outside(), **settings_of(home)}
    runner = subprocess.Popen(
        [sys.executable, "-m", "opportune", "worker"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not (before := _moved(home)):
            time.sleep(0.1)
        started = time.monotonic()
        time.sleep(WAVE_S)
        return (_moved(home) - before) / (time.monotonic() - started)
    finally:
        runner.terminate()
        runner.wait(30)


def _moved(home: Path) -> int:
    with sqlite3.connect(f"file:{home / 'state.db'}?mode=ro", uri=True) as connection:
        query = "SELECT count(*) FROM journey_enrolments WHERE step IS NOT NULL"
        return int(connection.execute(query).fetchone()[0])


if __name__ == "__main__":
    main()
