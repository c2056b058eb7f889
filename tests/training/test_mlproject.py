"""`mlflow run mlflow -e train -P model=churn --env-manager local`, and what it stands on."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / "mlflow"


def test_the_folder_does_not_hide_the_library() -> None:
    assert not (PROJECT / "__init__.py").exists()


def test_its_environment_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["train"]]
    assert yaml.safe_load((PROJECT / "python_env.yaml").read_text())["dependencies"] == needed


def test_its_entry_points_are_commands() -> None:
    points = yaml.safe_load((PROJECT / "MLproject").read_text())["entry_points"]
    assert points["train"]["command"] == "sh ./opportune.sh train {model}"
    assert set(points["train"]["parameters"]) == {"model"}


@pytest.mark.slow
def test_mlflow_runs_it(tmp_path: Path) -> None:
    """On an empty home: no model, said in words, and the run succeeds."""
    mlflow = Path(sys.executable).with_name("mlflow")
    home = tmp_path / "home"
    environment = {**os.environ, "OPPORTUNE_HOME": str(home), "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'm.db'}"}
    done = subprocess.run(
        [mlflow, "run", PROJECT, "-e", "train", "-P", "model=churn", "--env-manager", "local"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "churn: no model; there are no events yet" in done.stdout + done.stderr
    assert (home / "reports" / "training" / "churn.json").exists()
