"""What an offer says about itself: the only source of figures in copy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from service.content.locales import Writing, digits_to_ascii
from service.content.mentions import Mention, find_mentions

TEXT_FIELDS = ("name", "description", "category")
TIME_FIELDS = ("starts_at", "ends_at")


@dataclass(frozen=True)
class Facts:
    """Everything that copy for one offer may state. `money` is (amount, currency or None)."""

    numbers: frozenset[Decimal] = frozenset()
    percents: frozenset[Decimal] = frozenset()
    money: frozenset[tuple[Decimal, str | None]] = frozenset()
    days: frozenset[date] = frozenset()
    times: frozenset[tuple[int, int]] = frozenset()
    codes: frozenset[str] = frozenset()
    links: frozenset[str] = frozenset()
    said: frozenset[Any] = frozenset()
    """Times of day, and dates that are no day of a calendar (3 May, 24/7), in its own words: as mentions have them."""
    text: str = ""
    ends: bool = False

    def allows_code(self, written: str) -> bool:
        """Codes count with their case; a product's name ("B12") may carry letters and digits too."""
        return written in self.codes or written.casefold() in self.text


@dataclass
class _Gathered:
    numbers: set[Decimal] = field(default_factory=set)
    percents: set[Decimal] = field(default_factory=set)
    money: set[tuple[Decimal, str | None]] = field(default_factory=set)
    moments: list[tuple[datetime | date, bool]] = field(default_factory=list)
    codes: set[str] = field(default_factory=set)
    links: set[str] = field(default_factory=set)
    said: set[Any] = field(default_factory=set)
    texts: list[str] = field(default_factory=list)


def facts_of(offer: Mapping[str, Any], writing: Writing, zone: tzinfo = UTC) -> Facts:
    """Reads an offer's `facts`, dates, name and description. Its `value` and `cost` are nobody's business."""
    gathered = _Gathered()
    for name, value in offer.get("facts", {}).items():
        _gather(name, value, gathered)
    for name in TIME_FIELDS:
        if offer.get(name) is not None:
            _gather(name, offer[name], gathered)
    gathered.texts += [str(offer[name]) for name in TEXT_FIELDS if offer.get(name)]
    for text in gathered.texts:
        for mention in find_mentions(text, writing):
            _gather_mention(mention, gathered)
    days, times = _days_and_times(gathered.moments, zone)
    numbers = gathered.numbers | {Decimal(day.year) for day in days} | {Decimal(day.year + 543) for day in days}
    return Facts(
        numbers=frozenset(numbers),
        percents=frozenset(gathered.percents),
        money=frozenset(gathered.money),
        days=frozenset(days),
        times=frozenset(times),
        codes=frozenset(gathered.codes),
        links=frozenset(plain_link(link) for link in gathered.links),
        said=frozenset(gathered.said),
        text=digits_to_ascii("\n\n".join(gathered.texts)).casefold(),
        ends=bool(offer.get("ends_at") or offer.get("facts", {}).get("ends_at")),
    )


def _gather(name: str, value: Any, into: _Gathered) -> None:
    if isinstance(value, Mapping):
        _gather_mapping(name, value, into)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _gather(name, item, into)
    elif isinstance(value, (datetime, date)):
        into.moments.append((value, name == "ends_at"))
    elif isinstance(value, str):
        _gather_text(name, value, into)
    else:
        number = as_decimal(value)
        if number is not None:
            (into.percents if is_percent_name(name) else into.numbers).add(number)


def _gather_mapping(name: str, value: Mapping[str, Any], into: _Gathered) -> None:
    rest = dict(value)
    amount = as_decimal(rest.get("amount"))
    if amount is not None:
        currency = rest.pop("currency", None)
        into.money.add((amount, str(currency).upper() if currency else None))
        rest.pop("amount")
    for key, item in rest.items():
        _gather(key if key != "value" else name, item, into)


def _gather_text(name: str, value: str, into: _Gathered) -> None:
    moment = as_moment(value)
    number = as_decimal(value)
    if moment is not None:
        into.moments.append((moment, name == "ends_at"))
    elif "code" in name or "coupon" in name or "voucher" in name:
        into.codes.add(value)
    elif number is not None:
        (into.percents if is_percent_name(name) else into.numbers).add(number)
    elif value.startswith(("http://", "https://")):
        into.links.add(value)
    else:
        into.texts.append(value)


def _gather_mention(mention: Mention, into: _Gathered) -> None:
    """A figure that stands in the offer's own text is the offer's."""
    value = mention.value
    if mention.kind == "percent":
        into.percents.add(value)
    elif mention.kind == "number":
        into.numbers.add(value)
    elif mention.kind == "money":
        into.money |= {(value[0], code) for code in value[1]} or {(value[0], None)}
    elif mention.kind == "code":
        into.codes.add(value)
    elif mention.kind in ("link", "email"):
        into.links.add(value)
    elif mention.kind == "time":
        into.said.add(value)
    elif mention.kind == "date":
        try:
            into.moments.append((date(*value), False))
        except (TypeError, ValueError):  # parts of a date, or a day that there is not
            into.said.add(value)


def _days_and_times(
    moments: list[tuple[datetime | date, bool]], zone: tzinfo
) -> tuple[set[date], set[tuple[int, int]]]:
    days: set[date] = set()
    times: set[tuple[int, int]] = set()
    for moment, is_end in moments:
        for local in _local_times(moment, zone):
            days.add(local.date())
            times.add((local.hour, local.minute))
            if is_end and local.time() == time():  # midnight ends the day before it
                days.add((local - timedelta(days=1)).date())
        if not isinstance(moment, datetime):
            days.add(moment)
    return days, times


def _local_times(moment: datetime | date, zone: tzinfo) -> Iterator[datetime]:
    """As written, in UTC, and in the zone asked for."""
    if isinstance(moment, datetime):
        yield moment
        if moment.tzinfo is not None:
            yield moment.astimezone(UTC)
            yield moment.astimezone(zone)


def as_decimal(value: Any) -> Decimal | None:
    """A finite number of a JSON number or a plain decimal string, else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def as_moment(value: Any) -> datetime | date | None:
    """An ISO 8601 date or time, else None. A time without a zone is UTC."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date) or not isinstance(value, str) or len(value) < 10 or value[4:5] != "-":
        return value if isinstance(value, date) else None
    try:
        if len(value) == 10:
            return date.fromisoformat(value)
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def is_percent_name(name: str) -> bool:
    """Whether a fact of this name is in percent."""
    return "percent" in name or name.endswith(("_pct", "_rate")) or name in ("pct", "rate")


def plain_link(link: str) -> str:
    """A link as it is compared: case of scheme and host, a lone final slash and utm_ parameters do not matter."""
    text = link if "://" in link or link.startswith(("mailto:", "tel:", "sms:")) else f"https://{link}"
    try:
        parts = urlsplit(text)
    except ValueError:
        return link
    query = "&".join(
        f"{key}={value}" if value else key
        for key, value in parse_qsl(parts.query, keep_blank_values=True)
        if not key.lower().startswith("utm_")
    )
    path = parts.path if parts.path != "/" else ""
    return urlunsplit((parts.scheme.lower(), parts.netloc.lower(), path, query, parts.fragment))
