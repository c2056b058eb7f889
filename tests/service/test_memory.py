"""Memory that a batch frees stays with the process for the next one."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_STAYS = """
import sys
from pathlib import Path
import numpy as np
from service.memory import keep_freed_memory
assert sys.argv[1] != "keep" or keep_freed_memory()
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
before = resident()
arrays = [np.ones(2**17) for _ in range(8)]
held = resident()
del arrays
print(held - before, resident() - before)
"""


def _stays(how: str) -> list[int]:
    told = subprocess.run([sys.executable, "-c", _STAYS, how], capture_output=True, text=True, check=True, timeout=60)
    return [int(part) for part in told.stdout.split()]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator has its own settings")
def test_arrays_that_are_dropped_leave_their_memory_to_the_next_ones() -> None:
    held, kept = _stays("keep")
    assert held > 7 * 2**20
    assert kept > 0.9 * held
    held, left = _stays("leave")
    assert left < 0.5 * held


_FROZEN = """
import gc, weakref
from service.memory import leave_alone_what_stays
kept = [{} for _ in range(1000)]
leave_alone_what_stays()
assert gc.get_freeze_count() > 1000
class Knot: pass
knot = Knot()
knot.self = knot
seen = weakref.ref(knot)
del knot
gc.collect()
assert seen() is None
"""


def test_what_start_up_made_is_not_looked_through_again_and_later_cycles_still_go() -> None:
    subprocess.run([sys.executable, "-c", _FROZEN], check=True, timeout=60)
