"""`opportune worker` and the signals that end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _hears_of_closed_terminals() -> None:
    """Also where the suite itself runs under nohup, which is inherited."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextmanager
def worker(home: Path, *before: str) -> Iterator[subprocess.Popen[str]]:
    """One that has started; killed where a test ends before it."""
    with subprocess.Popen(
        [*before, sys.executable, "-P", "-m", "opportune", "worker"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OPPORTUNE_HOME": str(home)},
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_hears_of_closed_terminals,
    ) as process:
        try:
            assert process.stderr is not None
            assert any("the journeys' runner has started" in line for line in iter(process.stderr.readline, ""))
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_when_what_is_in_hand_is_done(tmp_path: Path, number: signal.Signals) -> None:
    """A closed terminal killed it in the middle of a mail, of which nobody knew then."""
    with worker(tmp_path) as process:
        process.send_signal(number)
        assert process.wait(20) == 0


def test_under_nohup_a_closed_terminal_ends_nothing(tmp_path: Path) -> None:
    with worker(tmp_path, "nohup") as process:
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
