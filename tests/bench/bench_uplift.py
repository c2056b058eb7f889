"""Uplift on Hillstrom's e-mail test, beside one rule and treating by response. Run: make bench-uplift

Takes the data's folder by OPPORTUNE_BENCH_DATA (it needs hillstrom/hillstrom.csv.gz).
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import polars as pl

from features.event_log import EventLog
from models.uplift import Money
from training.qini import qini_estimate
from training.uplift import learn
from training.uplift_data import OUTCOME, TREATED, Columns, from_file

FILE = Path("hillstrom") / "hillstrom.csv.gz"
LATER = ("conversion", "spend", "history_segment")  # set after the treatment; the last repeats `history`
MONEY = Money(10.0, 0.5)


def run() -> bool:
    """Prints a table for each arm against no e-mail; False without the data."""
    path = Path(os.environ.get("OPPORTUNE_BENCH_DATA", "")) / FILE
    if not path.is_file():
        print(f"no {path}: set OPPORTUNE_BENCH_DATA to a folder with {FILE}")
        return False
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "hillstrom.parquet"
        pl.read_csv(path, infer_schema_length=None).write_parquet(file)
        for arm in ("Womens E-Mail", "Mens E-Mail"):
            _one(file, arm, Path(scratch))
    return True


def _one(file: Path, arm: str, home: Path) -> None:
    columns = Columns("segment", "visit", arm, "No E-Mail", LATER)
    study = from_file(file, columns, home, EventLog(home / "events"))
    start = time.process_time()
    _, judged, _, verdict = learn(study, arm, MONEY)
    spent = time.process_time() - start
    known = study.frame
    by_hand = qini_estimate(known[OUTCOME], known["womens"], known[TREATED])
    rows = {"whole procedure": judged.qini, **judged.learners, **judged.rivals, "womens == 1, in hindsight": by_hand}
    print(f"\n{arm}, visit, {known.height:,} customers, {spent:.0f} cpu-s\n{verdict}")
    print(f"| {'':<36} | Qini  | interval         |\n|---|---|---|")
    for name, one in rows.items():
        print(f"| {name:<36} | {one.value:.4f} | {one.low:.4f} to {one.high:.4f} |")


if __name__ == "__main__":
    run()
