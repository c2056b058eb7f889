"""Webhooks: the signature of Standard Webhooks, honest results, and no way into private networks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import orjson
import pytest

from service.journeys.channels.message import Message
from service.journeys.channels.webhook import WebhookChannel, secret_bytes, sign
from tests.fakes.journeys import HandClock

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
AT = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
MESSAGE = Message(
    "k1", "webhook", "anna", AT, "https://hooks.example.com/in?x=1", payload={"n": 1}, journey_id="j", step="tell"
)


def channel(handler, public: str = "93.184.216.34", **more) -> WebhookChannel:  # type: ignore[no-untyped-def]
    return WebhookChannel(
        SECRET,
        clock=HandClock(AT),
        resolve=lambda host, port: [public],
        transport=answering(handler),
        **more,
    )


def answering(handler) -> httpx.MockTransport:  # type: ignore[no-untyped-def]
    """Answers as they come from the wire: read by nobody yet."""

    def unread(request: httpx.Request) -> httpx.Response:
        answer = handler(request)
        return httpx.Response(answer.status_code, headers=answer.headers, stream=httpx.ByteStream(answer.content))

    return httpx.MockTransport(unread)


def test_the_signature_of_the_standards_own_example() -> None:
    """From the reference implementation's tests (standard-webhooks/standard-webhooks, libraries/python)."""
    key = secret_bytes("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_name_in_another_script_is_called_as_dns_has_it() -> None:
    """It could not be put into a header, so all calls broke."""
    seen: list[httpx.Request] = []
    names: list[str] = []

    def take(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(204)

    def resolve(host: str, port: int) -> list[str]:
        names.append(f"{host}:{port}")
        return ["93.184.216.34"]

    hooks = WebhookChannel(SECRET, clock=HandClock(AT), resolve=resolve, transport=answering(take))
    assert hooks.send(replace(MESSAGE, to="https://münchen.example:8443/hook?wo=süd")).state == "sent"
    (request,) = seen
    assert str(request.url) == "https://93.184.216.34:8443/hook?wo=s%C3%BCd"
    assert request.headers["host"] == "xn--mnchen-3ya.example:8443"
    assert request.extensions["sni_hostname"] == "xn--mnchen-3ya.example"
    assert names == ["xn--mnchen-3ya.example:8443"]


@pytest.mark.parametrize("private", [False, True])
def test_what_is_no_address_is_refused_and_not_tried_again(private: bool) -> None:
    for url in ("https://exa\x7fmple.com/", "https://[::1/", "ftp://example.com/"):
        told = channel(lambda request: httpx.Response(204), allow_private=private).send(replace(MESSAGE, to=url))
        assert told.state == "failed"


def test_a_call_is_signed_and_names_its_message() -> None:
    seen: list[httpx.Request] = []

    def take(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(204)

    assert channel(take).send(MESSAGE).state == "sent"
    (request,) = seen
    assert request.headers["webhook-id"] == "k1"
    stamp = str(int(AT.timestamp()))
    assert request.headers["webhook-timestamp"] == stamp
    digest = hmac.new(bytes(range(32)), f"k1.{stamp}.".encode() + request.content, hashlib.sha256).digest()
    assert request.headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    body = orjson.loads(request.content)
    assert body["type"] == "journey.webhook"
    assert body["data"]["payload"] == {"n": 1}
    assert body["data"]["customer_id"] == "anna"


def test_a_message_carries_what_whoever_sends_it_on_needs() -> None:
    seen: list[httpx.Request] = []

    def take(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(204)

    url, link = "https://hooks.example.com/in", "https://shop.example.com/u/token"
    message = Message("k1", "webhook", "anna", AT, url, {"body": "Hi"}, "d1", "o1", "j", "tell", link)
    assert channel(take).send(message).state == "sent"
    body = orjson.loads(seen[0].content)
    assert (body["type"], body["data"]) == ("journey.message", {
        "customer_id": "anna", "journey_id": "j", "step": "tell", "decision_id": "d1", "offer_id": "o1",
        "content": {"body": "Hi"}, "unsubscribe_url": link,
    })  # fmt: skip


def test_two_secrets_sign_side_by_side_while_one_is_changed() -> None:
    """One could not be changed but at once here and with all who receive."""
    new, seen = "whsec_" + base64.b64encode(bytes(32)).decode(), []

    def take(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    hooks = WebhookChannel(f"{new} {SECRET}", allow_private=True, clock=HandClock(AT), transport=answering(take))
    assert hooks.send(MESSAGE).state == "sent"
    stamp = str(int(AT.timestamp()))
    signed = [sign(secret_bytes(secret), "k1", stamp, seen[0].content) for secret in (new, SECRET)]
    assert seen[0].headers["webhook-signature"].split(" ") == signed
    hooks.close()


def test_the_checked_address_is_the_one_that_is_called() -> None:
    seen: list[httpx.Request] = []

    def take(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    channel(take).send(MESSAGE)
    assert seen[0].url.host == "93.184.216.34"
    assert seen[0].headers["host"] == "hooks.example.com"
    assert seen[0].extensions["sni_hostname"] == "hooks.example.com"


@pytest.mark.parametrize(
    ("status", "state"),
    [(200, "sent"), (202, "sent"), (301, "failed"), (400, "failed"), (404, "failed"), (410, "failed"),
     (408, "retry"), (429, "retry"), (500, "retry"), (503, "retry")],
)  # fmt: skip
def test_answers_are_taken_for_what_they_say(status: int, state: str) -> None:
    assert channel(lambda _: httpx.Response(status)).send(MESSAGE).state == state


@pytest.mark.parametrize(
    ("asked", "seconds"), [("3600", 3600), ("", 0), ("-5", 0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0)]
)
def test_who_asks_to_be_left_alone_for_a_while_is(asked: str, seconds: int) -> None:
    hooks = channel(lambda _: httpx.Response(429, headers={"Retry-After": asked}))
    assert hooks.send(MESSAGE).wait == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "fault", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("cut")]
)
def test_a_lost_call_is_tried_again_under_the_same_id(fault: Exception) -> None:
    def lose(_: httpx.Request) -> httpx.Response:
        raise fault

    assert channel(lose).send(MESSAGE).state == "retry"


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.8", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "::1", "fd00::1", "fe80::1", "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::"],
)  # fmt: skip
def test_private_networks_are_refused(address: str) -> None:
    called: list[httpx.Request] = []
    result = channel(lambda request: called.append(request) or httpx.Response(200), address).send(MESSAGE)
    assert result.state == "failed"
    assert "private network" in result.detail
    assert called == []


def test_a_setting_allows_private_networks() -> None:
    assert channel(lambda _: httpx.Response(200), "127.0.0.1", allow_private=True).send(MESSAGE).state == "sent"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "https://", "https://user:pw@example.com/"])
def test_what_is_no_address_is_refused(url: str) -> None:
    from dataclasses import replace

    assert channel(lambda _: httpx.Response(200)).send(replace(MESSAGE, to=url)).state == "failed"


@pytest.mark.parametrize("secret", ["whsec_!!", "whsec_c2hvcnQ=", "", " ", f"{SECRET} whsec_!!"])
def test_a_weak_secret_is_refused_at_once(secret: str) -> None:
    with pytest.raises(ValueError, match="webhook secret"):
        WebhookChannel(secret)


def take_request(call: socket.socket) -> None:
    """Reads one whole request: headers and body may come apart. OSError where the caller has hung up."""
    told = b""
    while b"\r\n\r\n" not in told:
        told += read_some(call)
    head, _, body = told.partition(b"\r\n\r\n")
    [length] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < int(length.partition(b":")[2]):
        body += read_some(call)


def read_some(call: socket.socket) -> bytes:
    some = call.recv(65_536)
    if not some:
        raise ConnectionError("the caller has hung up")
    return some


@contextmanager
def host(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """Takes calls, and does with each what it is told; its address."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:

        def take() -> None:
            with suppress(OSError):
                while True:
                    call, _ = listener.accept()
                    threading.Thread(target=answer, args=(call,), daemon=True).start()

        def answer(call: socket.socket) -> None:
            with call, suppress(OSError):
                take_request(call)
                talk(call)

        threading.Thread(target=take, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        listener.shutdown(socket.SHUT_RDWR)


def drip(begin: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    def talk(call: socket.socket) -> None:
        call.sendall(begin)
        while True:
            call.sendall(piece)
            time.sleep(0.05)

    return talk


@pytest.mark.parametrize(
    ("talk", "state"),
    [
        (drip(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n", b"x"), "sent"),
        (drip(b"HTTP/1.1 503 No\r\nContent-Length: 9000\r\n\r\n", b"x"), "retry"),
        (drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), "retry"),
    ],
)
@pytest.mark.timeout(20)
def test_who_answers_drop_by_drop_holds_nobody_up(talk: Callable[[socket.socket], None], state: str) -> None:
    """Each drop began the wait anew, so that one such address stopped all journeys."""
    hooks = WebhookChannel(SECRET, allow_private=True, timeout_s=0.4)
    with host(talk) as url:
        assert hooks.send(replace(MESSAGE, to=url)).state == state
    hooks.close()


def test_nothing_is_kept_of_a_huge_answer() -> None:
    piece = b"x" * 2**20

    def talk(call: socket.socket) -> None:
        call.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 40000000\r\n\r\n")
        while True:
            call.sendall(piece)

    hooks = WebhookChannel(SECRET, allow_private=True)
    with host(talk) as url:
        tracemalloc.start()
        assert hooks.send(replace(MESSAGE, to=url)).state == "sent"
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    hooks.close()
    assert peak < 10_000_000


def test_a_short_answer_leaves_its_connection_to_the_next_call() -> None:
    calls = []

    def talk(call: socket.socket) -> None:
        calls.append(1)
        while True:
            call.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            take_request(call)

    hooks = WebhookChannel(SECRET, allow_private=True)
    with host(talk) as url:
        assert [hooks.send(replace(MESSAGE, to=url)).state for _ in range(3)] == ["sent"] * 3
    hooks.close()
    assert len(calls) == 1


def test_a_host_that_never_answers_is_left_alone_for_a_while_and_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every message to a host that was down waited its whole time, and all other journeys with it."""
    at = [1000.0]
    monkeypatch.setattr("service.journeys.channels.webhook.monotonic", lambda: at[0])
    called: list[str] = []
    down = ["dead.example"]

    def handler(request: httpx.Request) -> httpx.Response:
        name = request.headers["host"]
        called.append(name)
        if name in down:
            raise httpx.ConnectTimeout("")
        return httpx.Response(200)

    hooks = channel(handler)

    def tell(name: str) -> str:
        return hooks.send(replace(MESSAGE, to=f"https://{name}/in")).state

    assert {tell("dead.example") for _ in range(20)} == {"retry"}
    assert len(called) == 8
    assert tell("alive.example") == "sent"
    at[0] += 31
    assert tell("dead.example") == "retry"
    assert called.count("dead.example") == 9
    down.clear()
    at[0] += 31
    assert [tell("dead.example") for _ in range(3)] == ["sent"] * 3
