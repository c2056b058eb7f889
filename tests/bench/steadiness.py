"""Whether a server stays as it was: the first call after a start beside later ones, and many calls on end."""

from __future__ import annotations

import http.client
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tests.bench.loads import Load, Server

LATER = 300
SLICE = 50_000
"""Calls a line; of fewer calls in all, a fifth."""

Start = Callable[[], AbstractContextManager[Server]]


@dataclass(frozen=True, slots=True)
class FirstCall:
    """Latencies after one start, in ms: the first call's, the second's, and of the next `LATER` ones."""

    first: float
    second: float
    median: float
    p99: float


def first_calls(start: Start, bodies: Callable[[int], bytes], key: str, starts: int = 4) -> list[FirstCall]:
    """Starts a server several times and asks it one decision after another, each for another customer.

    Over one home: its first start looks through all rows for those of older features, beside the first callers.
    """
    found = []
    for turn in range(starts):
        with start() as server:
            times = _one_by_one(server.port, bodies, key, turn * (LATER + 2))
        later = sorted(times[2:])
        found.append(FirstCall(times[0], times[1], statistics.median(later), later[len(later) * 99 // 100]))
    return found


def many_calls(server: Server, environment: dict[str, str], connections: int, calls: int) -> list[Load]:
    """Loads one after another of about `SLICE` calls each, about so many in all."""
    warm = server.load("warm", "decisions.lua", environment, connections, 3)
    each = min(SLICE, calls // 5)
    found: list[Load] = []
    done = 0
    while calls - done > each / 2:
        rate = found[-1].per_second if found else warm.per_second
        seconds = max(1, round(each / rate))
        asked = environment | {"BENCH_FIRST": str(7919 * (warm.calls + done))}
        found.append(server.load(f"{done:,}", "decisions.lua", asked, connections, seconds))
        done += found[-1].calls
    return found


def show_first(found: Sequence[FirstCall], noop: Sequence[FirstCall]) -> None:
    """A table, a line a start: the service's, then a no-op's, whose first call is slow by what any server does once."""
    print(
        f"\n| start | first call ms | second | median of {LATER} later | their p99 | above the median | first / p99 |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, some in (("", found), ("no-op, ", noop)):
        for place, one in enumerate(some):
            times = f"{one.first:.1f} | {one.second:.1f} | {one.median:.1f} | {one.p99:.1f}"
            print(f"| {name}{place + 1} | {times} | {one.first - one.median:.1f} | {one.first / one.p99:.1f} |")


def show_many(found: Sequence[Load]) -> None:
    """A table, a line a slice, and the last slice against the first."""
    print("\n| calls before | calls | CPU µs | p50 ms | p99 ms | RSS MB | of children | answer | failed |")
    print("|---|---|---|---|---|---|---|---|---|")
    for one in found:
        print(
            f"| {one.name} | {one.calls:,} | {one.cpu:,.0f} | {one.p50:.1f} | {one.p99:.1f} | {one.alone:.1f} | "
            f"{one.resident - one.alone:.1f} | {one.answer:,} B | {one.failed} |"
        )
    first, half, last = found[0], found[(len(found) - 1) // 2], found[-1]
    print(
        f"\nThe last line against the first: CPU x {last.cpu / first.cpu:.2f}, p50 x {last.p50 / first.p50:.2f}, "
        f"p99 x {last.p99 / first.p99:.2f}, memory {last.alone - first.alone:+.1f} MB, "
        f"{last.alone - half.alone:+.1f} MB of it in the second half (aim: no growth)"
    )


def _one_by_one(port: int, bodies: Callable[[int], bytes], key: str, first: int) -> list[float]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    head = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    times = []
    for number in range(first, first + LATER + 2):
        before = time.perf_counter()
        connection.request("POST", "/v1/decisions", bodies(number), head)
        response = connection.getresponse()
        said = response.read()
        times.append((time.perf_counter() - before) * 1e3)
        if response.status != 200:
            raise RuntimeError(f"a decision was refused: {said[:500]!r}")
    connection.close()
    return times
