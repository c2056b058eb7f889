"""Homes that benchmarks of decisions are measured over: one that is given, or one that is made for them."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.decision_home import make_home
from tests.bench.loads import settings_of


@contextmanager
def home_by_argument(description: str | None) -> Iterator[Path]:
    """The home of `--home DIR` (with an API key in `key`), or a new one; it is this process's from now on."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path)
    given = parser.parse_args().home
    with TemporaryDirectory() as scratch:
        home = given or Path(scratch)
        if not (home / "key").exists():
            (home / "key").write_text(make_home(home))
        os.environ |= settings_of(home)
        yield home


def in_both_ways(module: str, inside: str, *header: str) -> None:
    """Prints a table whose lines a module prints of itself, in a process each: compiled, then in numpy.

    `inside` is the variable that tells it to, with the home. BENCH_HOME=DIR keeps the home.
    """
    with TemporaryDirectory() as scratch:
        home = Path(os.environ.get("BENCH_HOME") or scratch) / "home"
        if not home.exists():
            print("making a home: customers, features, models …", flush=True)
            make_home(home)
        _print(header)
        for pure in ("0", "1"):
            environment = {**os.environ, **settings_of(home), "OPPORTUNE_PURE": pure, inside: str(home)}
            subprocess.run([sys.executable, "-m", module], env=environment, check=True)


def _print(header: Sequence[str]) -> None:
    print(f"| {' | '.join(header)} |\n{'|---' * len(header)}|", flush=True)
