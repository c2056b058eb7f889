"""Steps that are done once: each leaves a marker with the fingerprint of its inputs after its outputs."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from training.demo.speak import Speaker
from training.demo.whole_files import write_json

Work = Callable[[], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a step took; `reused` when it had been done before (and then how long it took then)."""

    name: str
    title: str
    seconds: float
    reused: bool


@dataclass
class Steps:
    """Runs steps in order. A step depends on all before it: its fingerprint holds theirs."""

    folder: Path
    speaker: Speaker
    fingerprint: str
    timings: list[Timing] = field(default_factory=list)

    def run(self, name: str, title: str, inputs: Mapping[str, Any], work: Work) -> dict[str, Any]:
        """The step's result (JSON), from its marker when the same inputs were worked on to the end before."""
        self.fingerprint = _fingerprint(self.fingerprint, name, inputs)
        marker = self.folder / f"{name}.json"
        done = _read(marker)
        if done is not None and done.get("fingerprint") == self.fingerprint:
            self.timings.append(Timing(name, title, done["seconds"], reused=True))
            self.speaker.reused(title, done["seconds"])
            return dict(done["result"])
        marker.unlink(missing_ok=True)
        self.speaker.begins(title)
        began = time.monotonic()
        result = work()
        seconds = round(time.monotonic() - began, 1)
        write_json(marker, {"fingerprint": self.fingerprint, "seconds": seconds, "result": result})
        self.timings.append(Timing(name, title, seconds, reused=False))
        self.speaker.done(title, seconds)
        return result

    def forget(self, name: str) -> None:
        """Takes a step's marker away: its outputs are gone."""
        (self.folder / f"{name}.json").unlink(missing_ok=True)


def _fingerprint(before: str, name: str, inputs: Mapping[str, Any]) -> str:
    text = orjson.dumps([before, name, dict(inputs)], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:16]


def _read(marker: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = orjson.loads(marker.read_bytes())
    except FileNotFoundError:
        return None
    return found
