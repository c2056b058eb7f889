"""The case of a stored decision at another time, or with other offers: what hangs on those is asked again. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from service.decisions.ask_rules import ask_rules
from service.decisions.case import Case
from service.decisions.frozen_row import row_from_json
from service.decisions.match_rules import steered
from service.decisions.rules import compiled_steer
from service.offers.catalogue import distinct_expressions
from service.offers.offer import Offer


class Again:
    """Makes cases out of one `case` and its `record`. What was known of the customer stays as it was."""

    def __init__(self, record: Mapping[str, Any], case: Case) -> None:
        self.case = case
        self._record = record
        self._row = row_from_json(record["features"])
        self._timed = {source: one for source, one in distinct_expressions(case.offers).items() if "now" in one.reads}
        self._later: dict[datetime, Case] = {}

    def at(self, time: datetime) -> Case:
        """The case at another time."""
        found = self._later.get(time)
        if found is None:
            case, asked = self.case, self._record
            told = ask_rules(
                self._timed, case.customer, self._row, asked["scores"], asked["request"]["context"], time, case.checked
            )
            answers = {**case.answers, **told} if told else case.answers
            found = self._later[time] = self._steered(replace(case, at=time, answers=answers), "now")
        return found

    def with_offers(self, offers: tuple[Offer, ...]) -> Case:
        """The case with its offers changed."""
        return self._steered(replace(self.case, offers=offers), "offer")

    def _steered(self, case: Case, changed: str) -> Case:
        conditions = [rule.when for rule in case.rules.steering if rule.when is not None]
        if not any(changed in compiled_steer(when).program.variables() for when in conditions):
            return case
        scores, context = self._record["scores"], self._record["request"]["context"]
        about = steered(case.rules.steering, case.offers, case.customer, self._row, scores, context, case.at)
        return replace(case, steered=about)
