"""What every part stands on: one home, its settings and clock, the state, the event log, the online stores, the models
and the catalogue.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import xxhash

from features import catalogue as features_declared
from features import default_zone
from features.currencies import CURRENCIES
from features.event_log import EventLog
from features.offer_features import OnlineOffers, open_online_offers
from features.rows import OnlineFeatures, open_online
from features.texts import Texts
from models import declared as propensities_declared
from models.registry import ServedModels
from service.clock import Clock, SystemClock, clock_from
from service.events.events_lease import EventsLease
from service.offers.catalogue import CatalogueCache
from service.settings import Settings
from service.storage.database import Database
from service.storage.home_store import home_of, other_home, settle_home
from service.storage.migrate import migrate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ground:
    """What is opened once for a process, before any part is made."""

    settings: Settings
    home: Path
    home_id: str | None
    clock: Clock
    database: Database
    event_log: EventLog
    online: OnlineFeatures
    offers_online: OnlineOffers
    texts: Texts
    models: ServedModels
    catalogue: CatalogueCache
    lease: EventsLease

    @property
    def store_name(self) -> str:
        """Which online store it is, in what is noted about its rows."""
        return xxhash.xxh3_64_hexdigest(self.settings.online_url.encode())


def open_ground(settings: Settings) -> Ground:
    """Makes the home and migrates its state where needed; ValueError for settings that features were not read with."""
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
    texts = Texts(home)
    texts.read()
    models = ServedModels(home / "served", texts)
    models.refresh()
    return Ground(
        settings=settings,
        home=home,
        home_id=home_id,
        clock=clock,
        database=database,
        event_log=EventLog(home / "events"),
        online=open_online(settings.online_url),
        offers_online=open_online_offers(settings.online_url),
        texts=texts,
        models=models,
        catalogue=CatalogueCache(texts),
        lease=EventsLease(database),
    )


def _check_declared(settings: Settings) -> None:
    """What is declared is read when the process starts: from the files that the settings name, or this is a mistake."""
    for what, path, source, variable in (
        ("features", settings.features_path, features_declared.SOURCE, features_declared.VARIABLE),
        ("propensities", settings.propensities_path, propensities_declared.SOURCE, propensities_declared.VARIABLE),
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


def _settled(database: Database, home: Path) -> str | None:
    """The home's name; another than the database's goes on, since all else is shared, and is told."""
    home_id = settle_home(database, home, SystemClock().now())
    with database.read() as connection:
        other = other_home(home_of(connection), home_id)
    if other is not None:
        log.warning("%s", other)
    return home_id
