from __future__ import annotations

from pathlib import Path

import pytest

from models.artifacts import found_at


@pytest.mark.parametrize(
    "source", ["file:///old/a%20home/mlartifacts/models/m-1/artifacts", "/old/mlartifacts/models/m-1/artifacts"]
)
def test_what_the_home_has_is_found_there(tmp_path: Path, source: str) -> None:
    artifacts = tmp_path / "mlartifacts"
    assert found_at(source, artifacts) == source
    (artifacts / "models" / "m-1" / "artifacts").mkdir(parents=True)
    assert found_at(source, artifacts) == (artifacts / "models" / "m-1" / "artifacts").as_uri()
    assert found_at(source, None) == source


@pytest.mark.parametrize(
    "source", ["s3://bucket/mlartifacts/models/m-1", "mlflow-artifacts:/mlartifacts/models/m-1", "file:///data/m-1"]
)
def test_what_lies_elsewhere_stays_there(tmp_path: Path, source: str) -> None:
    (tmp_path / "mlartifacts" / "models" / "m-1").mkdir(parents=True)
    assert found_at(source, tmp_path / "mlartifacts") == source
