"""Every notebook runs from its first cell to its last, on a small shop, and says what it promises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from features.event_log import EventLog
from tests.fakes.shop_history import shop_history

FOLDER = Path(__file__).parents[2] / "training" / "notebooks"


def run_cells(notebook: Path) -> dict[str, Any]:
    """The names that its code cells leave. They hold plain Python, so no kernel is needed."""
    cells = json.loads(notebook.read_text())["cells"]
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{notebook.name}, cell {number}", "exec"), names)
    return names


@pytest.mark.slow
def test_churn_is_learnt_again_with_a_new_feature_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    EventLog(tmp_path / "events").append(shop_history(130, 280), "history")
    monkeypatch.setenv("OPPORTUNE_HOME", str(tmp_path))
    names = run_cells(FOLDER / "churn_with_a_new_feature.ipynb")
    names["threads"].restore_original_limits()
    assert names["NEW"] in names["after"].features
    assert names["NEW"] not in names["before"].features
    assert names["after"].predictions.tolist() != names["before"].predictions.tolist()
    assert names["verdict"].low < names["verdict"].gain < names["verdict"].high
    assert "log loss" in capsys.readouterr().out


def test_notebooks_hold_no_output_of_a_run() -> None:
    notebooks = sorted(FOLDER.glob("*.ipynb"))
    assert notebooks
    for notebook in notebooks:
        for cell in json.loads(notebook.read_text())["cells"]:
            assert not cell.get("outputs")
            assert cell.get("execution_count") is None
