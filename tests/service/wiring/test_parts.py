"""What features know of the settings is read when a process starts; other settings are refused, with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.settings import Settings
from service.wiring.parts import build


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"default_timezone": "Asia/Tokyo"}, "set OPPORTUNE_DEFAULT_TIMEZONE=Asia/Tokyo"),
        ({"currency": "EUR"}, "OPPORTUNE_CURRENCY='EUR'"),
    ],
)
def test_settings_that_features_do_not_know_are_refused(tmp_path: Path, other: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        build(Settings(home=tmp_path, **other))
