"""Texts as vectors, offline, cached."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from features.texts import Texts
from models import embedding
from models.embedding import EmbeddingMissing, Floats, embed, model_folder, refresh_texts


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_alike_texts_are_near_and_the_cache_saves_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["20% off fresh coffee", "coffee", "dog food"]
    vectors = embed(texts, tmp_path)
    assert vectors.shape == (3, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > likeness[0, 2] + 0.2

    def fail(*_: object) -> None:
        raise AssertionError("known texts are not encoded again")

    monkeypatch.setattr(embedding, "_encode", fail)
    assert (embed([texts[2], texts[0]], tmp_path) == vectors[[2, 0]]).all()


def test_broken_vectors_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "model_folder", lambda: tmp_path)
    monkeypatch.setattr(embedding, "_encode", lambda folder, texts: np.ones((len(texts), 2), np.float32))
    assert embed(["a", "b"], tmp_path).shape == (2, 2)
    (broken,) = (tmp_path / "texts").glob("*/vectors.npy")
    broken.write_bytes(b"no vectors")
    assert embed(["c", "b"], tmp_path).shape == (2, 2)
    assert embed(["a", "b", "c"], tmp_path).shape == (3, 2)


def test_a_wrong_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPPORTUNE_EMBEDDING_MODEL", "/nowhere")
    with pytest.raises(EmbeddingMissing, match="/nowhere"):
        model_folder()
    monkeypatch.delenv("OPPORTUNE_EMBEDDING_MODEL")
    monkeypatch.setattr(embedding, "find_spec", lambda _: None)
    with pytest.raises(EmbeddingMissing, match="pip install"):
        model_folder()


@pytest.mark.slow
def test_the_child_process_gives_texts_their_vectors(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "models.embedding", str(tmp_path)]
    done = subprocess.run(command, input=b'["green tea", "tea"]', capture_output=True, timeout=250)
    assert done.returncode == 0, done.stderr.decode()
    held = Texts(tmp_path).read()
    green, tea = held.vector("green tea"), held.vector("tea")
    assert green is not None
    assert tea is not None
    assert float(green @ tea) > 0.5 * float(np.linalg.norm(green) * np.linalg.norm(tea))
    known = {**os.environ, "OPPORTUNE_EMBEDDING_MODEL": "/nowhere"}
    refused = subprocess.run(command, input=b'["water"]', capture_output=True, timeout=250, env=known)
    assert (refused.returncode, "/nowhere" in refused.stderr.decode()) == (embedding.MISSING, True)


def test_texts_are_written_for_readers_without_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []

    def encode(folder: Path, texts: list[str]) -> Floats:
        encoded.extend(texts)
        return np.eye(len(texts), 4, dtype=np.float32)

    monkeypatch.setattr(embedding, "model_folder", lambda: tmp_path)
    monkeypatch.setattr(embedding, "_encode", encode)
    assert refresh_texts(tmp_path, []) is None
    first = refresh_texts(tmp_path, ["wine", "bread"])
    assert refresh_texts(tmp_path, ["bread", "wine", "wine"]) == first
    assert refresh_texts(tmp_path, ["bread", "wine", "toys"]) != first
    assert encoded == ["bread", "wine", "toys"]  # only what is new
    assert embed(["toys", "bread"], tmp_path)[:, 0].tolist() == [1, 1]
    assert Texts(tmp_path).read().vector("wine") == pytest.approx([0, 1, 0, 0])
