from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from training.demo.speak import Speaker
from training.demo.steps import Steps


class Kitchen:
    """Steps over a folder, and what was really done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: list[str] = []
        self.out = io.StringIO()

    def run(self, sugar: int = 1, fail_at: str = "") -> dict[str, Any]:
        steps = Steps(self.folder, Speaker(Console(file=self.out, soft_wrap=True)), "cake-1")

        def work(name: str) -> dict[str, Any]:
            self.done.append(name)
            if name == fail_at:
                raise RuntimeError("killed")
            return {"made": name}

        steps.run("mix", "Mix", {"sugar": sugar}, lambda: work("mix"))
        result = steps.run("bake", "Bake", {}, lambda: work("bake"))
        assert [timing.name for timing in steps.timings] == ["mix", "bake"]
        return result


def test_a_second_run_does_nothing_again(tmp_path: Path) -> None:
    kitchen = Kitchen(tmp_path)
    assert kitchen.run() == kitchen.run() == {"made": "bake"}
    assert kitchen.done == ["mix", "bake"]
    assert "reused: Bake" in kitchen.out.getvalue()


def test_what_was_killed_is_done_again_and_what_was_done_is_not(tmp_path: Path) -> None:
    kitchen = Kitchen(tmp_path)
    with pytest.raises(RuntimeError, match="killed"):
        kitchen.run(fail_at="bake")
    assert kitchen.run() == {"made": "bake"}
    assert kitchen.done == ["mix", "bake", "bake"]


def test_other_inputs_undo_the_step_and_all_after_it(tmp_path: Path) -> None:
    kitchen = Kitchen(tmp_path)
    kitchen.run()
    kitchen.run(sugar=2)
    assert kitchen.done == ["mix", "bake", "mix", "bake"]


def test_a_forgotten_step_is_done_again(tmp_path: Path) -> None:
    kitchen = Kitchen(tmp_path)
    kitchen.run()
    Steps(tmp_path, Speaker(), "cake-1").forget("bake")
    kitchen.run()
    assert kitchen.done == ["mix", "bake", "bake"]
    Steps(tmp_path, Speaker(), "cake-1").forget("never done")
