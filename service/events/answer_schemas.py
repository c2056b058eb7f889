"""The shapes of the answers to events, and of the data report."""

from __future__ import annotations

from datetime import date, datetime

from pydantic import Field

from service.web.shapes import Told

Share = float | None


class TakenOut(Told):
    """The events are durable."""

    success: bool = Field(description="Always true; what is refused is a problem")


class PartOut(Told):
    """How many of the events."""

    count: int
    share: Share = Field(description="0 to 1; null without any events")


class LateOut(PartOut):
    """Events that came long after they happened."""

    after_seconds: float = Field(description="From when on an event counts as late")


class CurrencyOut(Told):
    """Events with an amount in this currency."""

    currency: str
    events: int
    counted: bool = Field(description="Whether features count its money: it has a rate")
    rate: float | None = Field(description="One unit in the home currency")


class EmailsOut(Told):
    """Addresses in traits."""

    seen: int
    bad: int
    normalized: int


class PhonesOut(EmailsOut):
    """Numbers in traits."""

    without_country: int


class ContactsOut(Told):
    """What traits said of addresses and numbers."""

    email: EmailsOut
    phone: PhonesOut


class MachineEventOut(Told):
    """Opens or clicks."""

    event: str
    count: int
    machine: int
    share: Share


class MachinesOut(Told):
    """Opens and clicks by scanners and proxies, which teach nothing."""

    opens_and_clicks: int
    machine: int
    share: Share
    by_event: list[MachineEventOut]


class DayOut(Told):
    """A day (UTC) by the events' own times."""

    day: date
    events: int
    late_share: Share
    machine_share: Share = Field(description="Of opens and clicks")


class EventOut(Told):
    """An event's name."""

    event: str
    count: int
    first_day: date
    last_day: date
    known: bool = Field(description="Whether a feature or an effect reads it")
    like: str | None = Field(description="The known name that it may have been meant for")


class NullOut(Told):
    """A field that an event should have and lacked."""

    event: str
    field: str
    count: int
    share: Share = Field(description="Of the events of this name")


class SetAsideOut(Told):
    """Why events were set aside."""

    stage: str
    reason: str
    count: int
    first: datetime
    last: datetime


class QuarantineOut(Told):
    """Events that could not be applied; they wait to be looked at."""

    events: int
    by_reason: list[SetAsideOut]


class FileOut(Told):
    """A file that was ingested."""

    path: str
    started_at: datetime
    finished_at: datetime | None
    accepted: int
    rejected: int
    rejects: str | None = Field(description="The file of refused lines, each with its reason")


class RefusedOut(Told):
    """A field for which lines of files were refused."""

    field: str
    count: int


class InboxOut(Told):
    """Events that are not in the event log yet."""

    events: int
    waiting: int = Field(description="Of these not yet applied")


class WaitingOut(Told):
    """Customers whose features must be made anew."""

    customers_waiting: int
    customers_failed: int


class CheckedOut(Told):
    """What was compared."""

    decisions: int
    values: int


class WrongValueOut(Told):
    """A value that a decision used and the event log does not give."""

    decision_id: str
    feature: str
    served: float | None
    computed: float | None


class MismatchesOut(CheckedOut):
    """What differed."""

    by_feature: dict[str, int]
    examples: list[WrongValueOut]


class BehindOut(Told):
    """Rows that were right a moment before: an event had not reached them yet."""

    decisions: int
    worst_seconds: float


class SkewOut(Told):
    """Features as decisions used them against the same features from the event log."""

    at: datetime
    made_at: datetime
    seconds: float
    checked: CheckedOut
    mismatches: MismatchesOut
    behind: BehindOut
    nulls: dict[str, float] = Field(description="By feature, the share of decisions that did not know it")
    skipped: dict[str, int] = Field(description="Decisions left out, by the reason")


class DataReportOut(Told):
    """What came in, and of what quality."""

    from_: date = Field(alias="from")
    until: datetime
    events: int
    duplicates_dropped: int
    late: LateOut
    clock_skew: PartOut = Field(description="Events whose sender's clock was wrong and put right")
    future_times: int
    broken_time_zones: int
    unknown_decisions: int = Field(description="Events that name a decision that there is not, as of a dry run")
    currencies: list[CurrencyOut] = Field(description="The most frequent first")
    contacts: ContactsOut
    machine: MachinesOut
    by_day: list[DayOut]
    by_event: list[EventOut] = Field(description="The most frequent first")
    nulls: list[NullOut]
    quarantine: QuarantineOut
    files: list[FileOut] = Field(description="The newest first")
    refused_in_files: list[RefusedOut]
    inbox: InboxOut
    features: WaitingOut
    skew: SkewOut | None = Field(None, description="The newest check; null before the first")
