"""The compiled step and numpy give the same bits."""

from __future__ import annotations

import gc
from dataclasses import replace
from math import fsum
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.compiled import compiled
from service.decisions import weigh_at_once
from service.decisions.case import Case, Customer, Entry, Rules, Usage
from service.decisions.choose import Choice, choose
from service.decisions.pairs import Pairs
from service.decisions.policy import inverse_gap
from service.decisions.rules import RuleBook
from service.offers.offer import Offer, offer_from_document
from service.offers.schemas import OfferIn
from tests.fakes.decisions import NOON
from tests.fakes.decisions import settings as settings_of

WEIGH = weigh_at_once.WEIGH
RULES: Rules = RuleBook(settings_of()).rules("default")
CHANNELS = ("email", "web", "sms")
built = pytest.mark.skipif(WEIGH is None, reason="service/decisions/_weigh was not built here")


def offer(number: int, **fields: Any) -> Offer:
    told = {"name": f"o{number}", "channels": list(CHANNELS), **fields}
    return offer_from_document(f"o{number}", 1, OfferIn.model_validate(told).document())


OFFERS = tuple(
    offer(n, value=[0.0, 7.0, 9.99, 1e6][n % 4], cost=[0.0, 0.1, 3.0][n % 3], priority=[1.0, 0.5, 2.0][n % 3])
    for n in range(24)
)
GROUPED = tuple(replace(one, exclusion_group="g" if n % 5 == 0 else None) for n, one in enumerate(OFFERS))
chance = st.sampled_from([0.0, 1.0, 0.5, 1e-9, 1e-300, 0.25]) | st.floats(0.0, 1.0)


@st.composite
def decisions(draw: st.DrawFn) -> tuple[Case, Pairs, list[float], list[float] | None]:
    offers = draw(st.sampled_from([OFFERS, GROUPED]))
    every = [(place, channel) for place in range(len(offers)) for channel in CHANNELS]
    count = draw(st.integers(0, len(every)))
    pairs = Pairs(every[:: draw(st.sampled_from([1, 1, 2, 7]))][:count])
    few = draw(st.lists(chance, min_size=1, max_size=8))
    told = [few[place % len(few)] for place in range(len(pairs))] if draw(st.booleans()) else None
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    chances = random.beta(1, 20, len(pairs)).tolist() if told is None else told
    uplift = [one * draw(st.sampled_from([-0.5, 0.3])) for one in chances] if draw(st.booleans()) else None
    rules = replace(
        RULES,
        exploration=draw(st.sampled_from([0.0, 1.0, 8.0, 20.0, 1e12])),
        floor=draw(st.sampled_from([0.0, 1e-4, 0.01, 0.5])),
        fatigue_cost=draw(st.sampled_from([0.0, 0.1])),
        goal_conversion=draw(st.sampled_from([1.0, 0.7, 0.0])),
        nothing=draw(st.sampled_from([0.0, 0.5, -3.0, 1e9])),
        nothing_wins=draw(st.booleans()),
        losers_alike=draw(st.booleans()),
        calms_after=draw(st.sampled_from([0.0, 300.0])),
        most_per_category=draw(st.sampled_from([None, None, 2])),
    )
    at = int(NOON.timestamp() * 1_000_000)
    entries = (Entry(at - 5, None, "email", "o1", True, True),) * draw(st.integers(0, 2))
    case = Case(
        Customer("c1"), "default", CHANNELS, offers, NOON, draw(st.sampled_from(["model", "model", "random"])),
        draw(st.integers(0, 2**64 - 1)), draw(st.sampled_from([1, 2, 5, 100])), rules, Usage(entries), {}, learnt=40.0,
    )  # fmt: skip
    return case, pairs, chances, uplift


def told(choice: Choice) -> list[Any]:
    found = choice.candidates
    return [found.columns.tobytes(), found.ranks, list(found), choice.left_out, choice.costs]


@built
@settings(max_examples=80, deadline=None)
@given(decisions())
def test_the_compiled_step_gives_numpys_bits(of: tuple[Case, Pairs, list[float], list[float] | None]) -> None:
    case, pairs, chances, uplift = of
    quick = choose(case, pairs, chances, None, uplift)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weigh_at_once, "WEIGH", None)
        plain = choose(case, pairs, chances, None, uplift)
    assert told(quick) == told(plain)
    assert abs(fsum(quick.candidates.columns[2]) - 1.0) < 1e-12


@built
@pytest.mark.parametrize("at", [0.0, 0.2, 0.5, 1 - 2**-53])
def test_the_draw_is_that_of_the_weights(at: float) -> None:
    case = Case(Customer("c1"), "default", CHANNELS, OFFERS, NOON, "model", 1, 5, RULES, Usage(), {})
    pairs = Pairs((place, "email") for place in range(9))
    values, weights = out = np.empty((2, len(pairs) + 1))
    drawn = weigh_at_once.weigh_and_draw(case, pairs, [0.1 * place for place in range(9)], at, 3, out)
    assert drawn is not None
    assert weights.tolist() == inverse_gap(values, RULES.exploration, RULES.floor, last_wins=True, losers_alike=True)
    sums, first = np.cumsum(weights), drawn[0]
    assert (sums[first - 1] if first else 0.0) <= at < sums[first] or first == len(sums) - 1


@built
def test_numbers_that_are_none_are_left_to_numpy() -> None:
    case = Case(Customer("c1"), "default", CHANNELS, OFFERS, NOON, "model", 1, 5, RULES, Usage(), {})
    out = np.empty((2, 2))
    assert weigh_at_once.weigh_and_draw(case, Pairs([(0, "web")]), [float("nan")], 0.5, 3, out) is None


@built
def test_columns_that_do_not_fit_are_refused() -> None:
    good = [np.zeros(2), np.zeros((3, 2)), np.zeros(2, np.int64), np.zeros(1), np.zeros((2, 3)), np.zeros(8)]
    assert WEIGH.choose(*good) == [0]
    for place, wrong in enumerate([np.zeros(3), np.zeros((3, 1)), np.ones(2, np.int64), np.zeros(0), np.zeros(3)]):
        with pytest.raises(ValueError, match=r"fit|channel"):
            WEIGH.choose(*good[:place], wrong, *good[place + 1 :])
    with pytest.raises(ValueError, match="items of 4 bytes"):
        WEIGH.choose(np.zeros(2, np.float32), *good[1:])
    with pytest.raises(TypeError, match="6 arguments"):
        WEIGH.choose(*good[:5])
    gc.collect()


def test_pure_leaves_it_unused(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("OPPORTUNE_PURE", "1")
    assert compiled("service.decisions._weigh", 3) is None
    monkeypatch.delenv("OPPORTUNE_PURE")
    assert compiled("service.decisions._no_such", 1) is None
    if WEIGH is not None:
        assert compiled("service.decisions._weigh", 999) is None
        assert "install again" in caplog.text
