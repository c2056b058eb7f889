from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest

from features.build import compute
from features.catalogue import CATALOGUE, FEATURE_NAMES, FEATURES, feature
from features.codes import label_number
from features.declare import DAY, HOUR, MINUTE, DeclarationError, Events, Feature, hop_of, over, tail_of
from features.feature_set import FeatureSet
from features.plan import plan_of
from features.vocabulary import NAMES, VERBS, Vocabulary
from tests.fakes.event_streams import START, frame

PROMISED = {
    "days_since_last_order",
    "tenure_days",
    "orders_1d",
    "orders_7d",
    "orders_30d",
    "orders_90d",
    "orders_365d",
    "orders_total",
    "revenue_cents_7d",
    "revenue_cents_30d",
    "revenue_cents_90d",
    "revenue_cents_365d",
    "average_order_cents_365d",
    "order_gap_mean_days",
    "order_gap_std_days",
    "current_gap_ratio",
    "order_trend_30_90",
    "categories_90d",
    "top_category_share_365d",
    "discount_share_365d",
    "delivered_7d",
    "delivered_30d",
    "delivered_90d",
    "deliveries_total",
    "days_since_last_delivery",
    "opens_human_30d",
    "opens_human_90d",
    "clicks_human_30d",
    "clicks_human_90d",
    "redeemed_365d",
    "redeemed_total",
    "unsubscribes_365d",
    "complaints_365d",
    "machine_share_90d",
    "pages_7d",
    "pages_30d",
    "forms_90d",
    "weekend_share_365d",
    "preferred_order_hour",
    "order_hour_concentration",
}


def test_what_other_parts_rely_on_is_there() -> None:
    assert set(FEATURE_NAMES) >= PROMISED
    assert len(FEATURE_NAMES) >= 60


@pytest.mark.parametrize("one", FEATURES, ids=lambda f: f.name)
def test_every_feature_speaks(one: Feature) -> None:
    assert one.description.endswith(".")
    assert one.unit
    spoken = CATALOGUE.sentence(one.name, dict.fromkeys(FEATURE_NAMES, 0.25))
    assert "{" not in spoken
    assert not one.sentence or spoken != one.sentence  # says a number; tests/models/test_reasons.py names the silent
    assert "nan" not in CATALOGUE.sentence(one.name, dict.fromkeys(FEATURE_NAMES, math.nan))


def test_a_sentence_reads_as_people_speak() -> None:
    told = {"days_since_last_order": 41.2, "order_gap_mean_days": 19.8}
    assert CATALOGUE.sentence("current_gap_ratio", told) == "last order 41 days ago, usually every 20"
    assert CATALOGUE.sentence("orders_30d", {"orders_30d": 3.0}) == "3 orders in the last 30 days"


def test_a_near_miss_is_named() -> None:
    with pytest.raises(KeyError, match="do you mean orders_30d"):
        feature("order_30d")


@pytest.mark.parametrize(
    ("window", "hop"), [(12 * DAY, DAY), (12 * DAY - 1, HOUR), (12 * HOUR, HOUR), (12 * HOUR - 1, 5 * MINUTE)]
)
def test_hops_follow_the_rule(window: int, hop: int) -> None:
    assert hop_of(window) == hop
    assert tail_of(10**15, window) == (10**15 - window) // hop * hop


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"aggregate": "median"}, "no aggregate median"),
        ({"aggregate": "sum", "column": "colour"}, "no column colour"),
        ({"aggregate": "ratio"}, "a ratio needs `of`"),
        ({"aggregate": "count", "events": None}, "`events` must say"),
        ({"aggregate": "count", "window_days": -1}, "longer than nothing"),
    ],
)
def test_a_wrong_declaration_is_refused(wrong: dict[str, object], told: str) -> None:
    fields = {"name": "x", "description": "", "sentence": "", "unit": "", "events": Events(("ordered",)), **wrong}
    with pytest.raises(DeclarationError, match=told):
        Feature(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"aggregate": "count", "name": "orders_7d"}, "declared twice: orders_7d"),
        ({"aggregate": "ratio", "of": ("orders_7d", "nothing")}, "a ratio of nothing"),
        ({"aggregate": "gap_mean", "window_days": 2}, "12 days or more"),
        ({"aggregate": "distinct", "events": Events(("refunded",)), "window_days": 90}, "is of orders"),
        ({"aggregate": "quantile", "column": "quantity"}, "needs `window_days`"),
    ],
)
def test_a_wrong_set_is_refused(more: dict[str, object], told: str) -> None:
    fields = {"name": "x", "description": "", "sentence": "", "unit": "", "events": Events(("ordered",)), **more}
    with pytest.raises(DeclarationError, match=told):
        plan_of(FeatureSet((*FEATURES, Feature(**fields))))  # type: ignore[arg-type]


TOML = """
[[feature]]
name = "trials_30d"
aggregate = "count"
window_days = 30
events = { verbs = ["Trial Started"] }

[[feature]]
name = "trials_per_order"
aggregate = "ratio"
of = ["trials_30d", "orders_30d"]

[[feature]]
name = "plan_level"
aggregate = "last"
column = "plan"
levels = ["free", "pro"]
"""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('"trials_30d"\n', '"orders_7d"\n'), "{path}: orders_7d comes with the product; give yours another name"),
        (('"plan_level"', '"trials_30d"'), "{path}: declared twice: trials_30d"),
        (('"count"', '"maximum"'), "{path}: trials_30d: no aggregate maximum; use "),
    ],
)
def test_what_is_wrong_in_a_file_names_it_once(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    path = tmp_path / "features.toml"
    path.write_text(TOML.replace(*change, 1))
    with pytest.raises(DeclarationError) as refused:
        CATALOGUE.with_file(path)
    assert str(refused.value).startswith(told.format(path=path))


def test_a_user_adds_features_in_toml(tmp_path: Path) -> None:
    path = tmp_path / "features.toml"
    path.write_text(TOML)
    features = CATALOGUE.with_file(path)
    base = {"customer_id": "ann", "timestamp": START, "received_at": START, "properties": "{}"}
    events = [
        {"message_id": "1", "type": "track", "event": "Trial Started", "traits": None, **base},
        {"message_id": "2", "type": "track", "event": "Order Completed", "traits": None, **base},
        {"message_id": "3", "type": "identify", "event": None, "traits": '{"plan":"Pro"}', **base},
    ]
    cuts = pl.DataFrame({"customer_id": ["ann"], "as_of": [START.replace(day=30)]})
    told = compute(frame(events), cuts, features).row(0, named=True)
    assert (told["trials_30d"], told["trials_per_order"], told["plan_level"]) == (1.0, 1.0, 1.0)
    assert features.sentence("trials_30d", told) == "trials_30d is 1.0"


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ('name = "x"\nagregate = "last"', r"features\.toml: x: there is no key 'agregate'; do you mean aggregate\?"),
        ('name = "x"\nxyz = "red"', r"features\.toml: x: there is no key 'xyz'; there are name, aggregate, "),
        ('name = "x"', r"features\.toml: x: `aggregate` is missing; use active_days, count, "),
        ('aggregate = "last"', r"features\.toml: '' is no name for a feature"),
    ],
)
def test_a_toml_with_a_wrong_key_names_the_feature_and_what_there_is(tmp_path: Path, written: str, told: str) -> None:
    """It said "Feature.__init__() got an unexpected keyword argument"."""
    path = tmp_path / "features.toml"
    path.write_text(f"[[feature]]\n{written}\n")
    with pytest.raises(DeclarationError, match=told):
        CATALOGUE.with_file(path)


def test_features_of_ones_own_in_python(tmp_path: Path) -> None:
    path = tmp_path / "features.py"
    path.write_text(
        "from features.declare import Events, Feature, over\n"
        "TRIALS = Feature('trials', 'count', 'Trials {d}.', '{name:.0f} trials {d}', 'trials',\n"
        "                 events=Events(('Trial Started',)))\n"
        "FEATURES = [*over((7, 30), TRIALS)]\n"
    )
    mine = CATALOGUE.with_file(path)
    assert mine.names[-2:] == ("trials_7d", "trials_30d")
    assert mine.sentence("trials_7d", {"trials_7d": 2}) == "2 trials in the last 7 days"
    (tmp_path / "features.toml").write_text(
        'python = "features.py"\n[[feature]]\nname = "share"\naggregate = "ratio"\nof = ["trials_7d", "trials_30d"]\n'
    )
    assert CATALOGUE.with_file(tmp_path / "features.toml").names[-3:] == ("trials_7d", "trials_30d", "share")
    for wrong, told in (("1 / 0", "ZeroDivisionError"), ("FEATURES = [1]", "a list FEATURES"), ("x = 1", "FEATURES"),
                        ("FEATURES = [TRIALS, TRIALS]", "declared twice|cannot be read")):  # fmt: skip
        path.write_text(wrong)
        with pytest.raises(DeclarationError, match=told):
            CATALOGUE.with_file(path)


def test_codes_keep_verb_channel_machine_and_whether_revenue_is_known() -> None:
    words = Vocabulary(("Trial Started",))
    for name, meaning in NAMES.items():
        for channel in (None, "sms", "fax"):
            for machine in (None, False, True):
                told = words.parts(words.code("track", name, channel, machine, priced=machine is None))
                place = {"fax": "other"}.get(channel or "", channel) or meaning.channel
                assert told == (meaning.verb, place, machine is True, machine is None)
    assert words.parts(words.code("track", "Trial Started", None, None)) == ("Trial Started", None, False, False)
    assert words.parts(words.code("track", "ordered", None, None))[0] == "other"  # a verb is not an event name
    assert words.parts(words.code("page", "Order Completed", None, None))[0] == "page_viewed"
    assert words.verbs[: len(VERBS)] == VERBS


def test_windows_in_words() -> None:
    base = Feature("n", "count", "Things {d}.", "{name:.0f} things {d}", "things", events=Events(("ordered",)))
    assert [f.description for f in over((1, 7, None), base)] == [
        "Things in the last day.", "Things in the last 7 days.", "Things in all time."
    ]  # fmt: skip


def test_place_and_company_come_from_segments_traits() -> None:
    base = {"customer_id": "ann", "properties": "{}"}
    winter, summer = START.replace(month=1), START.replace(month=7)
    place = '"address":{"country":"Germany","state":"Berlin","postalCode":"10115"}'
    person = '"title":"Head of Sales","dob":"1990-07-04","lead":true'
    events = [
        {**base, "message_id": "1", "type": "identify", "timestamp": winter, "timezone": None,
         "traits": f"{{{place},{person}}}"},
        {**base, "message_id": "2", "type": "group", "timestamp": winter, "traits": '{"employees":"51-200"}',
         "timezone": "Europe/Berlin"},
        {**base, "message_id": "3", "type": "page", "timestamp": summer, "traits": None, "timezone": "Europe/Berlin"},
        {**base, "message_id": "4", "type": "page", "timestamp": summer, "traits": None, "timezone": "No/Where"},
    ]  # fmt: skip
    cuts = pl.DataFrame({"customer_id": ["ann"] * 2, "as_of": [winter.replace(day=30), START.replace(month=7, day=30)]})
    early, late = compute(frame([{**e, "received_at": e["timestamp"]} for e in events]), cuts).to_dicts()
    assert CATALOGUE.sentence("country_code", early) == "in DE"
    assert CATALOGUE.sentence("postal_area", early) == "in the postal area 101"
    assert early["region_code"] == label_number("berlin")
    assert (early["company_size"], early["role_level"]) == (51, 4)
    assert CATALOGUE.sentence("is_lead", late) == "listed as a lead: yes"
    assert (early["utc_offset_hours"], late["utc_offset_hours"]) == (1, 2)
    assert (early["days_until_birthday"], late["days_until_birthday"]) == (155, 339)


@pytest.mark.parametrize("slip", ['[[features]]\nname = "a"', "[feature_a]", "Python = 1"])
def test_a_slip_beside_the_features_is_named(tmp_path: Path, slip: str) -> None:
    (tmp_path / "features.toml").write_text(slip)
    with pytest.raises(DeclarationError, match=r"is not known; declare each feature as a table \[\[feature\]\]"):
        CATALOGUE.with_file(tmp_path / "features.toml")
