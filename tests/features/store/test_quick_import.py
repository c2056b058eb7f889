"""Commands that only apply views import Feast without what makes that slow; nothing of it is left afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_APPLIES = """
import importlib.util, sys, types, typeguard
from pathlib import Path

checked = typeguard.typechecked
from features.store.quick_import import feast_quickly

with feast_quickly():
    from features.store.registry import apply, feature_store
assert "torch" not in sys.modules, "torch was imported, or is hidden from whoever imports it later"
assert importlib.util.find_spec("torch") is not None
assert typeguard.typechecked is checked

import feast

assert not [name for name in feast.FeatureView.__init__.__code__.co_names if name.startswith("check_")]
home = Path(sys.argv[1])
apply(home)
print(sorted(one.name for one in feature_store(home).list_entities()))

there = sys.modules["torch"] = types.ModuleType("torch")
with feast_quickly():
    assert sys.modules["torch"] is there
assert sys.modules["torch"] is there
"""


def test_feast_is_imported_without_torch_and_applies_all_the_same(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _APPLIES, str(tmp_path)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['customer', 'offer']\n"
