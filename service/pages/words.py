"""How pages write numbers, times and marks. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from markupsafe import Markup, escape

from service.decisions.quiet import zone_of

ARM_NAMES = {"model": "model", "random": "random", "business_as_usual": "business as usual", "holdout": "holdout"}
LONGEST = 300
"""More characters of a trait are not shown."""


def figure(value: Any, digits: int = 3) -> str:
    """A number as people read it; a dash for none."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{round(value, digits) + 0.0:.{digits}f}"  # no zero is minus zero


def trait(value: Any) -> str:
    """What is known of a customer as people write it: lists with commas, no quotes, long texts cut."""
    if isinstance(value, Mapping):
        text = ", ".join(f"{name}: {trait(each)}" for name, each in value.items())
    elif isinstance(value, list | tuple):
        text = ", ".join(trait(each) for each in value)
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    else:
        text = "" if value is None else str(value)
    return f"{text[:LONGEST]}… ({len(text):,} characters)" if len(text) > LONGEST else text or "–"


def amount(value: str) -> str:
    """Money as an offer names it ("1299.00"), with its thousands apart."""
    return f"{Decimal(value):,}"


def small_figure(value: float) -> str:
    """As `figure`, with two digits that tell something also below .01: a loss of .00035 is no 0.000."""
    if not 0 < abs(value) < 0.01:
        return figure(value)
    return figure(value, min(8, 1 - math.floor(math.log10(abs(value)))))


def percent(value: Any, digits: int = 1) -> str:
    """A share in percent; a dash for none."""
    return f"{value:.{digits}%}" if isinstance(value, (int, float)) and not isinstance(value, bool) else "–"


def points(value: float) -> str:
    """A difference of shares in percentage points: 6 points are no 6%."""
    return f"{value * 100:+.2f}"


def days(count: float) -> str:
    """A length of time in days."""
    return "1 day" if count == 1 else f"{count:g} days"


def moment(value: datetime | str | None, zone: str | None = None) -> str:
    """A time to the minute, in UTC; a dash for none. With a customer's zone by their clock, and then in UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return str(value)
    if value is None:
        return "–"
    utc = value.astimezone(UTC)
    home = zone_of(zone, "UTC")[0]
    if home.key == "UTC":
        return f"{utc:%Y-%m-%d %H:%M} UTC"
    local = value.astimezone(home)
    told = f"{utc:%H:%M} UTC" if local.date() == utc.date() else f"{utc:%Y-%m-%d %H:%M} UTC"
    return f"{local:%Y-%m-%d %H:%M} local ({told})"


def time_tag(value: datetime | str | None, zone: str | None = None) -> Markup | str:
    """As `moment`, marked as a time, or as two: lines break between them alone."""
    text = moment(value, zone)
    if " UTC" not in text:
        return text
    parts = text.replace(" local (", " local\n(").split("\n")
    return Markup(" ").join(Markup("<time>{}</time>").format(part) for part in parts)


def verdict(text: str) -> str:
    """The gate's reasons, without the verdict itself, which a tag shows."""
    return text.removeprefix("not ").removeprefix("promoted: ")


def sentence(value: Any) -> str:
    """The first letter in capitals; `snake_case` in words."""
    text = str(value).replace("_", " ")
    return text[:1].upper() + text[1:]


def said(detail: str) -> str:
    """What a problem says, as a sentence; the name of a field, with which it may begin, stays as it is written."""
    first, _, rest = detail.partition(" ")
    begun = first if first.endswith(":") else first[:1].upper() + first[1:]
    return f"{begun}{' ' if rest else ''}{rest}{'' if detail.endswith(('.', '!', '?')) else '.'}"


def findings(checks: Iterable[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], int]]:
    """What failed, each finding once, with how often it was found."""
    found: dict[tuple[str, str | None, str], list[Mapping[str, Any]]] = {}
    for check in checks:
        if not check["passed"]:
            found.setdefault((check["name"], check["field"], check["detail"]), []).append(check)
    return [(same[0], len(same)) for same in found.values()]


def marked(text: str, checks: Iterable[Mapping[str, Any]], field: str) -> Markup:
    """The text with a mark over each span that a failed check of this field points at."""
    spans = sorted(
        (check["span"][0], check["span"][1], f"{check['name']}: {check['detail']}")
        for check in checks
        if not check["passed"] and check["field"] == field and check["span"]
    )
    parts: list[Markup] = []
    place = 0
    for start, end, detail in spans:
        if start < place or end <= start:
            continue
        parts.append(escape(text[place:start]))
        parts.append(Markup('<mark title="{}">{}</mark>').format(detail, text[start:end]))
        place = end
    return Markup("").join([*parts, escape(text[place:])])
