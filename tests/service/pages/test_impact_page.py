"""What decisions bring, as people and programs read it: the page, the report, the API and the command."""

from __future__ import annotations

import httpx
import pytest
from sqlalchemy import text

from service.commands import impact_command
from service.pages.charts import Span, span_chart
from tests.fakes.impact import arms_measured
from tests.service.pages.conftest import House, fill

MORE = {"model": 500, "random": 200, "holdout": 300}, {"model": 1_000.0, "random": 990.0, "holdout": 600.0}
SENTENCE = "more per customer within 28 days than sending nothing"


async def test_the_page_shows_each_arm_and_what_the_models_brings(house: House, reader: httpx.AsyncClient) -> None:
    assert "Nothing is measured yet" in (await reader.get("/impact")).text
    arms_measured(house.parts.database, *MORE)
    page = (await reader.get("/impact")).text
    assert page.count(SENTENCE) == 1
    assert 'What choosing brings</b> <span class="tag warn">not known yet' in page
    assert 'aria-label="What the model brings more, in ' in page
    assert "arms as large as planned" in page
    assert SENTENCE in (await reader.get("/")).text


async def test_arms_that_are_not_as_planned_stand_out(house: House, reader: httpx.AsyncClient) -> None:
    arms_measured(house.parts.database, {"model": 500, "random": 200, "holdout": 60}, MORE[1])
    page = (await reader.get("/impact")).text
    assert '<p class="lead bad-text">The arms are not as large' in page
    assert "brings more</span>" not in page


async def test_what_was_measured_by_other_shares_stays(house: House, reader: httpx.AsyncClient) -> None:
    arms_measured(house.parts.database, *MORE)
    arms_measured(house.parts.database, {"model": 5, "random": 2, "holdout": 3}, MORE[1], again=True)
    page = (await reader.get("/impact")).text
    assert page.count("<section") == 1
    assert page.count("Too few customers yet") == 1  # the tag beside each comparison tells the rest
    assert page.index("Too few customers yet") < page.index("By the shares before") < page.index(SENTENCE)
    assert "Too few customers yet" in (await reader.get("/")).text
    assert SENTENCE not in (await reader.get("/")).text


async def test_nothing_is_charted_before_anybody_bought(house: House, reader: httpx.AsyncClient) -> None:
    arms_measured(house.parts.database, MORE[0], dict.fromkeys(MORE[0], 0.0))
    page = (await reader.get("/impact")).text
    assert "Revenue of a customer by arm" not in page
    assert "What the model brings more, in " not in page
    assert "Nobody has bought anything yet" in page


async def test_the_api_tells_the_same_by_placement(house: House, reader: httpx.AsyncClient) -> None:
    arms_measured(house.parts.database, *MORE)
    told = (await reader.get("/v1/impact", params={"placement": "email.weekly"})).json()["placements"]
    assert [one["placement"] for one in told] == ["email.weekly"]
    assert SENTENCE in told[0]["sentence"]
    assert (await reader.get("/v1/impact", params={"placement": "other"})).json() == {"placements": []}
    async with house.client() as nobody:
        assert (await nobody.get("/v1/impact")).status_code == 401


async def test_decisions_and_orders_through_the_api_are_measured(house: House, reader: httpx.AsyncClient) -> None:
    house.parts.enrol.begin()
    await fill(house)
    async with house.client("admin") as admin:
        order = {"type": "track", "event": "Order Completed", "userId": "c1", "messageId": "m9",
                 "properties": {"order_id": "2", "revenue": 12.0}}  # fmt: skip
        assert (await admin.post("/v1/batch", json={"batch": [order]})).status_code == 200
    house.parts.events.run_pass()
    (told,) = (await reader.get("/v1/impact")).json()["placements"]
    arm = next(one for one in told["arms"] if one["customers"])
    assert (told["placement"], arm["customers"], arm["revenue_per_customer"]) == ("weekly", 1, 12.0)


def test_the_command_tells_it_in_lines(house: House) -> None:
    settings = house.parts.settings
    assert "nothing is measured yet" in "".join(impact_command(settings, None))
    arms_measured(house.parts.database, *MORE)
    told = "\n".join(impact_command(settings, "email.weekly"))
    assert SENTENCE in told
    assert "\n  holdout" in told
    with pytest.raises(ValueError, match="nothing is measured at 'other'"):
        list(impact_command(settings, "other"))


async def test_revenue_that_is_adjusted_says_so(house: House, reader: httpx.AsyncClient) -> None:
    """It is no sum of what was bought: of an arm that had bought more before, some is taken off."""
    words = "as if all"
    arms_measured(house.parts.database, *MORE)
    assert words not in (await reader.get("/impact")).text
    assert words not in "\n".join(impact_command(house.parts.settings, None))
    before = "SELECT total FROM experiment_values v WHERE v.customer_id = e.customer_id AND v.metric = 'revenue'"
    with house.parts.database.write() as connection:
        connection.execute(text(f"UPDATE experiment_exposures AS e SET covariate = ({before})"))
    assert f"{words} had bought alike then" in (await reader.get("/impact")).text
    assert f"{words} arms had bought alike" in "\n".join(impact_command(house.parts.settings, None))


def test_an_interval_that_holds_0_lies_across_the_line_of_0() -> None:
    chart = str(
        span_chart("More", [Span("than nothing", 1.0, -1.0, 3.0, "+1.00"), Span("than chance", 2.0, 1.0, 3.0, "+2.00")])
    )
    assert 'aria-label="More: than nothing +1.00, -1.00 to 3.00; than chance +2.00, 1.00 to 3.00"' in chart
    assert 'x1="2.00%" x2="98.00%"' in chart  # from one end to the other
    assert 'class="ideal" x1="26.00%" x2="26.00%"' in chart
    assert 'x1="50.00%" x2="98.00%"' in chart  # to the right of the line
    assert str(span_chart("More", [])) == ""
