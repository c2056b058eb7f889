"""Learning from outcomes within seconds: due lessons move the online layer, and the next decision uses it.

Every state of the layer has a number, which stands in each decision's `models` ("next-offer": "7+123") and brings the
same state back when the decision is replayed. Machine opens and scanner clicks are no lessons: only orders and
redemptions that a person made are. When another model version serves, or other situations are declared, the layer
learns anew from the last lessons. Decisions that the model itself has learnt from teach it only what it does not know:
in which situations they were (`models.situations`), and nothing where none is declared.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from features.offers import OfferInfo
from features.rows import CustomerRow
from models.layered import LayeredModel, begun, first_priors, lesson_inputs, with_situations
from models.online_layer import Lessons, OnlineLayer, Weights
from models.situations import Told, inputs
from service.clock import Clock, SystemClock
from service.customers.customer_store import read_customers
from service.decisions.channel_habits import ChannelHabits
from service.decisions.decision_store import read_heads
from service.decisions.frozen_row import row_from_json
from service.decisions.lessons_store import (
    CONVERTED,
    UNTIED,
    UNTIED_WORTH,
    Reached,
    State,
    add_layer,
    converted_of,
    due_lessons,
    forget_layers,
    forget_lessons,
    give_back_lessons,
    hurry_lessons,
    newest_layer,
    newest_number,
    read_layer,
    take_lessons,
)
from service.decisions.maturity import STAGES
from service.decisions.offers_then import offers_then
from service.decisions.ports import Models
from service.decisions.score import NEXT_OFFER, situation
from service.decisions.whole import records_whole
from service.storage.database import Connection, Database
from service.storage.lease import take

LEASE, LEASE_S = "learning", 20.0
AT_ONCE = 100
GATHER = timedelta(seconds=20)
"""How long it may wait to be learnt that nothing came of a message."""
FORGOTTEN_AT_ONCE = GIVEN_BACK_AT_ONCE = 200
"""Decisions must not wait for longer than that takes."""
MEMORY = timedelta(days=60)
"""Lessons are kept so long, and replays find the layer of their decision so long."""
MOST_BYTES = 2**30
"""Of states that are kept. Of thousands of offers each has some hundred kB, and replays find the layer less long."""
HALF_LIFE = timedelta(days=60)
"""After so long half of the layer's evidence is left: it follows what changes."""


class LearnOutcomes:
    """Moves the layer on; of several processes only one does at a time."""

    def __init__(self, database: Database, clock: Clock, models: Models, situations: tuple[str, ...] = ()) -> None:
        """`situations`: names of the inputs by which requests are told apart (`models.situations.names_of`)."""
        self._database, self._clock, self._models, self.situations = database, clock, models, situations
        self._wall = SystemClock()
        self._holder = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._looked_at: tuple[int, bool] | None = None
        self._habits, self._hurried = ChannelHabits(), frozenset[str]()
        self._giving: tuple[str, Iterator[bool]] | None = None

    def run_pass(self) -> bool:
        """One portion of due lessons; for a loop. True when there may be more.

        Decisions wait for who writes, and what a hundred lessons teach takes a while: it is found out before.
        """
        model = self._models.get(NEXT_OFFER)
        if model is None or not hasattr(model, "weigh"):
            return False
        now = self._clock.now()
        self._hurry(now)
        with self._database.read() as connection:
            present = newest_number(connection)
            waiting = _worth_a_state(due_lessons(connection, now, AT_ONCE), now)
            changed = present is not None and (
                present[1] != str(model.version) or self._other_situations(connection, present[0])
            )
        if not waiting and not changed:
            return False
        fresh, learnt_until = begun(getattr(model, "layer", b""), self.situations), getattr(model, "learnt_until", None)
        with self._database.write() as connection:
            if not self._mine(connection):
                return False
        with self._database.read() as connection:
            state = newest_layer(connection)
        held = None if state is None or state.model_version != str(model.version) else _aged(state, now)
        if held is None or not held.alike(fresh):
            held = fresh
            if self._giving is None or self._giving[0] != str(model.version):
                self._giving = str(model.version), self._give_back(now, None if self.situations else learnt_until)
            giving, self._giving = self._giving, None  # from the beginning, if this portion fails
            if (mine := next(giving[1], None)) is not None:
                self._giving = giving if mine else None
                return mine
        with self._database.read() as connection:
            rows = due_lessons(connection, now, AT_ONCE)
            lessons = _lessons(connection, model, rows, self.situations, learnt_until)
        learnt = held if lessons is None else held.learn(lessons).tuned(first_priors(len(self.situations)))
        number = 1 if state is None else state.version + 1
        weights, posterior = learnt.weights.to_bytes(), learnt.to_bytes()
        with self._database.write() as connection:
            if not self._mine(connection) or _number(newest_number(connection)) != number - 1:
                return False
            add_layer(connection, State(number, str(model.version), now, learnt.seen, weights, posterior))
            take_lessons(connection, rows)
        self._looked_at = number, False
        return len(rows) == AT_ONCE

    def _mine(self, connection: Connection) -> bool:
        return take(connection, LEASE, self._holder, self._wall.now(), LEASE_S)

    def _give_back(self, now: datetime, learnt_until: datetime | None) -> Iterator[bool]:
        """Gives the last lessons back to a new model, some at a time: there may be millions, and decisions wait for who
        writes. Yields whether that is still ours to do; who begins anew, after a kill, ends in the same.
        """
        for taken in (False, True):
            reached: Reached | None = Reached(taken, now - MEMORY)
            while reached is not None:
                with self._database.write() as connection:
                    if mine := self._mine(connection):
                        reached = give_back_lessons(connection, reached, learnt_until, GIVEN_BACK_AT_ONCE)
                yield mine

    def _hurry(self, now: datetime) -> None:
        """Lessons of a channel of which it has turned out that orders come at once or never need not wait for days."""
        with self._database.read() as connection:
            prompt = self._habits.at(connection, now).prompt
        if new := prompt - self._hurried:
            with self._database.write() as connection:
                if not self._mine(connection):
                    return
                for channel in sorted(new):
                    hurry_lessons(connection, channel, now)
        self._hurried = prompt

    def _other_situations(self, connection: Connection, version: int) -> bool:
        """Whether a state of the layer tells other situations apart. Each state is looked at once."""
        if self._looked_at is None or self._looked_at[0] != version:
            state = read_layer(connection, version)
            told = () if state is None else Weights.from_bytes(state.weights).situations
            self._looked_at = version, told != self.situations
        return self._looked_at[1]


def _worth_a_state(due: Sequence[Any], now: datetime) -> bool:
    """Whether what is due waits no longer: states are kept for replays, so silences are gathered, and answers not."""
    if not due or len(due) == AT_ONCE:
        return bool(due)
    return due[0].due_at <= now - GATHER or any(row.stage <= CONVERTED for row in due)


def _number(newest: tuple[int, str] | None) -> int:
    return 0 if newest is None else newest[0]


def _kept(age: timedelta) -> float:
    """The share of its evidence that the layer keeps after so long."""
    return float(0.5 ** max(age / HALF_LIFE, 0.0))


def _aged(state: State, now: datetime) -> OnlineLayer | None:
    """What it holds, with as much of its evidence as is kept until now."""
    if state.posterior is None:
        return None
    return OnlineLayer.from_bytes(state.posterior).forget(_kept(now - state.made_at))


def _lessons(
    connection: Connection,
    model: Any,
    rows: Sequence[Any],
    situations: tuple[str, ...],
    learnt_until: datetime | None,
) -> Lessons | None:
    """What these rows teach, with the features that each decision was made with."""
    records, _ = records_whole(connection, list({row.decision_id for row in rows}))
    found = read_heads(connection, list(records))
    converted = converted_of(connection, list(found))
    infos = _offers(connection, records)
    people = read_customers(connection, {row.customer_id for row in found.values()})
    hidden = {name for name, row in found.items() if not people[row.customer_id].profiling}
    told: list[tuple[CustomerRow | None, OfferInfo, str, float, float]] = []
    asked: list[Told] = []
    known: list[bool] = []
    for row in rows:
        record = records.get(row.decision_id)
        offer = None if record is None else infos.get((row.decision_id, row.offer_id))
        if record is None or offer is None or row.channel not in record["channels"]:
            continue  # the customer was erased, or another sent another offer under this decision
        if row.decision_id in hidden:
            continue  # nothing is learnt of those who may not be profiled
        if row.stage in (CONVERTED, UNTIED):
            label, weight = 1.0, 1.0 if row.stage == CONVERTED else UNTIED_WORTH
        elif (row.decision_id, row.offer_id) in converted:
            continue
        else:
            label, weight = 0.0, STAGES[row.stage - CONVERTED - 1][1]
        head = found[row.decision_id]
        told.append((row_from_json(record["features"]), offer, row.channel, label, weight))
        asked.append(situation(head.placement, record["request"]["context"], record["contextless"]))
        known.append(learnt_until is not None and head.decided_at < learnt_until)
    if not told:
        return None
    weighed = [lesson_inputs(model.weigh([row], [offer], [channel])) for row, offer, channel, _, _ in told]
    shared, own, score = (np.concatenate(part) for part in zip(*weighed, strict=True))
    if situations:
        shared, own = with_situations(shared, own, inputs(situations, asked), np.array(known))
    labels, weights = (np.array([line[place] for line in told]) for place in (3, 4))
    return Lessons(shared, own, [offer.offer_id for _, offer, _, _, _ in told], score, labels, weights)


def _offers(connection: Connection, records: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str], OfferInfo]:
    """(decision, offer) -> the offer as it was then."""
    weighed = offers_then(connection, records)
    return {(decision, offer.offer_id): offer.info for decision, offers in weighed.items() for offer in offers}


class ForgetLessons:
    """`run_pass` is for a loop, whether anything learns or not: deliveries teach on, and a table would grow for good.

    Several processes may do it; who comes second finds nothing to do.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def run_pass(self) -> bool:
        """Some of what no model will learn any more; True when there may be more."""
        with self._database.write() as connection:
            before = self._clock.now() - MEMORY
            more = forget_lessons(connection, before, FORGOTTEN_AT_ONCE)
            return forget_layers(connection, before, MOST_BYTES, FORGOTTEN_AT_ONCE) or more


class LearningModels:
    """`Models` whose next-offer model has the newest layer on top; `at` gives the one that a record names."""

    def __init__(self, models: Models, database: Database) -> None:
        self._models, self._database = models, database
        self._layer: tuple[State, Weights] | None = None
        self._made: LayeredModel | None = None
        self._lock = threading.Lock()

    def refresh(self) -> bool:
        """Takes up the newest layer; for a loop. True when there was one."""
        with self._database.read() as connection:
            newest = newest_number(connection)
            if newest is None or (self._layer is not None and self._layer[0].version == newest[0]):
                return False
            state = read_layer(connection, newest[0])
        if state is None:
            return False
        self._layer = (state, Weights.from_bytes(state.weights))
        return True

    def get(self, name: str) -> Any | None:
        """The model that serves, with what was learnt since on top of it."""
        model = self._models.get(name)
        layer = self._layer
        if name != NEXT_OFFER or model is None or layer is None or layer[0].model_version != str(model.version):
            return model
        state, weights = layer
        with self._lock:
            made = self._made
            if made is None or made.number != state.version or made.model is not model:
                made = self._made = LayeredModel(model, weights, state.version, state.seen)
            return made

    def stands_in(self, name: str) -> bool:
        """See `Models`."""
        return self._models.stands_in(name)

    def at(self, name: str, version: str | None) -> Any | None:
        """The model as a record names it, if that can still be made: the present one, under the layer of then."""
        present = self._models.get(name)
        if name != NEXT_OFFER or present is None or version is None or "+" not in version:
            return present
        base, _, number = version.rpartition("+")
        if str(present.version) != base or not number.isdigit():
            return present
        with self._database.read() as connection:
            state = read_layer(connection, int(number))
        if state is None or state.model_version != base:
            return present
        return LayeredModel(present, Weights.from_bytes(state.weights), state.version, state.seen)
