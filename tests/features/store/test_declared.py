"""Feast's registry is made again where something it is made of has changed, and only there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from features.store import registry
from features.store.declared import applied, fingerprint
from service.commands import _apply_feast
from service.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


def serve(home: Path, name: str, features: list[str]) -> None:
    folder = home / "served" / name / "1"
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({name: [1.0] for name in features}).write_parquet(folder / "golden.parquet")


def build(home: Path) -> None:
    folder = home / "features" / "as_of=x"
    folder.mkdir(parents=True)
    pl.DataFrame({"customer_id": ["ann"]}).write_parquet(folder / "0.parquet")


@pytest.mark.parametrize(
    "change",
    [
        build,
        lambda home: serve(home, "churn", ["orders_30d"]),
        lambda home: serve(home, "lead", ["orders_90d"]),
        lambda home: (home / "feast" / "registry.db").unlink(),
        lambda home: (home / "feast" / "definitions.py").unlink(),
    ],
)
def test_a_change_is_brought_in_and_nothing_else(
    tmp_path: Path, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    really = registry.apply

    def apply(home: Path, **more: str | None) -> object:
        calls.append(home)
        return really(home, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(registry, "apply", apply)
    settings = Settings(home=tmp_path)
    serve(tmp_path, "lead", ["orders_30d"])
    _apply_feast(settings)
    _apply_feast(settings)
    assert len(calls) == 1
    change(tmp_path)
    _apply_feast(settings)
    _apply_feast(settings)
    assert len(calls) == 2
    assert applied(tmp_path) == fingerprint(tmp_path, settings.online_url)


def test_what_failed_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("no room")

    with monkeypatch.context() as broken:
        broken.setattr(registry, "apply", fails)
        with pytest.raises(OSError, match="no room"):
            _apply_feast(Settings(home=tmp_path))
    assert applied(tmp_path) is None
    _apply_feast(Settings(home=tmp_path))
    assert applied(tmp_path) is not None


def test_a_home_that_was_moved_is_another_and_a_password_is_nothing_to_feast(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    assert fingerprint(tmp_path, None) != fingerprint(other, None)
    assert fingerprint(tmp_path, None) != fingerprint(tmp_path, str(tmp_path / "elsewhere.db"))
    assert fingerprint(tmp_path, "redis://u:one@host:1") == fingerprint(tmp_path, "redis://u:two@host:1")
