"""Vectors of texts, read with numpy alone: made beside the service (models/embedding.py), by the text's key.

    texts/current            the name of the version in use
    texts/VERSION/keys.npy   keys of the texts, sorted; vectors.npy: unit vectors, (n, dimensions), float32
    texts/VERSION/model      what made them

A version is named by a hash of its model and its keys, appears whole, and is mapped into memory, not read.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_hexdigest, xxh3_64_intdigest

from features.files import fsync_folder, write_whole
from features.text_keys import text_key

log = logging.getLogger(__name__)
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
DIMENSIONS = 8
"""Numbers that features tell of a vector (`interest_text_0` …): signs by a fixed hash, Achlioptas (2003)."""
_UNIT = 1 << 20
"""Projected vectors are whole multiples of 1 / _UNIT, so that sums of them are exact in any order."""


@dataclass(frozen=True)
class TextVectors:
    """Texts' unit vectors (n, dimensions) by sorted key, and their projections (n, DIMENSIONS) in units.

    `model` names what made them: vectors of different models have nothing to do with each other.
    """

    version: str
    keys: Ints
    vectors: NDArray[np.float32]
    projected: Ints
    model: str = ""

    @classmethod
    def none(cls) -> Self:
        """No vectors: every text is unknown."""
        return cls("", np.empty(0, np.int64), np.empty((0, 0), np.float32), np.empty((0, DIMENSIONS), np.int64))

    @classmethod
    def of(cls, version: str, keys: Ints, vectors: NDArray[np.float32], model: str = "") -> Self:
        raw = vectors.astype(np.float64) @ _signs(vectors.shape[1]) / np.sqrt(DIMENSIONS)
        return cls(version, keys, vectors, np.rint(raw * _UNIT).astype(np.int64), model)

    def __len__(self) -> int:
        return len(self.keys)

    def places(self, keys: Ints) -> Ints:
        """The row of each key, -1 where its text is unknown."""
        if not len(self.keys):
            return np.full(len(keys), -1)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, place, -1)

    def vector(self, text: str) -> Floats | None:
        """The unit vector of a text; None while it has none."""
        return self.of_key(text_key(text))

    def of_key(self, key: int) -> Floats | None:
        """The unit vector of the text with this key; None while it has none."""
        place = int(self.places(np.array([key]))[0])
        return None if place < 0 else self.vectors[place].astype(np.float64)

    def numbers(self, keys: Ints) -> Floats:
        """(n, DIMENSIONS) of the texts with these keys, NaN where unknown."""
        place = self.places(keys)
        found: Floats = np.append(self.projected, np.zeros((1, DIMENSIONS), np.int64), axis=0)[place] / _UNIT
        found[place < 0] = np.nan
        return found

    def mean_numbers(self, row: Ints, keys: Ints, weight: Ints, rows: int) -> Floats:
        """(rows, DIMENSIONS): for each row the mean over its texts, by whole weights; NaN where none is known."""
        place = self.places(keys)
        known = (place >= 0) & (weight > 0)
        row, place, weight = row[known], place[known], weight[known]
        sums, total = np.zeros((rows, DIMENSIONS), np.int64), np.zeros(rows, np.int64)
        np.add.at(sums, row, self.projected[place] * weight[:, None])
        np.add.at(total, row, weight)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean: Floats = sums / (total * float(_UNIT))[:, None]
        return mean


def interest(affinity: Mapping[str, Sequence[float]], texts: TextVectors) -> Floats | None:
    """The mean vector (dimensions,) of what a customer bought in a year, by orders of each category.

    affinity: category -> (orders in 90 days, in 365 days, days since the last), as `CustomerRow.affinity`. Categories
    whose text has no vector yet are left out; None where nothing is left.
    """
    names = sorted(name for name, told in affinity.items() if told[1] > 0)
    place = texts.places(np.array([text_key(name) for name in names], np.int64))
    known = np.flatnonzero(place >= 0)
    if not len(known):
        return None
    weight = np.array([affinity[names[i]][1] for i in known.tolist()])
    mean: Floats = weight @ texts.vectors[place[known]].astype(np.float64) / weight.sum()
    return mean


@lru_cache(maxsize=4)
def _signs(dimensions: int) -> Floats:
    """(dimensions, DIMENSIONS) of 1 and -1, the same for ever."""
    bits = [[xxh3_64_intdigest(f"{row}:{column}".encode()) & 1 for column in range(DIMENSIONS)]
            for row in range(dimensions)]  # fmt: skip
    return 2.0 * np.array(bits, np.float64).reshape(dimensions, DIMENSIONS) - 1.0


class Texts:
    """The vectors of a home: `held` as they were read last, `read` as they now are (one look at a small file)."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._folder = home / "texts"
        self._held = TextVectors.none()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as the place that it reads."""
        return Texts, (self._home,)

    @property
    def held(self) -> TextVectors:
        """What was read last; nothing before the first `read`."""
        return self._held

    def read(self) -> TextVectors:
        """The version in use; the one held before if the new one cannot be read."""
        try:
            version = (self._folder / "current").read_text(encoding="ascii")
            if version != self._held.version:
                folder = self._folder / version
                keys, vectors = np.load(folder / "keys.npy"), np.load(folder / "vectors.npy", mmap_mode="r")
                self._held = TextVectors.of(version, keys, vectors, _model_of(folder))
        except FileNotFoundError:
            pass  # none made yet, or just being replaced: what is held goes on
        except (OSError, ValueError):
            log.exception("the vectors of texts in %s cannot be read; run `opportune features`", self._folder)
        return self._held


def add_texts(home: Path, model: str, texts: Sequence[str], vectors: NDArray[np.float32]) -> str:
    """Adds these texts' unit vectors to those in use, which another model's are not, in place of which they come.

    Returns the name of the new version; removes the others. One process at a time: hold `alone`.
    """
    before = Texts(home).read()
    keys = np.array([text_key(text) for text in texts], np.int64)
    if before.model == model and len(before):
        keys, vectors = np.concatenate([before.keys, keys]), np.concatenate([before.vectors, vectors])
    keys, first = np.unique(keys, return_index=True)
    kept = np.ascontiguousarray(vectors[first], np.float32)
    version = xxh3_64_hexdigest(model.encode() + b"\0" + keys.tobytes() + kept.tobytes())
    folder = home / "texts"
    draft = folder / f".{version}.{os.getpid()}"
    if not (folder / version).exists():
        draft.mkdir(parents=True, exist_ok=True)
        np.save(draft / "keys.npy", keys)
        np.save(draft / "vectors.npy", kept)
        _write(draft / "model", model)
        for name in ("keys.npy", "vectors.npy", "model"):
            with open(draft / name, "rb+") as handle:
                os.fsync(handle.fileno())
        os.replace(draft, folder / version)
        fsync_folder(folder)
    write_whole(folder / "current", lambda path: _write(path, version))
    for other in folder.iterdir():
        if other.is_dir() and other.name != version:
            shutil.rmtree(other, ignore_errors=True)
    return version


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Lets one process at a time change the vectors of a home; a process that dies lets go."""
    folder = home / "texts"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _model_of(folder: Path) -> str:
    """What made a version's vectors; "" where that was not written down yet."""
    path = folder / "model"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
