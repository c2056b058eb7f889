"""The environment variables that decide what features mean here: another process that has them makes the same."""

from __future__ import annotations

from pathlib import Path

from features import catalogue, default_zone
from features.currencies import CURRENCIES


def variables() -> dict[str, str]:
    """Of this process: currencies, the zone of those who told none, the file of the installation's own features."""
    own = {catalogue.VARIABLE: str(Path(catalogue.SOURCE).absolute())} if catalogue.SOURCE else {}
    return CURRENCIES.environment() | {default_zone.VARIABLE: default_zone.DEFAULT_ZONE} | own
