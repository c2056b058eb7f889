"""Sends: the intent first, then the channel, then the mark. See `intent_store.py` for what an old intent means.

A mail server may take its time over a wave, so each message is asked about, and noted, by the time it is by then.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from service.clock import Clock
from service.decisions.admit_messages import Outgoing
from service.decisions.case import WORDED
from service.decisions.verdicts import Failure
from service.journeys.carry_out import Run, counts_of, forget_counts
from service.journeys.channels.message import Channel, Message, SendResult
from service.journeys.collaborators import Clearance, Collaborators, Copy
from service.journeys.commands import Answer, CallWebhook, Delivered, OpenTask, Postponed, SendMessage
from service.journeys.enrolment_store import save
from service.journeys.intent_store import (
    Intent,
    Mark,
    begin_attempt,
    mark_intents,
    open_task,
    read_intents,
    sendable,
    write_intents,
)
from service.journeys.journey_store import add_counts
from service.journeys.parcel import (
    Parcel,
    by_channel,
    checkpoint,
    delivered_event,
    outgoing,
    parcel_of,
    placement_of,
    task_of,
)
from service.journeys.retry import RetryPolicy
from service.storage.database import Database

log = logging.getLogger(__name__)

_TOGETHER = 200
_WATCH_S = 1.0
"""A mail server may take minutes over a mail, and what is being sent must stay ours."""
_ADDRESSED = frozenset({"email", "sms"})
_UNANSWERED = frozenset({"unreachable", "uncertain"})


@dataclass(frozen=True, slots=True)
class GaveUp:
    """Tried often enough; a person must look."""

    problem: str


@dataclass(frozen=True, slots=True)
class Broke:
    """Something of ours failed before or while sending; tried again later, from what the intent says."""

    problem: str


Result = Answer | GaveUp | Broke
Results = dict[str, Result]
"""By enrolment id; a run that is missing is no longer ours."""


class Delivering:
    """Carries out `SendMessage`, `OpenTask` and `CallWebhook` for many runs at once."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        ask: Collaborators,
        channels: Mapping[str, Channel],
        retry: RetryPolicy,
        resend_uncertain: bool,
        still_working: Callable[[], None],
        stopping: Callable[[], bool],
    ) -> None:
        self._database = database
        self._clock = clock
        self._ask = ask
        self._channels = channels
        self._retry = retry
        self._resend_uncertain = resend_uncertain
        self._still_working = still_working
        self._stopping = stopping

    def deliver(self, runs: Sequence[Run]) -> Results:
        """Sends, and answers each run."""
        now = self._clock.now()
        parcels = [parcel_of(run, now) for run in runs]
        with self._database.read() as connection:
            known = read_intents(connection, [parcel.intent.key for parcel in parcels])
        answers: Results = {}
        fresh = []
        for parcel in parcels:
            parcel.intent = known.get(parcel.intent.key, parcel.intent)
            answer = self._already(parcel, now)
            if answer is None:
                fresh.append(parcel)
            else:
                answers[parcel.id] = answer
        loud, quiet = self._loud(fresh, now)
        answers |= quiet
        for name, group in by_channel(self._write(loud, now)):
            answers |= self._by(name, group)
        return answers

    def _already(self, parcel: Parcel, now: datetime) -> Result | None:
        """What is known of an intent found: finished, or begun by a process that died."""
        intent = parcel.intent
        match intent.state:
            case "sent" | "failed" | "blocked" | "uncertain":
                return Delivered(intent.state, intent.detail or "")
        if intent.attempted_at is None or self._resend_uncertain:
            return None
        detail = "the sender stopped between handing the message over and noting it"
        self._mark([Mark(intent.key, "uncertain", detail, intent.attempts, now)], [], now, _outgoing([parcel]))
        return Delivered("uncertain", detail)

    def _loud(self, parcels: Sequence[Parcel], now: datetime) -> tuple[list[Parcel], Results]:
        """Those that are not in quiet hours; the others come again after them, and no intent is written yet."""
        loud, answers = [], Results()
        for name, group in by_channel(parcels):
            found = self._clearances(name, group, now)
            for parcel in group:
                clearance = found[parcel.id]
                if isinstance(clearance, Broke):
                    answers[parcel.id] = clearance
                elif (until := _quiet_until(parcel, clearance, now)) is None:
                    loud.append(parcel)
                else:
                    answers[parcel.id] = _after_the_quiet(until)
        return loud, answers

    def _clearances(self, name: str, parcels: Sequence[Parcel], now: datetime) -> dict[str, Clearance | Broke]:
        """What stands against each message now; webhook steps are no messages and need none."""
        if not parcels or isinstance(parcels[0].command, CallWebhook):
            return {parcel.id: Clearance() for parcel in parcels}
        try:
            placement = placement_of(parcels[0])
            found = self._ask.clear([parcel.intent.customer_id for parcel in parcels], name, placement, now)
            gone = Clearance("nothing is known of this customer")
            return {parcel.id: found.get(parcel.intent.customer_id, gone) for parcel in parcels}
        except Exception as fault:
            if len(parcels) == 1:
                return {parcels[0].id: _broke(parcels[0], fault)}
        return {key: value for parcel in parcels for key, value in self._clearances(name, [parcel], now).items()}

    def _write(self, parcels: Sequence[Parcel], now: datetime) -> list[Parcel]:
        """Writes the intents and where their runs stand, for the runs that are still ours."""
        if not parcels:
            return []
        with self._database.write() as connection:
            held = save(connection, [checkpoint(parcel.run) for parcel in parcels], now, release=False)
            mine = [parcel for parcel in parcels if parcel.id in held]
            stored = write_intents(connection, [parcel.intent for parcel in mine])
            add_counts(connection, counts_of(parcel.run for parcel in mine), now)
        forget_counts(parcel.run for parcel in mine)
        for parcel in mine:
            parcel.intent = stored[parcel.intent.key]
        return mine

    def _by(self, name: str, parcels: Sequence[Parcel]) -> Results:
        channel = self._channels.get(name)
        if isinstance(parcels[0].command, OpenTask) or (channel is None and name == "call"):
            return self._as_tasks(parcels)
        if channel is None:
            detail = f"no channel {name!r} is set up"
            return self._note([(parcel, SendResult("failed", detail)) for parcel in parcels])
        if channel.repeatable and channel.parallel == 1:
            return self._together(channel, parcels)
        return self._singly(channel, parcels)

    def _as_tasks(self, parcels: Sequence[Parcel]) -> Results:
        now = self._clock.now()
        allowed, answers = self._allowed(parcels, now)
        with self._database.write() as connection:
            for parcel in allowed:
                open_task(connection, task_of(parcel, now))
            self._ask.settle(connection, _outgoing(allowed), [])
            mark_intents(connection, [_mark(parcel, "sent", "a task was opened", now) for parcel in allowed])
        return answers | {parcel.id: Delivered("sent") for parcel in allowed}

    def _together(self, channel: Channel, parcels: Sequence[Parcel]) -> Results:
        """Many at a time: the channel itself drops what it has had before."""
        answers: Results = {}
        for start in range(0, len(parcels), _TOGETHER):
            allowed, refused = self._allowed(parcels[start : start + _TOGETHER], self._clock.now())
            answers |= refused
            results = channel.send_many([_ready(parcel) for parcel in allowed]) if allowed else []
            answers |= self._note(list(zip(allowed, results, strict=True)))
            self._still_working()
        return answers

    def _singly(self, channel: Channel, parcels: Sequence[Parcel]) -> Results:
        """Each by itself, some at a time. Once the other side is found dead, or we are told to stop, the rest wait.

        Who stops us kills us some seconds later, and a mail that is cut off then is one of which nobody knows.
        """
        answers: Results = {}
        with ThreadPoolExecutor(max_workers=min(channel.parallel, len(parcels))) as pool:
            for start in range(0, len(parcels), channel.parallel):
                if self._stopping():
                    return answers | self._put_off(parcels[start:])
                group = parcels[start : start + channel.parallel]
                sends = [pool.submit(self._one, channel, parcel) for parcel in group]
                while wait(sends, _WATCH_S).not_done:
                    self._still_working()
                done = [send.result() for send in sends]
                for found, _ in done:
                    answers |= found
                self._still_working()
                dead = [why for _, why in done if why is not None]
                if len(dead) == len(done):
                    refused = SendResult("retry", f"not tried: {dead[0]}")
                    rest = parcels[start + len(group) :]
                    return answers | self._note([(parcel, refused) for parcel in rest])
        return answers

    def _put_off(self, parcels: Sequence[Parcel]) -> Results:
        """For the next runner, at once; it costs them no try."""
        now = self._clock.now()
        why = "not tried: the runner was told to stop"
        self._mark([Mark(one.intent.key, "intended", why, one.intent.attempts, now) for one in parcels], [], now)
        return {parcel.id: Postponed(now, why) for parcel in parcels}

    def _one(self, channel: Channel, parcel: Parcel) -> tuple[Results, str | None]:
        """One message; also what the other side did instead of answering, if it did not answer."""
        try:
            now = self._clock.now()
            allowed, answers = self._allowed([parcel], now)
            if not allowed:
                return answers, None
            if not channel.repeatable and not self._begin(parcel, now):
                return {}, None  # another process has just begun it, and will note how it ended
            result = channel.send(_ready(parcel))
            return self._note([(parcel, result)]), result.detail if result.state in _UNANSWERED else None
        except Exception as fault:
            return {parcel.id: _broke(parcel, fault)}, None

    def _begin(self, parcel: Parcel, now: datetime) -> bool:
        with self._database.write() as connection:
            return begin_attempt(connection, parcel.intent.key, now) or self._resend_uncertain

    def _allowed(self, parcels: Sequence[Parcel], now: datetime) -> tuple[list[Parcel], Results]:
        """Asked at the last moment: consent withdrawn, copy taken back, a customer erased, a cap full or quiet hours
        begun since the claim.

        What may go has its place in the ledger, and its message made.
        """
        with self._database.read() as connection:
            there = sendable(connection, [parcel.intent.key for parcel in parcels])
        parcels = [parcel for parcel in parcels if parcel.intent.key in there]
        clearances = self._clearances(parcels[0].intent.channel, parcels, now) if parcels else {}
        copies = [copy for parcel in parcels if (copy := _copy(parcel.intent)) is not None]
        stale = self._ask.copy_against(list(dict.fromkeys(copies)))
        clear, answers, refused, marks = [], Results(), [], []
        for parcel in parcels:
            clearance = clearances[parcel.id]
            if isinstance(clearance, Broke):
                answers[parcel.id] = clearance
                continue
            against, until = _against(parcel, clearance, stale), _quiet_until(parcel, clearance, now)
            if against is None and until is not None:
                answers[parcel.id] = _after_the_quiet(until)
                marks.append(Mark(parcel.intent.key, "intended", "quiet hours", parcel.intent.attempts, now))
            elif against is None:
                parcel.message = self._message(parcel, clearance.to)
                clear.append(parcel)
            else:
                refused.append(parcel)
                marks.append(_mark(parcel, against.outcome, against.detail, now))
                answers[parcel.id] = against
        allowed, held, stopped = self._admitted(clear, now)
        self._mark([*marks, *held], [], now, unused=_outgoing(refused))
        return allowed, answers | stopped

    def _admitted(self, parcels: Sequence[Parcel], now: datetime) -> tuple[list[Parcel], list[Mark], Results]:
        """Those that the rules of decisions let go, their places reserved."""
        failures = self._failures(parcels, now)
        allowed, marks, answers = [], [], Results()
        for parcel in parcels:
            failure = failures.get(parcel.intent.key)
            if failure is None:
                allowed.append(parcel)
                continue
            answer = failure if isinstance(failure, Broke) else _stopped(parcel, failure, now)
            answers[parcel.id] = answer
            if isinstance(answer, Postponed):
                marks.append(Mark(parcel.intent.key, "intended", answer.why[:500], parcel.intent.attempts, now))
            elif isinstance(answer, Delivered):
                marks.append(_mark(parcel, answer.outcome, answer.detail, now))
        return allowed, marks, answers

    def _failures(self, parcels: Sequence[Parcel], now: datetime) -> dict[str, Failure | Broke]:
        """What stands against some messages, by their keys. When asking fails, each is asked about by itself."""
        messages = _outgoing(parcels)
        if not messages:
            return {}
        try:
            return dict(self._ask.admit(messages, now))
        except Exception as fault:
            if len(parcels) == 1:
                return {parcels[0].intent.key: _broke(parcels[0], fault)}
        return {key: value for parcel in parcels for key, value in self._failures([parcel], now).items()}

    def _message(self, parcel: Parcel, to: str | None) -> Message | None:
        intent, command = parcel.intent, parcel.command
        plain = Message(
            key=intent.key,
            channel=intent.channel,
            customer_id=intent.customer_id,
            created_at=intent.created_at,
            decision_id=intent.decision_id,
            offer_id=intent.offer_id,
            journey_id=intent.journey_id,
            step=intent.step,
        )
        if isinstance(command, CallWebhook):
            return replace(plain, to=command.url, payload=dict(command.payload))
        if isinstance(command, OpenTask):
            return None
        to = None if intent.channel == "webhook" else to
        url = self._ask.unsubscribe_url(intent.customer_id, intent.channel)
        return replace(plain, to=to, content=command.action.get("content") or {}, unsubscribe_url=url)

    def _note(self, results: Sequence[tuple[Parcel, SendResult]]) -> Results:
        """Marks how sends ended; with what was sent goes its delivery, as an event like any other."""
        now = self._clock.now()
        marks, events, answers = [], [], Results()
        away = Counter(
            (parcel.intent.channel, result.detail) for parcel, result in results if result.state == "unreachable"
        )
        for (channel, why), count in away.items():
            log.warning("%s: %d not handed over, and tried again later: %s", channel, count, why)
        for parcel, result in results:
            mark, answer = self._judge(parcel, result, now)
            marks.append(mark)
            answers[parcel.id] = answer
            if result.state == "sent" and parcel.intent.kind == "message":
                events.append((parcel.intent.key, delivered_event(parcel, now)))
        gone = [parcel for parcel, result in results if result.state in {"sent", "uncertain"}]
        failed = [parcel for parcel, result in results if result.state == "failed"]
        self._mark(marks, events, now, _outgoing(gone), _outgoing(failed))
        return answers

    def _judge(self, parcel: Parcel, result: SendResult, now: datetime) -> tuple[Mark, Result]:
        if result.state != "retry" and result.state != "unreachable":
            return _mark(parcel, result.state, result.detail, now), Delivered(result.state, result.detail)
        attempts = parcel.intent.attempts + 1
        mark = Mark(parcel.intent.key, "intended", result.detail, attempts, now)
        delay = self._retry.delay(attempts, parcel.intent.key, result.wait)
        if delay is None:
            return mark, GaveUp(f"{parcel.intent.channel} failed {attempts} times, last: {result.detail}")
        return mark, Postponed(now + delay, result.detail)

    def _mark(
        self,
        marks: Sequence[Mark],
        events: Sequence[tuple[str, Mapping[str, Any]]],
        now: datetime,
        used: Sequence[Outgoing] = (),
        unused: Sequence[Outgoing] = (),
    ) -> None:
        """The deliveries' events, the ledger and the marks in one transaction; rows in the order that events take.

        Of who was erased while a message was on its way nothing is told: their event would bring them back.
        """
        if not marks:
            return
        with self._database.write() as connection:
            there = read_intents(connection, [key for key, _ in events])
            if told := [event for key, event in events if key in there]:
                self._ask.record_events(connection, told, now)
            if used or unused:
                self._ask.settle(connection, used, unused)
            mark_intents(connection, marks)


def _copy(intent: Intent) -> Copy | None:
    variant, offer = intent.variant_id, intent.offer_id
    return (variant, offer, intent.decision_id) if variant and offer else None


def _against(parcel: Parcel, clearance: Clearance, stale: Mapping[Copy, str]) -> Delivered | None:
    """Why a message must not go out."""
    command, intent = parcel.command, parcel.intent
    if isinstance(command, CallWebhook):
        return None
    if clearance.against is not None:
        return Delivered("blocked", clearance.against, clearance.rule)
    if isinstance(command, OpenTask):
        return None
    if intent.channel in WORDED and not command.action.get("content"):
        if any(intent.decision_id == message.decision_id for message in parcel.run.state.sent.values()):
            return Delivered("blocked", "the message of this decision was sent already; decide again before this step")
        return Delivered("blocked", f"no approved copy for offer {intent.offer_id} by {intent.channel}")
    copy = _copy(intent)
    if copy is not None and copy in stale:
        return Delivered("blocked", stale[copy])
    if intent.channel in _ADDRESSED and not clearance.to:
        return Delivered("failed", f"the customer has no address for {intent.channel}")
    return None


def _quiet_until(parcel: Parcel, clearance: Clearance, now: datetime) -> datetime | None:
    """Until when a message waits, if it must; webhook steps are no messages."""
    if clearance.quiet_until is None or isinstance(parcel.command, CallWebhook):
        return None
    return max(clearance.quiet_until, now + timedelta(seconds=1))


def _after_the_quiet(until: datetime) -> Postponed:
    return Postponed(until, "quiet hours", "quiet_hours")


def _stopped(parcel: Parcel, failure: Failure, now: datetime) -> Delivered | Postponed:
    """A rule's no: later, where the step may wait until then; else the message is not sent."""
    command, until = parcel.command, failure.until
    said = f"{failure.detail}, until {until:%Y-%m-%d %H:%M} UTC" if until is not None else failure.detail
    limit = command.wait_until if isinstance(command, SendMessage) else None
    if until is not None and limit is not None and until <= limit:
        return Postponed(max(until, now + timedelta(seconds=1)), f"{failure.rule}: {said}", failure.rule)
    return Delivered("blocked", f"{failure.rule}: {said}", failure.rule)


def _outgoing(parcels: Sequence[Parcel]) -> list[Outgoing]:
    return [message for parcel in parcels if (message := outgoing(parcel)) is not None]


def _broke(parcel: Parcel, fault: Exception) -> Broke:
    log.error("sending %s failed on our side", parcel.intent.key, exc_info=fault)
    return Broke(f"{type(fault).__name__}: {fault}"[:500])


def _ready(parcel: Parcel) -> Message:
    assert parcel.message is not None
    return parcel.message


def _mark(parcel: Parcel, state: str, detail: str, now: datetime) -> Mark:
    return Mark(parcel.intent.key, state, detail[:500], parcel.intent.attempts + (state != "blocked"), now)
