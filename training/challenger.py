"""What the registered challenger of next-offer would have said at each logged decision, as of its own time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from features.build import compute, hours, interest
from features.catalogue import FEATURE_NAMES
from features.channel_hours import HOURS, NO_HOURS, ChannelHours
from features.event_log import EventLog, in_buckets
from features.leftovers import scratch
from features.offers import OfferInfo, offer_infos
from features.products import products
from features.rows import CustomerRow
from models.registry import ServedModels
from training.datasets import known_since
from training.offer_data import Versions, offer_at, read_versions


def challenger_of(home: Path) -> Any:
    """The challenger of next-offer. Raises LookupError when there is none."""
    served = ServedModels(home / "served")
    served.refresh()
    model = served.get("next-offer", "challenger")
    if model is None:
        raise LookupError("There is no challenger of next-offer; register one ('opportune train next-offer').")
    return model


def learnt_until(model: Any) -> datetime | None:
    """What came of decisions before this has taught a model; None where nothing is known of it."""
    by_head: datetime | None = getattr(model, "learnt_until", None)
    by_purchases = getattr(model, "trained", {}).get("labels_until")
    return by_head or (datetime.fromisoformat(by_purchases) if by_purchases else None)


def challenger_values(pieces: Iterable[pl.DataFrame], home: Path) -> Iterator[pl.DataFrame]:
    """The pieces of the log, cut anew by customers, with `again`: the expected value of each candidate by the
    challenger; sending nothing stays 0. Decisions stay whole.

    The logged value moves by (new - logged probability) x the offer's value; priorities are taken as 1. The events are
    read once: the log is laid aside by their buckets first. Raises LookupError when there is no challenger.
    """
    model = challenger_of(home)
    offers = {
        info.offer_id: info for info in offer_infos(pl.read_parquet(home / "tables" / "offers.parquet").to_dicts())
    }
    versions = read_versions(home)
    with scratch(home) as folder:
        for log, rows in _by_bucket(pieces, EventLog(home / "events"), Path(folder)):
            yield _with_values(log.with_row_index("place"), rows, model, offers, versions)


def _with_values(
    log: pl.DataFrame,
    rows: Mapping[tuple[str, Any], CustomerRow],
    model: Any,
    offers: Mapping[str, OfferInfo],
    versions: Versions,
) -> pl.DataFrame:
    places: list[int] = []
    chances: list[float] = []
    for candidates in log.partition_by("decision_id", maintain_order=True):
        known = candidates.filter(pl.col("offer_id").is_in(list(offers)))
        if known.is_empty():
            continue
        places += known["place"].to_list()
        row = rows.get((candidates["customer_id"][0], candidates["decided_at"][0]))
        chances += _scored(model, row, known, offers, versions)
    scored = pl.DataFrame({"place": places, "again": chances}, schema={"place": pl.UInt32, "again": pl.Float64})
    joined = log.join(scored, on="place", how="left", maintain_order="left").drop("place")
    moved = pl.col("expected_value") + (pl.col("again") - pl.col("probability")) * pl.col("value")
    return joined.with_columns(again=moved.fill_null(pl.col("expected_value")))


def _scored(
    model: Any, row: CustomerRow | None, known: pl.DataFrame, offers: Mapping[str, OfferInfo], versions: Versions
) -> list[float]:
    names = known["offer_id"].unique(maintain_order=True).to_list()
    channels = known["channel"].unique(maintain_order=True).to_list()
    at = known["decided_at"][0]
    grid = model.score(row, [offer_at(offers[name], versions, at) for name in names], channels, at)
    line = {name: index for index, name in enumerate(names)}
    column = {name: index for index, name in enumerate(channels)}
    pairs = zip(known["offer_id"], known["channel"], strict=True)
    return [float(grid[line[offer], column[channel]]) for offer, channel in pairs]


def _by_bucket(
    pieces: Iterable[pl.DataFrame], events: EventLog, folder: Path
) -> Iterator[tuple[pl.DataFrame, dict[tuple[str, Any], CustomerRow]]]:
    """Parts of the log, each of one bucket of customers, with their rows as of each decision."""
    laid: dict[int, list[Path]] = {}
    for number, piece in enumerate(pieces):
        for part in in_buckets(piece, events.buckets).partition_by("_bucket"):
            bucket = part["_bucket"][0]
            path = folder / f"{bucket}-{number}.parquet"
            part.drop("_bucket").write_parquet(path)
            laid.setdefault(bucket, []).append(path)
    for bucket in sorted(laid):
        told = events.scan(buckets=[bucket]).collect()
        for path in laid[bucket]:
            part = pl.read_parquet(path)
            cuts = part.select("customer_id", as_of="decided_at").unique(maintain_order=True)
            theirs = told.filter(pl.col("customer_id").is_in(cuts["customer_id"].unique().implode()))
            yield part, customer_rows(theirs, cuts)


def customer_rows(events: pl.DataFrame, cuts: pl.DataFrame) -> dict[tuple[str, Any], CustomerRow]:
    """Rows as they would have been served, by (customer_id, as_of) of `cuts`; none of who was not known then."""
    first = dict(events.group_by("customer_id").agg(first=known_since()).iter_rows())
    liked: dict[tuple[str, Any], dict[str, tuple[float, float, float]]] = {}
    looked: dict[tuple[str, Any], dict[str, int]] = {}
    for customer, at, category, quarter, year, since, views in interest(events, cuts).iter_rows():
        if since == since:
            liked.setdefault((customer, at), {})[category] = (quarter, year, since)
        if views:
            looked.setdefault((customer, at), {})[category] = int(views)
    own: dict[tuple[str, Any], dict[str, np.ndarray[Any, Any]]] = {}
    answers: dict[tuple[str, Any], dict[str, ChannelHours]] = {}
    for customer, at, kind, channel, hour, count in hours(events, cuts).iter_rows():
        key = (customer, at)
        if channel is None:
            own.setdefault(key, {}).setdefault(kind, np.zeros(HOURS))[hour] = count
        else:
            empty = ChannelHours(*np.zeros((3, HOURS)))
            getattr(answers.setdefault(key, {}).setdefault(channel, empty), kind)[hour] = count
    found = {}
    for told, bought in zip(compute(events, cuts).iter_rows(named=True), products(events, cuts).each(), strict=True):
        key = (told["customer_id"], told["as_of"])
        if key[0] in first and first[key[0]] <= key[1]:
            values = {name: told[name] for name in FEATURE_NAMES}
            mine = own.get(key, {})
            found[key] = CustomerRow(
                *key,
                values,
                liked.get(key, {}),
                mine.get("orders", NO_HOURS),
                answers.get(key, {}),
                bought,
                views=looked.get(key, {}),
                visit_hours=mine.get("visits", NO_HOURS),
            )
    return found
