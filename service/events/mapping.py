"""A column mapping (TOML): how rows of a Parquet or CSV file become Segment messages.

    [mapping]
    type = "=track"                  # "=…" is the value itself; anything else names a column
    event = "=Order Completed"
    userId = "customer"
    timestamp = "bought_at"
    group_by = "invoice"             # optional: rows with the same value are one event, each a product of it
    timezone = "Europe/Paris"        # optional: the zone of times that carry no offset (default UTC)
    time_format = "%d.%m.%Y %H:%M"   # optional: how times are written, where not as 2026-01-31 09:30 (strptime);
                                     # where a column has several forms, a list: the first that fits is taken
    decimal = ","                    # optional: 1.234,50 in money and quantities; "." reads 1,234.50
    separator = ";"                  # optional: between a CSV's values (default: its line sep=;, else , or .tsv's tab)

    [mapping.properties]
    order_id = "invoice"
    revenue = "amount"               # of a grouped event, from its first row

    [mapping.products]               # with group_by
    product_id = "sku"
    price = "unit_price"
    quantity = "quantity"

Also `anonymousId`, `previousId`, `groupId`, `messageId`, `name`, `[mapping.traits]`, `[mapping.context]`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from features.default_zone import known_zone
from service.errors import FieldError

_FIELDS = frozenset(
    {"type", "event", "name", "category", "userId", "anonymousId", "previousId", "groupId", "messageId"}
    | {"timestamp", "originalTimestamp", "sentAt", "receivedAt"}
)
_WHO = frozenset({"userId", "anonymousId"})
_SECTIONS = ("properties", "traits", "context", "products")
_SNAKE = {"user_id": "userId", "anonymous_id": "anonymousId", "previous_id": "previousId", "group_id": "groupId"} | {
    "message_id": "messageId",
    "received_at": "receivedAt",
}
_TIMES = frozenset({"timestamp", "originalTimestamp", "sentAt", "receivedAt"})
_NUMBERS = frozenset({"revenue", "total", "value", "subtotal", "discount", "shipping", "tax", "price", "quantity"})
"""What Segment's e-commerce events hold as numbers."""
_WRITTEN = {
    ",": re.compile(r"[+-]?(?:\d{1,3}(?:[.'\s]\d{3})+|\d+)(?:,\d*)?"),
    ".": re.compile(r"[+-]?(?:\d{1,3}(?:[,'\s]\d{3})+|\d+)(?:\.\d*)?"),
}
_OPTIONS = frozenset({"group_by", "timezone", "time_format", "decimal", "separator"})


class MappingError(ValueError):
    """A mapping that cannot be used; the message names the file, the entry or the column."""


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """Where each field comes from. A source is a column's name, or `=` and the value."""

    source: str
    fields: Mapping[str, str]
    sections: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    group_by: str | None = None
    zone: str = "UTC"
    time_format: str | tuple[str, ...] | None = None
    decimal: str | None = None
    separator: str | None = None

    @property
    def columns(self) -> list[str]:
        """Every column that the mapping reads, each once."""
        named = [*self.fields.values(), *(s for section in self.sections.values() for s in section.values())]
        columns = [source for source in named if not source.startswith("=")]
        return list(dict.fromkeys([*columns, *([self.group_by] if self.group_by else [])]))

    def check(self, columns: Sequence[str], file: str) -> None:
        """Raises MappingError naming the columns that the file lacks."""
        missing = [column for column in self.columns if column not in columns]
        if missing:
            raise MappingError(
                f"{file} has no column {', '.join(repr(one) for one in missing)}, which the mapping {self.source} "
                f"asks for; it has {', '.join(columns)}{_other_separator(columns) or self._a_value(missing)}"
            )

    def _a_value(self, missing: Sequence[str]) -> str:
        """What to do where the type or the event's name was written like a column."""
        told = next((name for name in ("type", "event") if self.fields.get(name) in missing), None)
        return f'; if it is a value, write {told} = "={self.fields[told]}"' if told else ""

    def messages(
        self, rows: Sequence[Mapping[str, Any]], unreadable: frozenset[int] = frozenset()
    ) -> Iterator[tuple[int, dict[str, Any], FieldError | None]]:
        """(place of its first row, message, why it is none) of each event. Grouped rows must all be given at once.

        Rows without a value to group by are an event each. `unreadable`: places of rows that were not in UTF-8.
        """
        for places in self._groups(rows):
            some = [rows[place] for place in places]
            faults: list[FieldError] = []
            if not unreadable.isdisjoint(places):
                faults.append(FieldError("", "is not in UTF-8; save the file so and ingest it again"))
            faults += self._two_customers(some)
            message = self._message(some[0], some if self.group_by else None, faults)
            yield places[0], message, next(iter(faults), None)

    def _groups(self, rows: Sequence[Mapping[str, Any]]) -> Iterable[list[int]]:
        if self.group_by is None:
            return ([place] for place in range(len(rows)))
        groups: dict[Any, list[int]] = {}
        for place, row in enumerate(rows):
            key = row[self.group_by]
            alone = key is None or key != key or (isinstance(key, str) and not key.strip())
            groups.setdefault((None, place) if alone else key, []).append(place)
        return groups.values()

    def _two_customers(self, group: Sequence[Mapping[str, Any]]) -> Iterator[FieldError]:
        """Rows of one event that name different customers; an export may name them in the first row only."""
        for name in _WHO.intersection(self.fields):
            named = dict.fromkeys(self._field(name, self.fields[name], row, []) for row in group)
            named.pop(None, None)
            if len(named) > 1:
                told = " and ".join(repr(one) for one in list(named)[:2])
                rule = "group by what tells them apart"
                yield FieldError("", f"rows of one {self.group_by} have different {name}s, {told}; {rule}")

    def _message(
        self, row: Mapping[str, Any], group: Sequence[Mapping[str, Any]] | None, faults: list[FieldError]
    ) -> dict[str, Any]:
        message = {name: self._field(name, source, row, faults) for name, source in self.fields.items()}
        for section, sources in self.sections.items():
            if section != "products":
                message[section] = self._object(section, sources, row, faults)
        if group is not None and "products" in self.sections:
            sources = self.sections["products"]
            lines = [self._object(f"properties.products[{n}]", sources, one, faults) for n, one in enumerate(group)]
            message["properties"] = {**message.get("properties", {}), "products": lines}
        return {name: value for name, value in message.items() if value is not None}

    def _object(
        self, at: str, sources: Mapping[str, str], row: Mapping[str, Any], faults: list[FieldError]
    ) -> dict[str, Any]:
        values = {}
        for name, source in sources.items():
            value = self._plain(_take(source, row))
            if name in _NUMBERS and isinstance(value, str) and at != "traits":
                value = self._number(value, f"{at}.{name}", faults)
            if value is not None:
                values[name] = value
        return values

    def _number(self, text: str, field: str, faults: list[FieldError]) -> str:
        """A number's text with a decimal point and nothing between thousands."""
        plain = text.strip()
        if self.decimal is None:
            if "," in plain:
                told = 'say in the mapping how numbers are written: decimal = "," (1.234,50) or "." (1,234.50)'
                faults.append(FieldError(field, f"{text[:40]!r} has a comma; {told}"))
            return text
        if plain and not _WRITTEN[self.decimal].fullmatch(plain):
            faults.append(FieldError(field, f"{text[:40]!r} is no number whose decimals come after {self.decimal!r}"))
            return text
        whole, point, part = plain.partition(self.decimal)
        return re.sub(r"[^\d+-]", "", whole) + (f".{part}" if point else "")

    def _field(self, name: str, source: str, row: Mapping[str, Any], faults: list[FieldError]) -> Any:
        value = _take(source, row)
        if name in _TIMES:
            moment = self._time(value)
            if isinstance(value, str) and moment is value and value.strip():
                faults.append(FieldError(name, self._no_time(value)))
            return moment
        if value is None or value == "" or value != value:  # pandas writes a gap as NaN
            return None
        if isinstance(value, float) and value.is_integer():  # ids in a column that has gaps arrive as 42.0
            value = int(value)
        return value if isinstance(value, str) else str(value)

    def _time(self, value: Any) -> Any:
        """Times without an offset are in the mapping's zone."""
        if value != value:
            return None
        if isinstance(value, str):
            try:
                value = self._read_time(value.strip())
            except ValueError:
                return value or None
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime.combine(value, time())
        if isinstance(value, datetime) and value.tzinfo is None:
            value = value.replace(tzinfo=ZoneInfo(self.zone))
        return value.astimezone(UTC).isoformat() if isinstance(value, datetime) and value.year > 1 else value

    def _read_time(self, text: str) -> datetime:
        if self.time_format is None:
            return datetime.fromisoformat(text.upper())
        if isinstance(self.time_format, str):
            return datetime.strptime(text, self.time_format)
        for form in self.time_format:
            with suppress(ValueError):
                return datetime.strptime(text, form)
        raise ValueError("of no form")

    def _no_time(self, text: str) -> str:
        if self.time_format:
            more = '; where there are several forms, name each: time_format = ["%d.%m.%Y", "%Y-%m-%d"]'
            forms = [self.time_format] if isinstance(self.time_format, str) else self.time_format
            return f"{text[:40]!r} is not of the mapping's time_format, {', '.join(map(repr, forms))}{more}"
        return (
            f'{text[:40]!r} is no time as 2026-01-31 09:30; say its form in the mapping: time_format = "%d.%m.%Y %H:%M"'
        )

    def _plain(self, value: Any) -> Any:
        """A value as JSON has it. NaN is a gap, as pandas writes one; infinity stays a text, which normalization
        refuses where it needs a number. A day stays that day, whatever it is in UTC: birthdays are read from it."""
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=ZoneInfo(self.zone))).isoformat()
        if isinstance(value, date):
            return value.isoformat()
        if isinstance(value, Decimal):
            return str(value)
        if isinstance(value, float) and value - value != 0:
            return None if value != value else str(value)
        if isinstance(value, list):
            return [self._plain(one) for one in value]
        if isinstance(value, dict):
            return {str(key): self._plain(one) for key, one in value.items()}
        return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def read_mapping(path: Path) -> ColumnMapping:
    """The mapping of a TOML file. Raises MappingError naming the entry that is wrong."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as wrong:
        raise MappingError(f"the mapping {path} cannot be read: {wrong}") from wrong
    table = document.get("mapping")
    if not isinstance(table, dict):
        raise MappingError(f"the mapping {path} has no [mapping] table; see 'opportune init' for an example")
    return mapping_from(table, str(path))


def mapping_from(table: Mapping[str, Any], source: str) -> ColumnMapping:
    """The mapping of a parsed `[mapping]` table."""
    fields: dict[str, str] = {}
    sections: dict[str, dict[str, str]] = {}
    for key, value in table.items():
        name = _SNAKE.get(key, key)
        if name in _SECTIONS and isinstance(value, dict):
            sections[name] = {entry: _source(column, f"{key}.{entry}", source) for entry, column in value.items()}
        elif name in _FIELDS:
            fields[name] = _source(value, key, source)
        elif key not in _OPTIONS:
            raise MappingError(f"{source}: [mapping] has an unknown entry {key!r}; it may have {_allowed()}")
    for needed in ("type", "timestamp"):
        if needed not in fields:
            raise MappingError(f'{source}: [mapping] lacks {needed!r}; name the column, or write "=value"')
    zone = table.get("timezone", "UTC")
    if not isinstance(zone, str) or not known_zone(zone):
        raise MappingError(f"{source}: timezone {zone!r} is no IANA zone, such as Europe/Paris")
    group_by = table.get("group_by")
    if ("products" in sections) != (group_by is not None):
        raise MappingError(f"{source}: [mapping.products] and group_by go together; give both or neither")
    return ColumnMapping(
        source, fields, sections, None if group_by is None else str(group_by), zone, **_forms(table, source)
    )


def _forms(table: Mapping[str, Any], source: str) -> dict[str, Any]:
    """How a file is written: its times, its numbers, and what stands between its values."""
    forms = {name: table[name] for name in ("time_format", "decimal", "separator") if name in table}
    if isinstance(forms.get("time_format"), list):
        forms["time_format"] = tuple(forms["time_format"])
    for name, value in forms.items():
        several = value if isinstance(value, tuple) and value else (value,)
        if not all(isinstance(one, str) and one for one in several):
            raise MappingError(f"{source}: {name} is {value!r}; write a text")
    if forms.get("decimal", ".") not in _WRITTEN:
        raise MappingError(f'{source}: decimal is {forms["decimal"]!r}; it may be "," or "."')
    separator = forms.get("separator", ",")
    if len(separator) != 1 or not separator.isascii() or separator in '"\r\n':
        raise MappingError(f'{source}: separator is {separator!r}; write one character, such as ";" or "\\t"')
    return forms


def _other_separator(columns: Sequence[str]) -> str:
    """What to do about a first line that another separator splits."""
    if len(columns) > 1:
        return ""
    found = next((one for one in (";", "\t", "|", ",") if one in "".join(columns)), None)
    return (
        ""
        if found is None
        else f"; if its values are separated by {found!r}, say so in the mapping: separator = {_toml(found)}"
    )


def _toml(text: str) -> str:
    return '"\\t"' if text == "\t" else f'"{text}"'


def _source(value: Any, entry: str, source: str) -> str:
    if not isinstance(value, str) or not value:
        raise MappingError(f'{source}: {entry} is {value!r}; name a column, or write "=value"')
    return value


def _take(source: str, row: Mapping[str, Any]) -> Any:
    return source[1:] if source.startswith("=") else row[source]


def _allowed() -> str:
    return ", ".join([*sorted(_FIELDS), *_SECTIONS, *sorted(_OPTIONS)])
