"""Templates, static files and the headers that every page carries."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from features.currencies import CURRENCIES, in_units
from service.content.variant import Variant
from service.decisions.money import money
from service.pages import charts, words
from service.pages.sign_in import Reader
from service.web.docs import code_marked

FOLDER = Path(__file__).parent / "static"
KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
PAGES = (
    ("/", "Report"),
    ("/impact", "Impact"),
    ("/review", "Review"),
    ("/customers", "Customers"),
    ("/offers", "Offers"),
    ("/journeys", "Journeys"),
    ("/experiments", "Experiments"),
    ("/models", "Models"),
    ("/data", "Data"),
)
VERSION = "0.1.0"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; frame-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
# The preview of an e-mail: its own styles, nothing else, and no power even if something slipped through.
PREVIEW_HEADERS = HEADERS | {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'self'",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file of `static/`; its name on the wire holds its hash, so it may be kept for good."""

    body: bytes
    kind: str
    mark: str


class Site:
    """Renders pages."""

    def __init__(self) -> None:
        self.files = {path.name: _static(path) for path in FOLDER.iterdir() if path.suffix in KINDS}
        self._environment = Environment(
            loader=PackageLoader("service.pages"),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals |= {
            "static": self.address,
            "pages": PAGES,
            "version": VERSION,
            "moment": words.time_tag,
            "days": words.days,
            "figure": words.figure,
            "amount": words.amount,
            "money": money,
            "in_units": in_units,
            "said": words.said,
            "trait": words.trait,
            "percent": words.percent,
            "points": words.points,
            "sentence": words.sentence,
            "verdict": words.verdict,
            "code_marked": code_marked,
            "currency": CURRENCIES.home,
            "marked": words.marked,
            "findings": words.findings,
            "bar_chart": charts.bar_chart,
            "span_chart": charts.span_chart,
            "calibration_chart": charts.calibration_chart,
            "line_chart": charts.line_chart,
        }

    def address(self, name: str) -> str:
        """Where a static file is, for good."""
        return f"/static/{name}?v={self.files[name].mark}"

    def render(self, template: str, reader: Reader | None, here: str = "", **values: Any) -> str:
        """A page for a reader. `notice` and `alert` may tell of what just happened."""
        known = {"reader": reader, "here": here, "notice": None, "alert": None, **values}
        return self._environment.get_template(template).render(hidden=_hidden(reader), **known)


def _static(path: Path) -> StaticFile:
    body = path.read_bytes()
    return StaticFile(body, KINDS[path.suffix], hashlib.sha256(body).hexdigest()[:12])


def _hidden(reader: Reader | None) -> Any:
    """The hidden fields of a form about a variant: the reader's token, the version seen, the filters in use."""

    def fields(variant: Variant, back: str) -> Markup:
        csrf = reader.csrf if reader else ""
        named = {"csrf": csrf, "etag": variant.etag, "back": back}
        one = Markup('<input type="hidden" name="{}" value="{}">')
        return Markup("").join(one.format(name, value) for name, value in named.items())

    return fields
