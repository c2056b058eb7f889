"""Texts as vectors, offline, cached."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from features.texts import Texts
from models import embedding
from models.embedding import EmbeddingMissing, Floats, embed, model_folder, refresh_texts


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_alike_texts_are_near_and_the_cache_saves_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "texts.npz"
    texts = ["20% off fresh coffee", "coffee", "dog food"]
    vectors = embed(texts, cache)
    assert vectors.shape == (3, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > likeness[0, 2] + 0.2

    def fail(*_: object) -> None:
        raise AssertionError("known texts are not encoded again")

    monkeypatch.setattr(embedding, "_encode", fail)
    assert (embed([texts[2], texts[0]], cache) == vectors[[2, 0]]).all()


def test_a_broken_cache_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "texts.npz"
    cache.write_bytes(b"not a cache")
    monkeypatch.setattr(embedding, "model_folder", lambda: tmp_path)
    monkeypatch.setattr(embedding, "_encode", lambda folder, texts: np.ones((len(texts), 2), np.float32))
    assert embed(["a", "b"], cache).shape == (2, 2)
    assert embed(["a", "b"], cache).shape == (2, 2)


def test_a_wrong_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPPORTUNE_EMBEDDING_MODEL", "/nowhere")
    with pytest.raises(EmbeddingMissing, match="/nowhere"):
        model_folder()
    monkeypatch.delenv("OPPORTUNE_EMBEDDING_MODEL")
    monkeypatch.setattr(embedding, "find_spec", lambda _: None)
    with pytest.raises(EmbeddingMissing, match="pip install"):
        model_folder()


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
    assert Texts(tmp_path).read().vector("wine") == pytest.approx([0, 1, 0, 0])
