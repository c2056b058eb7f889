"""What every slice holds of a customer: how it is erased, and how `GET …/export` shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from features.store.vectors import erase_materialized
from service.customers.erase_customer import CustomerEraser, Eraser
from service.customers.look_up import CustomerReader, Exporter
from service.customers.refunds_store import erase_refunds
from service.decisions.drift_store import erase_shadow
from service.decisions.read_decision import erase_of, export_of
from service.experiments.record_outcomes import erase_subject
from service.experiments.record_outcomes import exported as experiments_of
from service.journeys.channels.file import FileChannel
from service.journeys.read_enrolments import erase_customer as erase_journeys
from service.journeys.read_enrolments import export_customer as export_journeys
from service.storage.database import Connection
from service.wiring.ground import Ground


def customer_eraser(ground: Ground, bring_all_in: Callable[[], object]) -> CustomerEraser:
    """`bring_all_in` writes into the state what waits outside of it."""
    settings = ground.settings
    return CustomerEraser(
        ground.database,
        ground.event_log,
        ground.clock,
        ground.lease,
        ground.online,
        ground.home,
        models=ground.models,
        erasers=_erasers(ground.home),
        materialized=partial(erase_materialized, settings.online_url),
        bring_in=bring_all_in,
        stores=[settings.state_url, settings.online_url],
    )


def customer_reader(ground: Ground) -> CustomerReader:
    return CustomerReader(
        ground.database,
        ground.event_log,
        ground.online,
        ground.models,
        ground.clock,
        ground.settings.quiet_hours,
        ground.settings.default_timezone,
        _EXPORTERS,
    )


def _erasers(home: Path) -> Mapping[str, Eraser]:
    return {
        "decisions": erase_of,
        "shadow_scores": erase_shadow,
        "experiments": _erase_experiments,
        "journeys": _erase_journeys,
        "refunds": erase_refunds,
        "outbox": lambda _connection, customer_ids: FileChannel(home / "outbox").forget(customer_ids),
    }


def _erase_experiments(connection: Connection, customer_ids: Sequence[str]) -> int:
    return sum(erase_subject(connection, customer_id) for customer_id in customer_ids)


def _export_experiments(connection: Connection, customer_ids: Sequence[str]) -> list[dict[str, Any]]:
    return [row for customer_id in customer_ids for row in experiments_of(connection, customer_id)]


def _erase_journeys(connection: Connection, customer_ids: Sequence[str]) -> int:
    return sum(sum(erase_journeys(connection, customer_id).values()) for customer_id in customer_ids)


def _export_journeys(connection: Connection, customer_ids: Sequence[str]) -> list[dict[str, Any]]:
    return [export_journeys(connection, customer_id) for customer_id in customer_ids]


_EXPORTERS: Mapping[str, Exporter] = {
    "decisions": export_of,
    "experiments": _export_experiments,
    "journeys": _export_journeys,
}
