"""kill -9 of the process that answers: nothing answered with 200 is lost, nothing is counted twice."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from features.event_log import EventLog
from service.events.apply_events import Applier
from service.events.events_lease import EventsLease
from service.events.flush_events import Flusher
from service.events.run_events import EventsRunner
from service.storage.database import Database
from tests.fakes.events import FakeFeatures, FixedClock

ROOT = Path(__file__).parents[3]
SERVER = """
import sys
import uvicorn
from fastapi import FastAPI
from pathlib import Path
from features.event_log import EventLog
from service.clock import SystemClock
from service.events import flush_events
from service.events.apply_events import Applier
from service.events.events_lease import EventsLease
from service.events.flush_events import Flusher
from service.events.inbox_writer import InboxWriter
from service.events.normalize import Rules
from service.events.routes import routes
from service.events.run_events import EventsRunner
from service.loops import Loop
from service.storage.database import Database
from service.web.auth import Guard
from service.web.problems import install_problem_handlers
from tests.fakes.events import FakeFeatures

flush_events.EVERY_S = 0.05
database, clock = Database(sys.argv[1]), SystemClock()
lease = EventsLease(database)
applier = Applier(database, clock, lease, [], FakeFeatures())
runner = EventsRunner(applier, Flusher(database, EventLog(Path(sys.argv[2])), clock, lease), lease)
loop = Loop("events", runner.run_pass, 0.2)
loop.start()
app = FastAPI()
install_problem_handlers(app)
app.include_router(routes(InboxWriter(database, clock, loop.wake), Rules(), clock, Guard(database)))
server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
config = server.config
config.load()

async def main():
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await server.main_loop()

import asyncio
asyncio.run(main())
"""


@pytest.mark.slow
def test_no_accepted_event_is_lost(tmp_path: Path) -> None:
    from service.web.auth import create_key

    url = f"sqlite:///{tmp_path / 'state.db'}"
    database = Database(url)
    database.create_tables()
    key = create_key(database, ("ingest",), "test", FixedClock().now())
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, url, str(tmp_path / "events")],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert server.stdout is not None
    port = int(server.stdout.readline())
    accepted: list[str] = []
    half = threading.Event()

    def send(part: int) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            send_through(connection, part)

    def send_through(connection: http.client.HTTPConnection, part: int) -> None:
        for number in range(part, 2000, 4):
            body = orjson.dumps({"userId": f"c{number % 20}", "event": "Played", "messageId": f"m{number}"})
            try:
                connection.request("POST", "/v1/track", body, {"Authorization": f"Bearer {key}"})
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                return
            if answer.status == 200:
                accepted.append(f"m{number}")
            if len(accepted) > 1000:
                half.set()

    senders = [threading.Thread(target=send, args=(part,)) for part in range(4)]
    for sender in senders:
        sender.start()
    assert half.wait(120)
    server.send_signal(signal.SIGKILL)
    server.wait(10)
    server.stdout.close()
    for sender in senders:
        sender.join()
    assert 1000 < len(accepted) < 2000

    lease, features = EventsLease(database), FakeFeatures()
    with database.write() as connection:  # the dead process's lease, five seconds later
        from service.storage.lease import leases

        connection.execute(leases.delete())
    log = EventLog(tmp_path / "events")
    runner = EventsRunner(
        Applier(database, FixedClock(), lease, [], features), Flusher(database, log, FixedClock(), lease), lease
    )
    runner.finish()
    kept = log.scan().collect()["message_id"].to_list()
    assert set(accepted) <= set(kept)
    assert len(kept) == len(set(kept))
    database.close()
