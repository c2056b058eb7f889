"""The HTML and plain-text parts of an e-mail, from rendered content (`subject`, `preheader`, `body`)."""

from __future__ import annotations

import html
from collections.abc import Mapping

import regex

from service.content.locales import parse_locale

_LINK = regex.compile(r'<a\b[^>]*\bhref="(?P<url>[^"]*)"[^>]*>(?P<text>.*?)</a>', regex.DOTALL | regex.IGNORECASE)
_BREAK = regex.compile(r"<br\s*/?>|</(?:p|div|li|h[1-4]|tr|blockquote)>", regex.IGNORECASE)
_TAG = regex.compile(r"<[^>]+>")
_LAYOUT = """\
<!doctype html>
<html lang="{lang}" dir="{dir}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light">
<title>{subject}</title>
</head>
<body style="margin:0;padding:0;background-color:#f4f4f2">
<div style="display:none;max-height:0;overflow:hidden">{preheader}</div>
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0">
<tr><td align="center" style="padding:24px 12px">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0" \
style="max-width:600px;background-color:#ffffff;border-radius:8px">
<tr><td style="padding:32px 28px;font-family:Arial,Helvetica,sans-serif;font-size:16px;line-height:1.5;\
color:#1c1c1a;text-align:{side}">
{body}
</td></tr>
</table>
</td></tr>
</table>
</body>
</html>
"""


def email_html(content: Mapping[str, str]) -> str:
    """The whole document: one column of at most 600 pixels, readable without images, styles inline."""
    locale = parse_locale(content.get("locale", "en"))
    right_to_left = locale is not None and locale.text_direction == "rtl"
    return _LAYOUT.format(
        lang=html.escape(content.get("locale", "en")),
        dir="rtl" if right_to_left else "ltr",
        side="right" if right_to_left else "left",
        subject=html.escape(content["subject"]),
        preheader=html.escape(content.get("preheader", "")),
        body=content["body"],
    )


def email_text(content: Mapping[str, str]) -> str:
    """The plain-text part: links written out behind their words."""
    text = _LINK.sub(_written_out, content["body"])
    text = html.unescape(_TAG.sub("", _BREAK.sub("\n", text)))
    lines = [line.strip() for line in text.splitlines()]
    return str(regex.sub(r"\n{3,}", "\n\n", "\n".join(lines))).strip() + "\n"


def _written_out(match: regex.Match[str]) -> str:
    words = _TAG.sub("", match["text"]).strip()
    return match["url"] if words == match["url"] or not words else f"{words}: {match['url']}"
