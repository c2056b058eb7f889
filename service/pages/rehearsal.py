"""What a customer would get now, or a day later: decided as always, and neither kept nor counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from service.decisions.explain import DEGRADED
from service.decisions.schemas import DecisionIn
from service.pages.customer_page import offer_names
from service.pages.form_faults import in_words_of
from service.storage.database import Database
from service.web.problems import invalid_from

Decide = Callable[[DecisionIn], Mapping[str, Any]]
LATER = {"now": None, "tomorrow": timedelta(days=1)}
ACTIONS = 3


def rehearse(
    database: Database, decide: Decide, customer_id: str, placement: str, when: str, now: datetime
) -> dict[str, Any]:
    """`actions` with the names of their offers; `held`: why others are not among them, those with one reason together.

    `when`: a name of `LATER`, else now. `Invalid` where the placement's name is none.
    """
    later = LATER.get(when)
    try:
        request = DecisionIn(
            customer_id=customer_id, placement=placement, top_k=ACTIONS, dry_run=True, at=later and now + later
        )
    except ValidationError as wrong:
        raise in_words_of({"placement": "Placement"}, invalid_from(wrong)) from wrong
    told = decide(request)
    with database.read() as connection:
        names = offer_names(connection, [one["offer_id"] for one in (*told["actions"], *told["excluded"])])
    return {
        "placement": placement,
        "when": when if when in LATER else "now",
        "at": told["decided_at"],
        "arm": told["arm"],
        "actions": [
            {**action, "name": names.get(action["offer_id"], action["offer_id"])} for action in told["actions"]
        ],
        "held": held(told["excluded"], names),
        "limits": [DEGRADED.get(part, f"A part was missing: {part}.") for part in told["degraded"]],
    }


def held(excluded: Iterable[Mapping[str, Any]], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Each reason once, with until when it holds and the actions that it holds back: those of the most first."""
    found: dict[tuple[str, str, Any], list[str]] = {}
    for one in excluded:
        what = f"{names.get(one['offer_id'], one['offer_id'])} by {one['channel']}"
        found.setdefault((one["rule"], one["detail"], one["until"]), []).append(what)
    reasons = sorted(found.items(), key=lambda reason: -len(reason[1]))
    return [{"rule": rule, "detail": detail, "until": until, "what": what} for (rule, detail, until), what in reasons]
