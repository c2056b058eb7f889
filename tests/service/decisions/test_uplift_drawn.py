"""Thompson sampling where a model of uplift serves: drawn is by how much sending raises a chance, not the chance."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.decisions.case import Case, Customer, Rules, Steer, Usage
from service.decisions.choose import choose
from service.decisions.pairs import Pairs
from service.decisions.rules import RuleBook
from tests.fakes.decisions import NOON, settings
from tests.service.decisions.test_weigh_at_once import offer

OFFERS = tuple(offer(number, value=value, cost=0.0) for number, value in enumerate((100.0, 90.0, 110.0)))
PAIRS = Pairs([(0, "email"), (1, "email"), (2, "email")])
CHANCES = [0.05, 0.06, 0.0]
RULES: Rules = RuleBook(settings(explore_by="thompson", evidence=100.0, fatigue_cost=0.0)).rules("default")


def weights(share: float | None, rules: Rules = RULES) -> list[float]:
    """Propensities, sending nothing last, where sending causes this share of the conversions."""
    about = tuple((2,) for _ in rules.steering)
    case = Case(Customer("c"), "default", ("email",), OFFERS, NOON, "model", 7, 3, rules, Usage(), {}, True, about)
    uplift = None if share is None else [share * chance for chance in CHANCES]
    told: list[float] = choose(case, PAIRS, CHANCES, None, uplift).candidates.columns[2].tolist()
    return told


@pytest.mark.parametrize("share", [0.0, -0.1, -0.9])
def test_who_is_better_left_alone_is_sent_nothing(share: float) -> None:
    assert weights(share) == [0.0, 0.0, 0.0, 1.0]
    former = weights(share, replace(RULES, uplift_drawn=False))
    assert former[0] > 0.0, "records of before replay as they were"


def test_a_share_of_all_chances_changes_no_draw_between_offers() -> None:
    plain = weights(None)
    assert plain[0] > 0.1 < plain[1]
    assert weights(0.2) == plain == weights(1.0)


def test_business_rules_leave_it_so() -> None:
    ruled = replace(RULES, steering=(Steer("x", "exclude", ("o2",)),))
    assert weights(0.2, ruled) == weights(None, ruled)
    assert weights(-0.1, ruled) == [0.0, 0.0, 0.0, 1.0]
