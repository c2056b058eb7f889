"""Settings of the demo's two installations: the households' and the simulated world's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from training.demo.complete_journey import ZONE
from training.demo.whole_files import write_text

HOUSEHOLDS = f"""# The demo's settings (Complete Journey).
default_timezone = "{ZONE}"
currency = "USD"

[pages]
open = true

[placements."journey.winback".arms]
model = 1.0
random = 0.0
business_as_usual = 0.0
holdout = 0.0
"""

WORLD = """# The simulated world's settings.
default_timezone = "Europe/London"
currency = "USD"

[pages]
open = true

[placements.weekly]
business_as_usual = "coffee-10"

[placements.weekly.arms]
model = 0.6
random = 0.2
business_as_usual = 0.1
holdout = 0.1

[placements."journey.winback".arms]
model = 1.0
random = 0.0
business_as_usual = 0.0
holdout = 0.0

# There are 43 candidates and 30 days, and a fifth of the decisions are random anyway: the model's arm leaves less to
# chance than by default.
[decisions]
exploration = 200.0
floor = 0.0001
explore_hours = 0.01

[[decisions.caps]]
max = 3
per_days = 7
"""


def settings_of(home: Path, text: str, port: int, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Writes the settings file; returns the variables (without their prefix) that select this installation."""
    config = home / "demo.toml"
    write_text(config, text)
    return {"HOME": str(home), "CONFIG": str(config), "PORT": str(port), **(more or {})}
