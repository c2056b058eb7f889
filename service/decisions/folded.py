"""Lines of a decision that only show, folded into the line of its message, so that a decision is one row. Pure.

Whatever happens to one of them alone (it is delivered, its offer gets a limit that customers share) unfolds them first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import orjson

from service.decisions.line import Line

_ENTRY = ("at", "expires", "channel", "offer_id", "message", "impression", "placement", "exclusion_group")
"""The columns of what an `Entry` has, in its order."""


def rows_of(lines: Sequence[Line], counted: Collection[str]) -> list[tuple[Any, ...]]:
    """Rows of the ledger for these lines, in the order of its columns.

    A line that is no message is folded into the one before it of the same decision that stands as a row, unless its
    offer is `counted`: such lines are found by their offer.
    """
    rows: list[tuple[Any, ...]] = []
    line: Line | None = None
    folded: list[Any] = []
    for one in lines:
        if line is not None and not one.message and one.decision_id == line.decision_id and one.offer_id not in counted:
            folded.append(_folded(one))
            continue
        if line is not None:
            rows.append(_row(line, counted, folded))
        line, folded = one, []
    if line is not None:
        rows.append(_row(line, counted, folded))
    return rows


def _row(line: Line, counted: Collection[str], folded: Sequence[Any]) -> tuple[Any, ...]:
    return (*line, line.offer_id in counted, orjson.dumps(folded).decode() if folded else None)


def _folded(line: Line) -> tuple[Any, ...]:
    """As an `Entry` has it, then rank and cost; what all lines of a decision share is left out."""
    return (*line.entry(), line.rank, line.cost)


def entries_in(folded: str) -> list[list[Any]]:
    """What an `Entry` has of each folded line, and its rank."""
    return [one[:-1] for one in orjson.loads(folded)]


def unfolded(rows: Iterable[Any]) -> Iterator[Line]:
    """Every line that rows of the ledger hold, the folded ones after their row."""
    for row in rows:
        head = Line(*row[: len(Line._fields)])
        yield head
        for *entry, rank, cost in orjson.loads(row.folded or "[]"):
            told = dict(zip(_ENTRY, entry, strict=True))
            yield head._replace(**told, rank=rank, cost=cost)
