"""What the API does beside answering: the loops in the background, one line each."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from service.decisions.forget_records import ForgetRecords
from service.decisions.learn_outcomes import ForgetLessons
from service.decisions.presume_delivered import PresumeDelivered
from service.errors import Unavailable
from service.events.refresh_vectors import RefreshVectors
from service.loops import Loop, stop_all
from service.wiring.data_watch import DataWatch
from service.wiring.in_child import end_children, in_child
from service.wiring.model_watch import ModelWatch
from service.wiring.parts import Parts
from service.wiring.warm_up import get_words_ready

_MODELS_EVERY_S = 1.0
_DATA_EVERY_S = 60.0
_LEARN_EVERY_S = 2.0
_DELIVERIES_EVERY_S = 5.0
_LADDER_EVERY_S = 1.0
_WORDS_EVERY_S = 5.0
_VECTORS_EVERY_S = 300.0
_WATCH_AFTER_S, _VECTORS_AFTER_S = 30.0, 20.0
"""What is due now and then need not be done while a new process meets its first callers."""
_TEXTS_EVERY_S = 2.0
_LESSONS_EVERY_S = 3600.0
_RECORDS_EVERY_S = 60.0


def start_loops(parts: Parts) -> list[Loop]:
    """What the API does beside answering: apply events, take up moved model aliases, keep vectors fresh."""

    def take_up_models() -> bool:
        parts.models.refresh()
        parts.learning.refresh()
        return False

    parts.enrol.begin()
    watch = DataWatch(parts.database, parts.skew, partial(in_child, "skew"))
    models_watch = ModelWatch(parts.database, parts.drift, parts.shadow, partial(in_child, "drift"))
    loops = [
        parts.events_loop,
        Loop("models", take_up_models, _MODELS_EVERY_S),
        Loop("ladder", partial(bring_in_what_waits, parts), _LADDER_EVERY_S),
        Loop("words", partial(get_words_ready, parts.database, parts.catalogue, parts.library), _WORDS_EVERY_S),
        Loop("data", watch.run_pass, _DATA_EVERY_S, first_after_s=_WATCH_AFTER_S),
        Loop("model-watch", models_watch.run_pass, _DATA_EVERY_S, first_after_s=_WATCH_AFTER_S),
        *_forgets_records(parts),
        Loop(
            "lessons",
            ForgetLessons(parts.database, parts.clock).run_pass,
            _LESSONS_EVERY_S,
            first_after_s=_WATCH_AFTER_S,
        ),
        Loop(
            "deliveries",
            PresumeDelivered(parts.database, parts.clock, parts.steady.oldest_brought).run_pass,
            _DELIVERIES_EVERY_S,
        ),
        *([Loop("learning", parts.learner.run_pass, _LEARN_EVERY_S)] if parts.settings.decisions.learn_online else []),
        *([Loop("texts", parts.text_watch.run_pass, _TEXTS_EVERY_S)] if parts.settings.text_vectors else []),
        Loop(
            "vectors",
            RefreshVectors(parts.online, parts.clock).run_pass,
            _VECTORS_EVERY_S,
            first_after_s=_VECTORS_AFTER_S,
        ),
    ]
    for loop in loops:
        loop.start()
    parts.loops.extend(loops)
    return loops


def stop_loops(loops: Sequence[Loop]) -> None:
    """Ends them, without the checks that run beside: these may take minutes, and `docker stop` waits 10 s."""
    for loop in loops:
        loop.begin_to_stop()
    end_children()
    stop_all(loops)


def bring_in_what_waits(parts: Parts) -> bool:
    """What was decided and answered without the database goes into it as soon as it answers: an erasure by another
    process finds it only there."""
    parts.steady.run_pass()
    if parts.steady.database_answers():
        with suppress(Unavailable):  # away again: the next pass notices
            parts.kept_here.bring_in(parts.database)
    return False


def _forgets_records(parts: Parts) -> list[Loop]:
    days = parts.settings.decisions.keep_records_days
    if not days:
        return []
    forget = ForgetRecords(parts.database, parts.clock, days)
    return [Loop("records", forget.run_pass, _RECORDS_EVERY_S, first_after_s=_WATCH_AFTER_S)]
