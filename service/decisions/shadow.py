"""The challenger shadows live traffic: what it says of the decisions just made, beside the champion, decides nothing.

It scores the logged vectors after the fact, so that no request waits for it, at most `AT_ONCE` decisions a pass and
model: with more traffic than that the newest are taken, and the rest are passed over.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from models.registry import ServedModels
from service.clock import Clock
from service.decisions.drift_store import add_shadow_scores, newest_shadow, tidy_shadow
from service.decisions.served_vectors import ServedVector, read_vectors, scores
from service.decisions.skew_store import newest_between
from service.storage.database import Database

log = logging.getLogger(__name__)
AT_ONCE = 100
LOOKS_BACK = timedelta(days=1)
KEPT = timedelta(days=120)
_TICK = timedelta(microseconds=1)


class Shadow:
    """`run` scores what is new with every challenger that serves."""

    def __init__(self, database: Database, clock: Clock, models: ServedModels) -> None:
        self._database = database
        self._clock = clock
        self._models = models

    def run(self, most: int = AT_ONCE) -> int:
        """How many scores were written."""
        names = sorted({entry["name"] for entry in self._models.status() if entry["alias"] == "challenger"})
        written = 0
        for name in names:
            champion, challenger = self._models.get(name), self._models.get(name, "challenger")
            if challenger is None or (champion is not None and champion.version == challenger.version):
                continue
            try:
                written += self._score(name, champion, challenger, most)
            except Exception:  # a challenger that fails is no reason to stop the others, nor anything that serves
                log.exception("challenger %s of %s could not score what was served", challenger.version, name)
        return written

    def _score(self, name: str, champion: Any, challenger: Any, most: int) -> int:
        now, version = self._clock.now(), str(challenger.version)
        with self._database.read() as connection:
            last = newest_shadow(connection, name, version, now)
            first = now - LOOKS_BACK if last is None else last + _TICK
            listed = newest_between(connection, first, now, most)
            vectors = read_vectors(connection, [decision_id for decision_id, _, _ in listed], listed, most).vectors
        rows = _rows(name, champion, challenger, vectors)
        if rows:
            with self._database.write() as connection:
                add_shadow_scores(connection, rows)
                tidy_shadow(connection, now - KEPT)
        return len(rows)


def _rows(name: str, champion: Any, challenger: Any, vectors: Sequence[ServedVector]) -> list[dict[str, Any]]:
    theirs = scores(challenger, vectors, "first")
    ours = [None] * len(vectors) if champion is None else scores(champion, vectors, "first")
    return [
        {
            "model": name,
            "version": str(challenger.version),
            "decision_id": vector.decision_id,
            "customer_id": vector.customer_id,
            "decided_at": vector.decided_at,
            "score": theirs_one,
            "champion": None if champion is None else str(champion.version),
            "champion_score": ours_one,
        }
        for vector, ours_one, theirs_one in zip(vectors, ours, theirs, strict=True)
        if theirs_one is not None and (champion is None or ours_one is not None)
    ]
