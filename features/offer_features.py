"""Features of offers as of any times: the customers' machinery over the offers' own events, then what needs several
offers or their texts. Batch and online share every step, so they agree to the bit.

    offer_features(history, cuts, texts)      as of many times, from all events of offers (offer_events.py)
    OnlineOffers.read(offer_ids, as_of)       the same from packed rows, an event behind at most
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from features.build import compute, snapshot_folder
from features.declare import DAY, Feature
from features.facts import microseconds
from features.feature_set import FeatureSet
from features.files import write_parquet
from features.offer_events import NONE, response_events, version_event
from features.plan import plan_of
from features.row_stores import RowStore, open_store
from features.rows import OnlineFeatures
from features.shrinkage import shrunk_rates
from features.tables import EVENTS, UTC_TIME
from features.texts import TextVectors
from features.transforms.offers import FEATURES, HIDDEN

Floats = NDArray[np.float64]
OFFERS = FeatureSet(FEATURES)
"""The declared features of offers."""
_AFTERWARDS = frozenset({"shrunk_rate", "days_to", "text"})
BASE = FeatureSet([*HIDDEN, *(f for f in FEATURES if f.aggregate not in _AFTERWARDS)])
"""Those that one offer's events give, and what the others are made of."""
_PLACE = {name: place for place, name in enumerate(BASE.names)}
_FACTS = [place for place, feature in enumerate(BASE.features) if feature.aggregate == "last"]
_ROWS = 200_000
_CHANGE, _SEEN = "change", "seen"


def finish(base: Floats, as_of_us: int, texts: TextVectors) -> Floats:
    """(n, OFFERS) of (n, BASE): all offers as of one time (microseconds), in the order of their ids."""
    told = base.copy()
    facts = told[:, _FACTS]
    told[:, _FACTS] = np.where(facts == NONE, np.nan, facts)
    made: dict[str, Floats] = {}
    numbers = texts.numbers(_keys(told[:, _PLACE["_text_key"]]))
    for feature in OFFERS.features:
        made[feature.name] = _made(feature, told, as_of_us, numbers)
    return np.stack([made[name] for name in OFFERS.names], axis=1).reshape(len(base), len(OFFERS.names))


def _made(feature: Feature, told: Floats, as_of_us: int, numbers: Floats) -> Floats:
    match feature.aggregate:
        case "shrunk_rate":
            hits, trials = (told[:, _PLACE[name]] for name in feature.of or ())
            return shrunk_rates(hits, trials, told[:, _PLACE["offer_category_code"]])
        case "days_to":
            left: Floats = told[:, _PLACE[feature.column or ""]] - as_of_us / DAY
            return left
        case "text":
            return numbers[:, feature.place]
        case _:
            return told[:, _PLACE[feature.name]]


def _keys(column: Floats) -> NDArray[np.int64]:
    return np.where(np.isnan(column), -1.0, column).astype(np.int64)


def offer_features(history: pl.DataFrame, cuts: pl.DataFrame, texts: TextVectors) -> pl.DataFrame:
    """The cuts' rows (offer_id, as_of, any more) in their order, and a Float64 column a feature; NaN: unknown.

    history: all events of all offers (`offer_history`): rates lean on the other offers, so every distinct as_of costs
    a look at all of them. Only what was known by as_of counts.
    """
    asked = cuts.select(pl.col("offer_id").cast(pl.String), pl.col("as_of").cast(UTC_TIME))
    ids = pl.concat([history["customer_id"], asked["offer_id"]]).unique().sort()
    times = asked["as_of"].unique().sort()
    found: list[Floats] = []
    step = max(_ROWS // max(len(ids), 1), 1)
    for start in range(0, len(times), step):
        some = times[start : start + step]
        every = pl.DataFrame({"as_of": some}).join(pl.DataFrame({"customer_id": ids}), how="cross")
        base = compute(history, every, BASE).select(BASE.names).to_numpy()
        for place, moment in enumerate(some):
            one = base[place * len(ids) : (place + 1) * len(ids)]
            found.append(finish(one, microseconds(moment), texts))
    row = ids.search_sorted(asked["offer_id"]).to_numpy()
    time = times.search_sorted(asked["as_of"]).to_numpy()
    values = np.concatenate(found)[time * len(ids) + row] if found else np.empty((0, len(OFFERS.names)))
    columns = [pl.Series(name, np.ascontiguousarray(values[:, i])) for i, name in enumerate(OFFERS.names)]
    return cuts.drop(OFFERS.names, strict=False).with_columns(columns)


def build_offer_snapshot(history: pl.DataFrame, as_of: datetime, out: Path, texts: TextVectors) -> Path:
    """Features of every offer heard of before `as_of`, in `out/as_of=…/offers.parquet`, whole or not at all.

    Columns: offer_id, as_of, created (as_of), the features. Left alone if it was made of the same.
    """
    known = history.filter((pl.col("timestamp") < as_of) & (pl.col("received_at") <= as_of))
    path, source = snapshot_folder(out, as_of) / "offers.parquet", _source(known, texts, as_of)
    if path.exists() and pl.read_parquet_metadata(path).get("source") == source:
        return path
    cuts = pl.DataFrame({"offer_id": known["customer_id"].unique().sort()}).with_columns(
        pl.lit(as_of, UTC_TIME).alias("as_of"), pl.lit(as_of, UTC_TIME).alias("created")
    )
    write_parquet(offer_features(known, cuts, texts), path, {"source": source})
    return path


def _source(known: pl.DataFrame, texts: TextVectors, as_of: datetime) -> str:
    """Names what a table is made of: the events in any order, the texts and the declarations."""
    rows = int(known.hash_rows(seed=0).sum() or 0)
    made_by = (plan_of(BASE).signature, OFFERS.features, texts.version, microseconds(as_of))
    return f"{xxh3_64_intdigest(repr((known.height, rows, made_by)).encode()):016x}"


class OnlineOffers:
    """Features of offers from packed rows; safe from several threads and processes, as `OnlineFeatures` is."""

    def __init__(self, rows: OnlineFeatures, ids: RowStore, notes: RowStore) -> None:
        self._rows, self._ids, self._notes = rows, ids, notes
        self._noted: set[str] = set()
        self._lock = threading.Lock()

    def put(self, versions: Sequence[Mapping[str, Any]]) -> None:
        """Takes in versions of the catalogue (OFFER_VERSIONS rows); the same ones again change no feature."""
        self._take([version_event(version) for version in versions])

    def catalogue_change(self) -> int:
        """The number of the catalogue's last change that was taken in; 0 before any."""
        return int(self._notes.read([_CHANGE])[0] or 0)

    def note_catalogue_change(self, number: int) -> None:
        """Call it once all versions up to that change are in."""
        self._notes.change([_CHANGE], lambda _: [str(number).encode()])

    def apply(self, events: Sequence[Mapping[str, Any]], decided: Mapping[str, str]) -> None:
        """Takes in customers' events, in the order of their receipt; repeats change nothing.

        decided: the offer of each decision that an event names without naming an offer.
        """
        self._take([one for event in events for one in response_events(event, decided)])

    def load(self, history: pl.DataFrame) -> int:
        """Makes the rows of all offers in `history` (`offer_history`) anew; returns how many it wrote."""
        self._note(history["customer_id"].unique().to_list())
        return self._rows.load(history)

    def load_new(self, history: pl.DataFrame, files: Mapping[str, pl.DataFrame]) -> int:
        """`load` of the offers that files name which were not seen before, and of those that have no row."""
        offers = history["customer_id"].unique().sort().to_list()
        rows = self._rows.read(offers, datetime(2000, 1, 1, tzinfo=UTC))
        wanted = {offer for offer, row in zip(offers, rows, strict=True) if row is None}
        seen = set(orjson.loads(self._notes.read([_SEEN])[0] or b"[]"))
        new = [part["message_id"] for stamp, part in files.items() if stamp not in seen]
        if new:
            wanted |= set(history.filter(pl.col("message_id").is_in(pl.concat(new).implode()))["customer_id"])
        told = history.filter(pl.col("customer_id").is_in(pl.Series(sorted(wanted), dtype=pl.String).implode()))
        written = self.load(told) if wanted else 0
        self._notes.change([_SEEN], lambda _: [orjson.dumps(sorted(files))])
        return written

    def read(self, offer_ids: Sequence[str], as_of: datetime, texts: TextVectors) -> Floats:
        """(len(offer_ids), OFFERS) as `offer_features` gives them; exact from an hour before the last receipt."""
        ids = sorted({*self._ids.keys(), *offer_ids})
        base = np.tile(_unheard(), (len(ids), 1))
        for place, row in enumerate(self._rows.read(ids, as_of)):
            if row is not None:
                base[place] = [row.values[name] for name in BASE.names]
        found = finish(base, microseconds(as_of), texts)
        places = {offer: place for place, offer in enumerate(ids)}
        return found[[places[offer] for offer in offer_ids]]

    def close(self) -> None:
        for store in (self._rows, self._ids, self._notes):
            store.close()

    def _take(self, events: list[dict[str, Any]]) -> None:
        if events:
            self._note([event["customer_id"] for event in events])
            self._rows.apply(events)

    def _note(self, offers: Sequence[str]) -> None:
        """Remembers which offers there are; before their rows, so that none is left out."""
        new = sorted({*offers} - self._noted)
        if new:
            self._ids.change(new, lambda rows: [b"1"] * len(rows))
            with self._lock:
                self._noted |= {*new}


def open_online_offers(url_or_path: str) -> OnlineOffers:
    """In a SQLite file (a path), Postgres or Redis, beside the customers."""
    rows, ids, notes = (open_store(url_or_path, table) for table in ("offers", "offer_ids", "offer_notes"))
    return OnlineOffers(OnlineFeatures(rows, BASE), ids, notes)


@lru_cache(maxsize=1)
def _unheard() -> Floats:
    """The base of an offer without events."""
    cut = pl.DataFrame({"customer_id": [""], "as_of": [datetime(2000, 1, 1, tzinfo=UTC)]})
    base: Floats = compute(EVENTS.empty(), cut, BASE).select(BASE.names).to_numpy()[0]
    return base
