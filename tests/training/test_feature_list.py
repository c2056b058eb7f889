"""A version's features, each with what it was."""

from __future__ import annotations

import pytest

from training import feature_list as module
from training.feature_list import OURS, feature_list, feature_version


def test_each_feature_has_the_digest_of_its_declaration() -> None:
    lines = dict(
        line.split("  ") for line in feature_list(["orders_90d", "orders_30d", "offer_popularity"]).splitlines()
    )
    assert lines["offer_popularity"] == OURS
    assert len(lines["orders_90d"]) == 8
    assert lines["orders_90d"] != lines["orders_30d"]
    assert feature_version("orders_90d") == lines["orders_90d"]


def test_a_ratio_changes_with_what_it_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    before, real = feature_version("order_trend_30_90"), module.feature

    def changed(name: str) -> object:
        from dataclasses import replace

        return replace(real(name), description="another meaning") if name == "orders_90d" else real(name)

    monkeypatch.setattr(module, "feature", changed)
    assert feature_version("order_trend_30_90") != before
