"""The raw events as Parquet, by hash bucket of the customer and then by month. No SQL, no database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import polars as pl
from xxhash import xxh3_64_intdigest

from features.files import fsync_folder, write_parquet
from features.tables import EVENTS

FILE = "file-"
"""How the names of parts begin that were made from a file."""
_EMPTY = "empty_columns"
_ROWS_TOGETHER = 20_000
Step = Callable[[], object]
"""Called before each file is changed; where it raises, the rest is left as it was. Two processes must not change files
at a time: one would join what the other takes out."""


def _nothing() -> None:
    """Where nobody else is there."""


def bucket_of(customer_id: str, buckets: int = 16) -> int:
    """The bucket of a customer: stable across machines and versions (xxh3_64 of the UTF-8 id)."""
    return xxh3_64_intdigest(customer_id.encode()) % buckets


def numbers_path(part: Path) -> Path:
    """Where the numbers of a part are kept (event_numbers.py); whoever rewrites or drops a part drops them first."""
    return part.with_name(part.name.replace("part-", "numbers-", 1))


def offers_path(part: Path) -> Path:
    """Where what a part says of offers is kept (offer_log.py), likewise."""
    return part.with_name(part.name.replace("part-", "offers-", 1))


def stamp_of(root: Path, part: Path) -> str:
    """What tells a part from one of other content: its name, size and time of writing."""
    told = part.stat()
    return f"{part.relative_to(root)} {told.st_size} {told.st_mtime_ns}"


def check_still(root: Path, part: Path, stamp: str) -> None:
    """Raises FileNotFoundError where a part is no longer what bore this stamp."""
    if stamp_of(root, part) != stamp:
        raise FileNotFoundError(f"{part} was written anew while it was read; run it again")


def scan_files(paths: Sequence[Path]) -> pl.LazyFrame:
    """EVENTS of these files. What a version of another time wrote may lack columns, or have some more."""
    return pl.scan_parquet(
        list(paths), hive_partitioning=False, schema=EVENTS.schema, missing_columns="insert", extra_columns="ignore"
    )


def in_buckets(frame: pl.DataFrame, buckets: int = 16) -> pl.DataFrame:
    """The frame with `_bucket`, the bucket of each row's `customer_id`, added."""
    names = frame["customer_id"].unique()
    owners = pl.DataFrame(
        {"customer_id": names, "_bucket": [bucket_of(name, buckets) for name in names]},
        schema={"customer_id": pl.String, "_bucket": pl.Int32},
    )
    return frame.join(owners, on="customer_id", how="left", maintain_order="left")


class EventLog:
    """Events under `root/bucket=07/month=2026-10/part-NAME.parquet`, EVENTS-shaped.

    A part is written whole or not at all, and writing a part again replaces it: an interrupted import that is
    run again leaves the same log. Reading drops repeated message ids (the earliest received stays).
    """

    def __init__(self, root: Path, buckets: int = 16) -> None:
        if not 1 <= buckets <= 100:
            raise ValueError(f"buckets is {buckets}; use 1 to 100")
        self.root = root
        self.buckets = buckets

    def append(self, frame: pl.DataFrame, part: str) -> None:
        """Adds events as the named part, or replaces that part. Raises TableError if a column does not fit."""
        if not part or "/" in part or part.startswith("."):
            raise ValueError(f"part is {part!r}; use a plain file name")
        events = EVENTS.conform(frame)
        written: set[Path] = set()
        for (bucket, month), rows in self._split(events):
            path = self._folder(bucket) / f"month={month}" / f"part-{part}.parquet"
            _write(rows.sort("customer_id", "timestamp"), path)
            written.add(path)
        for stale in self.root.glob(f"bucket=*/month=*/part-{part}.parquet"):
            if stale not in written:
                _drop(stale)

    def scan(
        self,
        *,
        buckets: Sequence[int] | None = None,
        customer_id: str | None = None,
        customer_ids: Sequence[str] | None = None,
        before: datetime | None = None,
        repeats: bool = False,
    ) -> pl.LazyFrame:
        """Events, without repeated message ids (unless `repeats`: for those who drop them anyway, as features do).

        `before` leaves out what happened at that time or later.
        """
        if customer_id is not None:
            buckets = [bucket_of(customer_id, self.buckets)]
        elif customer_ids is not None and buckets is None:
            buckets = sorted({bucket_of(one, self.buckets) for one in customer_ids})
        chosen = range(self.buckets) if buckets is None else buckets
        files = [path for bucket in chosen for path in self.files(bucket)]
        if before is not None:
            last = f"month={before:%Y-%m}"
            files = [path for path in files if path.parent.name <= last]
        if not files:
            return EVENTS.empty().lazy()
        events = scan_files(files)
        if customer_id is not None:
            events = events.filter(pl.col("customer_id") == customer_id)
        if customer_ids is not None:
            events = events.filter(pl.col("customer_id").is_in(pl.Series(customer_ids, dtype=pl.String).implode()))
        if before is not None:
            events = events.filter(pl.col("timestamp") < before)
        if repeats:
            return events
        return events.sort("received_at", maintain_order=True).unique("message_id", keep="first", maintain_order=True)

    def files(self, bucket: int) -> list[Path]:
        """The Parquet files of one bucket, in a stable order."""
        return sorted(self._folder(bucket).glob("month=*/part-*.parquet"))

    def customers_of(self, parts: str) -> list[str]:
        """The customers whose events stand in the parts whose names begin with `parts`."""
        paths = sorted(self.root.glob(f"bucket=*/month=*/part-{parts}*.parquet"))
        found = (pl.read_parquet(path, columns=["customer_id"], hive_partitioning=False) for path in paths)
        return sorted({one for frame in found for one in frame["customer_id"].unique()})

    def owners_in(self, part: str) -> dict[str, str]:
        """The customer of each message of a part, as it stands."""
        paths = sorted(self.root.glob(f"bucket=*/month=*/part-{part}.parquet"))
        rows = scan_files(paths).select("message_id", "customer_id").collect() if paths else EVENTS.empty()
        return dict(rows.select("message_id", "customer_id").iter_rows())

    def erase(self, customer_ids: Sequence[str], before_each: Step = _nothing) -> int:
        """Removes these customers' events from every file that has any; returns how many rows went."""
        return self._remove(list(customer_ids), before_each)

    def reassign(self, owners: Mapping[str, str], before_each: Step = _nothing) -> int:
        """Gives events of the key customers (anonymous ids) to the value customers; returns how many moved.

        What leaves a bucket is written first, in one part for each month and bucket that it goes to; of two histories
        that become one, each in a part of its own, so that an order told in both is known for one. A run killed
        between the two steps leaves duplicates that reading drops only within a bucket, so run it again: it ends in
        the same log.
        """
        moved = 0
        ends = {source: _last_owner(source, owners) for source in owners}
        sources = sorted(source for source, owner in ends.items() if source != owner)
        for bucket in sorted({bucket_of(source, self.buckets) for source in sources}):
            some = [source for source in sources if bucket_of(source, self.buckets) == bucket]
            found = self.scan(buckets=[bucket], customer_ids=some, repeats=True).sort(
                "received_at", maintain_order=True
            )
            theirs = found.collect().with_columns(source="customer_id", customer_id=pl.col("customer_id").replace(ends))
            for together in _one_of_each(some, ends):
                rows = theirs.filter(pl.col("source").is_in(pl.Series(together, dtype=pl.String).implode()))
                if rows.height:
                    before_each()
                    part = f"joined-{_digest([name for source in together for name in (source, ends[source])])}"
                    self._add(rows.drop("source"), part)
            moved += self._remove(some, before_each)
        return moved

    def rename(self, bucket: int, message_ids: Collection[str], event: str) -> None:
        """Gives these events of a bucket another name, wherever they stand in it."""
        wanted = pl.col("message_id").is_in(pl.Series(list(message_ids), dtype=pl.String).implode())
        for path in self.files(bucket):
            if scan_files([path]).select(wanted.any()).collect().item():
                rows = scan_files([path]).collect()
                name = pl.when(wanted).then(pl.lit(event)).otherwise(pl.col("event"))
                self._replace(path, rows.with_columns(event=name))

    def compact(self, bucket: int, before_each: Step = _nothing) -> int:
        """Joins the many small parts of each month of a bucket into one; returns how many files went.

        Killed in between, a month holds rows twice under the same message ids, which reading drops. The parts of a
        file stay by themselves, so that the file can be read again in another way.
        """
        removed = 0
        for folder in sorted(self._folder(bucket).glob("month=*")):
            parts = sorted(p for p in folder.glob("part-*.parquet") if not p.name.startswith(f"part-{FILE}"))
            if len(parts) < 2:
                continue
            rows = scan_files(parts).collect()
            rows = rows.sort("received_at", maintain_order=True).unique("message_id", keep="first", maintain_order=True)
            whole = folder / f"part-whole-{_digest([p.name for p in parts])}.parquet"
            before_each()
            _write(rows.sort("customer_id", "timestamp"), whole)
            for path in parts:
                if path != whole:
                    _drop(path)
                    removed += 1
        return removed

    def gather(self, bucket: int, parts: str, reading: str) -> None:
        """Joins the parts `PARTS-00000`, `PARTS-00001`, … of a file into one, and drops what other readings left.

        Nobody else may erase, reassign or compact meanwhile. Run it again after a kill: it ends in the same log.
        """
        for folder in sorted(self._folder(bucket).glob("month=*")):
            whole = folder / f"part-{parts}-joined-{reading}.parquet"
            single = sorted(folder.glob(f"part-{parts}-[0-9]*.parquet"))
            if single:
                there = [*single, *([whole] if whole.exists() else [])]
                rows = scan_files(there).collect()
                rows = rows.sort("received_at", maintain_order=True)
                rows = rows.unique("message_id", keep="first", maintain_order=True)
                _write(rows.sort("customer_id", "timestamp"), whole)
            for path in (*single, *folder.glob(f"part-{parts}-joined-*.parquet")):
                if path != whole:
                    _drop(path)

    def has_other_readings(self, parts: str, reading: str) -> bool:
        """Whether another reading of a file has left events that `gather` would drop."""
        own = f"part-{parts}-joined-{reading}.parquet"
        return any(path.name != own for path in self.root.glob(f"bucket=*/month=*/part-{parts}-joined-*.parquet"))

    def _add(self, rows: pl.DataFrame, part: str) -> None:
        """`append` to what a part holds already: a run that was killed has taken some out of where it came from."""
        paths = sorted(self.root.glob(f"bucket=*/month=*/part-{part}.parquet"))
        held = scan_files(paths).collect() if paths else EVENTS.empty()
        both = pl.concat([held, rows]).unique(["customer_id", "message_id"], keep="first", maintain_order=True)
        self.append(both, part)

    def _remove(self, customer_ids: list[str], before_each: Step) -> int:
        removed = 0
        wanted = pl.col("customer_id").is_in(pl.Series(customer_ids, dtype=pl.String).implode())
        for bucket in sorted({bucket_of(c, self.buckets) for c in customer_ids}):
            for path in self.files(bucket):
                if not scan_files([path]).select(wanted.any()).collect().item():  # one column of many
                    continue
                rows = scan_files([path]).collect()
                kept = rows.filter(~wanted)
                removed += rows.height - kept.height
                before_each()
                self._replace(path, kept)
        return removed

    def _replace(self, path: Path, rows: pl.DataFrame) -> None:
        if rows.height:
            _forget(path)
            _write(rows, path)
            _forget(path)  # what a reader of the old content has put there since
            return
        _drop(path)
        fsync_folder(path.parent)

    def _split(self, events: pl.DataFrame) -> list[tuple[tuple[int, str], pl.DataFrame]]:
        marked = in_buckets(events, self.buckets).with_columns(month=pl.col("timestamp").dt.strftime("%Y-%m"))
        groups = marked.partition_by("_bucket", "month", as_dict=True, include_key=False)
        return [((int(b), str(m)), rows) for (b, m), rows in sorted(groups.items())]

    def _folder(self, bucket: int) -> Path:
        return self.root / f"bucket={bucket:02d}"


def columns_of(path: Path, names: Sequence[str]) -> list[str]:
    """Those of the columns that a file has and that hold anything in it."""
    empty = pl.read_parquet_metadata(path).get(_EMPTY, "").split()
    filled = set(pl.read_parquet_schema(path)).difference(empty)
    return [name for name in names if name in filled]


def empty_columns(rows: pl.DataFrame) -> dict[str, str]:
    """What a file of these rows says of itself for `columns_of`."""
    return {_EMPTY: " ".join(column.name for column in rows if column.null_count() == rows.height)}


def _write(rows: pl.DataFrame, path: Path) -> None:
    """The file says which of its columns are empty: lists of products cost the most to read where there are none.

    Rows are in the order of customers: who looks for one reads only a group in which they may be.
    """
    write_parquet(rows, path, empty_columns(rows), _ROWS_TOGETHER)


def _drop(part: Path) -> None:
    _forget(part)
    part.unlink()
    _forget(part)  # as above


def _forget(part: Path) -> None:
    """Drops what is kept beside a part."""
    for beside in (numbers_path(part), offers_path(part)):
        beside.unlink(missing_ok=True)


def _last_owner(source: str, owners: Mapping[str, str]) -> str:
    """Where the events of one end whose owner is given to another one himself."""
    seen, owner = {source}, owners[source]
    while owner in owners and owner not in seen:
        seen.add(owner)
        owner = owners[owner]
    return owner


def _one_of_each(sources: Sequence[str], ends: Mapping[str, str]) -> list[list[str]]:
    """Groups of sources, as few as can be, in which no two have the same end."""
    groups: list[list[str]] = []
    taken: dict[str, int] = {}
    for source in sources:
        place = taken[ends[source]] = taken.get(ends[source], -1) + 1
        if place == len(groups):
            groups.append([])
        groups[place].append(source)
    return groups


def _digest(names: Sequence[str]) -> str:
    return f"{xxh3_64_intdigest(repr(tuple(names)).encode()):016x}"
