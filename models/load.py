"""A model on disk: a folder with `model.json`, its parts, and golden rows that it must reproduce."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, cast, runtime_checkable

import numpy as np
import numpy.typing as npt
import polars as pl

if TYPE_CHECKING:
    import pandas as pd

KINDS = {
    "propensity": "models.propensity:PropensityModel",
    "send-time": "models.send_time:SendTimeModel",
    "next-offer": "models.next_offer:NextOfferModel",
    "uplift": "models.uplift:UpliftModel",
}
MANIFEST = "model.json"
GOLDEN = "golden.parquet"
EXPECTED = "golden_expected"


class ModelError(RuntimeError):
    """The folder holds no model that can be served; the text says why."""


class MissingColumns(ValueError):
    """The frame lacks columns that the model needs; the text names them."""

    def __init__(self, name: str, columns: list[str]) -> None:
        super().__init__(f"the {name} model needs columns that the frame lacks: {', '.join(columns)}")
        self.columns = columns


@runtime_checkable
class Model(Protocol):
    """What every model can do. `columns` are the inputs of `predict`, by name."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def columns(self) -> tuple[str, ...]: ...

    def predict(self, frame: pl.DataFrame) -> npt.NDArray[np.float64]:
        """One probability a row. Raises MissingColumns."""
        ...

    def save(self, folder: Path) -> None:
        """Writes `model.json` (with `kind` and `name`) and its parts into `folder`."""
        ...

    @classmethod
    def read(cls, folder: Path, manifest: Mapping[str, Any], version: str) -> Self: ...


def load(folder: Path, version: str | None = None) -> Any:
    """The model in `folder`, whatever its kind. `version` defaults to what the manifest says. Raises ModelError."""
    manifest = read_manifest(folder)
    kind = manifest.get("kind", "")
    if kind not in KINDS:
        raise ModelError(f"{folder / MANIFEST} has kind {kind!r}; known kinds: {', '.join(KINDS)}")
    module, _, name = KINDS[kind].partition(":")
    model_class = cast("type[Model]", getattr(import_module(module), name))
    try:
        return model_class.read(folder, manifest, version or str(manifest.get("version", "")))
    except Exception as problem:  # whatever is wrong with the folder, the model in it cannot serve
        told = f"{type(problem).__name__}: {problem}"  # as repr some hold the whole file
        raise ModelError(f"the {manifest.get('name', kind)} model in {folder} does not load: {told[:300]}") from problem


def read_manifest(folder: Path) -> dict[str, Any]:
    """The content of `model.json`. Raises ModelError."""
    try:
        content = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError) as problem:
        raise ModelError(f"{folder / MANIFEST} cannot be read: {problem}") from problem
    if not isinstance(content, dict):
        raise ModelError(f"{folder / MANIFEST} holds no JSON object")
    return content


def need(frame: pl.DataFrame, columns: tuple[str, ...], name: str) -> None:
    """Raises MissingColumns if `frame` lacks any of `columns`."""
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise MissingColumns(name, missing)


def write_golden(model: Model, folder: Path, rows: pl.DataFrame) -> None:
    """Stores `rows` with the model's present predictions; whoever loads the model later must get the same."""
    inputs = rows.select(model.columns)
    inputs.with_columns(pl.Series(EXPECTED, model.predict(inputs))).write_parquet(folder / GOLDEN)


def verify_golden(model: Model, folder: Path) -> None:
    """Raises ModelError unless the model reproduces its golden rows (to 1e-9)."""
    try:
        rows = pl.read_parquet(folder / GOLDEN)
    except (OSError, pl.exceptions.PolarsError) as problem:
        raise ModelError(f"the golden rows of {model.name} in {folder} cannot be read: {problem}") from problem
    expected = rows[EXPECTED].to_numpy()
    try:
        got = model.predict(rows.drop(EXPECTED))
    except Exception as problem:
        raise ModelError(f"{model.name} cannot score its golden rows: {type(problem).__name__}: {problem}") from problem
    differing = int((~np.isclose(got, expected, rtol=1e-9, atol=1e-9, equal_nan=True)).sum())
    if differing or not len(rows):
        raise ModelError(f"{model.name} does not reproduce {differing} of its {len(rows)} golden rows")


class _PyFunc:
    """MLflow's view of a model: a pandas (or polars) frame in, probabilities out."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def predict(
        self, frame: pd.DataFrame | pl.DataFrame, params: Mapping[str, Any] | None = None
    ) -> npt.NDArray[np.float64]:
        table = frame if isinstance(frame, pl.DataFrame) else pl.from_pandas(frame, nan_to_null=False)
        return self.model.predict(table)


def _load_pyfunc(path: str) -> _PyFunc:
    """Called by `mlflow.pyfunc.load_model`; `path` is the model's folder."""
    return _PyFunc(load(Path(path)))
