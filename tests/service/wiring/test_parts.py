"""What features know of the settings is read when a process starts; other settings are refused, with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from service.content.guardrails import check_copy
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


def test_text_messages_are_measured_with_a_link_as_long_as_ours(tmp_path: Path) -> None:
    parts = build(Settings(home=tmp_path, public_url="https://offers.example.com"))
    try:
        room = 3 * 153 - len(parts.unsubscribe_url(str(uuid4()), "sms"))
        for more, fits in ((0, True), (1, False)):
            fields = {"body": "x" * (room - 1 + more) + " {{ unsubscribe_url }}"}
            assert all(check.passed for check in check_copy("sms", "en", fields, rules=parts.desk.rules)) is fits
    finally:
        parts.close()
