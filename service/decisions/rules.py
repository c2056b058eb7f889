"""The settings of a placement as the rules of a case, named by a version that changes with their content."""

from __future__ import annotations

from dataclasses import asdict
from datetime import time
from functools import lru_cache
from typing import Any

import orjson
import xxhash

from service.decisions.case import ARMS, CoolDown, MessageCap, Rules, Steer
from service.offers.cel import VARIABLES, Expression, ExpressionError, compile_expression
from service.settings import Settings
from service.wrong_settings import source_of

POLICY = "default"


@lru_cache(maxsize=1024)
def compiled_steer(source: str) -> Expression:
    """A rule of the ranker, which may also ask for the `offer`. `ExpressionError` when it cannot be used."""
    return compile_expression(source, VARIABLES | {"offer"})


class RuleBook:
    """Rules and arms of each placement, made once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rules: dict[str, Rules] = {}
        self._shares: dict[str, list[tuple[str, float]]] = {}
        self.default_zone = settings.default_timezone
        self.seed_name = xxhash.xxh3_64_hexdigest(f"{settings.decisions.seed}\0name".encode())
        """Another one means other arms. It is the installation's secret, so it is not written anywhere itself."""
        for name, placement in settings.placements.items():
            for rule in placement.rules:
                _check(name, rule.name, rule.when)

    def rules(self, placement: str) -> Rules:
        """The rules of a placement. Placements without settings of their own share one set."""
        key = placement if placement in self._settings.placements else ""
        if key not in self._rules:
            self._rules[key] = self._make(placement)
        return self._rules[key]

    def shares(self, placement: str) -> list[tuple[str, float]]:
        """The arms and their shares, which sum to 1."""
        key = placement if placement in self._settings.placements else ""
        if key not in self._shares:
            arms = self._settings.placement(placement).arms
            self._shares[key] = [(arm, float(getattr(arms, arm))) for arm in ARMS]
        return self._shares[key]

    def _make(self, placement: str) -> Rules:
        settings, own = self._settings, self._settings.placement(placement)
        decisions, quiet = settings.decisions, settings.quiet_hours
        content: dict[str, Any] = {
            "exploration": decisions.exploration,
            "calms_after": decisions.calms_after,
            "floor": decisions.floor,
            "fatigue_cost": decisions.fatigue_cost,
            "caps": tuple(MessageCap(c.channel, c.max, c.per_days, c.per, c.placement) for c in decisions.caps),
            "cool_downs": tuple(CoolDown(c.after, c.days, c.placement, c.channel, c.tag) for c in decisions.cool_downs),
            "purpose": own.purpose,
            "steering": tuple(
                Steer(r.name, r.do, tuple(r.offers), tuple(r.tags), tuple(r.categories), r.when, r.place, r.factor)
                for r in own.rules
            ),
            "most_per_category": own.diversity.max_per_category,
            "most_per_tag": own.diversity.max_per_tag,
            "goal_conversion": decisions.goals.conversion,
            "goal_click": decisions.goals.click,
            "goal_redemption": decisions.goals.redemption,
            "nothing": decisions.value_of_nothing,
            "consent_when_unknown": settings.consent.when_unknown,
            "quiet_start": quiet.start,
            "quiet_end": quiet.end,
            "quiet_channels": frozenset(quiet.channels),
            "default_timezone": settings.default_timezone,
            "placement_channels": tuple(own.channels),
            "business_as_usual": own.business_as_usual,
            "explore_by": decisions.explore_by,
            "epsilon": decisions.epsilon,
            "evidence": decisions.evidence,
            "explore_hours": decisions.explore_hours,
            "off_at_zero": True,
            "nothing_wins": True,
            "tags_unchecked": True,
            "pins_explored_alike": True,
            "uplift_drawn": True,
            "losers_alike": True,
        }
        return Rules(version=_version(content), **content)


@lru_cache(maxsize=256)
def rules_to_json(rules: Rules) -> dict[str, Any]:
    """Rules as a record holds them."""
    return {**asdict(rules), "quiet_channels": sorted(rules.quiet_channels)}


def rules_from_json(value: dict[str, Any]) -> Rules:
    """Rules out of a record."""
    return Rules(
        **{
            **value,
            "caps": tuple(MessageCap(**cap) for cap in value["caps"]),
            "steering": tuple(_steer(one) for one in value.get("steering", ())),
            "cool_downs": tuple(CoolDown(**one) for one in value.get("cool_downs", ())),
            "quiet_start": time.fromisoformat(value["quiet_start"]),
            "quiet_end": time.fromisoformat(value["quiet_end"]),
            "quiet_channels": frozenset(value["quiet_channels"]),
            "placement_channels": tuple(value["placement_channels"]),
        }
    )


def _steer(value: dict[str, Any]) -> Steer:
    lists = {name: tuple(value[name]) for name in ("offers", "tags", "categories")}
    return Steer(**{**value, **lists})


def _check(placement: str, rule: str, when: str | None) -> None:
    """`ValueError` names the setting when an expression of the file cannot be used."""
    if when is not None:
        try:
            compiled_steer(when)
        except ExpressionError as fault:
            at = f"placements.{placement}.rules {rule!r}{source_of('placements', placement, 'rules')}"
            raise ValueError(f"{at}: when: {fault}") from None


def _version(content: dict[str, Any]) -> str:
    plain = {**content, "quiet_channels": sorted(content["quiet_channels"])}
    return xxhash.xxh3_64_hexdigest(orjson.dumps(plain, option=orjson.OPT_SORT_KEYS))[:8]
