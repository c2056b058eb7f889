"""Lets the members of a segment into the journeys that the segment enters."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from service.clock import Clock
from service.errors import Unavailable
from service.journeys.definitions import Definitions
from service.journeys.enrol_customer import Entering, enrol
from service.journeys.enrolment_store import Enrolment, ever_enrolled
from service.journeys.journey_store import JourneyRow, add_counts, find_journey, list_journeys
from service.storage.database import Database

log = logging.getLogger(__name__)
_TOGETHER = 100
"""Let in by one transaction: decisions wait for who writes."""


def enrol_segments(
    database: Database,
    definitions: Definitions,
    members_of: Callable[[str], Iterable[str]],
    clock: Clock,
) -> Iterator[int]:
    """Looks at every active journey with a segment at its door; yields how many came in, a portion at a time.

    Nothing is held in between: whoever asks for the next portion may do other work first. A journey that cannot be
    read keeps no other waiting.
    """
    with database.read() as connection:
        rows = [row for row in list_journeys(connection, "active") if row.entry_segment is not None]
    for row in rows:
        try:
            yield from _enrol_members(database, definitions, row, members_of(row.entry_segment or ""), clock)
        except Unavailable:
            raise
        except Exception:
            log.exception("members of %s cannot come into journey %s", row.entry_segment, row.journey_id)


def _enrol_members(
    database: Database, definitions: Definitions, row: JourneyRow, members: Iterable[str], clock: Clock
) -> Iterator[int]:
    iterator = iter(members)
    while some := list(islice(iterator, _TOGETHER)):
        with database.read() as connection:
            journey = definitions.get(connection, row.journey_id, row.version)
            skip = ever_enrolled(connection, row.journey_id, some, running_only=journey.reentry.rule != "once")
        entered = 0
        if fresh := [customer for customer in some if customer not in skip]:
            with database.write() as connection:
                as_is = find_journey(connection, row.journey_id, lock=True)  # others may come in, or close the door
                if as_is is None or (as_is.status, as_is.version) != (row.status, row.version):
                    return  # the next look goes by what it is now
                source, now = {"segment": row.entry_segment}, clock.now()
                entering = Entering()
                results = [enrol(connection, as_is, journey, customer, now, source, entering) for customer in fresh]
                add_counts(connection, entering.counts, now)
            entered = sum(isinstance(result, Enrolment) for result in results)
        yield entered
