"""Tables as spreadsheets write them: other separators, decimals, times; said in the mapping, or named in the reason."""

from __future__ import annotations

import gzip
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from service.events.ingest_files import FileReport
from service.events.mapping import ColumnMapping, MappingError, mapping_from
from tests.service.events.test_ingest_files import ingest_into, result_of

ORDERS = {"type": "=track", "event": "=Order Completed", "userId": "who", "timestamp": "when"}


def read(folder: Path, text: str, **forms: str) -> tuple[FileReport, list[Any]]:
    (folder / "a.csv").write_text(text, encoding="utf-8")
    mapping = mapping_from({**ORDERS, **forms, "properties": {"revenue": "paid", "sku": "sku"}}, "m.toml")
    [file] = ingest_into(folder, folder / "a.csv", mapping).files
    return file, result_of(folder)[1]


def test_a_spreadsheet_of_a_country_with_decimal_commas(tmp_path: Path) -> None:
    text = "who;when;paid;sku\nada;31.01.2026 18:05;1.234,50;1,5\nben;01.02.2026 09:00;9,9;7\n"
    forms = {"separator": ";", "decimal": ",", "time_format": "%d.%m.%Y %H:%M", "timezone": "Europe/Berlin"}
    file, rows = read(tmp_path, text, **forms)
    assert (file.accepted, file.rejected, file.reasons) == (2, 0, ())
    cents = {row["customer_id"]: row["revenue_cents"] for row in rows}
    assert cents == {"ada": 123450, "ben": 990}
    first = min(row["timestamp"] for row in rows)
    assert first.isoformat() == "2026-01-31T17:05:00+00:00"
    assert '"sku":"1,5"' in str(rows[0]["properties"]) + str(rows[1]["properties"]), "an article's number is no amount"


@pytest.mark.parametrize(
    ("decimal", "text", "plain"),
    [
        (",", "1.234.567,8", "1234567.8"),
        (",", "1 234,5", "1234.5"),
        (",", "12", "12"),
        (".", "1,234.50", "1234.50"),
        (".", "1'234.50", "1234.50"),
        (".", "-3.10", "-3.10"),
        (",", "1.50", None),  # a decimal point after all: 150 would be a hundred times as much
        (".", "9,90", None),
        (",", "n/a", None),
    ],
)
def test_numbers_are_read_as_they_are_said_to_be_written(decimal: str, text: str, plain: str | None) -> None:
    mapping = mapping_from({"type": "=track", "timestamp": "t", "decimal": decimal, "properties": {"total": "r"}}, "m")
    [(_, message, fault)] = mapping.messages([{"t": "2026-01-31", "r": text}])
    if plain is None:
        assert fault is not None
        assert (fault.field, text in fault.detail) == ("properties.total", True)
    else:
        assert fault is None
        assert message["properties"]["total"] == plain


def test_reasons_say_what_the_mapping_lacks(tmp_path: Path) -> None:
    file, _ = read(
        tmp_path, 'who,when,paid,sku\na,31.01.2026,1,s\nb,2026-01-31,"9,90",s\nc,01/31/2026,1,s\nd,2026-01-31,1,s\n'
    )
    assert (file.accepted, file.rejected) == (1, 3)
    [(first, often, time), (second, once, number)] = file.reasons
    assert (first, often, second, once) == ("timestamp", 2, "properties.revenue", 1)
    assert "'31.01.2026'" in time
    assert "time_format = " in time
    assert "'9,90'" in number
    assert 'decimal = ","' in number


def test_a_time_of_another_form_than_was_said_is_named(tmp_path: Path) -> None:
    file, _ = read(tmp_path, "who,when,paid,sku\na,2026-01-31,1,s\nb,31.01.26,1,s\n", time_format="%d.%m.%y")
    [(field, often, told)] = file.reasons
    assert (field, often) == ("timestamp", 1)
    assert "'2026-01-31' is not of the mapping's time_format, '%d.%m.%y'; where there are several" in told


def test_a_column_with_times_of_several_forms(tmp_path: Path) -> None:
    text = "who,when,paid,sku\na,31.01.2026,1,s\nb,2026-01-30T10:00:00Z,1,s\nc,2026-01-29,1,s\nd,01/28/2026,1,s\n"
    (tmp_path / "a.csv").write_text(text)
    mapping = mapping_from({**ORDERS, "time_format": ["%d.%m.%Y", "%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z"]}, "m.toml")
    [file] = ingest_into(tmp_path, tmp_path / "a.csv", mapping).files
    assert (file.accepted, file.rejected) == (3, 1)
    assert "'01/28/2026'" in file.reasons[0][2]
    told = {row["customer_id"]: row["timestamp"].isoformat() for row in result_of(tmp_path)[1]}
    assert told == {
        "a": "2026-01-31T00:00:00+00:00",
        "b": "2026-01-30T10:00:00+00:00",
        "c": "2026-01-29T00:00:00+00:00",
    }


@pytest.mark.parametrize(
    ("born", "told"),
    [
        (date(1990, 5, 1), "1990-05-01"),
        (datetime(1990, 5, 1), "1990-05-01T00:00:00+02:00"),  # as pandas writes a day
        (datetime(1990, 5, 1, tzinfo=ZoneInfo("Asia/Tokyo")), "1990-05-01T00:00:00+09:00"),
    ],
)
def test_a_day_of_a_table_stays_that_day_in_any_zone(born: date, told: str) -> None:
    table = {"type": "=identify", "userId": "u", "timestamp": "at", "timezone": "Europe/Berlin"}
    mapping = mapping_from({**table, "traits": {"birthday": "born"}}, "m")
    [(_, message, fault)] = mapping.messages([{"u": "ada", "at": date(2026, 5, 1), "born": born}])
    assert fault is None
    assert message["traits"]["birthday"] == told
    assert message["timestamp"] == "2026-04-30T22:00:00+00:00", "an event's own time is a moment"


@pytest.mark.parametrize(("separator", "said"), [(";", '";"'), ("\t", '"\\t"'), ("|", '"|"')])
def test_another_separator_is_found_in_the_first_line(tmp_path: Path, separator: str, said: str) -> None:
    text = separator.join(["who", "when", "paid", "sku"]) + "\n" + separator.join(["a", "2026-01-31", "1", "s"]) + "\n"
    with pytest.raises(MappingError) as refused:
        read(tmp_path, text)
    assert f"separator = {said}" in str(refused.value)
    assert read(tmp_path, text, separator=separator)[0].accepted == 1


@pytest.mark.parametrize(
    "forms", [{"decimal": ";"}, {"separator": ";;"}, {"separator": '"'}, {"time_format": 5}, {"time_format": []}]
)
def test_forms_that_are_none_are_refused(forms: dict[str, Any]) -> None:
    with pytest.raises(MappingError, match=next(iter(forms))):
        mapping_from({**ORDERS, **forms}, "m.toml")


def test_small_letters_of_a_time_are_read_as_before() -> None:
    mapping: ColumnMapping = mapping_from({"type": "=track", "timestamp": "t"}, "m")
    [(_, message, fault)] = mapping.messages([{"t": "2026-01-31t09:30:00z"}])
    assert (message["timestamp"], fault) == ("2026-01-31T09:30:00+00:00", None)


def test_a_compressed_table_is_read_as_it_is(tmp_path: Path) -> None:
    text = "who,when,paid,sku\nada,2026-01-31,1.50,s\nbén,2026-02-01,2,s\n"
    mapping = mapping_from({**ORDERS, "properties": {"revenue": "paid"}}, "m.toml")
    whole = gzip.compress(text.encode())
    (tmp_path / "a.csv.gz").write_bytes(whole)
    (tmp_path / "b.tsv.gz").write_bytes(gzip.compress(text.replace(",", "\t").replace("2026-02", "2026-03").encode()))
    for name in ("a.csv.gz", "b.tsv.gz"):
        assert ingest_into(tmp_path, tmp_path / name, mapping).accepted == 2
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(text.encode("latin-1")))
    assert ingest_into(tmp_path, tmp_path / "c.csv.gz", mapping).rejected == 1
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(f"{text}cara,2026-02-02,1,s,more\n".encode()))
    with pytest.raises(ValueError, match=r"line 4 has 5 values"):
        ingest_into(tmp_path, tmp_path / "d.csv.gz", mapping)
    (tmp_path / "e.csv.gz").write_bytes(whole[:-12])
    with pytest.raises(ValueError, match=r"e\.csv\.gz cannot be read"):
        ingest_into(tmp_path, tmp_path / "e.csv.gz", mapping)


@pytest.mark.parametrize("mark", ["", "sep=;\r\n", '"sep=;"\n'])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_table_as_excel_saves_it(tmp_path: Path, encoding: str, mark: str, packed: bool) -> None:
    lines = "who;when;paid;sku\r\nadä;2026-01-31;1;s\r\nbén;2026-02-01;2,50;ü\r\nbén;wann;2;s\r\n"
    path = tmp_path / ("a.csv.gz" if packed else "a.csv")

    def written(text: str) -> None:
        content = f"{mark}{text}".encode(encoding)
        path.write_bytes(gzip.compress(content) if packed else content)

    written(lines)
    separator = {} if mark else {"separator": ";"}
    mapping = mapping_from({**ORDERS, **separator, "decimal": ",", "properties": {"revenue": "paid"}}, "m.toml")
    [file] = ingest_into(tmp_path, path, mapping).files
    assert (file.accepted, file.rejected) == (2, 1)
    assert file.rejects is not None
    assert f'"line":{5 if mark else 4},' in file.rejects.read_text()
    paid = {row["customer_id"]: row["revenue_cents"] for row in result_of(tmp_path)[1]}
    assert paid == {"adä": 100, "bén": 250}
    assert ingest_into(tmp_path, path, mapping).files[0].already
    written(f"{lines}cara;2026-02-02;1;s;more\r\n")
    with pytest.raises(ValueError, match=rf"line {6 if mark else 5} has 5 values"):
        ingest_into(tmp_path, path, mapping)


def test_utf_16_that_ends_half_way_and_lines_of_json_in_it_say_what_to_do(tmp_path: Path) -> None:
    mapping = mapping_from({**ORDERS}, "m.toml")
    (tmp_path / "a.csv").write_bytes("who,when\nada,2026-01-31\n".encode("utf-16")[:-1])
    with pytest.raises(ValueError, match=r"a\.csv cannot be read: .*utf-16.*truncated"):
        ingest_into(tmp_path, tmp_path / "a.csv", mapping)
    (tmp_path / "b.jsonl").write_text('{"type":"track"}\n', encoding="utf-16")
    with pytest.raises(ValueError, match=r"b\.jsonl is in UTF-16; save it in UTF-8"):
        ingest_into(tmp_path, tmp_path / "b.jsonl")
