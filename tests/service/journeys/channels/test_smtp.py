"""E-mail against real SMTP servers: good, refusing, dead, slow, and ones that drop the line at each moment."""

from __future__ import annotations

import email
import email.policy
import smtplib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from service.journeys.channels import smtp
from service.journeys.channels.message import Message
from service.journeys.channels.smtp import SmtpChannel, SmtpServer
from tests.conftest import free_port

AT = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
MESSAGE = Message(
    key="e1-send-2",
    channel="email",
    customer_id="anna",
    created_at=AT,
    to="anna@example.com",
    content={
        "subject": "Grüße aus Köln",
        "preheader": "Soon",
        "body": '<p>Hello <a href="https://x.test/a?b=1&amp;c=2">there</a></p>\n.dot',
        "locale": "de",
    },
    decision_id="d1",
    unsubscribe_url="https://x.test/u/token",
)


@dataclass
class Script:
    """What a scripted server answers to each command; None: it drops the line."""

    answers: dict[str, str | None] = field(default_factory=dict)
    after_data: str | None = "250 taken"
    silent: bool = False
    thinks_s: float = 0.0
    """How long it takes to say what it makes of a mail."""
    taken: list[bytes] = field(default_factory=list)


@contextmanager
def scripted(script: Script) -> Iterator[int]:
    """A server that speaks just enough SMTP, one thread a connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.02)
    stopping = threading.Event()

    def talk(line: socket.socket) -> None:
        with line, line.makefile("rwb") as file:
            line.settimeout(5)
            file.write(b"220 hello\r\n")
            file.flush()
            while command := file.readline():
                verb = command.decode().split()[0].upper().rstrip(":").split(":")[0]
                answer = script.answers.get(verb, {"DATA": "354 go", "QUIT": "221 bye"}.get(verb, "250 ok"))
                if answer is None:
                    return
                file.write(answer.encode() + b"\r\n")
                file.flush()
                if verb == "DATA" and answer.startswith("354"):
                    text = b""
                    while not text.endswith(b"\r\n.\r\n"):
                        if not (more := file.readline()):  # whoever is cut off before the last line has sent no mail
                            return
                        text += more
                    if script.silent:
                        stopping.wait(5)
                        return
                    if script.after_data is None:
                        return
                    stopping.wait(script.thinks_s)
                    script.taken.append(text)
                    file.write(script.after_data.encode() + b"\r\n")
                    file.flush()

    def serve() -> None:
        threads, lines = [], []
        while not stopping.is_set():
            try:
                lines.append(listener.accept()[0])
            except TimeoutError:
                continue
            threads.append(threading.Thread(target=quiet_talk, args=(lines[-1],), daemon=True))
            threads[-1].start()
        for line in lines:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(6)

    def quiet_talk(line: socket.socket) -> None:
        try:
            talk(line)
        except OSError:
            return

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    try:
        yield listener.getsockname()[1]
    finally:
        stopping.set()
        server.join(10)
        listener.close()


Make = Callable[..., SmtpChannel]


@pytest.fixture
def channel() -> Iterator[Make]:
    made: list[SmtpChannel] = []

    def make(port: int, **more: Any) -> SmtpChannel:
        stopping = more.pop("stopping", None)
        server = SmtpServer(
            "127.0.0.1", port, "Shop <shop@example.org>", timeout_s=0.5, **{"data_timeout_s": 0.5, **more}
        )
        made.append(SmtpChannel(server, stopping=stopping))
        return made[-1]

    yield make
    for one in made:
        one.close()


class Mailbox:
    def __init__(self) -> None:
        self.mails: list[tuple[list[str], bytes]] = []

    async def handle_DATA(self, server, session, envelope):  # type: ignore[no-untyped-def]  # noqa: N802
        self.mails.append((envelope.rcpt_tos, envelope.content))
        return "250 taken"


def test_a_mail_has_both_parts_and_the_headers_that_mail_programs_act_on(channel: Make) -> None:
    mailbox = Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        sender = channel(controller.port)
        assert sender.send(MESSAGE).state == "sent"
        assert sender.send(replace(MESSAGE, key="e2-send-1")).state == "sent"
        sender.close()
    finally:
        controller.stop()
    recipients, raw = mailbox.mails[0]
    assert recipients == ["anna@example.com"]
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert mail["Subject"] == "Grüße aus Köln"
    assert mail["Message-ID"] == "<e1-send-2@example.org>"
    assert mail["List-Unsubscribe"] == "<https://x.test/u/token>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert (mail["X-Opportune-Decision"], mail["X-Opportune-Intent"]) == ("d1", "e1-send-2")
    text = mail.get_body(("plain",)).get_content()
    page = mail.get_body(("html",)).get_content()
    assert "there: https://x.test/a?b=1&c=2" in text
    assert "\n.dot" in text
    assert "https://x.test/u/token" in text
    assert 'href="https://x.test/u/token"' in page
    assert 'lang="de"' in page
    assert len(mailbox.mails) == 2


@pytest.mark.parametrize(
    ("answers", "after_data", "state"),
    [
        ({"MAIL": "451 later"}, "250 ok", "retry"),
        ({"MAIL": "530 authentication required"}, "250 ok", "unreachable"),  # of us, so of every mail
        ({"MAIL": "HTTP/1.1 400 Bad Request"}, "250 ok", "unreachable"),
        ({"MAIL": "421 too many in one connection"}, "250 ok", "retry"),
        ({"DATA": "421 we close"}, "250 ok", "retry"),
        ({"RCPT": "450 greylisted"}, "250 ok", "retry"),
        ({"RCPT": "550 no such person"}, "250 ok", "failed"),
        ({"DATA": "554 no"}, "250 ok", "failed"),
        ({"MAIL": None}, "250 ok", "unreachable"),
        ({"RCPT": None}, "250 ok", "unreachable"),
        ({"DATA": None}, "250 ok", "unreachable"),
        ({}, "452 full", "retry"),
        ({}, "552 too large", "failed"),
        ({}, None, "uncertain"),
        ({}, "what?", "uncertain"),
        ({}, "251 taken", "sent"),
        ({}, "250 taken", "sent"),
    ],
)
def test_what_became_of_a_mail_is_told_honestly(
    channel: Make, answers: dict, after_data: str | None, state: str
) -> None:
    script = Script(answers, after_data)
    with scripted(script) as port:
        assert channel(port).send(MESSAGE).state == state


class Cut(smtplib.SMTP):
    """Its line is cut in the middle of a mail."""

    def send(self, s: Any) -> None:
        if len(s) < 1_000:  # a command
            return super().send(s)
        super().send(s[: len(s) // 2])
        self.close()
        raise smtplib.SMTPServerDisconnected("Server not connected")


def test_a_mail_whose_last_line_was_never_sent_is_surely_not_taken(
    channel: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "_connect", lambda server: Cut(server.host, server.port))
    script = Script()
    with scripted(script) as port:
        result = channel(port).send(replace(MESSAGE, content={**MESSAGE.content, "body": "long " * 500}))
    assert (result.state, script.taken) == ("unreachable", [])


def test_a_server_that_falls_silent_after_the_mail_leaves_it_uncertain(channel: Make) -> None:
    with scripted(Script(silent=True)) as port:
        result = channel(port).send(MESSAGE)
    assert result.state == "uncertain"
    assert "after DATA: no answer within 0.5 s" in result.detail


def test_a_server_may_look_for_spam_longer_than_it_may_take_over_a_command(channel: Make) -> None:
    with scripted(Script(thinks_s=1.0)) as port:
        assert channel(port, data_timeout_s=20.0).send(MESSAGE).state == "sent"


def test_who_is_told_to_stop_waits_no_longer(channel: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "_LAST_S", 0.1)
    stopping = threading.Event()
    stopping.set()
    with scripted(Script(silent=True)) as port:
        result = channel(port, data_timeout_s=600.0, stopping=stopping).send(MESSAGE)
    assert (result.state, result.detail) == (
        "uncertain",
        "the connection was lost after DATA: no answer before we had to stop",
    )


def test_a_dead_server_is_unreachable_and_a_returning_one_is_used_again(channel: Make) -> None:
    port = free_port()
    sender = channel(port)
    assert sender.send(MESSAGE).state == "unreachable"
    script = Script()
    with scripted(script) as other:
        sender._server = replace(sender._server, port=other)
        assert sender.send(MESSAGE).state == "sent"
    assert sender.send(MESSAGE).state == "unreachable"


def test_a_login_that_is_refused_is_unreachable_not_the_customers_fault(channel: Make) -> None:
    with scripted(Script({"EHLO": "250-x\r\n250 AUTH PLAIN LOGIN", "AUTH": "535 wrong"})) as port:
        assert channel(port, user="u", password="p").send(MESSAGE).state == "unreachable"


@pytest.mark.parametrize("to", ["", "no address", "a@b\nBcc: c@d", "@example.com", "a b@example.com"])
def test_what_is_no_address_fails_and_smuggles_nothing(channel: Make, to: str) -> None:
    script = Script()
    with scripted(script) as port:
        result = channel(port).send(replace(MESSAGE, to=to))
    assert result.state == "failed"
    assert script.taken == []


@pytest.mark.parametrize("to", ["anna@example.com,ben@example.com", "Anna <anna@example.com>; ben@example.com"])
def test_two_addresses_are_told_and_neither_gets_it_alone(channel: Make, to: str) -> None:
    script = Script()
    with scripted(script) as port:
        result = channel(port).send(replace(MESSAGE, to=to))
        assert channel(port).send(replace(MESSAGE, to='"Anna, of B" <anna@example.com>')).state == "sent"
    assert result.state == "failed"
    assert "is more than one e-mail address" in result.detail
    assert len(script.taken) == 1


def test_letters_outside_ascii_need_a_server_that_takes_them(channel: Make) -> None:
    with scripted(Script()) as port:
        result = channel(port).send(replace(MESSAGE, to="jürgen@exämple.de"))
    assert result.state == "failed"
    with scripted(Script({"EHLO": "250-x\r\n250 SMTPUTF8"})) as port:
        assert channel(port).send(replace(MESSAGE, to="jürgen@exämple.de")).state == "sent"


def test_a_subject_with_a_line_break_stays_one_header(channel: Make) -> None:
    script = Script()
    with scripted(script) as port:
        channel(port).send(replace(MESSAGE, content={"subject": "Hi\r\nBcc: x@y.z", "body": "b"}))
    mail = email.message_from_bytes(script.taken[0], policy=email.policy.default)
    assert mail["Subject"] == "Hi Bcc: x@y.z"
    assert mail["Bcc"] is None
