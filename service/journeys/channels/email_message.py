"""An action's words as an e-mail: text and HTML, the headers that mail programs act on."""

from __future__ import annotations

import html
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, getaddresses, parseaddr

from service.content.email_layout import email_html, email_text
from service.journeys.channels.message import Message


def build_email(message: Message, sender: str) -> EmailMessage:
    """The e-mail of a message. `ValueError` says what is wrong with an address or a header."""
    email = EmailMessage()
    email["From"] = sender
    email["To"] = _address(message.to or "")
    email["Subject"] = _one_line(str(message.content.get("subject") or ""))
    email["Date"] = format_datetime(message.created_at)
    email["Message-ID"] = message_id(message.key, sender)
    email["X-Opportune-Intent"] = message.key
    if message.decision_id:
        email["X-Opportune-Decision"] = _one_line(message.decision_id)
    if message.unsubscribe_url:
        email["List-Unsubscribe"] = f"<{message.unsubscribe_url}>"
        email["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"  # RFC 8058
    text, page = bodies(message)
    email.set_content(text)
    email.add_alternative(page, subtype="html")
    return email


def message_id(key: str, sender: str) -> str:
    """Made of the intent's key, so that a message sent twice would be one to every mail program."""
    return f"<{key}@{parseaddr(sender)[1].partition('@')[2] or 'localhost'}>"


def bodies(message: Message) -> tuple[str, str]:
    """The plain text and the HTML page; a body that has no link to unsubscribe gets one."""
    content = {name: str(value) for name, value in message.content.items() if value is not None}
    content = {"subject": "", "body": ""} | content
    url = message.unsubscribe_url
    if url and url not in content["body"] and html.escape(url) not in content["body"]:
        content["body"] += f'<p><a href="{html.escape(url)}">Unsubscribe</a></p>'
    return email_text(content), email_html(content)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _address(text: str) -> Address:
    name, address = parseaddr(text)
    local, at, domain = address.rpartition("@")
    if at and sum(bool(each) for _, each in getaddresses([text])) > 1:
        raise ValueError(f"{text[:80]!r} is more than one e-mail address; leave one in the customer's email")
    if not (local and at and domain) or " " in address or any(ord(mark) < 32 for mark in text):
        raise ValueError(f"{text[:80]!r} is no e-mail address")
    return Address(_one_line(name), local, domain)
