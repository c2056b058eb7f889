"""The journey runner: claims due enrolments, moves them by the interpreter, carries out what it commands.

Any number of runners may work on one database. A claim ends with its lease (real time), so what a killed runner held
is taken up by another; what it had begun to send is told by its intents.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from service.clock import Clock, SystemClock, monotonic
from service.journeys.arrival_store import MOST_EVENTS, read_inbox, trim_inbox
from service.journeys.carry_out import Run, carry_out, counts_of, forget_counts
from service.journeys.channels.message import Channel
from service.journeys.collaborators import Collaborators
from service.journeys.commands import (
    Answer,
    CallWebhook,
    Delivered,
    End,
    Halt,
    Moment,
    OpenTask,
    Park,
    SendMessage,
)
from service.journeys.definition import Journey
from service.journeys.definitions import Definitions
from service.journeys.deliver import Broke, Delivering, GaveUp
from service.journeys.enrol_segments import enrol_segments
from service.journeys.enrolment_store import (
    Enrolment,
    Outcome,
    any_due,
    claim_due,
    count_due,
    extend_claims,
    save,
    still_held,
)
from service.journeys.journey_store import add_counts
from service.journeys.retry import RetryPolicy
from service.journeys.transitions import wake
from service.loops import words_of, worth_a_trace
from service.storage.database import Connection, Database

log = logging.getLogger(__name__)

Heartbeat = Callable[[str, datetime, Mapping[str, object]], object]
NAME = "journeys"
_TOGETHER = 100
_PORTIONS = 10
"""Of a segment's members that are let in at a time."""
_LITTLE = timedelta(seconds=1)
_ALIVE_S = 5.0
_Deliveries = (SendMessage, OpenTask, CallWebhook)


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """`batch`: enrolments claimed at once. `lease_s`: real seconds till a silent runner's claims are free.

    `resend_uncertain`: send again what was perhaps sent by SMTP (a message twice rather than not at all).
    """

    batch: int = 500
    lease_s: float = 60.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    resend_uncertain: bool = False
    segments_every: timedelta = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class PassReport:
    """What a pass did. `due_left` are due rows that it could not have: others hold them, or it was told to stop."""

    due_left: int = 0
    moved: int = 0
    sent: int = 0
    failed: int = 0
    blocked: int = 0
    uncertain: int = 0
    ended: int = 0
    stuck: int = 0
    retried: int = 0


@dataclass(slots=True)
class _Tally:
    counts: Counter[str] = field(default_factory=Counter)

    def report(self, due_left: int) -> PassReport:
        return PassReport(due_left=due_left, **self.counts)


class Runner:
    """One runner. Its methods are for one thread."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        ask: Collaborators,
        channels: Mapping[str, Channel],
        heartbeat: Heartbeat | None = None,
        options: RunnerOptions | None = None,
        definitions: Definitions | None = None,
        stopping: threading.Event | None = None,
        alive: Callable[[], object] | None = None,
    ) -> None:
        """`stopping` is set by `stop`: channels may watch it. `heartbeat` is told of passes, `alive` in long ones."""
        self._database = database
        self._clock = clock
        self._ask = ask
        self._heartbeat = heartbeat
        self._alive, self._told_alive = alive, 0.0
        self._options = options or RunnerOptions()
        self._definitions = definitions or Definitions()
        self._wall = SystemClock()
        self._held: dict[str, int] = {}
        self._renewed = 0.0
        self._segments_at: datetime | None = None
        self._entering: Iterator[int] | None = None
        self._beaten: tuple[datetime | None, float] = (None, 0.0)
        self._stop = stopping or threading.Event()
        self._delivering = Delivering(
            database,
            clock,
            ask,
            channels,
            self._options.retry,
            self._options.resend_uncertain,
            self._go_on,
            self._stop.is_set,
        )

    def run_due(self) -> PassReport:
        """Moves everything that is due, until nothing is left that can be had.

        What falls due meanwhile, too: a wave of a hundred thousand mails may take hours.
        """
        tally = _Tally()
        while True:
            now = self._clock.now()
            self._enter_by_segment(now)
            claimed = [] if self._stop.is_set() else self._claim(now)
            if not claimed and (self._entering is None or self._stop.is_set()):
                break
            if claimed:
                self._move(claimed, tally)
            self._tell_alive()
        with self._database.read() as connection:
            left = count_due(connection, self._clock.now())
        return tally.report(left)

    def run_pass(self) -> bool:
        """One pass of the background loop; cheap when nothing is due. True when there may be more at once."""
        now = self._clock.now()
        report = None
        if self._entering is not None or self._segments_due(now) or self._anything_due(now):
            report = self.run_due()
        self._beat(now, report)
        return report is not None and report.moved > 0

    def run_forever(self) -> None:
        """`opportune worker`: passes till `stop`; a failed pass is logged and tried again after a growing pause."""
        failures = 0
        while not self._stop.is_set():
            more = False
            try:
                more = self.run_pass()
                failures = 0
            except Exception as failure:
                failures += 1
                told = "a pass of the journey runner failed (%d in a row; %s)"
                log.error(told, failures, words_of(failure), exc_info=worth_a_trace(failures))
            pause = min(0.5 * 2.0 ** min(failures - 1, 16), 5.0) if failures else 0.0 if more else 0.05
            self._stop.wait(pause)

    def stop(self) -> None:
        """Ends after the batch in progress, without the messages not begun; may be called from a signal handler."""
        self._stop.set()

    def _anything_due(self, now: datetime) -> bool:
        with self._database.read() as connection:
            return any_due(connection, now, self._wall.now())

    def _segments_due(self, now: datetime) -> bool:
        """A clock that was ahead, and is put right, puts nobody off until then."""
        return self._segments_at is None or not timedelta() <= now - self._segments_at < self._options.segments_every

    def _enter_by_segment(self, now: datetime) -> None:
        """Lets in some of those who are in segments. The others have their turn after what is due: a million members
        take a quarter of an hour."""
        if self._entering is None:
            if not self._segments_due(now):
                return
            self._segments_at = now
            self._entering = enrol_segments(self._database, self._definitions, self._ask.members_of, self._clock)
        try:
            for _ in range(_PORTIONS):
                if self._stop.is_set():
                    return
                if next(self._entering, None) is None:
                    self._entering = None
                    return
                self._tell_alive()
        except Exception:
            self._entering = self._segments_at = None
            raise

    def _beat(self, now: datetime, report: PassReport | None) -> None:
        """Tells how far it is, when work was done, the clock has moved, or a little while has passed."""
        then, beaten = self._beaten
        quiet = then is not None and abs(now - then) < _LITTLE and monotonic() - beaten < _LITTLE.total_seconds()
        if self._heartbeat is None or (report is None and quiet):
            return
        with self._database.read() as connection:
            due = report.due_left if report else count_due(connection, now)
        self._heartbeat(NAME, now, {"due": due, "moved": report.moved if report else 0})
        self._beaten = (now, monotonic())

    def _claim(self, now: datetime) -> list[Enrolment]:
        wall = self._wall.now()
        until = wall + timedelta(seconds=self._options.lease_s)
        with self._database.write() as connection:
            claimed = claim_due(connection, now, wall, until, self._options.batch)
        self._held = {enrolment.id: enrolment.seq for enrolment in claimed}
        self._renewed = monotonic()
        return claimed

    def _go_on(self) -> None:
        """In the middle of a batch: what we hold stays ours, and whoever asks sees us at work."""
        self._renew()
        self._tell_alive()

    def _tell_alive(self) -> None:
        """A wave of many, or a slow mail server, takes longer than a pass that nobody need wonder about."""
        if self._alive is not None and monotonic() - self._told_alive >= _ALIVE_S:
            self._alive()
            self._told_alive = monotonic()

    def _renew(self) -> None:
        """Keeps the claims of the batch, well before they end."""
        if monotonic() - self._renewed < self._options.lease_s / 4:
            return
        until = self._wall.now() + timedelta(seconds=self._options.lease_s)
        with self._database.write() as connection:
            extend_claims(connection, self._held, until)
        self._renewed = monotonic()

    def _move(self, claimed: Sequence[Enrolment], tally: _Tally) -> None:
        runs = self._wake(claimed, self._clock.now())
        tally.counts["moved"] += len(claimed)
        while going := [run for run in runs if not run.rests]:
            sending = [run for run in going if isinstance(run.command, _Deliveries)]
            self._answer([run for run in going if not isinstance(run.command, _Deliveries)])
            if sending:
                self._send(sending, tally)
        self._save(runs, self._clock.now(), tally)

    def _wake(self, claimed: Sequence[Enrolment], now: datetime) -> list[Run]:
        """Starts each run. Enrolments whose definition cannot be read get stuck, and stop nobody else."""
        with self._database.read() as connection:
            inboxes = read_inbox(connection, [enrolment.id for enrolment in claimed])
            journeys = self._journeys_of(connection, claimed)
        runs, unreadable = [], []
        for enrolment in claimed:
            journey = journeys[enrolment.journey_id, enrolment.version]
            if isinstance(journey, str):
                outcome = Outcome(enrolment.id, enrolment.seq, "stuck", enrolment.state, None, problem=journey)
                unreadable.append(outcome)
                continue
            moment = Moment(now, inboxes.get(enrolment.id, ()))
            run = Run(enrolment, journey, moment, enrolment.state, Park(now))
            try:
                run.state, run.command = wake(journey, enrolment.state, moment)
            except Exception as fault:
                self._fail(run, fault)
            runs.append(run)
        if unreadable:
            with self._database.write() as connection:
                save(connection, unreadable, now, release=True)
        return runs

    def _journeys_of(
        self, connection: Connection, claimed: Sequence[Enrolment]
    ) -> dict[tuple[str, int], Journey | str]:
        """The definitions, or why one cannot be had."""
        found: dict[tuple[str, int], Journey | str] = {}
        for key in {(one.journey_id, one.version) for one in claimed}:
            try:
                found[key] = self._definitions.get(connection, *key)
            except (LookupError, ValueError) as fault:
                log.exception("version %d of journey %s cannot be read", key[1], key[0])
                found[key] = f"the definition cannot be read: {fault}"[:500]
        return found

    def _answer(self, runs: Sequence[Run]) -> None:
        """Only of those that are still ours: mails sent before may have taken minutes, and who was erased meanwhile
        must not come back by a decision, or a segment.
        """
        for start in range(0, len(runs), _TOGETHER):
            asked = runs[start : start + _TOGETHER]
            with self._database.read() as connection:
                held = still_held(connection, {run.enrolment.id: run.enrolment.seq for run in asked})
            for run in asked:
                run.lost = run.enrolment.id not in held
            some = [run for run in asked if not run.lost]
            for run, answer in zip(some, carry_out(some, self._ask), strict=True):
                self._take(run, answer)
            self._go_on()

    def _take(self, run: Run, answer: Answer | Exception) -> None:
        try:
            if isinstance(answer, Exception):
                raise answer
            run.take(answer)
        except Exception as fault:
            self._fail(run, fault)

    def _send(self, runs: Sequence[Run], tally: _Tally) -> None:
        try:
            answers = self._delivering.deliver(runs)
        except Exception as fault:
            for run in runs:
                self._fail(run, fault)
            return
        for run in runs:
            answer = answers.get(run.enrolment.id)
            if answer is None:
                run.lost = True
            elif isinstance(answer, Broke):
                run.problem = answer.problem
            elif isinstance(answer, GaveUp):
                run.command = Halt(answer.problem)
            else:
                if isinstance(answer, Delivered):
                    tally.counts[answer.outcome] += 1
                self._take(run, answer)

    def _fail(self, run: Run, fault: Exception) -> None:
        where = f"enrolment {run.enrolment.id} of journey {run.journey.id}, step {run.state.step}"
        log.error("%s failed; it will be tried again", where, exc_info=fault)
        run.problem = f"{type(fault).__name__}: {fault}"[:500]

    def _save(self, runs: Sequence[Run], now: datetime, tally: _Tally) -> None:
        kept = [run for run in runs if not run.lost]
        for start in range(0, len(kept), _TOGETHER):  # decisions wait for who writes
            self._save_some(kept[start : start + _TOGETHER], now, tally)
        self._held = {}

    def _save_some(self, runs: Sequence[Run], now: datetime, tally: _Tally) -> None:
        outcomes = [self._outcome(run, now) for run in runs]
        with self._database.write() as connection:
            held = save(connection, outcomes, now, release=True)
            mine = [run for run in runs if run.enrolment.id in held]
            add_counts(connection, counts_of(mine), now)
            for run in mine:
                if len(run.moment.events) > MOST_EVENTS:
                    trim_inbox(connection, run.enrolment.id)
        forget_counts(mine)
        unneeded = _needed_no_more(mine)
        if unneeded:  # by itself: events lock the ledger before enrolments
            with self._database.write() as connection:
                self._ask.give_back(connection, unneeded)
        for outcome in outcomes:
            if outcome.id in held:
                tally.counts["ended"] += outcome.status == "ended"
                tally.counts["stuck"] += outcome.status == "stuck"
                tally.counts["retried"] += outcome.failures > 0 and outcome.status == "active"

    def _outcome(self, run: Run, now: datetime) -> Outcome:
        enrolment, command = run.enrolment, run.command
        seen = max((event.seq for event in run.moment.events), default=0)
        if run.problem is not None:
            return self._after_failure(run, now, seen)
        if isinstance(command, Halt):
            return Outcome(
                enrolment.id, enrolment.seq, "stuck", run.state, None, seen, enrolment.failures, command.problem
            )
        if isinstance(command, End):
            keep = run.journey.reentry.rule == "once"
            return Outcome(enrolment.id, enrolment.seq, "ended", run.state, None, seen, keep_guard=keep)
        assert isinstance(command, Park)
        return Outcome(enrolment.id, enrolment.seq, "active", run.state, command.until, seen)

    def _after_failure(self, run: Run, now: datetime, seen: int) -> Outcome:
        enrolment = run.enrolment
        failures = enrolment.failures + 1
        delay = self._options.retry.delay(failures, enrolment.id)
        status, due_at = ("stuck", None) if delay is None else ("active", now + delay)
        return Outcome(enrolment.id, enrolment.seq, status, run.state, due_at, seen, failures, run.problem)


def _needed_no_more(runs: Sequence[Run]) -> list[str]:
    """The decisions of runs that are over."""
    over = [run for run in runs if isinstance(run.command, End) and run.problem is None]
    made = (decision.get("decision_id") for run in over for decision in run.state.decisions.values())
    return [decision_id for decision_id in made if decision_id is not None]
