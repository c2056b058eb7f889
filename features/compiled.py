"""What is compiled (`setup.py` names the C files), where it was built: the numbers of numpy, faster.

`pip install` compiles them where there is a compiler and goes on without them where there is none. OPPORTUNE_PURE=1
leaves them unused.
"""

from __future__ import annotations

import logging
import os
from importlib import import_module
from typing import Any

log = logging.getLogger(__name__)


def compiled(name: str, layout: int) -> Any:
    """The compiled module; None where it is not to be used, was not built, or was built from older sources.

    `layout` is raised with that of the C file when a function takes other arguments.
    """
    if os.environ.get("OPPORTUNE_PURE") == "1":
        return None
    try:
        found = import_module(name)
    except ImportError:
        return None
    if layout != found.LAYOUT:
        log.warning("%s was built from other sources and is not used; install again (pip install -e .)", name)
        return None
    return found


ROWS = compiled("features._rows", 3)
