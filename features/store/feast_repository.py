"""What `feast apply` in this folder registers: see feature_store.yaml. Imported by Feast alone (.feastignore)."""

from __future__ import annotations

import os
from pathlib import Path

from features.store.registry import definitions

if "OPPORTUNE_HOME" not in os.environ:
    raise SystemExit("set OPPORTUNE_HOME to the absolute path of a home folder, then run feast again")
globals().update(definitions(Path(os.environ["OPPORTUNE_HOME"]).resolve()))
