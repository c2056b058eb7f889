"""What makes a process unready."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.decisions.schemas import DecisionIn
from service.errors import Unavailable
from service.settings import Settings
from service.wiring import build, readiness


def test_decisions_that_nothing_keeps_make_it_unready_until_something_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = build(Settings(home=tmp_path, text_vectors=False))
    assert readiness(parts)[0]

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(parts.decider, "decide_away", full)
        disk.setattr(parts.steady.circuit, "allows", lambda: False)  # the database is on the same disk
        [told] = parts.steady.decide_each([DecisionIn(customer_id="c1")])
        assert isinstance(told, Unavailable)
    ready, report = readiness(parts)
    assert (ready, report["status"]) == (False, "not ready")
    assert "free space on the disk" in report["problems"][0]
    parts.steady.run_pass()
    assert readiness(parts)[0]
    parts.close()
