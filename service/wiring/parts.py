"""Every part of a process, with its collaborators."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import xxhash

from features import catalogue, default_zone
from features.currencies import CURRENCIES
from features.event_log import EventLog
from features.offer_features import OnlineOffers, open_online_offers
from features.rows import OnlineFeatures, open_online
from features.store.vectors import erase_materialized
from features.texts import Texts
from models import declared
from models.registry import ServedModels
from models.situations import names_of
from service.clock import Clock, SystemClock, clock_from, monotonic
from service.content.choose_content import ContentLibrary
from service.content.content_desk import ContentDesk
from service.content.guardrails import Rules as CopyRules
from service.content.text_model import TextModel
from service.customers.customer_store import customer_ids, owners_of, read_customers, those_there
from service.customers.erase_customer import CustomerEraser
from service.customers.erasure_store import gone_since
from service.customers.forget_visitors import ForgetVisitors
from service.customers.join_histories import JoinHistories
from service.customers.keep_refunds import keep_refunds
from service.customers.link_identities import LinkedIdentities
from service.customers.link_words import Speech, read_words
from service.customers.look_up import CustomerReader
from service.customers.refunds_store import erase_refunds
from service.customers.unsubscribe import Unsubscriber, token_length
from service.customers.update_customers import update_customers
from service.decisions.attribute_outcomes import AttributeOutcomes
from service.decisions.case import Customer
from service.decisions.check_drift import DriftCheck
from service.decisions.check_skew import SkewCheck
from service.decisions.drift_store import erase_shadow
from service.decisions.enrol_decided import EnrolDecided
from service.decisions.forget_records import ForgetRecords
from service.decisions.learn_outcomes import ForgetLessons, LearningModels, LearnOutcomes
from service.decisions.ports import ChooseContent
from service.decisions.presume_delivered import PresumeDelivered
from service.decisions.rank_actions import Decider
from service.decisions.read_decision import DecisionReader, erase_of, export_of, kept_of
from service.decisions.rules import RuleBook
from service.decisions.shadow import Shadow
from service.decisions.spool import Spool
from service.decisions.steady import SteadyDecider
from service.decisions.unknown_decisions import count_unknown_decisions
from service.decisions.withdraw_clicks import withdraw_clicks
from service.errors import Unavailable
from service.events.apply_events import Applier
from service.events.events_lease import EventsLease
from service.events.flush_events import Flusher
from service.events.normalize import Rules
from service.events.ports import Handler
from service.events.rebuild_features import QueueOutdated, RebuildFeatures
from service.events.rebuild_store import ask_rebuild
from service.events.refill_store import RefillStore
from service.events.refresh_vectors import RefreshVectors
from service.events.run_events import EventsRunner
from service.experiments.assign_customer import Covariate
from service.experiments.record_outcomes import apply_outcomes, erase_subject, withdraw_outcomes
from service.experiments.record_outcomes import exported as experiments_of
from service.journeys.channels.file import FileChannel
from service.journeys.enrolment_store import of_customers as enrolments_of
from service.journeys.read_enrolments import erase_customer as erase_journeys
from service.journeys.read_enrolments import export_customer as export_journeys
from service.journeys.wake_journeys import wake_handler
from service.loops import Loop
from service.offers.catalogue import CatalogueCache
from service.settings import Settings
from service.storage.database import Connection, Database
from service.storage.heartbeats import beat
from service.storage.home_store import home_of, other_home, settle_home
from service.storage.migrate import migrate
from service.web.auth import Guard
from service.web.kept_here import KeptHere
from service.wiring.data_watch import DataWatch
from service.wiring.in_child import in_child
from service.wiring.model_watch import ModelWatch
from service.wiring.offer_features import FeatureFeed
from service.wiring.text_watch import TextWatch
from service.wiring.warm_up import get_words_ready

_USUAL_ID = 36
"""Characters of a customer's id, as a UUID has them: links to unsubscribe are as long as it makes them."""
_READ_BACK = timedelta(hours=1)
"""How far back `OnlineFeatures.read` is exact."""
_EVENTS_EVERY_S = 0.2
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
_BEAT_EVERY_S = 2.0


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """The collaborators of one process."""

    settings: Settings
    clock: Clock
    database: Database
    event_log: EventLog
    online: OnlineFeatures
    offers_online: OnlineOffers
    models: ServedModels
    texts: Texts
    text_watch: TextWatch
    guard: Guard
    rules: Rules
    catalogue: CatalogueCache
    handlers: Sequence[Handler]
    identities: LinkedIdentities
    lease: EventsLease
    join_histories: JoinHistories
    rebuild_features: RebuildFeatures
    skew: SkewCheck
    drift: DriftCheck
    shadow: Shadow
    events: EventsRunner
    enrol: EnrolDecided
    events_loop: Loop
    unsubscriber: Unsubscriber
    speech: Speech
    unsubscribe_url: Callable[[str, str], str]
    covariate: Covariate
    library: ContentLibrary
    desk: ContentDesk
    decider: Decider
    steady: SteadyDecider
    decisions: DecisionReader
    learning: LearningModels
    learner: LearnOutcomes
    customers: CustomerReader
    eraser: CustomerEraser
    kept_here: KeptHere
    home_id: str | None
    loops: list[Loop] = field(default_factory=list)
    """Those that run, once they do."""

    def close(self) -> None:
        """Gives back what is held; call it after the loops have stopped."""
        self.text_watch.close()
        self.steady.close()
        self.online.close()
        self.offers_online.close()
        self.database.close()


def _withdraw(buckets: int) -> Handler:
    """What is done about clicks that turned out to be a machine's: outcomes, counts, and the customers' features.

    Journeys that such a click moved on stay where they are.
    """

    def withdraw(connection: Connection, events: Sequence[Mapping[str, Any]]) -> None:
        withdraw_clicks(connection, events)
        withdraw_outcomes(connection, events)
        ask_rebuild(connection, (event["customer_id"] for event in events), buckets)

    return withdraw


def _settled(database: Database, home: Path) -> str | None:
    """The home's name; another than the database's goes on, since all else is shared, and is told."""
    home_id = settle_home(database, home, SystemClock().now())
    with database.read() as connection:
        other = other_home(home_of(connection), home_id)
    if other is not None:
        log.warning("%s", other)
    return home_id


def build(settings: Settings) -> Parts:
    """Opens the stores (migrating the state where needed) and puts the parts together. Starts nothing."""
    _check_declared(settings)
    home = settings.make_home()
    clock = clock_from(settings.clock)
    database = Database(settings.state_url)
    try:
        migrate(database)
        home_id = _settled(database, home)
    except BaseException:
        database.close()
        raise
    event_log = EventLog(home / "events")
    online, offers_online = open_online(settings.online_url), open_online_offers(settings.online_url)
    feed = FeatureFeed(database, online, offers_online, event_log.buckets)
    texts = Texts(home)
    texts.read()
    models = ServedModels(home / "served", texts)
    models.refresh()
    catalogue = CatalogueCache(texts)
    lease = EventsLease(database)
    identities = LinkedIdentities()
    rules = Rules(settings.event_names, settings.currency, settings.default_country)
    covariate = _covariate(online, clock)
    enrol = EnrolDecided(
        database,
        clock,
        lease,
        RuleBook(settings),
        settings.decisions.impact_days,
        covariate,
        lambda: spool.brought,
    )
    handlers: tuple[Handler, ...] = (
        lambda connection, events: update_customers(connection, events, clock.now()),
        keep_refunds,
        AttributeOutcomes(catalogue, settings.decisions.attribution_days),
        count_unknown_decisions,
        enrol.enrol_buyers,
        lambda connection, events: apply_outcomes(connection, events, clock.now(), covariate),
        wake_handler(clock),
    )
    join_histories = JoinHistories(database, event_log, lease, online, clock)
    rebuild_features = RebuildFeatures(database, event_log, clock, lease, online)
    store_name = xxhash.xxh3_64_hexdigest(settings.online_url.encode())
    kept_here = KeptHere()

    def bring_all_in() -> None:
        steady.bring_all_in()
        kept_here.bring_in(database)

    eraser = CustomerEraser(
        database,
        event_log,
        clock,
        lease,
        online,
        home,
        models,
        {
            "decisions": erase_of,
            "shadow_scores": erase_shadow,
            "experiments": _erase_experiments,
            "journeys": _erase_journeys,
            "refunds": erase_refunds,
            "outbox": lambda _connection, customer_ids: FileChannel(home / "outbox").forget(customer_ids),
        },
        partial(erase_materialized, settings.online_url),
        bring_all_in,
        [settings.state_url, settings.online_url],
    )

    def forget_strangers(ids: Sequence[str]) -> None:
        with database.read() as connection:
            there = those_there(connection, ids)
        for one in sorted(set(ids) - there):
            online.erase(one)

    withdraw = _withdraw(event_log.buckets)
    events = EventsRunner(
        Applier(database, clock, lease, handlers, feed, identities, withdraw, forget_strangers),
        Flusher(database, event_log, clock, lease),
        lease,
        [
            feed.take_up_catalogue,
            join_histories,
            eraser.finish_open,
            RefillStore(database, clock, lease, online, customer_ids, those_there, store_name, event_log.buckets),
            QueueOutdated(database, clock, lease, online, store_name, event_log.buckets),
            rebuild_features,
            enrol,
            ForgetVisitors(
                database,
                event_log,
                clock,
                lease,
                eraser,
                settings.retention.anonymous_days,
                [kept_of, _in_journeys],
            ),
        ],
    )

    def apply_events() -> bool:
        steady.bring_in()  # first, so that events find the decisions that they belong to
        kept_here.bring_in(database)
        return events.run_pass()

    events_loop = Loop("events", _beating(database, clock, apply_events), _EVENTS_EVERY_S)
    unsubscriber = Unsubscriber(database, clock, events_loop.wake)
    copy_rules = CopyRules(
        settings.content.max_sms_segments,
        settings.content.sms_opt_out,
        settings.content.unsubscribe_in_body,
        ZoneInfo(settings.default_timezone),
        len(f"{settings.base_url}/u/") + token_length("0" * _USUAL_ID, "sms"),
    )

    def unsubscribe_url(customer_id: str, channel: str) -> str:
        return f"{settings.base_url}/u/{unsubscriber.make_token(customer_id, channel)}"

    def database_answers() -> bool:
        return not steady.circuit.is_open

    library = ContentLibrary(database, unsubscribe_url, settings.default_locale, copy_rules, may_ask=database_answers)

    def content_for(customer: Customer, locale: str) -> ChooseContent:
        reader = library.for_customer(
            customer.customer_id, locale, customer.timezone, customer.traits, customer.segments
        )
        return lambda offer, channel: reader.choose(offer.offer_id, offer.document, channel)

    learning = LearningModels(models, database)
    learning.refresh()
    sources = read_customers, online, learning, content_for, owners_of, those_there
    decider = Decider(database, clock, settings, catalogue, *sources)
    spool = Spool(home / "spool", owners_of, gone_since, clock)
    steady = SteadyDecider(decider, spool, settings.decisions.time_budget_ms / 1_000)
    steady.get_ready()
    return Parts(
        settings=settings,
        clock=clock,
        database=database,
        event_log=event_log,
        online=online,
        offers_online=offers_online,
        models=models,
        texts=texts,
        text_watch=TextWatch(database, catalogue, texts, home),
        guard=Guard(database, database_answers, steady.time_budget_s or None, steady.too_slow),
        rules=rules,
        catalogue=catalogue,
        handlers=handlers,
        identities=identities,
        lease=lease,
        join_histories=join_histories,
        rebuild_features=rebuild_features,
        skew=SkewCheck(database, event_log, clock, store_name),
        drift=DriftCheck(database, event_log, clock, models, settings.decisions.attribution_days),
        shadow=Shadow(database, clock, models),
        events=events,
        enrol=enrol,
        events_loop=events_loop,
        unsubscriber=unsubscriber,
        speech=Speech(read_words(settings.link_words_path), settings.default_locale),
        unsubscribe_url=unsubscribe_url,
        covariate=covariate,
        library=library,
        desk=ContentDesk(database, clock, copy_rules, _text_model(settings), settings.default_locale, library.refresh),
        decider=decider,
        steady=steady,
        decisions=DecisionReader(database, learning, clock),
        learning=learning,
        learner=LearnOutcomes(database, clock, models, names_of(settings.decisions.situations)),
        customers=CustomerReader(
            database,
            event_log,
            online,
            models,
            clock,
            settings.quiet_hours,
            settings.default_timezone,
            {"decisions": export_of, "experiments": _export_experiments, "journeys": _export_journeys},
        ),
        eraser=eraser,
        kept_here=kept_here,
        home_id=home_id,
    )


def _check_declared(settings: Settings) -> None:
    """What is declared is read when the process starts: from the files that the settings name, or this is a mistake."""
    for what, path, source, variable in (
        ("features", settings.features_path, catalogue.SOURCE, catalogue.VARIABLE),
        ("propensities", settings.propensities_path, declared.SOURCE, declared.VARIABLE),
    ):
        if (None if path is None else str(path)) != source:
            raise ValueError(f"the {what} of {path or source} are not those in use; set {variable}={path or ''}")
    if settings.money != CURRENCIES:
        variables = " ".join(f"{name}='{value}'" for name, value in settings.money.environment().items())
        raise ValueError(f"the currencies of the settings are not those in use; set {variables}")
    if settings.default_timezone != default_zone.DEFAULT_ZONE:
        raise ValueError(
            f"the default_timezone of the settings is not the one that features count in, {default_zone.DEFAULT_ZONE}; "
            f"set {default_zone.VARIABLE}={settings.default_timezone}"
        )


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


def bring_in_what_waits(parts: Parts) -> bool:
    """What was decided and answered without the database goes into it as soon as it answers: an erasure by another
    process finds it only there."""
    parts.steady.run_pass()
    if not parts.steady.circuit.is_open:
        with suppress(Unavailable):  # away again: the next pass notices
            parts.kept_here.bring_in(parts.database)
    return False


def _forgets_records(parts: Parts) -> list[Loop]:
    days = parts.settings.decisions.keep_records_days
    if not days:
        return []
    forget = ForgetRecords(parts.database, parts.clock, days)
    return [Loop("records", forget.run_pass, _RECORDS_EVERY_S, first_after_s=_WATCH_AFTER_S)]


def _beating(database: Database, clock: Clock, run_pass: Any) -> Any:
    """A pass that tells now and then that it is alive."""
    wall = SystemClock()
    last = [monotonic() - _BEAT_EVERY_S]

    def passed() -> bool:
        more = bool(run_pass())
        if monotonic() - last[0] >= _BEAT_EVERY_S:
            last[0] = monotonic()
            with database.write() as connection:
                beat(connection, "events", clock.now(), wall.now(), {})
        return more

    return passed


def _covariate(online: OnlineFeatures, clock: Clock) -> Covariate:
    """A feature's value before an exposure, for CUPED; None where it is not known.

    Nor is it for an exposure told later than rows can be read back: what followed it would pass for what was before.
    """

    def value(customer_id: str, feature: str, at: datetime) -> float | None:
        if at < clock.now() - _READ_BACK:
            return None
        row = online.read([customer_id], at)[0]
        found = None if row is None else row.values.get(feature)
        return found if found is not None and math.isfinite(found) else None

    return value


def _text_model(settings: Settings) -> TextModel | None:
    named = settings.text_model.base_url or settings.text_model.api_key
    return TextModel(settings.text_model) if named else None


def _erase_experiments(connection: Connection, customer_ids: Sequence[str]) -> int:
    return sum(erase_subject(connection, customer_id) for customer_id in customer_ids)


def _export_experiments(connection: Connection, customer_ids: Sequence[str]) -> list[dict[str, Any]]:
    return [row for customer_id in customer_ids for row in experiments_of(connection, customer_id)]


def _erase_journeys(connection: Connection, customer_ids: Sequence[str]) -> int:
    return sum(sum(erase_journeys(connection, customer_id).values()) for customer_id in customer_ids)


def _in_journeys(connection: Connection, customer_ids: Sequence[str], since: datetime) -> set[str]:
    return {enrolment.customer_id for enrolment in enrolments_of(connection, customer_ids, since)}


def _export_journeys(connection: Connection, customer_ids: Sequence[str]) -> list[dict[str, Any]]:
    return [export_journeys(connection, customer_id) for customer_id in customer_ids]
