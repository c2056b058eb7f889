"""What is answered before ASGI has the same bytes as what is answered by it; all else is handed on as it came."""

from __future__ import annotations

import asyncio
import re
import select
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.decisions import fast_route
from service.decisions.fast_route import FastDecisions
from service.decisions.http_protocol import _HEADS, DecisionsProtocol
from service.decisions.read_decision import DecisionReader
from service.decisions.routes import routes
from service.decisions.schemas import DecisionIn
from service.decisions.together import Together
from service.errors import Unavailable
from service.serve import PROTOCOL
from service.storage.database import Database
from service.telemetry import CountRequests, registry
from service.web.auth import Guard, create_key
from service.web.problems import install_problem_handlers
from tests.conftest import free_port
from tests.fakes.databases import sqlite_with_tables
from tests.fakes.decisions import NOON, Desk

LABELS = {"method": "POST", "route": "/v1/decisions"}
BODY = b'{"customer_id":"c1"}'


@pytest.fixture(autouse=True)
def _answers_have_their_shapes() -> None:
    """Not here: answers are made up."""


class Canned:
    """A decider that waits for its gate and says what it is told to say: bytes that can be compared."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.asked: list[str] = []
        self.failure: Exception | None = None
        self.padding = ""

    def decide_each(self, requests: Sequence[DecisionIn]) -> list[Any]:
        self.asked += [request.customer_id for request in requests]
        assert self.gate.wait(20)
        return [self.failure or {"customer_id": one.customer_id, "padding": self.padding} for one in requests]


class Watched(FastDecisions):
    """Notes what comes by ASGI."""

    seen: list[str]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.seen.append(scope["method"])
        await super().__call__(scope, receive, send)


class Server:
    """The front behind a real server in a thread."""

    def __init__(self, front: Watched, decider: Canned, key: str, **options: Any) -> None:
        self.front, self.decider, self.key = front, decider, key
        self.port = free_port()
        given = {"http": PROTOCOL, "access_log": False, "log_config": None, "timeout_graceful_shutdown": 10}
        self.server = uvicorn.Server(uvicorn.Config(front, port=self.port, **given | options))

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def plain(self, body: bytes = BODY, more: bytes = b"", start: bytes = b"POST /v1/decisions HTTP/1.1") -> bytes:
        head = b"\r\nHost: here\r\nContent-Type: application/json\r\nAuthorization: Bearer " + self.key.encode()
        return start + head + b"\r\nContent-Length: %d\r\n" % len(body) + more + b"\r\n" + body

    def told(self, sent: bytes, answers: int = 1, piece: int = 0) -> list[bytes]:
        """The answers to what is sent, in pieces of so many bytes; the last one may end the connection."""
        with self.connect() as connection:
            for at in range(0, len(sent), piece or len(sent)):
                connection.sendall(sent[at : at + (piece or len(sent))])
                time.sleep(0.005 if piece else 0)
            return read(connection, answers)


def read(connection: socket.socket, answers: int) -> list[bytes]:
    """So many whole answers, less their dates; None of them is followed by anything."""
    stream, found = connection.makefile("rb"), []
    for _ in range(answers):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = stream.readline()
            assert line, f"the server ended after {head!r}"
            head += line
        length = re.search(rb"content-length: (\d+)", head)
        found.append(re.sub(rb"date: [^\r]+", b"date: then", head) + stream.read(int(length[1]) if length else 0))
    if b"connection: close" in found[-1]:
        assert stream.read() == b""
    return found


@contextmanager
def running(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.server.run)
    thread.start()
    while not server.server.started:
        assert thread.is_alive(), "the server did not come up"
        time.sleep(0.01)
    try:
        yield server
    finally:
        server.decider.gate.set()
        server.server.should_exit = True
        thread.join()


@contextmanager
def serving(database: Database, app: FastAPI | None = None, **options: Any) -> Iterator[Server]:
    """A server that knows its key already."""
    decider, guard = Canned(), Guard(database)
    together = Together(decider)  # type: ignore[arg-type]
    key = create_key(database, ("decide",), "", NOON)
    if app is None:
        app = FastAPI()
        install_problem_handlers(app)
        desk = Desk(database)
        app.include_router(routes(decider, DecisionReader(database, desk.served), guard, together))  # type: ignore[arg-type]
        app.add_middleware(CountRequests)
    front = Watched(app, together, guard)
    front.seen = []
    with running(Server(front, decider, key, **options)) as server:
        server.told(server.plain())
        server.front.seen.clear()
        server.decider.asked.clear()
        yield server
    together.close()


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setattr("service.web.auth._REMEMBER_S", 3_600.0)  # however slow the machine is
    return sqlite_with_tables(tmp_path / "state.db")


def counted(status: int = 200) -> float:
    labels = LABELS | {"status": str(status)}
    return registry.get_sample_value("opportune_http_requests_total", labels) or 0.0


def cases(server: Server) -> dict[str, tuple[bytes, int, list[str]]]:
    """What is sent, how many answers it gets, and what of it ASGI sees."""
    plain = server.plain
    ten = b"POST /v1/decisions HTTP/1.0"
    chunked = plain().replace(b"Content-Length: 20\r\n", b"Transfer-Encoding: chunked\r\n")
    get = b"GET /nowhere HTTP/1.1\r\nHost: here\r\n\r\n"
    return {
        "plain": (plain(), 1, []),
        "as Python's clients write it": (plain(more=b"accept: */*\r\nConnection: keep-alive\r\n"), 1, []),
        "with a proxy's headers": (plain(more=b"X-Forwarded-For: 10.0.0.1\r\n"), 1, []),
        "the connection ends": (plain(more=b"Connection: close\r\n"), 1, ["POST"]),
        "HTTP/1.0": (plain(start=ten), 1, ["POST"]),
        "HTTP/1.0 that stays": (plain(start=ten, more=b"Connection: keep-alive\r\n"), 1, ["POST"]),
        "a query": (plain(start=b"POST /v1/decisions? HTTP/1.1"), 1, ["POST"]),
        "an address in full": (plain(start=b"POST http://here/v1/decisions HTTP/1.1"), 1, ["POST"]),
        "another method": (plain(start=b"PUT /v1/decisions HTTP/1.1"), 1, ["PUT"]),
        "another path": (plain(start=b"POST /v1/decision HTTP/1.1"), 1, ["POST"]),
        "to be repeated": (plain(more=b"Idempotency-Key: k\r\n"), 1, ["POST"]),
        "compressed": (plain(b"\x1f\x8b\x08", more=b"Content-Encoding: gzip\r\n"), 1, ["POST"]),
        "said to be compressed": (plain(more=b"Content-Encoding: gzip\r\n"), 1, ["POST"]),
        "without its length": (chunked.replace(BODY, b"14\r\n" + BODY + b"\r\n0\r\n\r\n"), 1, ["POST"]),
        "waits to be asked on": (plain(more=b"Expect: 100-continue\r\n"), 2, ["POST"]),
        "long": (plain(b'{"customer_id":"c1"}' + b" " * 70_000), 1, ["POST"]),
        "no key": (plain().replace(b"Authorization", b"X-Other"), 1, ["POST"]),
        "a wrong key": (plain().replace(b"Bearer op_", b"Bearer po_"), 1, ["POST"]),
        "not JSON": (plain(b"{"), 1, ["POST"]),
        "an empty body": (plain(b""), 1, ["POST"]),
        "a wrong field": (plain(b'{"customer_id":"c1","top_k":0}'), 1, ["POST"]),
        "three on end": (plain(b'{"customer_id":"c1"}') + plain(b'{"customer_id":"c2"}') * 2, 3, ["POST", "POST"]),
        "others between": (get + plain() + get + plain(b"{"), 4, ["GET", "POST", "GET", "POST"]),
        "others after it": (plain() + get, 2, ["GET"]),
        "wrong, then right": (plain(b"{") + plain(), 2, ["POST", "POST"]),
    }


@pytest.mark.parametrize("piece", [0, 97])
def test_every_answer_has_the_bytes_that_uvicorns_own_protocol_gives(database: Database, piece: int) -> None:
    with serving(database) as ours, serving(database, http="httptools") as theirs:
        theirs.key = ours.key
        for name, (sent, answers, by_asgi) in cases(ours).items():
            if piece and len(sent) > 10_000:
                continue
            before = counted()
            found = ours.told(sent, answers, piece)
            between = counted()
            assert found == theirs.told(sent, answers, piece), name
            assert between - before == counted() - between, name
            assert piece or ours.front.seen == by_asgi, name  # in pieces it depends on the moment what is under way
            ours.front.seen.clear()


@pytest.mark.parametrize("piece", [0, 97, 217])
def test_what_comes_behind_requests_that_are_known_has_the_same_bytes(database: Database, piece: int) -> None:
    def told(server: Server, sent: bytes, answers: int) -> list[bytes]:
        with server.connect() as connection:
            for _ in range(2):
                connection.sendall(server.plain())
                read(connection, 1)
            for at in range(0, len(sent), piece or len(sent)):
                connection.sendall(sent[at : at + (piece or len(sent))])
                time.sleep(0.005 if piece else 0)
            return read(connection, answers)

    with serving(database) as ours, serving(database, http="httptools") as theirs:
        theirs.key = ours.key
        plain = ours.plain()
        more = {
            "one and a half": (plain + plain, 2, ["POST"]),
            "empty lines before it": (b"\r\n\r\n" + plain, 1, []),
            "empty lines behind it": (plain + b"\r\n\r\n" + plain, 2, ["POST"]),
            "the same head, another body": (ours.plain(b'{"customer_id":"c2"}') + plain, 2, ["POST"]),
            "the same head, a wrong body": (ours.plain(b'{"customer_id":7777}'), 1, ["POST"]),
        }
        for name, (sent, answers, by_asgi) in (cases(ours) | more).items():
            if piece and len(sent) > 10_000:
                continue
            assert told(ours, sent, answers) == told(theirs, sent, answers), name
            assert piece or ours.front.seen == by_asgi, name
            ours.front.seen.clear()


def test_a_head_that_is_known_is_not_parsed_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    on_url = HttpToolsProtocol.on_url
    monkeypatch.setattr(DecisionsProtocol, "on_url", lambda self, url: (parsed.append(url), on_url(self, url)))
    with serving(database) as server, server.connect() as connection:
        parsed.clear()
        for number in range(_HEADS + 3):
            for _ in range(2):
                connection.sendall(server.plain(b'{"customer_id":"%s"}' % (b"c" * number or b"x")))
                assert read(connection, 1)[0].startswith(b"HTTP/1.1 200")
        assert len(parsed) == len({max(number, 1) for number in range(_HEADS + 3)})
        assert all(len(one._plain) <= _HEADS for one in _connections(server))
        for _ in range(2):
            connection.sendall(server.plain(more=b"X-Long: %s\r\n" % (b"x" * 3_000)))
            assert read(connection, 1)[0].startswith(b"HTTP/1.1 200")
        assert all(len(head) < 3_000 for one in _connections(server) for head in one._plain)


@pytest.mark.parametrize("failure", [Unavailable("later"), ValueError("a fault of ours")])
def test_failures_are_told_and_counted_alike(database: Database, failure: Exception) -> None:
    status = getattr(failure, "status", 500)
    with serving(database) as ours, serving(database, http="httptools") as theirs:
        ours.decider.failure = theirs.decider.failure = failure
        before = counted(status)
        assert ours.told(ours.plain()) == theirs.told(theirs.plain())
        assert ours.front.seen == []
        assert counted(status) == before + 2


@pytest.mark.parametrize("piece", [0, 7])
@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_an_offer_of_another_protocol_is_passed_over(database: Database, protocol: bytes, piece: int) -> None:
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %s\r\nHTTP2-Settings: AAMAAABkAAQAoAAA\r\n" % protocol
    with serving(database) as server:
        offered, wrong = server.plain(more=offer), server.plain(b"{", offer)
        chunked = offered.replace(b"Content-Length: 20\r\n", b"Transfer-Encoding: chunked\r\n")
        chunked = chunked.replace(BODY, b"14\r\n" + BODY + b"\r\n0\r\n\r\n")
        get = b"GET /nowhere HTTP/1.1\r\nHost: here\r\n" + offer + b"\r\n"
        told = server.told(offered + wrong + chunked + get + offered, 5, piece)
        assert [answer[9:12] for answer in told] == [b"200", b"400", b"200", b"404", b"200"]
        assert b'"c1"' in told[0]
        if not piece:  # as many as one packet may hold
            assert len(server.told(get * 1_500, 1_500)) == 1_500


def test_a_connection_serves_many(database: Database) -> None:
    with serving(database) as server, server.connect() as connection:
        for number in range(5):
            connection.sendall(server.plain(b'{"customer_id":"c%d"}' % number))
            assert b'"c%d"' % number in read(connection, 1)[0]
        connection.sendall(server.plain(b"{"))
        assert read(connection, 1)[0].startswith(b"HTTP/1.1 400")
        connection.sendall(server.plain())
        assert read(connection, 1)[0].startswith(b"HTTP/1.1 200")
        assert server.front.seen == ["POST"]


def test_a_key_is_looked_up_by_the_usual_way_once(database: Database) -> None:
    with serving(database) as server:
        server.key = create_key(database, ("decide",), "", NOON)
        assert all(server.told(server.plain())[0].startswith(b"HTTP/1.1 200") for _ in range(3))
        assert server.front.seen == ["POST"]
        server.key = create_key(database, ("ingest",), "", NOON)
        assert all(server.told(server.plain())[0].startswith(b"HTTP/1.1 403") for _ in range(2))
        assert server.front.seen == ["POST"] * 3


def _until(holds: Any) -> None:
    for _ in range(2_000):
        if holds():
            return
        time.sleep(0.005)
    raise AssertionError("it did not come to that")


def test_a_client_that_leaves_is_decided_for_and_counted_and_disturbs_nobody(database: Database) -> None:
    with serving(database) as server:
        before = counted()
        server.decider.gate.clear()
        with server.connect() as leaving:
            leaving.sendall(server.plain(b'{"customer_id":"gone"}'))
            _until(lambda: server.decider.asked == ["gone"])
        with server.connect() as half:
            half.sendall(server.plain()[:-5])
        _until(lambda: len(server.server.server_state.connections) == 1)  # it may only have said that it asks no more
        server.decider.gate.set()
        _until(lambda: counted() == before + 1)
        _until(lambda: not server.server.server_state.connections)
        assert server.told(server.plain())[0].startswith(b"HTTP/1.1 200")
        assert server.decider.asked == ["gone", "c1"]


@pytest.mark.parametrize(
    "name", ["plain", "a query", "three on end", "others between", "without its length", "HTTP/1.0"]
)
def test_who_sends_no_more_gets_all_answers(database: Database, name: str) -> None:
    """As `nc -N` and some proxies do: only their half of the connection ends (RFC 9112, 9.6)."""
    with serving(database) as server:
        sent, answers, _ = cases(server)[name]
        for _ in range(2):  # the second time its head is known
            server.decider.gate.clear()
            with server.connect() as connection:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                time.sleep(0.05)
                server.decider.gate.set()
                stream = connection.makefile("rb").read()  # to its end
            assert len(re.findall(rb"HTTP/1.1 \d\d\d", stream)) == answers
        server.decider.asked.clear()
        with server.connect() as connection:
            connection.sendall(server.plain()[:-1])
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) == b""
        assert server.decider.asked == []


def test_a_head_that_goes_on_for_ever_is_refused(database: Database) -> None:
    with serving(database) as server:
        long = server.plain(more=b"X-Long: %s\r\n" % (b"a" * 40_000))
        assert server.told(long, piece=5_000)[0].startswith(b"HTTP/1.1 200")
        with server.connect() as connection:
            connection.sendall(b"POST /v1/decisions HTTP/1.1\r\nX-Long: ")
            sent, ended = 0, False
            while sent < 4_000_000 and not ended:
                ended = bool(select.select([connection], [], [], 0.01)[0])
                with suppress(ConnectionError):
                    sent += connection.send(b"a" * 16_384)
        assert ended
        assert server.told(server.plain())[0].startswith(b"HTTP/1.1 200")


NO_HTTP = {
    "a method that there is none": b"FOO /v1/decisions HTTP/1.1\r\n\r\n",
    "a length that is none": b"POST /v1/decisions HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    "a part without its length": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a name that is none": b"POST /v1/decisions HTTP/1.1\r\nHo st: here\r\n\r\n",
    "a connection to elsewhere": b"CONNECT here:80 HTTP/1.1\r\nHost: here\r\n\r\n",
}


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("name", NO_HTTP)
def test_what_is_no_http_is_answered_by_a_problem(database: Database, name: str, known: bool) -> None:
    with serving(database) as server, server.connect() as connection:
        for _ in range(2 * known):
            connection.sendall(server.plain())
            read(connection, 1)
        connection.sendall(NO_HTTP[name])
        answer = b""
        while part := connection.recv(4_096):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"content-type: application/problem+json\r\n" in head
    assert b"content-length: %d\r\n" % len(body) in head
    told = orjson.loads(body)
    assert (told["type"], told["status"]) == ("urn:opportune:bad-request", 400)


@pytest.mark.parametrize("name", NO_HTTP)
@pytest.mark.parametrize("before", ["plain", "a query", "others between", "three on end"])
def test_requests_before_what_is_no_http_are_answered_before_it(database: Database, before: str, name: str) -> None:
    """The refusal came first, as if it were the first request's answer, and then nothing."""
    with serving(database) as server:
        sent, answers, _ = cases(server)[before]
        wanted = server.told(sent, answers)
        server.decider.gate.clear()
        with server.connect() as connection:
            connection.sendall(sent + NO_HTTP[name])
            time.sleep(0.05)
            with suppress(ConnectionError):
                connection.sendall(b"what is behind it is nothing to anybody\r\n\r\n")
            server.decider.gate.set()
            told = read(connection, answers + 1)
        assert told[:-1] == wanted
        assert told[-1].startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_who_sends_no_more_gets_the_refusal_too(database: Database) -> None:
    with serving(database) as server:
        server.decider.gate.clear()
        with server.connect() as connection:
            connection.sendall(server.plain() + b"~~~\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            time.sleep(0.05)
            server.decider.gate.set()
            told = read(connection, 2)
        assert [answer[9:12] for answer in told] == [b"200", b"400"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.web.patient_protocol.LOOK_S", 0.2)


SLOW = {"a head": (60, []), "a plain body": (-5, []), "another's body": (-5, ["POST"])}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("drips", "earlier"), [(False, 0), (True, 2)])
@pytest.mark.parametrize("name", SLOW)
def test_who_never_ends_a_request_is_told_and_left(database: Database, name: str, drips: bool, earlier: int) -> None:
    with serving(database) as server, server.connect() as connection:
        for _ in range(earlier):
            connection.sendall(server.plain())
            read(connection, 1)
        more = b"X-Long: 1\r\n" * 500
        cut, by_asgi = SLOW[name]
        start = b"POST /v1/decisions? HTTP/1.1" if by_asgi else b"POST /v1/decisions HTTP/1.1"
        body = b" " * 20_000
        whole = server.plain(body if "body" in name else BODY, more, start)
        at = cut if cut > 0 else len(whole) - 15_000
        connection.sendall(whole[:at])
        connection.settimeout(0.02)
        answer = b""
        while True:
            try:
                part = connection.recv(4_096)
            except TimeoutError:
                at += 1
                assert at < len(whole), "it may go on for as long as it likes"
                if drips:
                    connection.sendall(whole[at - 1 : at])
                continue
            if not part:
                break
            answer += part
        assert server.decider.asked == ["c1"] * earlier
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert orjson.loads(answer.partition(b"\r\n\r\n")[2])["type"] == "urn:opportune:request-timeout"


@pytest.mark.usefixtures("impatient")
def test_who_says_nothing_or_reads_nothing_is_left(database: Database) -> None:
    with serving(database) as server:
        with server.connect() as mute:
            assert mute.recv(1) == b""
        with server.connect() as empty:
            empty.sendall(server.plain())
            read(empty, 1)
            empty.sendall(b"\r\n")
            assert empty.recv(1) == b""
        with server.connect() as unread:
            server.decider.padding = "x" * 20_000_000
            unread.sendall(server.plain())
            _until(lambda: any(c.flow.write_paused for c in _connections(server)))
            _until(lambda: not _connections(server))


@pytest.mark.usefixtures("impatient")
def test_who_waits_for_us_is_not_left(database: Database) -> None:
    with serving(database) as server:
        server.decider.gate.clear()
        with server.connect() as one, server.connect() as another:
            one.sendall(server.plain() + server.plain()[:30])  # with the next one begun
            another.sendall(cases(server)["a query"][0] * 2)
            _until(lambda: server.decider.asked)
            time.sleep(1.5)
            server.decider.gate.set()
            assert read(one, 1)[0].startswith(b"HTTP/1.1 200")
            assert [answer[9:12] for answer in read(another, 2)] == [b"200", b"200"]
            time.sleep(1.5)  # between two requests uvicorn's own patience counts
            another.sendall(server.plain())
            assert read(another, 1)[0].startswith(b"HTTP/1.1 200")


def test_a_server_that_ends_answers_what_is_under_way(database: Database) -> None:
    with serving(database) as server, ThreadPoolExecutor() as pool:
        server.decider.gate.clear()
        first, slow, wrong = server.connect(), server.connect(), server.connect()
        idle = server.connect()
        first.sendall(server.plain())
        slow.sendall(server.plain()[:-5])
        wrong.sendall(server.plain()[:-5])
        _until(lambda: server.decider.asked == ["c1"])
        waiting = [pool.submit(read, one, 1) for one in (first, slow, wrong)]
        server.server.should_exit = True
        assert idle.recv(1) == b""
        slow.sendall(server.plain()[-5:])
        wrong.sendall(b"~~~~~")
        time.sleep(0.05)
        server.decider.gate.set()
        told = [one.result()[0] for one in waiting]
        assert [answer[:12] for answer in told] == [b"HTTP/1.1 200", b"HTTP/1.1 200", b"HTTP/1.1 400"]
        assert all(b"connection: close" in answer for answer in told)
        for connection in (first, slow, wrong, idle):
            connection.close()


def test_a_client_that_does_not_read_gets_all_in_the_end(database: Database) -> None:
    with serving(database) as server, server.connect() as connection:
        server.decider.padding = "x" * 20_000_000
        connection.sendall(server.plain())
        _until(lambda: server.decider.asked == ["c1"] and any(c.flow.write_paused for c in _connections(server)))
        connection.sendall(server.plain(b'{"customer_id":"c2"}'))
        _until(lambda: server.front.seen == ["POST"])
        first, second = read(connection, 2)
        assert (b'"c1"' in first, b'"c2"' in second) == (True, True)


def _connections(server: Server) -> list[Any]:
    return list(server.server.server_state.connections)


@pytest.mark.parametrize("options", [{"limit_concurrency": 100}, {"root_path": "/under"}])
def test_what_must_see_every_request_does(database: Database, options: dict[str, Any]) -> None:
    with serving(database, **options) as server:
        server.told(server.plain())
        assert server.front.seen == ["POST"]


def test_a_fault_of_ours_in_reading_is_no_bad_http(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("a fault of ours")

    with serving(database) as server:
        monkeypatch.setattr(fast_route, "parse", broken)
        assert server.told(server.plain())[0].startswith(b"HTTP/1.1 500")


async def test_one_answer_that_cannot_be_given_keeps_no_other_back() -> None:
    together = Together(Canned())  # type: ignore[arg-type]

    def broken(_: Any) -> None:
        raise RuntimeError("nobody takes it")

    together.ask(DecisionIn(customer_id="c1"), broken)
    told = await asyncio.gather(*(together.decide(DecisionIn(customer_id=f"c{n}")) for n in range(3)))
    assert len(told) == 3
    together.close()
