"""Which business rule of the ranker put one candidate before another, in words. Pure: works on the record shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class RuleWords:
    """The rules of a decision that pinned, boosted or buried what was weighed. `names`: what each offer is called."""

    def __init__(self, record: Mapping[str, Any], nothing: float, names: Mapping[str, str]) -> None:
        settings = {rule["name"]: rule for rule in record["policy"]["rules"].get("steering", ())}
        self._rules = [
            (settings[rule["name"]], frozenset(rule["offers"]))
            for rule in record.get("business_rules", ())
            if rule["name"] in settings
        ]
        self._nothing = nothing
        self._names = names

    def before(self, first: Mapping[str, Any], other: Mapping[str, Any]) -> str:
        """Why `first` stands before `other`, which was expected to earn more; empty where no rule did that."""
        one, two = first["offer_id"], other["offer_id"]
        pin = self._pin(one)
        if pin or self._pin(two):
            return f"the rule {pin} puts {self._name(one)} first" if pin and not self._pin(two) else ""
        if self._buried(two) and not self._buried(one):
            return f"the rule {self._buried(two)} puts it behind the others"
        if self._counted(first) < self._counted(other):
            return ""
        lifted = [self._times(rule, one) for rule in self._boosts(one) if rule["factor"] > 1]
        return " and ".join([*lifted, *(self._times(rule, two) for rule in self._boosts(two) if rule["factor"] < 1)])

    def place(self, first: Mapping[str, Any], other: Mapping[str, Any]) -> str:
        """Why `other` has its place in the list behind the first, where a rule gave it that place."""
        two = other["offer_id"]
        for rule in self._about(two, "pin"):
            return f"the rule {rule['name']} gives it place {rule['place']}" if rule["place"] > 1 else ""
        if self._buried(two) and not self._buried(first["offer_id"]):
            return f"the rule {self._buried(two)} puts it behind the others"
        return ""

    def _about(self, offer_id: str | None, do: str) -> Iterator[Mapping[str, Any]]:
        return (rule for rule, offers in self._rules if rule["do"] == do and offer_id in offers)

    def _pin(self, offer_id: str | None) -> str:
        return next((rule["name"] for rule in self._about(offer_id, "pin") if rule["place"] == 1), "")

    def _buried(self, offer_id: str | None) -> str:
        if any(self._about(offer_id, "pin")):
            return ""
        return next((rule["name"] for rule in self._about(offer_id, "bury")), "")

    def _boosts(self, offer_id: str | None) -> list[Mapping[str, Any]]:
        return list(self._about(offer_id, "boost"))

    def _counted(self, candidate: Mapping[str, Any]) -> float:
        """What the ranker took a candidate to be worth."""
        gain = float(candidate["expected_value"]) - self._nothing
        for rule in self._boosts(candidate["offer_id"]) if gain > 0 else ():
            gain *= rule["factor"]
        return gain

    def _times(self, rule: Mapping[str, Any], offer_id: str | None) -> str:
        return f"the rule {rule['name']} counts {self._name(offer_id)} {rule['factor']:g} times"

    def _name(self, offer_id: str | None) -> str:
        return "sending nothing" if offer_id is None else self._names[offer_id]
