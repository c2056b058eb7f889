"""Files of events as chunks of (line, message or fault): JSONL and mapped CSV, plain or gzipped, and mapped Parquet.

A CSV may be in UTF-16, as spreadsheets save "Unicode text", and may begin with the line `sep=;` that they understand.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import orjson
import xxhash

from service.errors import FieldError
from service.events.mapping import ColumnMapping, MappingError

if TYPE_CHECKING:
    import polars as pl

CHUNK_ROWS = 25_000
CHUNK_BYTES = 48 * 1024 * 1024
LONGEST_LINE = 4 * 1024 * 1024
_JSONL = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
_TABLES = (".parquet", ".csv", ".tsv", ".csv.gz", ".tsv.gz")
_SEPARATOR_LINE = re.compile(r'\ufeff?"?sep=([^\r\n])"?[\r\n]', re.IGNORECASE)
"""What Excel takes for the separator of the lines below, and writes for those who know it."""


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a file, numbered from 1: a message, or why it is none, with the text as it stood."""

    line: int
    message: Any
    fault: FieldError | None = None
    text: str | None = None


def sources(paths: Sequence[Path]) -> list[Path]:
    """The files to read, folders opened, rejects left out. Raises ValueError for what cannot be read."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = [one for one in sorted(path.iterdir()) if one.is_file() and _kind(one) and not _is_rejects(one)]
            if not inside:
                raise ValueError(f"{path} has no {', '.join((*_JSONL, *_TABLES))} file")
            found += inside
        elif not path.exists():
            raise ValueError(f"{path} does not exist")
        elif not _kind(path):
            named = "; a table in another format or under another name is to be saved as one of these"
            raise ValueError(f"{path} is of no kind that can be read: {', '.join((*_JSONL, *_TABLES))}{named}")
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def is_table(path: Path) -> bool:
    """Whether a file needs a column mapping."""
    return path.name.lower().endswith(_TABLES)


def content_hash(path: Path) -> str:
    """xxh3_128 of a file's bytes."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(4 * 1024 * 1024):
            digest.update(block)
    return digest.hexdigest()


def chunks(path: Path, mapping: ColumnMapping | None) -> Iterator[tuple[list[Item], float]]:
    """Chunks of a file, the same for the same content, each with how much of the file is read (0 to 1)."""
    if mapping is not None:
        return _table_chunks(path, mapping)
    return _line_chunks(path)


def _line_chunks(path: Path) -> Iterator[tuple[list[Item], float]]:
    total = max(path.stat().st_size, 1)
    with path.open("rb") as raw:
        file = gzip.GzipFile(fileobj=raw) if path.name.lower().endswith(".gz") else raw
        chunk: list[Item] = []
        size = 0
        for item, length in _lines(file):
            chunk.append(item)
            size += length
            if len(chunk) >= CHUNK_ROWS or size >= CHUNK_BYTES:
                yield chunk, min(raw.tell() / total, 1.0)
                chunk, size = [], 0
        if chunk:
            yield chunk, 1.0


def _lines(file: IO[bytes] | gzip.GzipFile) -> Iterator[tuple[Item, int]]:
    line = 0
    while True:
        try:
            text = file.readline(LONGEST_LINE + 1)
        except (OSError, EOFError, zlib.error) as broken:
            yield _unread(line + 1, f"the file is broken here: {broken}; what follows cannot be read"), 0
            return
        if not text:
            return
        line += 1
        if len(text) > LONGEST_LINE:
            while text and not text.endswith(b"\n"):
                text = file.readline(LONGEST_LINE)
            yield _unread(line, f"is longer than {LONGEST_LINE:,} bytes; split the event"), LONGEST_LINE
        elif not text.isspace():
            yield _parsed(line, text), len(text)


def _parsed(line: int, text: bytes) -> Item:
    try:
        return Item(line, orjson.loads(text.removeprefix(b"\xef\xbb\xbf") if line == 1 else text))
    except orjson.JSONDecodeError as wrong:
        return _unread(line, f"is no JSON: {wrong}", text.decode("utf-8", "replace").rstrip("\r\n"))


def _unread(line: int, why: str, text: str = "") -> Item:
    return Item(line, None, FieldError("", why), text)


def check(path: Path, mapping: ColumnMapping | None) -> None:
    """Raises before anything is done where a file cannot be read by the mapping."""
    if is_table(path):
        _scan(path, mapping)
    elif _wide(_beginning(path)):
        raise ValueError(f"{path} is in UTF-16; save it in UTF-8 (in PowerShell: Out-File -Encoding utf8)")


def _table_chunks(path: Path, mapping: ColumnMapping) -> Iterator[tuple[list[Item], float]]:
    import polars as pl

    try:
        frame = _scan(path, mapping).collect().select(mapping.columns)
    except pl.exceptions.PolarsError as wrong:
        raise ValueError(f"{path} cannot be read: {_short(wrong)}{_which_line(path, mapping)}") from wrong
    parquet = path.name.lower().endswith(".parquet")
    first = 1 if parquet else 3 if _separator_line(path) else 2  # a CSV's first line names its columns
    utf8 = parquet or _is_utf8(path)
    most = CHUNK_ROWS if mapping.group_by is None else max(frame.height, 1)
    for start in range(0, frame.height, most):
        rows = frame.slice(start, most)
        garbled = frozenset[int]() if utf8 else _garbled(rows)
        items = [
            Item(start + place + first, message, fault)
            for place, message, fault in mapping.messages(rows.to_dicts(), garbled)
        ]
        for some in range(0, len(items), CHUNK_ROWS):
            done = start + most if most == CHUNK_ROWS else (some + CHUNK_ROWS) / len(items) * frame.height
            yield items[some : some + CHUNK_ROWS], min(done / frame.height, 1.0)


def _is_utf8(path: Path) -> bool:
    if _wide(_beginning(path)):
        return True  # was read as what it is
    decoder = codecs.getincrementaldecoder("utf-8")()
    with _plain(path) as file:
        try:
            while block := file.read(4 * 1024 * 1024):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _garbled(rows: pl.DataFrame) -> frozenset[int]:
    """Rows with a character that is none: their ids would be those of others."""
    import polars as pl

    found = rows.select(pl.any_horizontal(pl.all().str.contains("\ufffd", literal=True))).to_series()
    return frozenset(found.arg_true().to_list())


def _short(wrong: Exception) -> str:
    """The first line; what follows is advice to programmers."""
    return str(wrong).partition("\n")[0]


def _which_line(path: Path, mapping: ColumnMapping) -> str:
    """The first line of a CSV that has more values than its first line names, for a message."""
    if path.name.lower().endswith(".parquet"):
        return ""
    before = 1 if _separator_line(path) else 0
    with _plain(path) as raw:
        text = io.TextIOWrapper(raw, _wide(_beginning(path)) or "utf-8", "replace", newline="")
        reader = csv.reader(islice(text, before, None), delimiter=_separator(path, mapping))
        names = len(next(reader, []))
        told = ((reader.line_num + before, len(row)) for row in reader if len(row) > names)
        return next((f" (line {line} has {values} values)" for line, values in told), "")


def _plain(path: Path) -> IO[bytes]:
    """A file's bytes, compressed or not."""
    return gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")  # type: ignore[return-value]


def _separator(path: Path, mapping: ColumnMapping) -> str:
    usual = "\t" if path.name.lower().endswith((".tsv", ".tsv.gz")) else ","
    return mapping.separator or _separator_line(path) or usual


def _separator_line(path: Path) -> str | None:
    """The separator that a CSV's first line is about, where that is no line of values."""
    start = _beginning(path)
    told = _SEPARATOR_LINE.match(start.decode(_wide(start) or "utf-8", "replace"))
    return told[1] if told else None


def _beginning(path: Path) -> bytes:
    """The first bytes, an even number; none of a file that cannot be unpacked, which reading tells."""
    try:
        with _plain(path) as file:
            return file.read(64)
    except (OSError, EOFError, zlib.error):
        return b""


def _wide(start: bytes) -> str | None:
    """UTF-16 in the order of its bytes, by its mark, or by the zeros beside the letters that a table begins with."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(start) < 4:
        return None
    return {(False, True): "utf-16-le", (True, False): "utf-16-be"}.get((not any(start[0:4:2]), not any(start[1:4:2])))


def _scan(path: Path, mapping: ColumnMapping | None) -> pl.LazyFrame:
    """The mapped columns of Parquet, all of a CSV: Polars tells of too many values only who reads whole lines.

    A CSV's values stay texts: guessing types would change ids such as 007.
    """
    import polars as pl

    if mapping is None:
        raise MappingError(f"{path} needs a column mapping: --mapping FILE ('opportune init' writes an example)")
    try:
        if path.name.lower().endswith(".parquet"):
            scan = pl.scan_parquet(path, hive_partitioning=False)
            mapping.check(scan.collect_schema().names(), str(path))
            return scan.select(mapping.columns)
        gzipped = path.name.lower().endswith(".gz")
        told = _unpacked(path) if gzipped or _wide(_beginning(path)) else path
        skipped = 1 if _separator_line(path) else 0
        scan = pl.scan_csv(
            told,
            separator=_separator(path, mapping),
            infer_schema=False,
            encoding="utf8-lossy",
            skip_lines=skipped,
        )
        mapping.check(scan.collect_schema().names(), str(path))
    except pl.exceptions.PolarsError as wrong:
        raise ValueError(f"{path} cannot be read: {_short(wrong)}") from wrong
    return scan


def _unpacked(path: Path) -> bytes:
    """A file's bytes, unzipped and in UTF-8: Polars cuts lines with too many values off without a word where it unpacks
    itself, and knows no UTF-16."""
    try:
        with _plain(path) as file:
            content = file.read()
        wide = _wide(content[:64])
        return content.decode(wide).encode() if wide else content
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as broken:
        raise ValueError(f"{path} cannot be read: {broken}") from broken


def _kind(path: Path) -> bool:
    return path.name.lower().endswith((*_JSONL, *_TABLES))


def _is_rejects(path: Path) -> bool:
    return path.name.endswith(".rejects.jsonl")
