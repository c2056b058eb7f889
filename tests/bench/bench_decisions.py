"""Speed of decisions, in one run: `make bench-decisions`.

Starts the real app (one worker on one core) over a seeded home (`decision_home.py`) and lets wrk ask on the other
core with 16 connections: 100 candidates (50 offers on 2 channels), all features of the catalogue, three customer
models asked for by eligibility rules, caps, reasons, words, a durable log. Then the same of a FastAPI no-op: as
`pip install fastapi uvicorn` serves it (h11, asyncio: that is the no-op of 244 CPU µs of which the aims are shares),
and on uvloop and httptools, which Opportune asks for itself. Beside that: model servers that score 100 rows alone
(`rivals.py`), scores beside LightGBM's (`scores.py`), the first call and many calls on end (`steadiness.py`). Aims
stand beside the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from models.kernel import KERNEL
from tests.bench import rivals, scores, steadiness
from tests.bench.decision_home import CUSTOMERS, make_home
from tests.bench.loads import Load, Server, opportune, serving, settings_of, uvicorn
from tests.fakes.postgres_server import free_port
from training.offer_fit import ROUNDS

QUICKER = {"OPPORTUNE_DECISIONS__DURABLE": "false"}
PLAIN = ["--http", "h11", "--loop", "asyncio"]
"""uvicorn's choice where nothing faster is installed."""
FLOOR, FAST_FLOOR = 2, 3
RATE_AIM, P99_AIM, WAITING_AIM = 0.55, 2.5, 0.5
TOP_K = 3
"""Actions asked for: of so many with their words and reasons an answer has the 3 kB that the aims are for."""
PARTS = ("decisions", "rivals", "scores", "first", "many")


def main() -> int:
    options = _options()
    if shutil.which("wrk") is None or shutil.which("taskset") is None:
        print("skipped: wrk and taskset are needed (apt-get install wrk util-linux)")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        home = options.home or scratch / "home"
        key_file = home / "key"
        if not key_file.exists():
            print("making a home of its own: customers, features, models …", flush=True)
            key_file.write_text(make_home(home, options.trees, options.leaves))
        _measure(home, key_file.read_text(), scratch, options)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=15, help="of each load")
    parser.add_argument("--home", type=Path, help="keep the seeded home here and use it again (for a day)")
    parser.add_argument("--trees", type=int, default=ROUNDS, help="of the ranker of a home that is made now")
    parser.add_argument("--leaves", type=int, help="of each of them; by default those that training gives")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--top-k", type=int, default=TOP_K, help="actions asked for; 3 make answers of 3 kB, 5 of 4.7")
    parser.add_argument("--calls", type=int, default=50_000, help="on end, looking for growth")
    parser.add_argument("--messages", type=int, help="let through a week in `many`, in place of the home's 20")
    parser.add_argument("--customers", type=int, default=CUSTOMERS, help="scored beside LightGBM; 1000000 for all")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="only these")
    return parser.parse_args()


def _measure(home: Path, key: str, scratch: Path, options: argparse.Namespace) -> None:
    print(f"trees are scored {'in numpy' if KERNEL is None else 'by the compiled kernel'}", flush=True)
    if "scores" in options.parts:
        scores.show(scores.measure(home, options.customers))
    if "decisions" in options.parts or "rivals" in options.parts:
        found = _decisions(home, key, scratch, options)
        _show(found)
        if "rivals" in options.parts:
            told = rivals.measure(
                scores.ranker(home).tree_text, scores.pair_rows(home, 20), scratch, options.connections, options.seconds
            )
            rivals.show(told, found[0])
    if "first" in options.parts:
        with _copied(home) as copy, _served(copy) as server:
            (scratch / "answer.json").write_bytes(_middling(server.port, key, options.top_k))
        with _copied(home) as copy:
            ours = steadiness.first_calls(lambda: _served(copy), _body, key)
        steadiness.show_first(ours, steadiness.first_calls(lambda: _noop(scratch), _body, key))
    if "many" in options.parts:
        with _opportune(home, _caps(options.messages)) as server:
            _middling(server.port, key, options.top_k)
            asked = _asked(key, "/v1/decisions", options.top_k)
            steadiness.show_many(steadiness.many_calls(server, asked, options.connections, options.calls))


def _caps(messages: int | None) -> dict[str, str]:
    """So many messages a week, as a setting."""
    caps = [{"max": messages, "per_days": 7}]
    return {} if messages is None else {"OPPORTUNE_DECISIONS__CAPS": json.dumps(caps)}


def _decisions(home: Path, key: str, scratch: Path, options: argparse.Namespace) -> list[Load]:
    """Both ways of answering, then the floors: at `FLOOR` the one to measure by, at `FAST_FLOOR` a faster one."""
    found = []
    for name, more in (("waits for the disk (default)", {}), ("durable = false", QUICKER)):
        with _opportune(home, more) as server:
            found.append(_load(server, f"decisions, {name}", key, "/v1/decisions", options))
            answer = _middling(server.port, key, options.top_k)
    (scratch / "answer.json").write_bytes(answer)
    with _noop(scratch, PLAIN) as server:
        found.append(_load(server, "no-op, plain uvicorn, typed answer", key, "/typed", options))
        plain = _load(server, "no-op, plain uvicorn, dict out", key, "/v1/decisions", options)
    with _noop(scratch) as server:
        found.append(_load(server, "no-op, dict out", key, "/v1/decisions", options))
        found.append(_load(server, "no-op, bytes out", key, "/bytes", options))
        found.append(_load(server, "no-op, typed answer", key, "/typed", options))
    return [*found, plain]


def _noop(scratch: Path, more: Sequence[str] = ()) -> AbstractContextManager[Server]:
    """FastAPI that gives the answer in `scratch`; `more` for uvicorn."""
    port = free_port()
    noop = [*uvicorn(sys.executable, "tests.bench.noop_server:app", port), *more]
    return serving(noop, port, "/openapi.json", {"NOOP_ANSWER": str(scratch / "answer.json")})


@contextmanager
def _opportune(home: Path, more: dict[str, str] | None = None) -> Iterator[Server]:
    """The app over a copy of the home: nobody finds what others reserved."""
    with _copied(home) as copy, _served(copy, more) as server:
        yield server


@contextmanager
def _copied(home: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(home, Path(folder) / "home")
        os.sync()  # else the first commit waits for all of it
        yield copy


@contextmanager
def _served(home: Path, more: dict[str, str] | None = None) -> Iterator[Server]:
    port = free_port()
    environment = settings_of(home) | {"OPPORTUNE_PORT": str(port)} | (more or {})
    with serving(opportune(sys.executable), port, "/health/live", environment) as server:
        yield server


def _load(server: Server, name: str, key: str, path: str, options: argparse.Namespace) -> Load:
    asked = _asked(key, path, options.top_k)
    server.load(name, "decisions.lua", asked, options.connections, 3)
    return server.load(name, "decisions.lua", asked | {"BENCH_FIRST": "4001"}, options.connections, options.seconds)


def _asked(key: str, path: str, top_k: int = TOP_K) -> dict[str, str]:
    return {"BENCH_KEY": key, "BENCH_PATH": path, "BENCH_CUSTOMERS": str(CUSTOMERS), "BENCH_TOP_K": str(top_k)}


def _body(number: int, dry_run: bool = False, top_k: int = TOP_K) -> bytes:
    asked = {"customer_id": f"customer-{number:05}", "placement": "email.weekly", "top_k": top_k, "dry_run": dry_run}
    return json.dumps(asked).encode()


def _middling(port: int, key: str, top_k: int) -> bytes:
    """An answer of middling size, for the no-op to give. RuntimeError where something else would be measured."""
    answers = []
    for number in range(31):
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/decisions", _body(number, True, top_k), {"Authorization": f"Bearer {key}"}
        )
        with urllib.request.urlopen(asked, timeout=30) as response:
            answers.append(response.read())
        if json.loads(answers[-1])["degraded"]:
            raise RuntimeError(f"{json.loads(answers[-1])['degraded']} are missing: make the home anew (--home)")
    return sorted(answers, key=len)[len(answers) // 2]


def _show(found: Sequence[Load]) -> None:
    floor, fast = found[FLOOR], found[FAST_FLOOR]
    # fmt: off
    print(f"\n| | requests/s | of the plain no-op's (aim {RATE_AIM:g}) | of the fast one's | p50 ms | p99 ms "
          f"| of the plain one's (aim {P99_AIM:g}) | of the fast one's | CPU µs | answer | RSS + MB | failed |")
    # fmt: on
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for one in found:
        rates = f"{one.per_second / floor.per_second:.2f} | {one.per_second / fast.per_second:.2f}"
        slowest = f"{one.p99 / floor.p99:.1f} | {one.p99 / fast.p99:.1f}"
        print(
            f"| {one.name} | {one.per_second:,.0f} | {rates} | {one.p50:.1f} | {one.p99:.1f} | {slowest} | "
            f"{one.cpu:,.0f} | {one.answer:,} B | {one.grown:+.0f} | {one.failed} |"
        )
    waits, quicker = found[:2]
    print(
        f"\nAnswers that wait for the disk: {waits.per_second / quicker.per_second:.2f} of the rate of those that do "
        f"not (aim {WAITING_AIM:g}), {waits.cpu / quicker.cpu:.2f} of their CPU"
    )


if __name__ == "__main__":
    sys.exit(main())
