from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from service.offers.cel import ExpressionError, ask, compile_expression, prepare, refuse_what_there_is_not

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def answer(source: str, **known: object) -> object:
    prepared = prepare(
        known.get("traits", {}),  # type: ignore[arg-type]
        known.get("features", {}),  # type: ignore[arg-type]
        known.get("segments", []),
        known.get("scores", {}),  # type: ignore[arg-type]
        known.get("context", {}),  # type: ignore[arg-type]
        NOW,
    )
    return ask(compile_expression(source), prepared)


@pytest.mark.parametrize(
    ("source", "holds"),
    [
        ("customer.features.orders_90d >= 1 && !('vip' in customer.segments)", True),
        ("customer.features.orders_90d > 2", False),
        ("customer.traits.plan == 'gold'", True),
        ("context.page == 'cart' && now > timestamp('2026-01-01T00:00:00Z')", True),
        ("customer.scores.churn > 0.5", False),
        ("customer.segments.exists(s, s.startsWith('v'))", False),
        ("customer.features['orders_90d'] / 2.0 == 1.0", True),
    ],
)
def test_an_expression_sees_customer_context_and_time(source: str, holds: bool) -> None:
    told = answer(
        source,
        traits={"plan": "gold"},
        features={"orders_90d": 2.0},
        segments=["new"],
        scores={"churn": 0.1},
        context={"page": "cart"},
    )
    assert told.holds is holds  # type: ignore[attr-defined]
    assert told.missing is None  # type: ignore[attr-defined]
    assert told.problem is None  # type: ignore[attr-defined]


def test_a_missing_feature_is_named_and_nan_counts_as_missing() -> None:
    assert answer("customer.features.visits > 1").missing == "visits"  # type: ignore[attr-defined]
    assert answer("customer.features.visits > 1", features={"visits": float("nan")}).missing == "visits"  # type: ignore[attr-defined]
    asked = answer("has(customer.features.visits) && customer.features.visits > 1")
    assert asked.missing is None  # type: ignore[attr-defined]


def test_a_fault_while_evaluating_is_a_verdict() -> None:
    assert "operand" in answer("customer.traits.age + 'x' == '1'", traits={"age": 1}).problem  # type: ignore[attr-defined]
    assert answer("customer.traits.age", traits={"age": 1}).problem  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("source", "line", "column", "word"),
    [
        ("customer.features.x >", 1, 22, "EOF"),
        ("customer.features.x > 1 &&\n  customer.traits.y ==", 2, 23, "EOF"),
        ("custmer.features.x > 1", 1, 1, "custmer"),
        ("1 == 1 &&\n nosuch(customer.traits.a) == 2", 2, 2, "nosuch"),
        ("customer.features.x / 2 > 1", 1, 21, "float / int"),
        ("1 + 1", 1, 1, "true or false"),
        ("   ", 1, 1, "empty"),
        ("(" * 300 + "true" + ")" * 300, 1, 97, "nested"),
        ("true || " * 1_000 + "true", 1, 4_001, "longer"),
    ],
)
def test_a_wrong_expression_is_refused_with_the_place(source: str, line: int, column: int, word: str) -> None:
    with pytest.raises(ExpressionError, match=word) as fault:
        compile_expression(source)
    assert (fault.value.line, fault.value.column) == (line, column)


@pytest.mark.parametrize(
    ("source", "column", "named"),
    [
        ("customer.scores.churn.probability > 0.3", 23, "customer.scores.churn"),
        ("has(customer.scores.lead) && customer . scores.lead.tier == 'A'", 53, "customer.scores.lead"),
        ("customer.features.orders_90d.value > 1.0", 30, "customer.features.orders_90d"),
    ],
)
def test_a_part_of_a_number_is_refused_with_what_to_write(source: str, column: int, named: str) -> None:
    with pytest.raises(ExpressionError, match=f"{re.escape(named)} is a number") as fault:
        refuse_what_there_is_not(source)
    assert fault.value.column == column


@pytest.mark.parametrize(
    ("source", "line", "column", "told"),
    [
        ("customer.featurs.orders_90d > 1", 1, 10, "no 'featurs'; do you mean customer.features\\?"),
        ("true ||\n customer . consents.email", 2, 13, "no 'consents'; it has features, scores, segments, traits"),
    ],
)
def test_a_part_that_no_customer_has_is_refused_with_those_that_there_are(
    source: str, line: int, column: int, told: str
) -> None:
    """It held for nobody, and only what was excluded said why."""
    with pytest.raises(ExpressionError, match=told) as fault:
        refuse_what_there_is_not(source)
    assert (fault.value.line, fault.value.column) == (line, column)
    compile_expression(source)  # what was stored before stays as it is


def test_what_only_looks_like_a_part_of_a_number_is_none() -> None:
    refuse_what_there_is_not("customer.scores.churn > 0.3 && 'customer.scores.churn.probability' != 'x'")
    refuse_what_there_is_not("customer.traits.company.size > 3 && context.customer.id == 'customer.id'")
    refuse_what_there_is_not("customer['traits'].x == 'a' || customer.segments.exists(s, s == 'b')")


def test_names_in_texts_and_of_macros_are_not_taken_for_variables() -> None:
    compile_expression("customer.segments.exists(foo, foo == 'bar(') || customer.traits.x == 'unknown(y)'")


def test_the_features_an_expression_reads_are_known() -> None:
    assert compile_expression("customer.features.a > 1 && customer.features.b > 1").features == {"a", "b"}
    assert compile_expression("customer.features['a'] > 1.0").features is None
    assert compile_expression("size(customer) > 1").features is None
    assert compile_expression("customer.traits.note == 'customer.features'").features == frozenset()
