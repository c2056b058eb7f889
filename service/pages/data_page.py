"""What `/data` shows: the data report, and the last check of served features."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from service.decisions.check_skew import latest_report
from service.events.read_report import MOST_DAYS, read_report
from service.storage.database import Database

DAYS = 30
_MOST_NULLS = 40


def data_view(database: Database, now: datetime, asked: str) -> dict[str, Any]:
    """The report of the last days: as many as `asked` says, 30 where it is no number."""
    days = min(max(int(asked), 1), MOST_DAYS) if asked.isascii() and asked.isdigit() and len(asked) < 6 else DAYS
    with database.read() as connection:
        report = read_report(connection, now, days)
        skew = latest_report(connection)
    nulls = sorted((skew or {}).get("nulls", {}).items(), key=lambda one: (-one[1], one[0]))
    return {
        "r": report,
        "days": days,
        "today": f"{now.astimezone(UTC):%Y-%m-%d}",
        "skew": skew,
        "unknown": [one for one in report["by_event"] if not one["known"]],
        "missing": [(name, share) for name, share in nulls if share > 0][:_MOST_NULLS],
        "volume": [("events a day", [day["events"] for day in report["by_day"]])] if len(report["by_day"]) > 1 else [],
    }
