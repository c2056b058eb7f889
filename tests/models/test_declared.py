"""Propensities in TOML: what may be written, what is refused and with which words."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.declare import DeclarationError
from models.declaration import Declaration, Rule
from models.declared import SHIPPED, propensities, read_propensities
from service.starter import write_starter

TABLE = """
[[propensity]]
name = "upgrade"
population = ["tenure_days >= 14", { condition = "orders_90d >= 1 OR forms_90d >= 1", otherwise = "is not active" }]
exclusions = "complaints_365d > 0"
goal = { event = "Plan Upgraded", where = "properties.plan = 'pro'", noun = "upgrades" }
horizon_days = 30
attribution_days = 7
features = ["orders_90d"]
tiers = { A = 0.2, B = 0.8 }
"""


def _read(tmp_path: Path, text: str) -> tuple[Declaration, ...]:
    (tmp_path / "propensities.toml").write_text(text)
    return read_propensities(tmp_path / "propensities.toml")


def test_a_table_is_a_declaration_with_defaults(tmp_path: Path) -> None:
    (made,) = _read(tmp_path, TABLE)
    assert (made.name, made.title, made.horizon_days) == ("upgrade", "has 'Plan Upgraded' within 30 days", 30)
    assert made.features == ("orders_90d", "days_since_last_event")  # the baseline is among them
    assert (made.tiers, made.attribution_days) == ((("A", 0.2), ("B", 0.8)), 7.0)
    assert made.goal.where == "properties.plan = 'pro'"
    assert Declaration.from_dict(made.to_dict()) == made
    assert made.directions == {}
    (steered,) = _read(tmp_path, TABLE.replace("attribution_days", 'falling = ["tenure_days"]\nattribution_days'))
    assert Declaration.from_dict(steered.to_dict()).directions == {"tenure_days": -1}


def test_own_stand_beside_the_shipped_and_may_take_their_place(tmp_path: Path) -> None:
    path = tmp_path / "propensities.toml"
    path.write_text(TABLE)
    assert list(propensities(path)) == ["lead", "churn", "winback", "upgrade"]
    path.write_text(TABLE.replace('"upgrade"', '"churn"'))
    found = propensities(path)
    assert list(found) == ["lead", "churn", "winback"]
    assert found["churn"].horizon_days == 30
    assert tuple(propensities(None).values()) == SHIPPED


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "upgrade"', 'name = "Up grade"', "name: write a name of small letters"),
        ('name = "upgrade"', 'name = "all"', "name: write a name"),
        ('name = "upgrade"', "", "a propensity without a name: name: write"),
        ("horizon_days = 30", "", "upgrade: horizon_days: write a whole number of days"),
        ("horizon_days = 30", "horizon_days = 30.5", "horizon_days: 30.5 does not fit; write a whole number"),
        ("horizon_days = 30", "horizon = 30", "horizon: there is no such key; do you mean horizon_days?"),
        ("attribution_days = 7", 'attribution_days = "7"', "attribution_days: '7' does not fit; write"),
        ('event = "Plan Upgraded"', 'event = ""', 'goal.event: write a verb or the name of an event, such as event ='),
        ('noun = "upgrades"', "happens = 1", "goal.happens: write true or false"),
        ('noun = "upgrades"', 'nouns = "x"', "goal.nouns: there is no such key; do you mean noun?"),
        ("properties.plan = 'pro'", "properties.plan = ", "goal.where: "),
        ("properties.plan = 'pro'", "revenue > 3", "goal.where: events have no column revenue; do you mean revenue_c"),
        ("tenure_days >= 14", "tenure >= 14", "names tenure, which is no feature; do you mean tenure_days"),
        ("tenure_days >= 14", "tenure_days AND", "population: the rule 'tenure_days AND' is not understood"),
        ("tenure_days >= 14", "tenure_days + 1", "is neither true nor false"),
        ("tenure_days >= 14", "tenure_days > AVG(tenure_days)", "looks at other customers too"),
        ("tenure_days >= 14", "1 = 1", "names no feature"),
        ('"is not active"', '"has {orders_90d:%Q}"', "population: the sentence 'has {orders_90d:%Q}' of `otherwise`"),
        ('"is not active"', '"has {"', "population: the sentence 'has {' of `otherwise` cannot be filled"),
        ('"is not active"', '"has {nothing}"', "of `otherwise` cannot be filled ({nothing} is no feature); write text"),
        ('"is not active"', '"has {orders_90d.real}"', "{orders_90d.real} is no feature"),
        ('"is not active"', '"has {} orders"', "{} is no feature"),
        ("attribution_days = 7", 'rising = ["orders_90d"]\nfalling = ["orders_90d"]', "cannot be rising, falling"),
        ("attribution_days = 7", 'rising = ["orders_91d"]', "rising: there is no feature orders_91d; do you mean"),
        ('features = ["orders_90d"]', 'features = ["orders_91d"]', "features: there is no feature orders_91d; do you"),
        ("B = 0.8", "B = 0.7", "tiers: the shares sum to 0.9, not to 1"),
        ('tiers = { A = 0.2, B = 0.8 }', "tiers = [1]", "tiers: write shares of customers"),
        ("[[propensity]]", "[propensity]", "declare each propensity as a table [[propensity]]"),
        ('name = "upgrade"', "name = upgrade", "cannot be read"),
    ],
)  # fmt: skip
def test_a_wrong_table_is_refused_naming_the_key(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in TABLE
    with pytest.raises(DeclarationError) as refused:
        _read(tmp_path, TABLE.replace(old, new))
    assert said in str(refused.value)
    assert "propensities.toml" in str(refused.value)


def test_a_name_is_declared_once(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="declared twice: upgrade"):
        _read(tmp_path, TABLE + TABLE)


def test_the_starters_example_is_right(tmp_path: Path) -> None:
    write_starter(tmp_path)
    path = tmp_path / "propensities.toml"
    assert read_propensities(path) == ()
    head, _, example = path.read_text().partition("# [[propensity]]")
    shown = "\n".join(line.removeprefix("# ") for line in f"# [[propensity]]{example}".splitlines())
    (made,) = _read(tmp_path, shown)
    assert made.name == "upgrade"
    assert "horizon_days" in head


NUMBERS = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=False, width=32), st.integers(-2, 3))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=12))
def test_a_rule_says_the_same_of_one_customer_and_of_many(rows: list[tuple[float | None, float | None]]) -> None:
    names = ("orders_90d", "tenure_days")
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.Float64), orient="row", strict=False)
    for condition in ("orders_90d >= 1", "orders_90d != 0", "orders_90d > 0 OR tenure_days < 2",
                      "NOT orders_90d > 0 AND tenure_days IS NOT NULL"):  # fmt: skip
        rule = Rule(condition)
        alone = [
            rule.met_by({name: float("nan") if v is None else float(v) for name, v in zip(names, row, strict=True)})
            for row in frame.iter_rows()
        ]
        assert rule.holds(frame).tolist() == alone


def test_what_is_missing_holds_nothing_and_excludes_nobody(tmp_path: Path) -> None:
    (made,) = _read(tmp_path, TABLE)
    names = ("tenure_days", "orders_90d", "forms_90d", "complaints_365d")
    rows = [(30, None, 1, None), (30, 2, None, 1), (None, 2, 2, 0), (30, 0, 0, 0)]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.Float64), orient="row")
    assert made.applies(frame).tolist() == [True, False, False, False]
    assert made.teaches(frame).tolist() == [True, False, False, False]
    why = [made.why_not({k: float("nan") if v is None else v for k, v in row.items()}) for row in frame.to_dicts()]
    assert why == [None, "is left out: complaints_365d > 0", "", "is not active"]
