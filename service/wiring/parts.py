"""Every part of a process, with its collaborators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from features.event_log import EventLog
from features.offer_features import OnlineOffers
from features.rows import OnlineFeatures
from features.texts import Texts
from models.registry import ServedModels
from models.situations import names_of
from service.clock import Clock
from service.content.choose_content import ContentLibrary
from service.content.content_desk import ContentDesk
from service.customers.erase_customer import CustomerEraser
from service.customers.join_histories import JoinHistories
from service.customers.link_identities import LinkedIdentities
from service.customers.link_words import Speech, read_words
from service.customers.look_up import CustomerReader
from service.customers.unsubscribe import Unsubscriber
from service.decisions.check_drift import DriftCheck
from service.decisions.check_skew import SkewCheck
from service.decisions.enrol_decided import EnrolDecided
from service.decisions.learn_outcomes import LearningModels, LearnOutcomes
from service.decisions.rank_actions import Decider
from service.decisions.read_decision import DecisionReader
from service.decisions.shadow import Shadow
from service.decisions.steady import SteadyDecider
from service.events.events_lease import EventsLease
from service.events.normalize import Rules
from service.events.ports import Handler
from service.events.rebuild_features import RebuildFeatures
from service.events.run_events import EventsRunner
from service.experiments.assign_customer import Covariate
from service.loops import Loop
from service.offers.catalogue import CatalogueCache
from service.settings import Settings
from service.storage.database import Database
from service.web.auth import Guard
from service.web.kept_here import KeptHere
from service.wiring.deciding import put_deciding_together
from service.wiring.event_work import put_event_work_together
from service.wiring.ground import open_ground
from service.wiring.personal_data import customer_eraser, customer_reader
from service.wiring.text_watch import TextWatch


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


def build(settings: Settings) -> Parts:
    """Opens the stores (migrating the state where needed) and puts the parts together. Starts nothing."""
    ground = open_ground(settings)
    database, clock, models = ground.database, ground.clock, ground.models
    unsubscriber = Unsubscriber(database, clock, lambda: events.loop.wake())  # that loop is made last

    def unsubscribe_url(customer_id: str, channel: str) -> str:
        return f"{settings.base_url}/u/{unsubscriber.make_token(customer_id, channel)}"

    deciding = put_deciding_together(ground, unsubscribe_url)
    steady, kept_here = deciding.steady, KeptHere()

    def bring_in() -> None:
        steady.bring_in()
        kept_here.bring_in(database)

    def bring_all_in() -> None:
        steady.bring_all_in()
        kept_here.bring_in(database)

    eraser = customer_eraser(ground, bring_all_in)
    events = put_event_work_together(ground, eraser, lambda: deciding.spool.brought, bring_in)
    return Parts(
        settings=settings,
        clock=clock,
        database=database,
        event_log=ground.event_log,
        online=ground.online,
        offers_online=ground.offers_online,
        models=models,
        texts=ground.texts,
        text_watch=TextWatch(database, ground.catalogue, ground.texts, ground.home),
        guard=Guard(database, steady.database_answers, steady.time_budget_s or None, steady.too_slow),
        rules=Rules(settings.event_names, settings.currency, settings.default_country),
        catalogue=ground.catalogue,
        handlers=events.handlers,
        identities=events.identities,
        lease=ground.lease,
        join_histories=events.join_histories,
        rebuild_features=events.rebuild_features,
        skew=SkewCheck(database, ground.event_log, clock, ground.store_name),
        drift=DriftCheck(database, ground.event_log, clock, models, settings.decisions.attribution_days),
        shadow=Shadow(database, clock, models),
        events=events.runner,
        enrol=events.enrol,
        events_loop=events.loop,
        unsubscriber=unsubscriber,
        speech=Speech(read_words(settings.link_words_path), settings.default_locale),
        unsubscribe_url=unsubscribe_url,
        covariate=events.covariate,
        library=deciding.library,
        desk=deciding.desk,
        decider=deciding.decider,
        steady=steady,
        decisions=DecisionReader(database, deciding.learning, clock),
        learning=deciding.learning,
        learner=LearnOutcomes(database, clock, models, names_of(settings.decisions.situations)),
        customers=customer_reader(ground),
        eraser=eraser,
        kept_here=kept_here,
        home_id=ground.home_id,
    )
