"""What the pages of offers, journeys, experiments and models show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from models.declaration import Declaration
from models.declared import PROPENSITIES
from models.registry import ServedModels
from service.content.variant import said_hash
from service.content.variant_store import approved_places
from service.decisions.decision_store import read_rates
from service.decisions.rates import PooledRates
from service.decisions.stages import known_by, stage_of
from service.errors import Problem
from service.experiments.define_experiment import get_experiments
from service.experiments.read_results import read_results
from service.journeys.definition import Decide
from service.journeys.definitions import Definitions
from service.journeys.journey_store import list_journeys
from service.journeys.read_stats import LISTED, read_stats
from service.offers.offers_store import StoredOffer, list_offers
from service.pages.charts import Bar
from service.pages.model_health import UPLIFT, drift_of, health_of, uplift_of
from service.pages.offer_standing import standing_of
from service.pages.report_page import read_json
from service.pages.words import moment, small_figure
from service.storage.database import Connection, Database
from service.storage.heartbeats import is_silent, read_all

NO_WORKER = timedelta(minutes=1)
"""A worker is seen every few seconds."""
OFFERS = 50
LOOKED_THROUGH = 500
"""So many offers are read at a time for those of a name."""
TITLES = {
    "auc": "Area under the ROC curve: higher is better",
    "average_precision": "Average precision: higher is better",
    "log_loss": "Log loss: lower is better",
    "brier": "Brier score: lower is better",
    "ece": "Expected calibration error: lower is better",
    "top_decile_lift": "Lift of the likeliest tenth: higher is better",
    "ndcg_at_10": "NDCG@10: higher is better",
    "recall_at_10": "Recall@10: higher is better",
    "redemption_auc": "Area under the ROC curve, of redemptions: higher is better",
    "order_log_likelihood": "Log-likelihood of the hours of orders: nearer 0 is better",
    "order_in_best_band": "Orders in the three hours named best: higher is better",
    "visit_log_likelihood": "Log-likelihood of the hours of visits: nearer 0 is better",
    "visit_in_best_band": "Visits in the three hours named best: higher is better",
    "send_log_likelihood": "Log-likelihood of responses by hour: nearer 0 is better",
    "response_in_best_band": "Responses in the three hours named best: higher is better",
    "sends_in_best_band": "Share of messages that went in the three hours named best",
}
COUNTS = ("redemptions", "explored_sends")
"""Figures that say how much was judged, not how well: the same for every rival."""
NEVER = "Never for prices or credit."
FALLBACKS = {
    "send-time": "messages go at the next allowed hour",
    "next-offer": "offers are ranked by how they and offers like them were answered",
}
MAY = {
    "send-time": "Orders the allowed hours of a message. It cannot send more messages, nor at hours that rules forbid.",
    "next-offer": "Weighs offers and channels that every rule has let through. It cannot open what a rule has closed.",
}


def offers_view(
    database: Database, asked: Mapping[str, str], now: datetime, model_serves: bool, definitions: Definitions
) -> dict[str, Any]:
    """A page of the catalogue with the approved copy that fits each offer as it is now, and where each stands.

    `asked` may hold `after`, an id, and `named`: a part of an id or a name.
    """
    named = asked.get("named", "").strip()
    with database.read() as connection:
        found = list(islice(_offers_named(connection, named, asked.get("after", "")), OFFERS + 1))
        approved = approved_places(connection, [offer.offer_id for offer in found[:OFFERS]])
        rates = PooledRates(read_rates(connection))
        ways = sending_journeys(connection, definitions)
    fitting: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    for offer_id, offer_hash, channel, locale in approved:
        fitting[offer_id, offer_hash].add((channel, locale))
    rows = []
    for offer in found[:OFFERS]:
        copy = fitting[offer.offer_id, said_hash(offer.document)]
        channels = dict.fromkeys([*offer.document["channels"], *sorted(channel for channel, _ in copy)])
        words = [(one, sorted(locale for channel, locale in copy if channel == one)) for one in channels]
        standing = standing_of(offer.document, words, now)
        runs = all(look != "bad" for look, _, _ in standing)
        since = rates.first_at(offer.offer_id) if runs else None  # what is over gets no more impressions
        stage = stage_of(rates.shown(offer.offer_id), since, now, model_serves)
        shown = {"offer": offer, "d": offer.document, "approved": together(words), "stage": stage, "standing": standing}
        shown["known_by"] = known_by(stage.name, model_serves)
        shown["ways"] = ways.get(offer.offer_id, [])
        rows.append(shown)
    after = found[OFFERS - 1].offer_id if len(found) > OFFERS else None
    told = {"here_after": asked.get("after", ""), "free": ways.get(None, []), "done": asked.get("done")}
    return {"rows": rows, "after": after, "named": named, **told}


def sending_journeys(connection: Connection, definitions: Definitions) -> dict[str | None, list[str]]:
    """Active journeys by the offers that their newest versions decide among; None: by any offer."""
    found: dict[str | None, list[str]] = defaultdict(list)
    for row in list_journeys(connection, "active"):
        journey = definitions.find(connection, row.journey_id, row.version)
        steps = [step for step in journey.steps.values() if isinstance(step, Decide)] if journey else []
        for offer in dict.fromkeys(offer for step in steps for offer in (step.offers or (None,))):
            found[offer].append(row.journey_id)
    return found


def together(words: Iterable[tuple[str, list[str]]]) -> list[tuple[list[str], list[str]]]:
    """Channels that have copy in the same languages, beside these."""
    found: dict[tuple[str, ...], list[str]] = {}
    for channel, locales in words:
        found.setdefault(tuple(locales), []).append(channel)
    return [(channels, list(locales)) for locales, channels in found.items()]


def _offers_named(connection: Connection, named: str, after: str) -> Iterator[StoredOffer]:
    """Offers with these letters in their id or name, in the order of ids; all where none are asked for."""
    letters = named.casefold()
    while found := list_offers(connection, after, LOOKED_THROUGH if named else OFFERS + 1):
        for offer in found:
            if letters in offer.offer_id.casefold() or letters in str(offer.document["name"]).casefold():
                yield offer
        after = found[-1].offer_id


def journeys_view(database: Database, definitions: Definitions, now: datetime) -> dict[str, Any]:
    """Every journey with its figures; one whose definition cannot be read says so.

    `still`: that nobody moves though some are in, since no worker ran at `now`, the real time; else None.
    """
    shown: list[dict[str, Any]] = []
    with database.read() as connection:
        seen = read_all(connection).get("journeys", {}).get("seen")
        for row in list_journeys(connection):
            try:
                journey = definitions.get(connection, row.journey_id, row.version)
                shown.append({"stats": read_stats(connection, row, journey), "fault": None, "id": row.journey_id})
            except (LookupError, ValueError, Problem) as fault:
                shown.append({"stats": None, "fault": str(fault), "id": row.journey_id})
    active = [one["stats"] for one in shown if one["stats"] and one["stats"]["status"] == "active"]
    waiting = any(stats["enrollments"]["active"] for stats in active)
    still = "no worker has run yet" if seen is None else f"no worker was seen since {moment(seen)}"
    runs = seen is not None and not is_silent(seen, now, NO_WORKER)
    return {"journeys": shown, "listed": LISTED, "still": still if waiting and not runs else None}


def experiments_view(database: Database, now: Any) -> list[dict[str, Any]]:
    """Results of every experiment."""
    with database.read() as connection:
        return [read_results(connection, str(one["id"]), now) for one in get_experiments(connection)]


def models_view(models: ServedModels, home: Path, database: Database) -> dict[str, Any]:
    """Each model: what serves, the last training's verdict and figures beside its rivals', drift, what it may do."""
    entries, health = models.status(), health_of(database)
    results = {path.stem: read_json(path) for path in sorted((home / "reports" / "training").glob("*.json"))}
    names = dict.fromkeys([*PROPENSITIES, *MAY, *results, *(entry["name"] for entry in entries if entry["alias"])])
    shown = []
    for name in names:
        served = {entry["alias"]: entry for entry in entries if entry["name"] == name}
        model = models.get(name)
        shown.append(
            {
                "name": name,
                "champion": served.get("champion"),
                "challenger": served.get("challenger"),
                "fallback": fallback(name),
                "may": MAY.get(name) or purpose(name, getattr(model, "declaration", None)),
                "trained": dict(getattr(model, "trained", None) or {}),
                "tiers": list(getattr(model, "tiers", None) or ()),
                "features": len(getattr(model, "features", None) or ()),
                "result": results.get(name),
                "charts": result_charts(results.get(name) or {}),
                "drift": drift_of(health["drift"], name, getattr(model, "version", None)),
                "uplift": uplift_of(home, name),
            }
        )
    return {
        "models": shown,
        "titles": TITLES,
        "trouble": [_trouble(entry) for entry in entries if entry["problem"]],
        **health,
    }


def _trouble(entry: Mapping[str, Any]) -> str:
    """What is wrong, with the version that is refused and the one that serves in its place."""
    if entry["alias"] is None:
        return str(entry["problem"])
    serving = f"version {entry['version']} serves on" if entry["version"] else "nothing serves in its place"
    refused = f"{entry['name']} {entry['alias']}: version {entry['wanted']} is refused"
    why = str(entry["problem"]).removeprefix(f"version {entry['wanted']} is refused: ")
    return f"{refused}, {serving}: {why}"


def fallback(name: str) -> str:
    """What stands in for a model that does not serve."""
    unknown = "offers are weighed by their probability" if name.startswith(UPLIFT) else "nobody has this score"
    return FALLBACKS.get(name, unknown)


def purpose(name: str, serves: Declaration | None) -> str:
    """What a model may do: as the declaration says with which the version that serves was trained, else today's."""
    if name.startswith(UPLIFT):
        return "Says whom contact changes. It cannot open what a rule has closed; never for prices or credit."
    declared = serves or PROPENSITIES.get(name)
    if declared is None:
        return "What its card in MLflow says."
    return " ".join([f"{declared.title}.", *([declared.purpose] if declared.purpose else []), NEVER])


def result_charts(result: Mapping[str, Any]) -> dict[str, list[Bar]]:
    """For each figure that rivals have too: ours above theirs."""
    metrics = _numbers(result.get("metrics") or {})
    rivals = {rival: _numbers(figures) for rival, figures in (result.get("rivals") or {}).items()}
    ends = result.get("intervals") or {}

    def bar(label: str, who: str, name: str, figures: Mapping[str, float], ours: bool = False) -> Bar:
        told = figures.get(f"{name}.low"), figures.get(f"{name}.high")
        low, high = (ends.get(who) or {}).get(name) or told
        made = Bar(label, figures[name], small_figure(figures[name]), ours, low, high)
        return _from_zero(made) if name.endswith("log_likelihood") else made

    own = str(result.get("name"))
    shared = [name for name in metrics if "." not in name and any(name in figures for figures in rivals.values())]
    return {
        name: [
            bar("opportune", own, name, metrics, ours=True),
            *(bar(rival.replace("_", " "), rival, name, f) for rival, f in rivals.items() if name in f),
        ]
        for name in [one for one in shared if one not in COUNTS][:6]
    }


def _from_zero(bar: Bar) -> Bar:
    """A figure that is never above 0 as a bar as long as it is far from there: else it has no length."""
    low, high = (None if end is None else -end for end in (bar.high, bar.low))
    return replace(bar, value=-bar.value, low=low, high=high)


def _numbers(figures: Mapping[str, Any]) -> dict[str, float]:
    """The figures that could be measured."""
    return {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}
