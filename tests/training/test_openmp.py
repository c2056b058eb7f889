"""LightGBM is imported also where the system has no OpenMP."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from training.openmp import lend_openmp

ROOT = Path(__file__).parents[2]


def test_torchs_copy_is_loaded_where_the_system_has_none() -> None:
    asked: list[str] = []

    def load(name: str) -> None:
        asked.append(name)
        if "/" not in name:
            raise OSError(f"{name}: cannot open shared object file: No such file or directory")

    lend_openmp(load)
    assert asked[0] == "libgomp.so.1"
    assert asked[1].endswith("/torch/lib/libgomp.so.1")


def test_the_systems_own_is_enough() -> None:
    asked: list[str] = []
    lend_openmp(asked.append)
    assert asked == ["libgomp.so.1"]


def test_it_is_lent_before_anything_of_training_imports_lightgbm() -> None:
    script = """
import ctypes, sys
asked = []
ctypes.CDLL = asked.append
import training
assert asked == ["libgomp.so.1"], asked
assert "lightgbm" not in sys.modules
"""
    subprocess.run([sys.executable, "-P", "-c", script], check=True, env={"PYTHONPATH": str(ROOT)})
