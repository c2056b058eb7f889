"""Settings that are refused when they are read, by name: a typing slip must not turn a protection off."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from service.settings import CHANNELS, Placement, Settings


@pytest.mark.parametrize(
    ("where", "settings"),
    [
        ("quiet_hours.channels.0", {"quiet_hours": {"channels": ["emial"]}}),
        ("decisions.caps.0.channel", {"decisions": {"caps": [{"channel": "emial", "max": 1, "per_days": 7}]}}),
        (
            "decisions.cool_downs.0.channel",
            {"decisions": {"cool_downs": [{"after": "purchase", "days": 1, "channel": "emial"}]}},
        ),
        ("placements.x.channels.1", {"placements": {"x": {"channels": ["email", "emial"]}}}),
    ],
)
def test_a_channel_that_there_is_not_is_named(where: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(**settings)
    [error] = refused.value.errors()
    assert ".".join(map(str, error["loc"])) == where
    assert "no channel 'emial'; use email, sms, push, web, call or webhook" in error["msg"]


def test_a_placement_without_channels_could_show_nothing() -> None:
    with pytest.raises(ValidationError, match="is empty, so nothing could be shown"):
        Settings(placements={"x": {"channels": []}})  # type: ignore[dict-item]
    assert Placement().channels == list(CHANNELS)


def test_no_channel_need_have_quiet_hours() -> None:
    assert Settings(quiet_hours={"channels": []}).quiet_hours.channels == []  # type: ignore[arg-type]
