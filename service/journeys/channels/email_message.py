"""An action's words as an e-mail: text and HTML, the headers that mail programs act on."""

from __future__ import annotations

import html
import re
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from html.parser import HTMLParser

from service.journeys.channels.message import Message

_TAG = re.compile(r"</?[a-zA-Z][^>]*>")
_BLOCKS = frozenset(
    ["p", "div", "br", "tr", "li", "h1", "h2", "h3", "h4", "ul", "ol", "table", "blockquote", "hr", "section"]
)
_UNSEEN = frozenset(("script", "style", "head", "title"))
_RIGHT_TO_LEFT = frozenset(("ar", "fa", "he", "ps", "ur", "yi", "dv", "ckb"))


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
    """The plain text and the HTML page. A body without tags is text; one with tags is HTML."""
    body = str(message.content.get("html") or message.content.get("body") or "")
    is_html = _TAG.search(body) is not None
    fragment = body if is_html else "".join(f"<p>{_escaped(part)}</p>" for part in body.split("\n\n"))
    text = str(message.content.get("text") or (as_text(body) if is_html else body))
    if message.unsubscribe_url and message.unsubscribe_url not in body:
        text = f"{text.rstrip()}\n\n-- \nUnsubscribe: {message.unsubscribe_url}\n"
        fragment += f'<hr><p><small><a href="{html.escape(message.unsubscribe_url)}">Unsubscribe</a></small></p>'
    return text, _page(fragment, message)


def _page(fragment: str, message: Message) -> str:
    locale = str(message.content.get("locale") or "en")
    direction = "rtl" if re.split(r"[-_]", locale)[0].lower() in _RIGHT_TO_LEFT else "ltr"
    preheader = str(message.content.get("preheader") or "")
    hidden = f'<div style="display:none">{html.escape(preheader)}</div>' if preheader else ""
    title = html.escape(str(message.content.get("subject") or ""))
    return (
        f'<!doctype html><html lang="{html.escape(locale)}" dir="{direction}"><head><meta charset="utf-8">'
        f"<title>{title}</title></head><body>{hidden}{fragment}</body></html>\n"
    )


def _escaped(text: str) -> str:
    return html.escape(text).replace("\n", "<br>")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _address(text: str) -> Address:
    name, address = parseaddr(text)
    local, at, domain = address.rpartition("@")
    if not (local and at and domain) or any(ord(mark) < 33 for mark in address):
        raise ValueError(f"{text[:80]!r} is no e-mail address")
    return Address(_one_line(name), local, domain)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._link: str | None = None
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSEEN:
            self._unseen += 1
        if tag in _BLOCKS:
            self.parts.append("\n")
        if tag == "a":
            self._link = dict(attrs).get("href")
        if tag == "img":
            self.parts.append(dict(attrs).get("alt") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        if tag in _BLOCKS:
            self.parts.append("\n")
        if tag == "a" and self._link:
            self.parts.append(f" ({self._link})")
            self._link = None

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.parts.append(re.sub(r"\s+", " ", data))


def as_text(fragment: str) -> str:
    """HTML as plain text: blocks are lines, a link is followed by its address."""
    reader = _Text()
    reader.feed(fragment)
    reader.close()
    lines = (line.strip() for line in "".join(reader.parts).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"
