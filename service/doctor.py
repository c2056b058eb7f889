"""`opportune doctor`: looks at every part and says, for each that is not well, what to do."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from features.currencies import CURRENCIES
from features.files import LEAST_FREE, free_bytes
from features.row_stores import StoreAway, drops_rows
from models.declared import PROPENSITIES
from models.load import ModelError
from service.clock import SystemClock
from service.errors import Problem, cause_of
from service.settings import Settings, config_file
from service.storage.database import Database
from service.storage.home_store import adopt_home, home_of, other_home
from service.storage.lease import release, take
from service.storage.migrate import OF_OTHER_LETTERS, migrate
from service.wrong_settings import unknown_variables

if TYPE_CHECKING:
    from service.wiring import Parts

_OLD = timedelta(hours=36)
_SILENT = timedelta(seconds=60)
_LATELY = timedelta(days=30)
_SECRETS = (("text_model", "api_key"), ("smtp", "password"), ("webhook", "secret"))
_MODELS = (*PROPENSITIES, "send-time", "next-offer")
FIRST_STEPS = (
    "opportune ingest --offers FILE",
    "opportune ingest PATH",
    "opportune features",
    "opportune keys create --scope admin",
    "opportune serve",
    "opportune worker",
    "opportune train all",
)
"""From an empty home to a whole one, in the order in which each has what it needs."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, and what to do about it; `step`: the one of FIRST_STEPS that is still to do."""

    verdict: Literal["ok", "note", "fail"]
    part: str
    detail: str
    step: str | None = None


def adopt(settings: Settings) -> str:
    """Makes this home the one that the database belongs to; what was done."""
    home, database = settings.make_home(), Database(settings.state_url)
    try:
        migrate(database)
        adopted = adopt_home(database, home, SystemClock().now())
    finally:
        database.close()
    if adopted is None:
        raise ValueError("the state is in the home itself (SQLite); there is nothing to adopt")
    return f"the database belongs to {home} now, and to no copy of it (home-id {adopted}); start all processes again"


def examine(settings: Settings) -> int:
    """Prints a line a finding, and the next step; 1 when something fails, which is said on standard error, else 0."""
    findings = [*_configuration(settings), *_rules(settings)]
    if not any(finding.part == "configuration" and finding.verdict == "fail" for finding in findings):
        findings += _parts(settings)
    for finding in findings:
        print(f"{finding.verdict:<5} {finding.part:<14} {finding.detail}")
    step = next_step(findings)
    if step is not None:
        print(f"next  {step}")
    failing = list(dict.fromkeys(finding.part for finding in findings if finding.verdict == "fail"))
    if failing:
        told = f"not well: {', '.join(failing)}; the lines that begin with 'fail' say what to do"
        print(f"opportune: {told}", file=sys.stderr)
    return int(bool(failing))


def next_step(findings: Iterable[Finding]) -> str | None:
    """The first of FIRST_STEPS that is still to do; None where all are done, or where something else is to be mended
    before."""
    findings = list(findings)
    if any(finding.verdict == "fail" and finding.step is None for finding in findings):
        return None
    steps = [finding.step for finding in findings if finding.step is not None]
    return min(steps, key=FIRST_STEPS.index, default=None)


def _secrets_for_all(path: Path) -> list[str]:
    """The secrets in a file of settings that every user of the machine can read."""
    if not path.exists() or not path.stat().st_mode & 0o004:
        return []
    said = tomllib.loads(path.read_text())
    return [f"{table}.{name}" for table, name in _SECRETS if said.get(table, {}).get(name)]


def _parts(settings: Settings) -> list[Finding]:
    from service.wiring import build

    try:
        parts = build(settings)
    except Exception as away:
        told = f"cannot be opened: {_short(away)}; check OPPORTUNE_HOME or OPPORTUNE_DATABASE_URL"
        return [Finding("fail", "state", told)]
    looks = (
        _home,
        _state,
        _keys,
        _online,
        _events,
        _features,
        _served_features,
        _deliveries,
        _impact,
        _models,
        _catalogue,
        _dangling,
        _texts,
        _loops,
    )
    findings = [finding for look in looks for finding in _safely(look, parts)]
    parts.close()
    return findings


def _safely(look: Callable[[Parts], Iterator[Finding]], parts: Parts) -> list[Finding]:
    try:
        return list(look(parts))
    except Exception as trouble:
        return [Finding("fail", look.__name__.strip("_"), f"could not be examined: {_short(trouble)}")]


def _configuration(settings: Settings) -> Iterator[Finding]:
    path = config_file()
    if path.exists():
        yield Finding("ok", "configuration", f"read from {path}")
    else:
        yield Finding("note", "configuration", f"there is no {path}: defaults; 'opportune init DIR' writes one")
    if secrets := _secrets_for_all(path):
        variable = f"OPPORTUNE_{secrets[0].replace('.', '__').upper()}"
        told = f"every user of this machine can read {path}, with {', '.join(secrets)}: chmod 640, or set {variable}"
        yield Finding("note", "configuration", told)
    for name, instead in sorted(unknown_variables(os.environ).items()):
        told = f"{name} is no setting, so it does nothing{instead or '; check its spelling'}"
        yield Finding("note", "configuration", told)
    home = settings.home.absolute()
    nearest = next(folder for folder in (home, *home.parents) if folder.exists())
    if not os.access(nearest, os.W_OK):
        yield Finding("fail", "home", f"{home} cannot be written; set OPPORTUNE_HOME to a folder that can")
    elif foreign := unwritable(home):
        told = f"{len(foreign):,} of its folders and files cannot be written, such as {foreign[0]}"
        yield Finding("fail", "home", f"{told}: give them to the user who runs this (a command ran as another one)")
    else:
        told = f"{home} ({'SQLite' if not settings.database_url else 'Postgres'})"
        new = "" if home.exists() else "; it is new: if you have one, go to its folder, or set OPPORTUNE_HOME"
        yield Finding("ok", "home", told + new)
    free = free_bytes(home)
    if free < LEAST_FREE:
        yield Finding("fail", "disk", f"only {free / 1e6:,.0f} MB are free for {home}; make room")
    if not (settings.text_model.base_url or settings.text_model.api_key):
        yield Finding("note", "copy", "templates write the copy; set text_model.base_url or api_key for a model")
    if not settings.smtp.host:
        yield Finding("note", "e-mail", "messages go to files in outbox/; set smtp.host to send")
    if not settings.webhook.secret:
        yield Finding("note", "webhooks", "what they would post goes to files in outbox/; set webhook.secret to post")


def unwritable(home: Path, may: Callable[[Path, int], bool] = os.access) -> list[Path]:
    """Folders anywhere in the home, and files right in it, that may not be written: files deeper in are never written
    again, only replaced. What a running service has taken away meanwhile is not among them."""
    folders = (Path(folder) for folder, _, _ in os.walk(home))
    files = (path for path in home.glob("*") if path.is_file())
    return sorted(path for path in (*folders, *files) if not may(path, os.W_OK) and path.exists())


def _rules(settings: Settings) -> Iterator[Finding]:
    """A rule that cannot be read lets nothing start, and opening the state would only say so of the state; nor does
    the worker start with a secret that is none."""
    from service.decisions.rules import RuleBook
    from service.wiring.journeys import channels

    checks: tuple[tuple[Callable[[Settings], object], str], ...] = ((RuleBook, "rule"), (channels, "secret"))
    for check, name in checks:
        try:
            check(settings)
        except ValueError as fault:
            yield Finding("fail", "configuration", f"{fault}; correct the {name}")
        except OSError as fault:  # of a home that may only be read; the other looks are still worth having
            yield Finding("fail", "home", _short(fault))


def _home(parts: Parts) -> Iterator[Finding]:
    with parts.database.read() as connection:
        other = other_home(home_of(connection), parts.home_id)
    if other is not None:
        yield Finding("fail", "home", other)
    home = parts.settings.home.absolute()
    if home.stat().st_mode & 0o007:
        told = f"{home} is open to every user of this machine, with what is known of customers: chmod 700, or 750"
        yield Finding("note", "home", told)
    if parts.steady.status()["spool_waits"]:
        yield Finding("note", "decisions", "some wait on the disk for the database; its disk and 'serve' say why")


def _state(parts: Parts) -> Iterator[Finding]:
    """A database of which all can be read may take nothing: its disk is full, it is a standby, somebody holds it."""
    now, mine = SystemClock().now(), f"doctor-{os.getpid()}"
    with parts.database.write() as connection:
        take(connection, mine, mine, now, 1.0)
        release(connection, mine, mine)
    if parts.database.shares_sessions():
        told = "a pooler before Postgres works by transaction, so requests fail now and then; have it pool by session"
        yield Finding("fail", "state", f"{told} (PgBouncer: pool_mode = session)")
    if (letters := parts.database.letters()) != "UTF8":
        yield Finding("fail", "state", f"{OF_OTHER_LETTERS.format(letters)}; what has other letters fails")


def _keys(parts: Parts) -> Iterator[Finding]:
    from service.storage.key_store import list_keys

    with parts.database.read() as connection:
        live = [key for key in list_keys(connection) if key.revoked_at is None]
    if live:
        yield Finding("ok", "keys", f"{len(live)} in use")
    else:
        told = "none: nobody can call the API; run 'opportune keys create --scope admin'"
        yield Finding("fail", "keys", told, "opportune keys create --scope admin")


def _online(parts: Parts) -> Iterator[Finding]:
    parts.online.read(["doctor"], parts.clock.now())
    outdated = sum(1 for _ in parts.online.outdated())
    if outdated:
        yield Finding("fail", "online store", f"{outdated:,} rows are of older features; start 'opportune serve'")
    else:
        yield Finding("ok", "online store", "answers")
    if drops_rows(parts.settings.online_url):
        told = "Redis drops rows once it is full: who is dropped has no features till the next event; set noeviction"
        yield Finding("note", "online store", told)


def _events(parts: Parts) -> Iterator[Finding]:
    from service.events.inbox_store import backlog
    from service.events.quality_store import money_not_counted

    with parts.database.read() as connection:
        pending, set_aside = backlog(connection)
    buckets = sum(1 for bucket in range(parts.event_log.buckets) if parts.event_log.files(bucket))
    if not buckets and not pending:
        told = "none yet; send them to POST /v1/batch, or 'opportune ingest PATH'"
        yield Finding("note", "events", told, "opportune ingest PATH")
    else:
        yield Finding("ok" if pending < 10_000 else "note", "events", f"{pending:,} wait for their effects")
    with parts.database.read() as connection:
        uncounted = money_not_counted(connection, f"{parts.clock.now() - _LATELY:%Y-%m-%d}")
    if uncounted:
        told = ", ".join(f"{code} ({count:,} events)" for code, count in sorted(uncounted.items()))
        rule = "give its rate in [currencies], or make it the currency of the settings"
        yield Finding("note", "currencies", f"money in {told} is counted nowhere; {rule}")
    if set_aside:
        yield Finding("fail", "quarantine", f"{set_aside:,} set aside; see why at /data, 'opportune requeue' after")


def _served_features(parts: Parts) -> Iterator[Finding]:
    from service.events.rebuild_store import how_many_wait

    with parts.database.read() as connection:
        waiting, failed = how_many_wait(connection)
    if waiting:
        yield Finding("note", "online store", f"{waiting:,} customers' features wait; 'opportune serve' makes them")
    if failed:
        yield Finding("fail", "online store", f"{failed:,} customers' features could not be made; the log says why")
    keep, longest = parts.settings.decisions.keep_records_days, max(one.horizon_days for one in PROPENSITIES.values())
    if 0 < keep <= longest:
        told = f"decisions.keep_records_days is {keep:g}; what came of promises for {longest:g} days cannot be compared"
        yield Finding("note", "drift", told)
    last = parts.skew.latest()
    if last is None:
        yield Finding("note", "skew", "no decision was checked yet; 'opportune serve' does it hourly")
    else:
        wrong, checked = last["mismatches"]["values"], last["checked"]["values"]
        told = f"{wrong:,} of {checked:,} served values differ from the event log"
        yield Finding("fail" if wrong else "ok", "skew", told)


def _features(parts: Parts) -> Iterator[Finding]:
    snapshots = sorted((parts.settings.home.absolute() / "features").glob("as_of=*"))
    if not snapshots:
        told = "no table is built; run 'opportune features' (a daily job)"
        yield Finding("note", "features", told, "opportune features")
        return
    newest = datetime.strptime(snapshots[-1].name, "as_of=%Y-%m-%dT%H-%M-%SZ").replace(tzinfo=UTC)
    age = parts.clock.now() - newest
    late = age > _OLD
    yield Finding(
        "note" if late else "ok",
        "features",
        f"newest table is {age.total_seconds() / 3600:.0f} h old"
        + ("; run 'opportune features' daily" if late else ""),
    )


def _models(parts: Parts) -> Iterator[Finding]:
    from models.registry import registered_champions

    status = parts.models.status()
    served = {entry["name"]: entry for entry in status if entry["alias"] == "champion"}
    away = [entry["problem"] for entry in status if entry["name"] == "sync"]
    coming: dict[str, str] = {}
    if not away and any(name not in served for name in _MODELS):
        try:
            coming = registered_champions(parts.settings.tracking_uri)
        except ModelError as problem:
            away.append(str(problem))
    for told in away:
        yield Finding("fail", "models", f"{told[:200]}; start MLflow, or correct mlflow_tracking_uri")
    none: list[str] = []
    for name in _MODELS:
        entry = served.get(name)
        if entry is None and name in coming:
            told = f"{name}: version {coming[name]} will serve; 'opportune serve' brings it in, and 'opportune score'"
            yield Finding("note", "models", told)
        elif entry is None:
            none.append(name)
        elif entry["problem"]:
            yield Finding("fail", "models", f"{name}: {entry['problem']}")
        else:
            yield Finding("ok", "models", f"{name}: version {entry['version']} serves")
    if none:
        which = "all" if len(none) == len(_MODELS) else " ".join(none)
        rule = f"'opportune train {which}' makes them, where there is enough data and the gate lets them serve"
        tried = (parts.settings.home.absolute() / "reports" / "training").exists()  # it was said what is lacking
        step = "opportune train all" if which == "all" and not tried else None
        yield Finding("note", "models", f"{', '.join(none)}: none serves, fallbacks do; {rule}", step)
    hours = parts.models.get("send-time")
    if hours is not None and hours.default_zone != parts.settings.default_timezone:
        was = f"was trained while default_timezone was {hours.default_zone}"
        yield Finding("note", "models", f"send-time: {was}; run 'opportune features', then 'opportune train send-time'")


def _deliveries(parts: Parts) -> Iterator[Finding]:
    from service.decisions.channel_habits import ChannelHabits

    now = parts.clock.now()
    with parts.database.read() as connection:
        untold = ChannelHabits().at(connection, now).untold
    for channel in sorted(untold):
        yield Finding(
            "note",
            "deliveries",
            f"those by {channel} are not told, so answers count as delivered for learning, and for no limit; send "
            "'Offer Delivered' with the decision_id of each decision that was shown or sent",
        )


def _impact(parts: Parts) -> Iterator[Finding]:
    from service.decisions.read_impact import read_impact

    with parts.database.read() as connection:
        running = [one for one in read_impact(connection) if one["stopped_at"] is None]
    for one in running:
        if one["split"]["passed"]:
            yield Finding("ok", "impact", f"{one['placement']}: {one['sentence']}")
            continue
        sizes = ", ".join(f"{arm['arm']} {arm['customers']:,} of {arm['share']:.0%}" for arm in one["arms"])
        told = (
            f"the arms of {one['placement']} are not as large as their shares say ({sizes}): nothing is told of what "
        )
        yield Finding("fail", "impact", f"{told}it brings; look for a caller that asks for some customers only")


def _catalogue(parts: Parts) -> Iterator[Finding]:
    with parts.database.read() as connection:
        offers = parts.catalogue.current(connection).offers
    prices = (offer.document["facts"].get("price") for offer in offers)
    foreign = sorted({price["currency"] for price in prices if price} - {CURRENCIES.home, *CURRENCIES.rates})
    if foreign:
        told = f"prices in {', '.join(foreign)} are told to no model; give their rates in [currencies]"
        yield Finding("note", "offers", told)
    if offers:
        yield Finding("ok", "offers", f"{len(offers):,} in the catalogue")
    else:
        told = "none: decisions have nothing to rank; PUT /v1/offers or 'opportune ingest --offers FILE'"
        yield Finding("note", "offers", told, "opportune ingest --offers FILE")


def _dangling(parts: Parts) -> Iterator[Finding]:
    from service import dangling

    looks = (
        dangling.of_offers,
        dangling.of_placements,
        dangling.of_limits,
        dangling.of_journeys,
        dangling.of_copy,
        dangling.of_events,
    )
    for look in looks:
        yield from (Finding(*told) for told in look(parts))


def _texts(parts: Parts) -> Iterator[Finding]:
    from service.wiring.text_watch import without_vectors

    with parts.database.read() as connection:
        waiting, absent = without_vectors(parts.texts, parts.catalogue.current(connection))
    if absent:
        yield Finding("note", "texts", f"{absent} (new offers are placed by their categories until then)")
    elif waiting:
        yield Finding("note", "texts", f"{len(waiting):,} wait for their vectors; 'opportune serve' makes them")
    else:
        yield Finding("ok", "texts", f"{len(parts.texts.held):,} have vectors")


def _loops(parts: Parts) -> Iterator[Finding]:
    from service.journeys.intent_store import put_off
    from service.journeys.journey_store import list_journeys
    from service.storage.heartbeats import is_silent, read_all

    now = SystemClock().now()
    with parts.database.read() as connection:
        beats, journeys = read_all(connection), list_journeys(connection)
    for name, command in (("events", "opportune serve"), ("journeys", "opportune worker")):
        seen = beats.get(name, {}).get("seen")
        if seen is None:
            needed = name == "events" or journeys
            yield Finding("note", name, f"has never run; start '{command}'", command if needed else None)
        elif is_silent(seen, now, _SILENT):
            yield Finding("note", name, f"last seen {seen:%Y-%m-%d %H:%M}Z; is '{command}' running?")
        else:
            yield Finding("ok", name, "running")
    with parts.database.read() as connection:
        waiting = put_off(connection)
    for channel, count in waiting.items():
        told = f"{count:,} by {channel} failed and are to be tried again; the log of 'opportune worker' says why"
        yield Finding("note", "messages", told)


def _short(error: Exception) -> str:
    name = "" if isinstance(error, Problem | StoreAway) else f"{type(error).__name__}: "
    return f"{name}{str(error).splitlines()[0][:160] if str(error) else ''}{cause_of(error)}"
