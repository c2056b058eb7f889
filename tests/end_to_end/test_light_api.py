"""The API process stays light: it imports none of the large libraries."""

from __future__ import annotations

import subprocess
import sys

from tests.end_to_end.conftest import ROOT

HEAVY = ("feast", "mlflow", "torch", "sentence_transformers", "lightgbm", "pandas", "sklearn", "scipy", "matplotlib")


def test_the_api_imports_nothing_heavy() -> None:
    code = f"import service.main, sys; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


def test_help_imports_nothing_but_the_command_line() -> None:
    code = f"import opportune, sys; print(*[n for n in {(*HEAVY, 'fastapi', 'polars', 'numpy')!r} if n in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.stdout.split() == []
