"""What `opportune init DIR` writes: commented settings, an example catalogue, events, a journey and its A/B test."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from features.files import write_bytes
from service.errors import Conflict

FILES = (
    "opportune.toml",
    "offers.jsonl",
    "events.jsonl",
    "orders.csv",
    "mapping.toml",
    "features.toml",
    "propensities.toml",
    "winback.yaml",
    "winback-hour.experiment.json",
    "README.md",
)


def write_starter(folder: Path) -> list[Path]:
    """Writes the files into `folder`, made if need be, and returns them; a file that is there already is not touched.

    Raises `Conflict` when the folder has every one of them, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise Conflict(f"{folder} is a file; name a folder")
    missing = [name for name in FILES if not (folder / name).exists()]
    if not missing:
        raise Conflict(f"{folder} has all of the example files already; name another folder")
    source = resources.files(__package__)
    for name in missing:  # each whole: what is there already would be left as it is
        write_bytes(folder / name, source.joinpath(name).read_bytes())
    return [folder / name for name in missing]
