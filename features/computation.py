"""Events and cuts brought together: which cuts share events, and which see only what was known by then."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.facts import Facts, gather_numbers
from features.feature_set import FeatureSet
from features.finalize import Ints
from features.plan import Plan, plan_of
from features.prefix import Cuts, Sweep
from features.tables import UTC_TIME

COPIES = 4_000_000
"""How many copied events are held at a time for cuts that must not see what arrived late."""


class Computation:
    """Facts and cuts, and the pieces in which the cuts are computed.

    Most cuts share their customer's sorted events. A cut that must leave out an event which happened before it
    but was received after it gets a copy of what was known by then.
    """

    def __init__(self, plan: Plan, facts: Facts, cuts: Cuts) -> None:
        self.plan, self.facts, self.cuts = plan, facts, cuts

    def sweeps(self) -> Iterator[tuple[Ints, Sweep]]:
        """(rows of the cuts, their sweep), covering every cut once."""
        apart = self._apart()
        shared = np.flatnonzero(~apart)
        shared = shared[np.lexsort((self.cuts.as_of[shared], self.cuts.customer[shared]))]
        yield shared, Sweep(self.plan, self.facts, Cuts(self.cuts.customer[shared], self.cuts.as_of[shared]))
        yield from self._copies(np.flatnonzero(apart))

    def _apart(self) -> NDArray[np.bool_]:
        """Cuts with an event that happened before them and was received after."""
        late = np.flatnonzero(self.facts.known > self.facts.time)
        order = np.lexsort((self.cuts.as_of, self.cuts.customer))
        customer, as_of = self.cuts.customer[order], self.cuts.as_of[order]
        marks = np.zeros(len(order) + 1, dtype=np.int64)
        for begin, end in zip(*_spans(customer, as_of, self.facts, late), strict=True):
            marks[begin] += 1
            marks[end] -= 1
        apart = np.zeros(len(order), dtype=np.bool_)
        apart[order] = np.cumsum(marks[:-1]) > 0
        return apart

    def _copies(self, rows: Ints) -> Iterator[tuple[Ints, Sweep]]:
        start = np.searchsorted(self.facts.customer, self.cuts.customer[rows])
        end = np.searchsorted(self.facts.customer, self.cuts.customer[rows], side="right")
        at = 0
        while at < len(rows):
            upto = np.cumsum(end[at:] - start[at:])
            stop = at + max(int(np.searchsorted(upto, COPIES, side="right")), 1)
            yield rows[at:stop], self._copy(rows[at:stop], start[at:stop], end[at:stop])
            at = stop

    def _copy(self, rows: Ints, start: Ints, end: Ints) -> Sweep:
        lengths = end - start
        owner = np.repeat(np.arange(len(rows)), lengths)
        source = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths - start, lengths)
        seen = self.facts.known[source] <= self.cuts.as_of[rows][owner]
        facts = self.facts.take(source[seen], owner[seen])
        return Sweep(self.plan, facts, Cuts(np.arange(len(rows)), self.cuts.as_of[rows]))


def brought_together(numbers: pl.DataFrame, cuts: pl.DataFrame, features: FeatureSet) -> tuple[Computation, pl.Series]:
    """Events (NUMBERS) and cuts (customer_id, as_of) as a Computation; the names of the product categories."""
    plan = plan_of(features)
    frame = cuts.select(pl.col("customer_id").cast(pl.String), pl.col("as_of").cast(UTC_TIME))
    customers = frame["customer_id"].unique(maintain_order=True)
    ranks = pl.DataFrame({"customer_id": customers, "rank": np.arange(len(customers))})
    joined = frame.join(ranks, on="customer_id", how="left", maintain_order="left")
    places = Cuts(joined["rank"].to_numpy().astype(np.int64), joined["as_of"].cast(pl.Int64).to_numpy())
    gathered = gather_numbers(numbers, customers, plan)
    return Computation(plan, gathered.facts, places), gathered.categories


def _spans(customer: Ints, as_of: Ints, facts: Facts, late: Ints) -> tuple[list[int], list[int]]:
    """For each late event the run of (sorted) cuts after it happened and before it was received."""
    times = np.unique(as_of)
    base = len(times) + 1
    keys = customer * base + np.searchsorted(times, as_of)
    owner = facts.customer[late] * base
    begin = np.searchsorted(keys, owner + np.searchsorted(times, facts.time[late], side="right"))
    end = np.searchsorted(keys, owner + np.searchsorted(times, facts.known[late]))
    some = end > begin
    return begin[some].tolist(), end[some].tolist()
