"""The gate: promotes what is better on later data, and says why not otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from training.gate import LEAST_UNITS, compare, doubt, judge

RANDOM = np.random.default_rng(1)
PLAIN = RANDOM.normal(size=600)
BETTER = PLAIN + 0.1 + RANDOM.normal(0, 0.3, 600)
SAME = PLAIN + RANDOM.normal(0, 0.3, 600) - 0.02


def test_a_first_model_needs_only_its_baseline() -> None:
    verdict = judge(BETTER, {"recency": PLAIN}, measure="log loss")
    assert verdict.promote
    assert "beats recency in log loss" in verdict.text
    assert verdict.comparisons[0].low > 0


def test_no_better_than_the_baseline_is_not_promoted() -> None:
    verdict = judge(SAME, {"recency": PLAIN}, measure="log loss")
    assert not verdict.promote
    assert verdict.text.startswith("not promoted: does not beat recency")


def test_the_last_bits_of_equal_gains_promote_nothing() -> None:
    """A candidate that says what its baseline says, added up otherwise: seen where all orders came in an hour."""
    verdict = judge(PLAIN * (1 + 1e-14) + 1e-14, {"overall": PLAIN}, measure="log loss")
    assert not verdict.promote
    assert "ahead in 0% of resamples" in verdict.text


@pytest.mark.parametrize(("champion", "promoted"), [(PLAIN, True), (BETTER, False), (BETTER + 1, False)])
def test_the_champion_must_be_beaten_too(champion: np.ndarray, promoted: bool) -> None:
    verdict = judge(BETTER, {"recency": PLAIN}, champion, measure="log loss", champion_version="7")
    assert verdict.promote is promoted
    word, beats = ("promoted", "beats") if promoted else ("not promoted", "does not beat")
    assert verdict.text.startswith(f"{word}: {beats} champion 7 in log loss (")
    assert "; beats recency in log loss (" in verdict.text


def test_a_lead_that_may_be_chance_is_enough_for_a_baseline_and_not_for_a_champion() -> None:
    """Gains of -1 and 1 about a mean that is so many of its standard errors above 0: ahead in .85 and .69."""
    apart, error = np.tile([1.0, -1.0], 300), 1 / np.sqrt(600)
    lucky, luckier = PLAIN + apart + 0.5 * error, PLAIN + apart + 1.04 * error
    assert not judge(lucky, {"recency": PLAIN}, measure="log loss").promote
    first = judge(luckier, {"recency": PLAIN}, measure="log loss")
    assert first.promote
    found = first.comparisons[0]
    assert 0.8 < found.ahead < 0.9
    assert (found.low, found.high) == pytest.approx((-0.92 * error, 3 * error), abs=0.2 * error)
    verdict = judge(luckier, {"recency": PLAIN - 1}, PLAIN, measure="log loss", champion_version="7")
    assert not verdict.promote
    assert verdict.text.startswith("not promoted: does not beat champion 7 in log loss (+0.0425, ")
    surer = judge(luckier + 0.6 * error, {"recency": PLAIN - 1}, PLAIN, measure="log loss", champion_version="7")
    assert surer.promote


def test_what_is_too_good_to_be_true_is_promoted_by_a_person_first() -> None:
    good, poor = (judge(gains, {"recency": PLAIN}, measure="log loss") for gains in (BETTER, SAME))
    assert doubt(good, "churn", {}, ()) == good
    alone = {"status": 0.981, "plan": 0.96}
    doubted = doubt(good, "churn", alone, ["plan"])
    assert not doubted.promote
    for part in (
        "not promoted: too good",
        "by status (AUC 0.981), plan (AUC 0.960);",
        "`opportune promote churn VERSION`",
    ):
        assert part in doubted.text
    assert doubted.text.endswith(good.text.removeprefix("promoted: "))
    accepted = doubt(good, "churn", alone, ["plan", "status"])
    assert accepted.promote
    assert accepted.text.startswith(good.text + "; too good to be true")
    assert doubt(poor, "churn", alone, ()).text.startswith(poor.text + "; too good to be true")


def test_every_baseline_must_be_beaten() -> None:
    assert not judge(BETTER, {"popularity": PLAIN, "habit": BETTER + 0.2}, measure="nDCG@10").promote


def test_a_champion_that_cannot_be_compared_stays() -> None:
    verdict = judge(BETTER, {"recency": PLAIN}, measure="log loss", cannot_compare="it has seen all")
    assert not verdict.promote
    assert "it has seen all" in verdict.text


def test_repeated_rows_of_a_customer_do_not_make_evidence() -> None:
    few = RANDOM.normal(0.2, 1, 8)
    repeated = np.repeat(few, 200)
    alone = compare("r", repeated, np.zeros(1600))
    grouped = compare("r", repeated, np.zeros(1600), clusters=np.repeat(np.arange(8), 200))
    assert grouped.high - grouped.low > 5 * (alone.high - alone.low)


def test_units_that_a_rival_could_not_be_judged_on_are_left_out() -> None:
    rival = PLAIN.copy()
    rival[:300] = np.nan
    found = compare("champion", BETTER, rival)
    assert found.gain == pytest.approx(float((BETTER - PLAIN)[300:].mean()))
    assert compare("champion", BETTER, np.full(600, np.nan)).won is False


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf])
def test_a_candidate_without_answers_on_hard_rows_is_not_promoted(nothing: float) -> None:
    """NaN where it would lose: the rows left over make it look better."""
    hard = PLAIN - 2
    hard[:300] = BETTER[:300]
    dodging = hard.copy()
    dodging[300:] = nothing
    assert not judge(hard, {"recency": PLAIN}, measure="log loss").promote
    verdict = judge(dodging, {"recency": PLAIN}, measure="log loss")
    assert not verdict.promote
    assert "no usable answer on 300 rows" in verdict.text


def test_a_handful_of_customers_promotes_nothing() -> None:
    """Every resample of two is ahead where both are."""
    for few in (1, 2, LEAST_UNITS - 1):
        verdict = judge(np.ones(few), {"recency": np.zeros(few)}, measure="log loss")
        assert not verdict.promote
        assert f"only {few} of {LEAST_UNITS} customers" in verdict.text
    enough = judge(np.ones(LEAST_UNITS), {"recency": np.zeros(LEAST_UNITS)}, measure="log loss")
    assert enough.promote
    assert enough.text.startswith("promoted: beats recency in log loss (")
    repeated = np.repeat(np.arange(2), 500)
    assert not judge(np.ones(1000), {"recency": np.zeros(1000)}, measure="log loss", clusters=repeated).promote


def test_a_champion_with_few_fair_rows_stays() -> None:
    """The rest it has learnt from: a week's few new outcomes must not decide."""
    champion = np.full(600, np.nan)
    champion[:3] = PLAIN[:3] - 1
    verdict = judge(BETTER, {"recency": PLAIN}, champion, measure="log loss", champion_version="7")
    assert not verdict.promote
    assert f"only 3 of {LEAST_UNITS} customers to tell it from champion 7" in verdict.text
