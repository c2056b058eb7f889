"""SQL of experiments: definitions, exposures (one a subject, the first sticks), and what the exposed did."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Float,
    Index,
    Integer,
    String,
    Table,
    and_,
    case,
    cast,
    delete,
    false,
    func,
    literal,
    select,
    update,
)

from service.experiments.definition import Experiment, Metric, experiment_from
from service.experiments.statistics import Sums
from service.storage.database import Json, UtcTime, any_key, metadata, upsert

experiments = Table(
    "experiments",
    metadata,
    Column("id", String, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("definition", Json, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("stopped_at", UtcTime),
    Column("pauses", Json),
)
exposures = Table(
    "experiment_exposures",
    metadata,
    Column("experiment_id", String, primary_key=True),
    Column("customer_id", String, primary_key=True),
    Column("variant", String, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("covariate", Float(53)),
    Column("crossed", Boolean, nullable=False, server_default=false()),
    Index("ix_experiment_exposures_customer_id", "customer_id"),
)
values = Table(
    "experiment_values",
    metadata,
    Column("experiment_id", String, primary_key=True),
    Column("customer_id", String, primary_key=True),
    Column("metric", String, primary_key=True),
    Column("times", BigInteger, nullable=False),
    Column("total", Float(53), nullable=False),
    Index("ix_experiment_values_customer_id", "customer_id"),
)
STANDING = "@"
"""How ids begin of tests that nobody declares: the arms of placements (`decisions.arm_tests`)."""
_CHUNK = 500
ValueKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Exposure:
    """A subject's first assignment, which sticks; `crossed`: they saw another variant, too."""

    experiment_id: str
    customer_id: str
    variant: str
    at: datetime
    covariate: float | None
    crossed: bool = False


def find_experiment(connection: Connection, experiment_id: str, lock: bool = False) -> Mapping[str, Any] | None:
    """The stored row (id, version, definition, created_at, updated_at, stopped_at, pauses)."""
    query = select(experiments).where(experiments.c.id == experiment_id)
    row = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    return dict(row) if row else None


def list_experiments(connection: Connection) -> list[Mapping[str, Any]]:
    """The stored rows of those that were declared, by id."""
    return [row for row in _rows(connection) if not row["id"].startswith(STANDING)]


def standing_tests(connection: Connection) -> list[Experiment]:
    """Those that nobody declared, by id."""
    return [experiment_from(row) for row in _rows(connection) if row["id"].startswith(STANDING)]


def note_looked(connection: Connection, until: datetime) -> None:
    """Notes up to when it was looked for who takes part in standing tests."""
    standing = experiments.c.id.startswith(STANDING, autoescape=True)
    connection.execute(update(experiments).where(standing).values(updated_at=until))


def looked_until(connection: Connection) -> datetime | None:
    """What `note_looked` noted last; None where there is no standing test."""
    standing = experiments.c.id.startswith(STANDING, autoescape=True)
    return connection.execute(select(func.max(experiments.c.updated_at)).where(standing)).scalar_one_or_none()


def all_experiments(connection: Connection) -> list[Experiment]:
    """All for which something is counted, by id."""
    return [experiment_from(row) for row in _rows(connection)]


def _rows(connection: Connection) -> list[Mapping[str, Any]]:
    return [dict(row) for row in connection.execute(select(experiments).order_by(experiments.c.id)).mappings()]


def save_experiment(connection: Connection, row: Mapping[str, Any]) -> None:
    """Writes a definition; `created_at` stays as it was."""
    upsert(connection, experiments, [row], ["id"], ["version", "definition", "updated_at", "stopped_at", "pauses"])


def has_exposures(connection: Connection, experiment_id: str) -> bool:
    """Whether anybody was exposed yet."""
    query = select(exposures.c.customer_id).where(exposures.c.experiment_id == experiment_id).limit(1)
    return connection.execute(query).first() is not None


def counted_names(connection: Connection, experiment_id: str, names: Collection[str]) -> set[str]:
    """Those of these metrics' names under which something is counted."""
    query = select(values.c.metric).where(values.c.experiment_id == experiment_id, values.c.metric.in_(sorted(names)))
    return set(connection.execute(query.distinct()).scalars())


def find_exposures(
    connection: Connection, customer_ids: Iterable[str], experiment_ids: Collection[str] | None = None
) -> list[Exposure]:
    """The exposures of these customers, in these experiments or in all."""
    wanted, found = sorted(set(customer_ids)), []
    for start in range(0, len(wanted), _CHUNK):
        query = select(exposures).where(exposures.c.customer_id.in_(wanted[start : start + _CHUNK]))
        if experiment_ids is not None:
            query = query.where(exposures.c.experiment_id.in_(experiment_ids))
        found += [Exposure(**row) for row in connection.execute(query).mappings()]
    return found


def add_exposures(connection: Connection, new: Sequence[Exposure]) -> None:
    """Records exposures; a subject already exposed keeps the first."""
    upsert(connection, exposures, [asdict(each) for each in new], update=())


def put_exposures(connection: Connection, changed: Sequence[Exposure]) -> None:
    """Writes exposures of which more is known now."""
    upsert(connection, exposures, [asdict(each) for each in changed])


def add_values(connection: Connection, added: Mapping[ValueKey, tuple[int, float]]) -> None:
    """Adds counts and totals to (experiment, customer, metric). Call it in a `write()` transaction."""
    keys = sorted(added)
    known: dict[ValueKey, tuple[int, float]] = {}
    columns = (values.c.customer_id, values.c.experiment_id, values.c.metric)
    for start in range(0, len(keys), _CHUNK):
        asked = [(customer, experiment, metric) for experiment, customer, metric in keys[start : start + _CHUNK]]
        for row in connection.execute(select(values).where(any_key(columns, asked)).with_for_update()):
            known[(row.experiment_id, row.customer_id, row.metric)] = (row.times, row.total)
    rows = []
    for key in keys:
        count, total = known.get(key, (0, 0.0))
        more, plus = added[key]
        rows.append(
            {
                "experiment_id": key[0],
                "customer_id": key[1],
                "metric": key[2],
                "times": count + more,
                "total": total + plus,
            }
        )
    upsert(connection, values, rows)


def count_exposed(connection: Connection, experiment_id: str) -> dict[str, int]:
    """How many subjects were exposed to each variant."""
    here = exposures.c.experiment_id == experiment_id
    counts = select(exposures.c.variant, func.count()).where(here).group_by(exposures.c.variant)
    return {variant: int(number) for variant, number in connection.execute(counts)}


def count_crossed(connection: Connection, experiment_id: str) -> int:
    """How many subjects saw more than one variant."""
    here = (exposures.c.experiment_id == experiment_id) & exposures.c.crossed
    return int(connection.execute(select(func.count()).select_from(exposures).where(here)).scalar_one())


def arm_sums(
    connection: Connection, experiment: Experiment, metric: Metric, covariate: bool, exposed: Mapping[str, int]
) -> dict[str, Sums]:
    """Each arm's sums of the metric per exposed subject (x), and of the ratio's denominator or covariate (y).

    A subject without a covariate has the mean of the others, which leaves it unadjusted. `exposed`: `count_exposed`.
    """
    if metric.kind != "ratio" and not covariate:
        told = _sums_of_who_did_something(connection, experiment, metric)
        return {variant: Sums(exposed.get(variant, 0), *told.get(variant, ())) for variant in experiment.plan.variants}
    above, below = values.alias("above"), values.alias("below")
    x = _subject_value(metric, above)
    y: ColumnElement[Any] = literal(0.0)
    if metric.kind == "ratio":
        y = cast(func.coalesce(below.c.times, 0), Float(53))
    elif covariate:
        middle = select(func.avg(exposures.c.covariate)).where(exposures.c.experiment_id == experiment.id)
        y = func.coalesce(exposures.c.covariate, connection.execute(middle).scalar() or 0.0)
    joined = exposures.outerjoin(above, _of_subject(above, metric.name))
    if metric.kind == "ratio":
        joined = joined.outerjoin(below, _of_subject(below, metric.below))
    query = (
        select(
            exposures.c.variant,
            func.count(),
            *(func.coalesce(func.sum(term), 0.0) for term in (x, x * x, y, y * y, x * y)),
        )
        .select_from(joined)
        .where(exposures.c.experiment_id == experiment.id)
        .group_by(exposures.c.variant)
    )
    sums = {row[0]: Sums(int(row[1]), *(float(term) for term in row[2:])) for row in connection.execute(query)}
    return {variant: sums.get(variant, Sums(0)) for variant in experiment.plan.variants}


def _sums_of_who_did_something(
    connection: Connection, experiment: Experiment, metric: Metric
) -> dict[str, tuple[float, float]]:
    """Sums of x and of its square; who did nothing adds nothing, and need not be looked up one by one."""
    x = _subject_value(metric, values)
    query = (
        select(exposures.c.variant, func.sum(x), func.sum(x * x))
        .select_from(values.join(exposures, _of_subject(values, metric.name)))
        .where(values.c.experiment_id == experiment.id, values.c.metric == metric.name)
        .group_by(exposures.c.variant)
    )
    return {variant: (float(total), float(squares)) for variant, total, squares in connection.execute(query)}


def _subject_value(metric: Metric, table: Any) -> ColumnElement[Any]:
    if metric.kind == "conversion":
        return case((table.c.times > 0, 1.0), else_=0.0)
    summed = table.c.total if metric.value is not None else table.c.times
    return cast(func.coalesce(summed, 0), Float(53))


def _of_subject(table: Any, metric: str) -> ColumnElement[bool]:
    return and_(
        table.c.experiment_id == exposures.c.experiment_id,
        table.c.customer_id == exposures.c.customer_id,
        table.c.metric == metric,
    )


def take_values(connection: Connection, customer_id: str) -> dict[ValueKey, tuple[int, float]]:
    """Removes and returns what is counted for a customer, by (experiment, customer, metric)."""
    mine = values.c.customer_id == customer_id
    taken = {
        (row.experiment_id, row.customer_id, row.metric): (int(row.times), float(row.total))
        for row in connection.execute(select(values).where(mine))
    }
    connection.execute(delete(values).where(mine))
    return taken


def remove_exposures(connection: Connection, customer_id: str) -> None:
    """Removes a customer's exposures."""
    connection.execute(delete(exposures).where(exposures.c.customer_id == customer_id))


def rename_subject(connection: Connection, customer_id: str, token: str) -> int:
    """Puts a token in the place of a customer's id; returns in how many experiments."""
    for table in (exposures, values):
        changed = connection.execute(update(table).where(table.c.customer_id == customer_id).values(customer_id=token))
        if table is exposures:
            renamed = changed.rowcount
    return renamed
