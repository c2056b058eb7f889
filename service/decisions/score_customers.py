"""Every customer's scores and ranked actions to Parquet: the same rules and scores as single decisions.

Restartable: finished parts and what they were made with lie in `OUT.parts/`; a run that finds the same catalogue,
models, rules, arms and seed goes on behind them, as of the same time, and gives the same file as an undisturbed run.
What lies there for half a day is of another run: yesterday's scores are not half of today's.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import xxhash

from models.uplift import uplift_name
from service.customers.customer_store import customer_ids
from service.customers.scores import SCORES, probabilities
from service.decisions.draft import Draft
from service.decisions.policy import seed_of
from service.decisions.rank_actions import Decider
from service.decisions.schemas import DecisionIn

if TYPE_CHECKING:
    import polars as pl

    from models.registry import ServedModels

CHUNK = 500
PER_PART = 20_000
_RESUMABLE = timedelta(hours=12)
_MODELS = (*SCORES, "next-offer", "send-time")


def score_customers(
    decider: Decider,
    models: ServedModels | None,
    out: Path,
    now: datetime,
    progress: Callable[[int], None] = lambda _: None,
    placement: str = "default",
    top_k: int = 5,
) -> int:
    """Writes one row a customer to `out` (Parquet) and returns how many. Nothing is recorded or reserved.

    Columns: customer_id, as_of, arm, `{lead,churn,winback, …}_{probability,tier}`, degraded, and `actions`, a list of
    rank, offer_id, channel, send_at, send_at_probability, probability, expected_value, propensity. `ValueError` while
    another run writes to `out`.
    """
    parts = out.with_name(f"{out.name}.parts")
    with _alone(parts, out):
        return _score(decider, models, out, parts, now, progress, placement, top_k)


@contextmanager
def _alone(parts: Path, out: Path) -> Iterator[None]:
    """Two runs would each take the other's parts for their own. Freed by the system when a run ends in any way."""
    parts.mkdir(parents=True, exist_ok=True)
    folder = os.open(parts, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{out} is being written by another run; wait for it, or name another file") from None
        yield
    finally:
        os.close(folder)


def _score(
    decider: Decider,
    models: ServedModels | None,
    out: Path,
    parts: Path,
    now: datetime,
    progress: Callable[[int], None],
    placement: str,
    top_k: int,
) -> int:
    import polars as pl

    from features.files import fsync_folder, write_whole

    as_of = _resume(decider, parts, now, placement, top_k)
    done, after = _done(parts)
    progress(done)
    rows: list[dict[str, Any]] = []
    while True:
        with decider.sources.database.read() as connection:
            ids = customer_ids(connection, after, CHUNK)
        requests = [
            DecisionIn.model_construct(
                customer_id=name,
                placement=placement,
                channels=None,
                offers=None,
                context={},
                top_k=top_k,
                at=as_of,
                dry_run=True,
                explain=False,
            )
            for name in ids
        ]
        names = [steady_id(request, as_of) for request in requests]
        drafts = decider.draft(requests, as_of, ids=names, words=False) if ids else []
        rows += _rows(drafts, models)
        done += len(ids)
        if len(rows) >= PER_PART or not ids:
            _write_part(parts, rows)
            rows = []
        if not ids:
            break
        after = ids[-1]
        progress(done)
    frame = pl.scan_parquet(parts / "part-*.parquet") if any(parts.glob("part-*.parquet")) else _frame([]).lazy()
    whole = (
        parts / "whole.parquet"
    )  # among the parts, which the next run takes away: a kill leaves nothing beside `out`
    write_whole(whole, lambda draft: frame.sink_parquet(draft, compression="zstd"))
    os.replace(whole, out)
    fsync_folder(out.parent)
    shutil.rmtree(parts)
    return done


def steady_id(request: DecisionIn, at: datetime) -> str:
    """The same id for the same customer, placement and time: a second run draws the same."""
    return xxhash.xxh3_128_hexdigest(f"{request.customer_id}\0{request.placement}\0{at.isoformat()}".encode())


def _resume(decider: Decider, parts: Path, now: datetime, placement: str, top_k: int) -> datetime:
    """As of when the parts are: those of an earlier run that was made with the same stay, others go."""
    manifest = parts / "made_with.json"
    sources = decider.sources
    with sources.database.read() as connection:
        change = sources.catalogue.current(connection).change
    served = {name: sources.models.get(name) for name in (*_MODELS, uplift_name(placement))}
    made_with = {
        "catalogue": change,
        "models": {name: str(model.version) for name, model in served.items() if model is not None},
        "rules": sources.rules.rules(placement).version,
        "arms": dict(sources.rules.shares(placement)),
        "seed": f"{seed_of(sources.secret, 'score'):016x}",  # the seed itself is the installation's secret
        "placement": placement,
        "top_k": top_k,
    }
    if manifest.exists():
        before = orjson.loads(manifest.read_bytes())
        as_of = datetime.fromisoformat(before.pop("as_of"))
        if before == made_with and abs(now - as_of) < _RESUMABLE:
            return as_of
    for path in parts.iterdir():
        path.unlink()
    draft = parts / ".made_with"
    draft.write_bytes(orjson.dumps({**made_with, "as_of": now}))
    draft.replace(manifest)
    return now


def _done(parts: Path) -> tuple[int, str]:
    """How many customers the finished parts have, and the last one's id."""
    import polars as pl

    files = sorted(parts.glob("part-*.parquet"))
    if not files:
        return 0, ""
    count = int(pl.scan_parquet(files).select(pl.len()).collect().item())
    return count, str(pl.read_parquet(files[-1], columns=["customer_id"])["customer_id"][-1])


def _write_part(parts: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    from features.files import write_parquet

    if rows:
        number = len(list(parts.glob("part-*.parquet")))
        write_parquet(_frame(rows), parts / f"part-{number:06}.parquet")


_OF_ACTIONS = (
    "rank", "offer_id", "channel", "send_at", "send_at_probability", "probability", "expected_value", "propensity",
)  # fmt: skip


def _rows(drafts: Sequence[Draft], models: ServedModels | None) -> list[dict[str, Any]]:
    told = probabilities(models, [draft.row if draft.customer.profiling else None for draft in drafts])
    rows = []
    for place, draft in enumerate(drafts):
        row: dict[str, Any] = {"customer_id": draft.customer.customer_id, "as_of": draft.case.at, "arm": draft.case.arm}
        for name in SCORES:
            row[f"{name}_probability"], row[f"{name}_tier"] = told[name][place]
        row["actions"] = [{name: action[name] for name in _OF_ACTIONS} for action in draft.actions]
        row["degraded"] = draft.degraded
        rows.append(row)
    return rows


def _frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    import polars as pl

    at = pl.Datetime("us", "UTC")
    action = pl.Struct(
        {
            "rank": pl.Int32,
            "offer_id": pl.String,
            "channel": pl.String,
            "send_at": at,
            "send_at_probability": pl.Float64,
            "probability": pl.Float64,
            "expected_value": pl.Float64,
            "propensity": pl.Float64,
        }
    )
    numbers = {
        f"{name}_{what}": kind for name in SCORES for what, kind in (("probability", pl.Float64), ("tier", pl.String))
    }
    schema = {
        "customer_id": pl.String,
        "as_of": at,
        "arm": pl.String,
        **numbers,
        "actions": pl.List(action),
        "degraded": pl.List(pl.String),
    }
    return pl.DataFrame(list(rows), schema=schema)
