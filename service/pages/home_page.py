"""What `/` shows of a home that no demo made: what happened lately, and what waits for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any
from urllib.parse import quote

from features.vocabulary import NAMES
from models.registry import ServedModels
from service.content.find_outdated import find_outdated
from service.content.variant_store import count_states
from service.decisions.decision_store import count_since
from service.decisions.read_impact import read_impact
from service.events.inbox_store import backlog
from service.events.quality_store import money_not_counted, read_counts
from service.journeys.enrolment_store import count_stuck
from service.journeys.journey_store import list_journeys
from service.offers.offers_store import list_offers
from service.storage.database import Connection, Database

DAYS = 7
VERBS = {"delivered": "messages delivered", "opened": "opened", "clicked": "clicked", "ordered": "orders"}
_COUNTED = {"event": 1, "machine": -1}
ToDo = tuple[str, str, str]
"""The address of a page, its link's words, and what follows them."""


def home_view(database: Database, models: ServedModels, now: datetime) -> dict[str, Any]:
    """`lately`: (how many, of what) of the last days, today among them, as on `/data`; opens and clicks of machines are
    none. `impact`: what decisions bring, by placement; `todo`: what to do,
    each with the page that tells more.
    """
    since = datetime.combine(now.astimezone(UTC).date() - timedelta(days=DAYS - 1), time(), UTC)
    with database.read() as connection:
        first_day = f"{since:%Y-%m-%d}"
        verbs: Counter[str] = Counter()
        heard = False
        for key, count in read_counts(connection, first_day).items():
            heard |= key.kind == "event" and bool(key.day)
            if key.day and key.name in NAMES and key.kind in _COUNTED:
                verbs[NAMES[key.name].verb] += _COUNTED[key.kind] * count
        lately = [(count_since(connection, since), "decisions"), *((verbs[verb], VERBS[verb]) for verb in VERBS)]
        impact = [(one["placement"], one["sentence"]) for one in read_impact(connection) if one["stopped_at"] is None]
        todo = list(_to_do(connection, models, first_day, heard))
    return {"lately": lately, "days_back": DAYS, "impact": impact, "todo": todo}


def _to_do(connection: Connection, models: ServedModels, first_day: str, heard: bool) -> Iterator[ToDo]:
    if not heard:
        yield "/data", "Send events", f"none came in the last {DAYS} days, and decisions know customers by nothing else"
    if not list_offers(connection, "", 1):
        yield "/offers", "Put offers into the catalogue", "there is nothing to decide about"
    pending = count_states(connection).get("pending", 0)
    if pending:
        yield "/review", f"Review {pending:,} {'text' if pending == 1 else 'texts'}", "only what is approved goes out"
    if outdated := len(find_outdated(connection)):
        words = "Approve 1 text again" if outdated == 1 else f"Approve {outdated:,} texts again"
        yield "/review?state=outdated", words, "out of use, since the offer has changed"
    aside = backlog(connection)[1]
    if aside:
        yield "/data", f"Look at {aside:,} events that were set aside", "they count nowhere until they are tried again"
    for journey in list_journeys(connection):
        if stuck := count_stuck(connection, journey.journey_id):
            who = "1 customer who is" if stuck == 1 else f"{stuck:,} customers who are"
            path = f"/journeys#{quote(journey.journey_id)}"
            yield path, f"Look at {who} stuck in {journey.journey_id}", "they wait until a person lets them try again"
    for code in sorted(money_not_counted(connection, first_day)):
        yield "/data", f"Give {code} a rate", "its money is counted nowhere"
    status = models.status()
    for name in sorted({entry["name"] for entry in status if entry["problem"] and entry["name"] != "sync"}):
        yield "/models", f"Look at the model {name}", "a version of it was refused"
    if not any(entry["alias"] == "champion" for entry in status):
        yield "/models", "Train the models", "none serves, so offers are ranked by how they were answered so far"
