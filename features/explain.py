"""What a declared feature means, where it comes from, and how it is distributed: of customers, interests and offers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from features.catalogue import CATALOGUE
from features.declare import Feature
from features.feature_set import FeatureSet
from features.interests import INTERESTS
from features.offer_features import OFFERS

EVERY = FeatureSet([*CATALOGUE.features, *OFFERS.features, *INTERESTS])
_PLACES = {**dict.fromkeys(OFFERS.names, ("offer_features", "offers")),
           **dict.fromkeys((one.name for one in INTERESTS), ("interests", "customers"))}  # fmt: skip
_SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def explain(home: Path, name: str) -> Iterator[str]:
    """Lines on a feature, with its distribution in the newest table of `home`. KeyError names near misses."""
    feature = EVERY.feature(name)
    yield f"{feature.name}: {feature.description}"
    says = feature.sentence or "nothing: it is never a reason"
    yield f"  unit: {feature.unit}; aggregate: {feature.aggregate}; says: {says}"
    yield f"  from: {origin(feature)}"
    folder, owners = _PLACES.get(name, ("features", "customers"))
    tables = sorted((home / folder).glob("as_of=*"))
    if not tables:
        yield "  no feature table is built yet; run 'opportune features'"
        return
    table = pl.scan_parquet(tables[-1] / "*.parquet")
    if name not in table.collect_schema().names():
        yield f"  {tables[-1].name} was built before it was declared; run 'opportune features'"
        return
    values = table.select(name).collect()[name]
    known = values.drop_nulls().drop_nans().cast(pl.Float64).to_numpy()
    yield f"  {tables[-1].name}: {len(known):,} of {len(values):,} {owners} have it"
    if len(known):
        marks = "  ".join(f"{share:.0%} {float(np.quantile(known, share)):.6g}" for share in _SHARES)
        yield f"  {marks}; mean {float(known.mean()):.6g}"


def origin(feature: Feature) -> str:
    """Which events and which column a feature is made of, over which window."""
    match feature.aggregate:
        case "ratio" | "shrunk_rate":
            one, other = feature.of or ("", "")
            drawn = ", drawn to the rate of the offer's category (empirical Bayes)"
            return f"{one} divided by {other}" + (drawn if feature.aggregate == "shrunk_rate" else "")
        case "days_to":
            return f"the catalogue's {(feature.column or '').removeprefix('_').removesuffix('_day')}, seen from as_of"
        case "text" if feature.window_days is None:
            return "the text vector of name and description"
        case "text":
            return f"the text vectors of categories ordered and looked at, the last {feature.window_days:g} days"
    parts = []
    if feature.events is not None:
        parts.append(f"events {', '.join(feature.events.verbs)}")
        parts += [f"on {', '.join(feature.events.channels)}"] if feature.events.channels else []
        parts += {True: ["by people"], False: ["by machines"]}.get(feature.events.human, [])  # type: ignore[arg-type]
        parts += ["with revenue"] if feature.events.priced else []
    if feature.column is not None:
        parts.append(_column(feature))
    parts.append("all time" if feature.window_days is None else f"the last {feature.window_days:g} days")
    return ", ".join(parts)


def _column(feature: Feature) -> str:
    if feature.events is not None:
        return f"column {feature.column}"
    if feature.reading == "utc_offset":
        return "the time zone of events"
    kind = "fact" if feature.name in OFFERS.names else "trait"
    also = f" (else {', '.join(feature.also)})" if feature.also else ""
    also += f" (else context.location.{feature.located} of events)" if feature.located else ""
    return f"{kind} {feature.column}{also}" + (f", read as {feature.reading}" if feature.reading != "number" else "")
