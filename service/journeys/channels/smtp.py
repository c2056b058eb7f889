"""E-mail by SMTP. What was refused before the message's last line was surely not taken; after it, who knows.

RFC 5321, section 4.5.4.1 lets a server take a message and lose the connection before it says so. Such a message is
`uncertain`: it is listed for a person, and never sent again blindly. Servers look for spam before they say so, which
takes minutes at times (section 4.5.3.2.6 asks for a patience of ten): that answer is waited for longer than others,
until we are told to stop.
"""

from __future__ import annotations

import select
import smtplib
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP as CRLF
from email.policy import SMTPUTF8 as CRLF_UTF8
from email.utils import parseaddr
from threading import Event, Lock

from service.clock import monotonic
from service.journeys.channels.email_message import build_email
from service.journeys.channels.message import Message, OneByOne, SendResult, State

_MOST_IDLE = 8
_LAST_S = 5.0
"""Who stops us kills us some seconds later."""
_LOOK_MS = 250


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where to hand over, and as whom."""

    host: str
    port: int = 25
    sender: str = "Opportune <opportune@localhost>"
    user: str | None = None
    password: str | None = None
    start_tls: bool = False
    timeout_s: float = 10.0
    data_timeout_s: float = 120.0


_STATES: dict[int, State] = {2: "sent", 4: "retry", 5: "failed"}
"""By the first digit of an answer; what is none of these is no SMTP."""


class _Refused(Exception):
    """The server answered with an error before it had the message. `of_us`: to MAIL, which names no recipient yet."""

    def __init__(self, code: int, text: bytes, of_us: bool) -> None:
        super().__init__(_said(code, text))
        states: dict[int, State] = {4: "retry", 5: "unreachable" if of_us else "failed"}
        self.state: State = states.get(code // 100, "unreachable")


class SmtpChannel(OneByOne):
    """Keeps connections open between messages, one a thread that sends."""

    repeatable = False
    parallel = 4

    def __init__(self, server: SmtpServer, stopping: Event | None = None) -> None:
        self._server = server
        self._stopping = stopping or Event()
        self._idle: list[smtplib.SMTP] = []
        self._lock = Lock()

    def send(self, message: Message) -> SendResult:
        try:
            email = build_email(message, self._server.sender)
        except ValueError as fault:
            return SendResult("failed", str(fault)[:300])
        try:
            connection = self._take()
        except smtplib.SMTPAuthenticationError as refused:
            return SendResult("unreachable", f"the server refused the login: {refused.smtp_code}")
        except (OSError, smtplib.SMTPException) as down:
            return SendResult("unreachable", f"{self._server.host}:{self._server.port}: {down}"[:300])
        return self._hand_over(connection, email)

    def close(self) -> None:
        """Says goodbye on every idle connection."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            with suppress(OSError, smtplib.SMTPException):
                connection.quit()

    def _take(self) -> smtplib.SMTP:
        """A connection that answers: an idle one, else a new one."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return _connect(self._server)
            try:
                if connection.noop()[0] == 250:
                    return connection
            except (OSError, smtplib.SMTPException):
                pass
            connection.close()

    def _hand_over(self, connection: smtplib.SMTP, email: EmailMessage) -> SendResult:
        whole = False
        try:
            _data(connection, _envelope(connection, email))
            whole = True  # with its last line, without which no server takes it (RFC 5321, section 4.1.1.4)
            self._await_answer(connection.sock)
            code, answer = connection.getreply()
        except _Refused as refused:
            self._give_back(connection)
            return SendResult(refused.state, str(refused))
        except (OSError, smtplib.SMTPException, ValueError) as lost:
            connection.close()
            if whole:
                return SendResult("uncertain", f"the connection was lost after DATA: {lost}"[:300])
            if isinstance(lost, ValueError):
                return SendResult("failed", str(lost)[:300])
            return SendResult("unreachable", f"the connection was lost before the mail was whole: {lost}"[:300])
        self._give_back(connection)
        return SendResult(_STATES.get(code // 100, "uncertain"), _said(code, answer))

    def _await_answer(self, line: socket.socket | None) -> None:
        """Until there is something to read. TimeoutError when there is not."""
        if line is None or (isinstance(line, ssl.SSLSocket) and line.pending()):
            return
        poll, stops = select.poll(), False
        poll.register(line, select.POLLIN)
        within = self._server.data_timeout_s
        until, why = monotonic() + within, f"within {within:g} s"
        while not poll.poll(_LOOK_MS):
            if self._stopping.is_set() and not stops:
                stops, until, why = True, min(until, monotonic() + _LAST_S), "before we had to stop"
            if monotonic() >= until:
                raise TimeoutError(f"no answer {why}")

    def _give_back(self, connection: smtplib.SMTP) -> None:
        try:
            if connection.rset()[0] != 250:
                raise smtplib.SMTPServerDisconnected("RSET was refused")
        except (OSError, smtplib.SMTPException):
            connection.close()
            return
        with self._lock:
            if len(self._idle) < _MOST_IDLE:
                self._idle.append(connection)
                return
        connection.close()


def _connect(server: SmtpServer) -> smtplib.SMTP:
    implicit = server.port == 465
    connection: smtplib.SMTP
    if implicit:
        connection = smtplib.SMTP_SSL(
            server.host, server.port, timeout=server.timeout_s, context=ssl.create_default_context()
        )
    else:
        connection = smtplib.SMTP(server.host, server.port, timeout=server.timeout_s)
    try:
        if connection.sock is not None:
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.ehlo_or_helo_if_needed()
        if server.start_tls and not implicit:
            connection.starttls(context=ssl.create_default_context())
            connection.ehlo()
        if server.user:
            connection.login(server.user, server.password or "")
    except BaseException:
        connection.close()
        raise
    return connection


def _envelope(connection: smtplib.SMTP, email: EmailMessage) -> bytes:
    """MAIL, RCPT and DATA up to the server's 354; returns what to send then. Until here nothing is taken."""
    sender, recipient = parseaddr(str(email["From"]))[1], email["To"].addresses[0].addr_spec
    options = []
    policy = CRLF
    if not (sender + recipient).isascii():
        if not connection.has_extn("smtputf8"):
            raise ValueError(f"{recipient} has letters outside ASCII, which this mail server does not take")
        options, policy = ["SMTPUTF8"], CRLF_UTF8
    text = email.as_bytes(policy=policy)
    for place, (code, answer) in enumerate(_commands(connection, sender, recipient, options)):
        if code not in (250, 251, 354):
            raise _Refused(code, answer, of_us=place == 0)
    return text


def _said(code: int, answer: bytes) -> str:
    return f"{code} {answer.decode('utf-8', 'replace')}"[:300]


def _commands(connection: smtplib.SMTP, sender: str, recipient: str, options: list[str]) -> list[tuple[int, bytes]]:
    answers = [connection.mail(sender, options)]
    if answers[-1][0] == 250:
        answers.append(connection.rcpt(recipient))
    if answers[-1][0] in (250, 251):
        answers.append(connection.docmd("DATA"))
    return answers


def _data(connection: smtplib.SMTP, text: bytes) -> None:
    """The message and the final dot (RFC 5321, 4.5.2)."""
    lines = text.replace(b"\r\n.", b"\r\n..")
    if lines.startswith(b"."):
        lines = b"." + lines
    if not lines.endswith(b"\r\n"):
        lines += b"\r\n"
    connection.send(lines + b".\r\n")
