"""How commands end: what they say, and where."""

from __future__ import annotations

from pathlib import Path

from tests.end_to_end.conftest import Service


def test_an_estimate_that_is_refused_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    refused = Service(tmp_path).run("evaluate", "uniform")
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr == "opportune: uniform: no estimate. The decision log is empty.\n"


def test_a_policy_that_there_is_not_is_wrong_usage(tmp_path: Path) -> None:
    wrong = Service(tmp_path).run("evaluate", "nosuch")
    assert wrong.returncode == 2
    assert "'nosuch' is no policy" in wrong.stderr
