"""Both rankers trained on a small simulated world, logged, registered, loaded and asked."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from features.offers import offer_infos
from models.layered import begun
from models.load import load, verify_golden
from models.next_offer import NextOfferModel
from models.reference import Reference
from tests.fakes.world_home import world_home
from training.exposures import read_log
from training.offer_fit import UNSEEN
from training.send_time import FOLDS
from training.tracking import Tracking, champion
from training.train import train

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    end = world_home(folder)
    (folder / "end.txt").write_text(end.isoformat())
    return folder


def run(home: Path, name: str, as_of: str | None = None):  # type: ignore[no-untyped-def]
    from datetime import datetime

    moment = datetime.fromisoformat(as_of or (home / "end.txt").read_text())
    return train([name], home, f"sqlite:///{home / 'mlflow.db'}", moment)[0]


def test_next_offer_beats_popularity_and_serves(home: Path) -> None:
    result = run(home, "next-offer")
    assert result.promoted, result.verdict
    assert result.metrics["ndcg_at_10"] > result.rivals["popularity"]["ndcg_at_10"]
    assert "own_most_frequent" in result.rivals
    assert result.metrics["log_conversions"] > 50
    assert "redemption_auc" in result.metrics
    found = champion(Tracking.at(f"sqlite:///{home / 'mlflow.db'}", home), "next-offer")
    assert found is not None
    version, folder = found
    model = load(folder, version)
    verify_golden(model, folder)
    assert isinstance(model, NextOfferModel)
    assert model.response.kind != "purchase"
    assert set(begun(model.layer).weights.offers) <= set(model.knowledge.popularity)
    assert len(begun(model.layer).weights.offers) > 1
    assert model.response.stages is not None
    assert set(model.response.stages.weights) == set(begun(model.layer).weights.offers)
    assert not set(UNSEEN) & set(model.trees.feature.tolist())
    offers = offer_infos(pl.read_parquet(home / "tables" / "offers.parquet").iter_rows(named=True))
    scores = model.score(None, offers, ["email", "sms"], None)
    assert scores.shape == (len(offers), 2)
    assert 0.005 < scores.mean() < 0.4
    again = run(home, "next-offer")
    assert not again.promoted
    assert "wait for newer ones" in again.verdict or "does not beat" in again.verdict


def test_send_time_is_judged_on_later_data(home: Path) -> None:
    result = run(home, "send-time")
    assert result.version is not None
    assert "overall best hours" in result.verdict
    assert result.metrics["order_log_likelihood"] > result.rivals["overall_best_hours"]["order_log_likelihood"]
    low, high = (result.metrics[f"order_log_likelihood.{end}"] for end in ("low", "high"))
    assert low < result.metrics["order_log_likelihood"] < high
    client = Tracking.at(f"sqlite:///{home / 'mlflow.db'}", home).client
    run_id = client.get_model_version("opportune-send-time", result.version).run_id
    logged = client.get_metric_history(run_id, "fold.orders")
    assert len(logged) == FOLDS
    assert sum(point.value for point in logged) > 0
    assert {"card.md", "features.txt"} <= {file.path for file in client.list_artifacts(run_id)}
    if result.promoted:
        found = champion(Tracking.at(f"sqlite:///{home / 'mlflow.db'}", home), "send-time")
        assert found is not None
        reference = Reference.read(found[1])
        assert reference is not None
        assert "share_evening" in reference.inputs


def test_too_little_is_said_plainly(home: Path, tmp_path: Path) -> None:
    early = run(home, "next-offer", "2025-12-20T00:00:00+00:00")
    assert early.version is None
    assert "more days are needed" in early.verdict
    empty = train(["next-offer"], tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}")[0]
    assert "offers in the catalogue" in empty.verdict
    assert "no events" in train(["send-time"], tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}")[0].verdict


def test_the_log_gives_weights_and_only_matured_rows(home: Path) -> None:
    decisions = pl.read_parquet(home / "tables" / "decisions.parquet")
    last = decisions["decided_at"].max()
    rows = read_log(home, last - timedelta(days=14))  # type: ignore[operator]
    assert 0 < rows.height < decisions.height
    assert rows["as_of"].max() < last - timedelta(days=14)  # type: ignore[operator]
    assert (rows["weight"] == 10.0).all()
    assert 0 < rows["label"].sum() < rows.height
