"""Charts are whole SVG within their box, named for those who cannot see them, and escape what they are given."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from service.pages.charts import Bar, bar_chart, calibration_chart, line_chart
from service.pages.customer_page import own_clock
from service.pages.words import (
    amount,
    figure,
    findings,
    marked,
    moment,
    percent,
    said,
    sentence,
    small_figure,
    time_tag,
    trait,
    verdict,
)

numbers = st.floats(-1e6, 1e6, allow_nan=False)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.text(st.characters(min_codepoint=32, exclude_categories=("C",)), max_size=30), numbers)))
def test_any_bars_make_a_whole_picture(rows: list[tuple[str, float]]) -> None:
    chart = bar_chart(
        'x "<y>"', [Bar(label, value, figure(value), low=value - 1, high=value + 1) for label, value in rows]
    )
    assert bool(chart) == bool(rows)
    if rows:
        picture = ElementTree.fromstring(str(chart))
        told = "; ".join(
            f"{label} {figure(value)}, between {figure(value - 1)} and {figure(value + 1)}" for label, value in rows
        )
        assert picture.attrib["aria-label"] == f'x "<y>": {told}'
        assert "viewBox" not in picture.attrib  # letters keep their size in a narrow card
        assert len(picture.findall("rect")) == len(rows)
        assert all(0 < float(bar.attrib["width"].removesuffix("%")) <= 100 for bar in picture.findall("rect"))


def test_what_is_below_zero_has_no_length() -> None:
    picture = ElementTree.fromstring(str(bar_chart("b", [Bar("a", -0.01, "-0.01"), Bar("b", -0.5, "-0.50")])))
    assert [bar.attrib["width"] for bar in picture.findall("rect")] == ["0.30%", "0.30%"]


def test_calibration_and_lines_are_whole_too() -> None:
    points = calibration_chart("c", [(0.1, 0.12, 50), (0.5, 0.45, 10)])
    assert len(ElementTree.fromstring(str(points)).findall("circle")) == 2
    told = "c: promised 10.0%, observed 12.0% of 50; promised 50.0%, observed 45.0% of 10"
    assert ElementTree.fromstring(str(points)).attrib["aria-label"] == told
    lines = ElementTree.fromstring(str(line_chart("l", [("a", [1, 2, 3]), ("b", [0.5])], ("Monday", "Sunday"))))
    assert len(lines.findall(".//polyline")) == 2
    assert [span.text for span in lines.iter("span")] == ["a", "b", "3", "0", "Monday", "Sunday"]
    told = "a from 1 to 3, lowest 1, highest 3; b from 0.500 to 0.500, lowest 0.500, highest 0.500"
    assert lines.attrib["aria-label"] == f"l, Monday to Sunday: {told}"
    assert calibration_chart("c", []) == line_chart("l", [], ("", "")) == bar_chart("b", []) == ""


def test_what_a_problem_says_is_a_sentence() -> None:
    assert said("there is none") == "There is none."
    assert said("steps[0].for: 5 is not a duration") == "steps[0].for: 5 is not a duration."
    assert [said("Wait!"), said("x")] == ["Wait!", "X."]


def test_small_figures_keep_two_digits() -> None:
    assert [small_figure(each) for each in (0.00035, -0.0048, 0.0951, 0.0, 1234.5, 1e-12)] == [
        "0.00035", "-0.0048", "0.095", "0.000", "1,234", "0.00000000",
    ]  # fmt: skip


def test_traits_are_no_python() -> None:
    assert [trait(True), trait(None), trait(""), trait(3), trait(0.5)] == ["yes", "–", "–", "3", "0.5"]
    assert trait({"a": ["x", None, {"b": False}], "c": "<i>"}) == "a: x, –, b: no, c: <i>"
    assert trait("w" * 301) == "w" * 300 + "… (301 characters)"


def test_prices_keep_the_digits_that_the_offer_gives() -> None:
    assert [amount(each) for each in ("9.90", "1299.00", "1000000", "0.005")] == [
        "9.90",
        "1,299.00",
        "1,000,000",
        "0.005",
    ]


def test_a_finding_that_is_made_often_is_told_once() -> None:
    same = {"name": "percents", "passed": False, "detail": "12% is not", "field": "body"}
    other, fine = {**same, "field": "subject"}, {**same, "passed": True}
    assert findings([same, other, fine, dict(same)]) == [(same, 2), (other, 1)]


def test_words() -> None:
    assert [figure(-0.0001), figure(-0.5)] == ["0.000", "-0.500"]
    assert [figure(None), figure(0.12345), figure(1469307), figure(True), figure("x")] == [
        "–", "0.123", "1,469,307", "True", "x",
    ]  # fmt: skip
    assert [percent(0.083), percent(None)] == ["8.3%", "–"]
    assert [moment("2026-07-01T12:00:00+02:00"), moment(None), moment("soon")] == ["2026-07-01 10:00 UTC", "–", "soon"]
    assert time_tag("2026-07-01T12:00:00+02:00") == "<time>2026-07-01 10:00 UTC</time>"
    assert time_tag("2026-07-01T10:00:00Z", "Asia/Bangkok") == (
        "<time>2026-07-01 17:00 local</time> <time>(10:00 UTC)</time>"
    )
    assert [time_tag(None), time_tag("<soon>")] == ["–", "<soon>"]
    assert moment("2026-07-01T10:00:00Z", "Asia/Bangkok") == "2026-07-01 17:00 local (10:00 UTC)"
    assert moment("2026-07-01T20:00:00Z", "Asia/Bangkok") == "2026-07-02 03:00 local (2026-07-01 20:00 UTC)"
    assert moment("2026-07-01T10:00:00Z", "Nowhere") == "2026-07-01 10:00 UTC"
    assert [own_clock("Asia/Bangkok"), own_clock("UTC"), own_clock("Nowhere"), own_clock(None)] == [
        "Asia/Bangkok", None, None, None,
    ]  # fmt: skip
    assert [verdict("promoted: beats x"), verdict("not promoted: x"), verdict("x")] == ["beats x", "x", "x"]
    assert sentence("last order_x") == "Last order x"


def test_marks_stand_over_failed_spans_only() -> None:
    checks = [
        {"name": "prices", "detail": "no", "passed": False, "field": "body", "span": [5, 7]},
        {"name": "claims", "detail": "no", "passed": False, "field": "body", "span": [6, 9]},
        {"name": "claims", "detail": "no", "passed": False, "field": "subject", "span": [0, 2]},
        {"name": "dates", "detail": "ok", "passed": True, "field": "body", "span": None},
    ]
    assert str(marked("only <5>", checks, "body")) == 'only <mark title="prices: no">&lt;5</mark>&gt;'
