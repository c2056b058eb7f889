"""Gives new texts of the catalogue their vectors: a short child process makes them, for torch is too large to import.

The API reads the vectors (features/texts.py) with numpy, and decides by categories until they are there. Without an
embedder nothing fails: `status` says what to install.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from features.text_keys import offer_text
from features.texts import Texts
from models.embedding import AT_ONCE, EmbeddingMissing, identity, missing
from service.clock import monotonic
from service.loops import PYTHON
from service.offers.catalogue import Catalogue, CatalogueCache
from service.storage.database import Database

LONGEST_S = 1800.0
PAUSES_S = (5.0, 60.0, 300.0)
"""Before trying again, after one failure, two, and more; without an embedder the second."""


class TextWatch:
    """`run_pass` is for a loop. One for each process; of several, each child finds done what another has done."""

    def __init__(
        self,
        database: Database,
        catalogue: CatalogueCache,
        texts: Texts,
        home: Path,
        command: Sequence[str] = (*PYTHON, "-m", "models.embedding"),
    ) -> None:
        """`command` takes the home and, on its standard input, a JSON list of texts."""
        self._database, self._catalogue, self._texts = database, catalogue, texts
        self._command = [*command, str(home)]
        self._child: _Child | None = None
        self._done: Catalogue | None = None
        self._failures, self._not_before = 0, 0.0
        self._status: dict[str, Any] = {"vectors": 0, "waiting": 0, "problem": None}

    def run_pass(self) -> bool:
        """Takes up vectors that were made, and has those made that are missing. False: nothing more to do at once."""
        self._texts.read()
        if self._child is not None and not self._ended(self._child):
            return False
        with self._database.read() as connection:
            catalogue = self._catalogue.current(connection)
        if catalogue is self._done and (not self._status["waiting"] or monotonic() < self._not_before):
            return False
        waiting, absent = without_vectors(self._texts, catalogue)
        self._status |= {"vectors": len(self._texts.held), "waiting": len(waiting)}
        if absent or not waiting:
            self._status["problem"] = absent
        if absent:
            self._not_before = monotonic() + PAUSES_S[1]
        self._done = catalogue
        if waiting and not absent and monotonic() >= self._not_before:
            self._child = _Child(self._command, waiting[:AT_ONCE])
        return False

    def status(self) -> dict[str, Any]:
        """`vectors` known, texts `waiting` for theirs, and the `problem`, if there is one."""
        return dict(self._status)

    @property
    def failing(self) -> bool:
        """Whether making vectors failed; that no embedder is installed is no failure."""
        return self._failures > 0

    def close(self) -> None:
        """Ends a child at work; what it wrote stays."""
        if self._child is not None:
            self._child.kill()

    def _ended(self, child: _Child) -> bool:
        problem = child.problem()
        if problem is None:
            return False
        self._child = None
        self._texts.read()
        self._failures = self._failures + 1 if problem else 0
        pause = PAUSES_S[min(self._failures, len(PAUSES_S)) - 1] if problem else 0.0
        self._not_before = monotonic() + pause
        self._status["problem"] = problem or None
        return True


class _Child:
    """The process that makes vectors of some texts."""

    def __init__(self, command: Sequence[str], texts: Sequence[str]) -> None:
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the process has ended)
        with tempfile.TemporaryFile() as told:
            told.write(json.dumps(list(texts)).encode())
            told.seek(0)
            self._process = subprocess.Popen(command, stdin=told, stdout=self._said, stderr=self._said)
        self._until = monotonic() + LONGEST_S

    def problem(self) -> str | None:
        """None while it is at work; then what went wrong, "" if nothing did."""
        code = self._process.poll()
        if code is None:
            if monotonic() < self._until:
                return None
            self.kill()
            return f"making vectors of texts took more than {LONGEST_S / 60:.0f} minutes and was stopped"
        self._said.seek(0)
        last = self._said.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
        self._said.close()
        return "" if code == 0 else f"vectors of texts could not be made (status {code}): {last[:300]}"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._said.close()


def texts_of(catalogue: Catalogue) -> list[str]:
    """What is compared of these offers: name and description, and the categories."""
    told = {offer_text(offer.document["name"], offer.document["description"]) for offer in catalogue.offers}
    return sorted(told | {offer.info.category for offer in catalogue.offers if offer.info.category})


def without_vectors(texts: Texts, catalogue: Catalogue) -> tuple[list[str], str | None]:
    """The catalogue's texts that have no vector of the present embedder; and, where none is installed, what to do."""
    wanted, held = texts_of(catalogue), texts.held
    try:
        model = identity()
    except EmbeddingMissing as absent:
        left = missing(held, wanted)
        return left, str(absent) if left else None
    return (missing(held, wanted) if held.model == model else wanted), None


def make_vectors(home: Path, catalogue: Catalogue) -> str | None:
    """Has all missing vectors made, and waits; returns what went wrong, if anything did."""
    texts = Texts(home)
    texts.read()
    waiting, absent = without_vectors(texts, catalogue)
    if absent or not waiting:
        return absent
    done = subprocess.run(
        [*PYTHON, "-m", "models.embedding", str(home)],
        input=json.dumps(waiting).encode(),
        capture_output=True,
        timeout=LONGEST_S,
        check=False,
    )
    return None if done.returncode == 0 else done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:300]
