"""LightGBM asks the system for GNU's OpenMP, which a fresh Debian and slim images lack; torch brings it along."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

_NAME = "libgomp.so.1"


def lend_openmp(load: Callable[[str], object] = ctypes.CDLL) -> None:
    """Loads torch's copy where the system has none: a library that is loaded is not looked for again.

    Where there is none either, LightGBM's import says what it misses.
    """
    with suppress(OSError):
        load(_NAME)
        return
    torch = find_spec("torch")
    if torch is None or torch.origin is None:
        return
    with suppress(OSError):
        load(str(Path(torch.origin).parent / "lib" / _NAME))
