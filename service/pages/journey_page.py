"""Setting up journeys on the pages: what the form begins with, and what its buttons do."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import yaml

from service.errors import FieldError, Invalid, NotFound, Stale
from service.journeys.journey_store import find_journey, list_journeys
from service.journeys.manage_journeys import change_status, get_journey, put_journey, retry_stuck
from service.journeys.parse_definition import read_text
from service.journeys.read_templates import read_templates
from service.storage.database import Database

MOVES = ("activate", "pause", "retry")
DONE = {
    "saved": "Saved as a new version. Who is in it already goes on with the version before.",
    "activate": "Active: customers come in, and those who are in go on.",
    "pause": "Paused: nobody comes in, and whoever is in keeps the place.",
    "retry": "Those who were stuck try again.",
}
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def written_view(database: Database, template: str | None, journey_id: str | None) -> dict[str, Any]:
    """The form: a journey's newest version as YAML, or a template, or nothing. `NotFound` where there is none."""
    templates = read_templates()
    text, name, seen = "", "", 0
    if journey_id:
        with database.read() as connection:
            found = get_journey(connection, journey_id)
        seen = found["version"]
        told = {key: value for key, value in found["definition"].items() if key != "id"}
        text, name = yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=100), journey_id
    elif template:
        chosen = next((one for one in templates if one["id"] == template), None)
        if chosen is None:
            raise NotFound(f"there is no template {template[:100]!r}")
        with database.read() as connection:
            taken = {row.journey_id for row in list_journeys(connection)}
        names = (template, *(f"{template}-{number}" for number in range(2, len(taken) + 3)))
        text, name = chosen["yaml"], next(one for one in names if one not in taken)  # no template changes what runs
    return {"journey": name, "text": text, "templates": templates, "seen": seen}


def save(database: Database, journey_id: str, text: str, seen: int, now: datetime, who: str) -> None:
    """Stores a new version of a journey written in YAML or JSON; `Invalid` and `BadRequest` name what is wrong.

    `seen`: the version that was changed (0: none). `Stale` where somebody has saved another one since.
    """
    if not _ID.fullmatch(journey_id):
        told = "begins with a letter or a digit and goes on with these, '.', '_' and '-', up to 100 characters"
        raise Invalid(f"the id {told}", [FieldError("id", told)])
    document = read_text(text.encode(), "application/yaml")
    with database.write() as connection:
        row = find_journey(connection, journey_id, lock=True)
        if seen and row is not None and row.version != seen:
            raise Stale(f"nothing was saved: somebody has saved version {row.version} since you opened this one")
        put_journey(connection, journey_id, document, now, who)


def move(database: Database, journey_id: str, verb: str, now: datetime) -> None:
    """Activates or pauses a journey, or lets who is stuck in it try again."""
    with database.write() as connection:
        if verb == "retry":
            retry_stuck(connection, journey_id, now)
        else:
            change_status(connection, journey_id, verb, now)
