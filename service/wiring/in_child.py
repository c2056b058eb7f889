"""Commands of ours that the service runs beside itself: what is heavy and seldom takes neither its memory nor turns."""

from __future__ import annotations

import atexit
import os
import subprocess
from contextlib import suppress

from service.loops import PYTHON
from service.telemetry import TOGETHER

LONGEST_S = 600.0
_PRIORITY = 10
"""Decisions come first; on a busy core a tenth of it is left, so that the command ends some time."""

_at_work: set[subprocess.Popen[bytes]] = set()


def end_children() -> None:
    """Ends what is at work: the service is about to end, and nobody would take what it finds."""
    while _at_work:
        _at_work.pop().kill()


atexit.register(end_children)


def in_child(command: str) -> str | None:
    """Runs `opportune COMMAND` by the settings of this environment, with less priority than its own, and waits.

    None where it ended well, or by `end_children`; else the last line that it said, which may be about what it found.
    RuntimeError when it takes too long.
    """
    own = {name: value for name, value in os.environ.items() if name != TOGETHER}  # it is none of the workers
    process = subprocess.Popen(
        [*PYTHON, "-m", "opportune", command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=own
    )
    _at_work.add(process)
    with suppress(OSError):  # it has ended already, or this machine has no priorities
        os.setpriority(os.PRIO_PROCESS, process.pid, _PRIORITY)
    try:
        said = process.communicate(timeout=LONGEST_S)[1].decode("utf-8", "replace").strip()
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise RuntimeError(
            f"'opportune {command}' took more than {LONGEST_S / 60:.0f} minutes and was stopped"
        ) from None
    finally:
        was_ended = process not in _at_work
        _at_work.discard(process)
    if process.returncode == 0 or was_ended:
        return None
    return f"'opportune {command}' ended with status {process.returncode}: {said.rpartition(chr(10))[2][:300]}"
