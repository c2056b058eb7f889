"""Decisions of the log that are old enough for their outcomes, with what their offers brought, a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from training.decision_log import asked_in_time

ARMS = ("model", "random")
"""Those that try something."""
PIECE = 1_000_000
"""Rows read at once: of a hundred candidates a decision the whole log would need 60 kB of memory each."""
_READ = (
    "decision_id", "customer_id", "decided_at", "placement", "arm", "offer_id", "channel", "chosen", "propensity",
    "probability", "expected_value",
)  # fmt: skip


class NoEstimate(ValueError):
    """The log cannot say what the policy would earn; the text says why and what would help."""


class MaturedLog:
    """The tables in `home/tables`: decisions matured by so many days before the last thing told there, and made `since`
    a time if one is given: older ones have taught the policy that is asked about.

    Raises NoEstimate where a table is missing, or nothing in it has matured.
    """

    def __init__(self, home: Path, matured_days: float, since: datetime | None = None) -> None:
        self.home, self.since = home, since
        paths = {name: home / "tables" / f"{name}.parquet" for name in ("decisions", "outcomes", "offers")}
        missing = [str(path) for path in paths.values() if not path.exists()]
        if missing:
            raise NoEstimate(f"There is no {missing[0]}; decisions must be logged and exported first.")
        self._decisions, outcomes = pl.scan_parquet(paths["decisions"]), pl.scan_parquet(paths["outcomes"])
        asked = asked_in_time(self._decisions)
        latest = (_latest(asked, "decided_at"), _latest(outcomes, "at"))
        last = max((time for time in latest if time is not None), default=None)
        if last is None:
            raise NoEstimate("The decision log is empty.")
        self._matured = pl.col("decided_at") <= last - timedelta(days=matured_days)
        if since is not None:
            self._matured &= pl.col("decided_at") >= since
        self._answered = (
            outcomes.filter(~pl.col("machine") & pl.col("kind").is_in(["converted", "redeemed"]))
            .select("decision_id", "offer_id", responded=pl.lit(1.0))
            .unique()
            .collect()
        )
        self._offers = pl.read_parquet(paths["offers"], columns=["offer_id", "value", "cost"])
        if not self.rows().select(pl.col("arm").is_in(ARMS).any()).collect().item():
            raise NoEstimate(_nothing_to_learn(asked, matured_days, since, last))

    def rows(self) -> pl.LazyFrame:
        """A row a candidate of each matured decision by `ARMS` or as business as usual is."""
        return self._wanted(self._decisions)

    def pieces(self) -> Iterator[pl.DataFrame]:
        """Those of `ARMS` with `responded`, `value`, `cost` of the offer: whole decisions, in the table's order."""
        for piece in _whole_decisions(self._decisions):
            found = self.with_offers(self._wanted(piece.lazy()).filter(pl.col("arm").is_in(ARMS)))
            if found.height:
                yield found

    def with_offers(self, rows: pl.LazyFrame) -> pl.DataFrame:
        """Some of the rows with `responded`, `value` and `cost`."""
        return (
            rows.join(self._answered.lazy(), on=["decision_id", "offer_id"], how="left", maintain_order="left")
            .join(self._offers.lazy(), on="offer_id", how="left", maintain_order="left")
            .with_columns(pl.col("responded", "cost").fill_null(0.0), pl.col("value").fill_null(1.0))
            .collect()
        )

    def _wanted(self, decisions: pl.LazyFrame) -> pl.LazyFrame:
        tried = pl.col("arm").is_in([*ARMS, "business_as_usual"])
        return asked_in_time(decisions).filter(tried, self._matured).select(_READ)


def _whole_decisions(table: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Pieces of about `PIECE` rows; the rows of a decision stand together in the table, and stay together."""
    rows, rest = int(table.select(pl.len()).collect().item()), None
    for start in range(0, rows, PIECE):
        read = table.slice(start, PIECE).collect()
        piece = read if rest is None else pl.concat([rest, read])
        last = pl.col("decision_id") == piece["decision_id"][-1]
        rest = piece.filter(last)
        yield piece.filter(~last)
    if rest is not None:
        yield rest


def _nothing_to_learn(decisions: pl.LazyFrame, matured_days: float, since: datetime | None, last: datetime) -> str:
    arms = decisions.select(pl.col("arm").unique().sort()).collect().to_series().to_list()
    if set(arms).isdisjoint(ARMS):
        return (
            f"All decisions in the log are of the arms {', '.join(arms)}, which try nothing: give the arms model or "
            "random a share of the placement first."
        )
    if since is not None:
        return (
            f"What came of decisions before {since:%Y-%m-%d} has taught it, and none since is older than "
            f"{matured_days:g} days yet: ask again some days after {since + timedelta(days=matured_days):%Y-%m-%d}."
        )
    return (
        f"No decision by the model or by chance is older than {matured_days:g} days yet, by the last thing that the "
        f"log tells, of {last:%Y-%m-%d %H:%M} UTC: whether anything came later shows with the next decision."
    )


def _latest(table: pl.LazyFrame, column: str) -> datetime | None:
    latest: datetime | None = table.select(pl.col(column).max()).collect().item()
    return latest
