"""`opportune worker`: the journeys' runner, until it is told to stop."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType

from service.memory import leave_alone_what_stays
from service.settings import Settings
from service.telemetry import set_up_logs
from service.wiring import build, journey_runner
from service.wrong_settings import warn_of_unknown_variables

log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Moves due enrolments until SIGTERM, SIGINT or SIGHUP (its terminal was closed).

    Messages that are being handed over are finished first.
    """
    set_up_logs()
    warn_of_unknown_variables()
    parts = build(settings)
    runner = journey_runner(parts)
    leave_alone_what_stays()  # a look through all of it takes .2 s, in which decisions may wait for what it writes

    def stop(_signal: int, _frame: FrameType | None) -> None:
        runner.stop()

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup's
            signal.signal(signal.SIGHUP, stop)
    log.info("the journeys' runner has started")
    try:
        runner.run_forever()
    finally:
        parts.close()
