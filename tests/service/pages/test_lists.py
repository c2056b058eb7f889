"""What /models says of a version that is refused: which one, and what serves in its place."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from models import lead
from models.registry import ServedModels
from service.decisions.case import microseconds
from service.decisions.decision_store import count_response
from service.journeys.definitions import Definitions
from service.offers.offers_store import put_offers
from service.offers.schemas import OfferIn
from service.pages import lists
from service.pages.charts import Bar
from service.pages.lists import OFFERS, models_view, offers_view, purpose, result_charts
from tests.fakes.plans import plans_of
from tests.service.pages.conftest import OFFER, House


@pytest.mark.parametrize(
    ("version", "problem", "said"),
    [
        ("1", "bad golden rows", "churn champion: version 2 is refused, version 1 serves on: bad golden rows"),
        (
            None,
            "version 2 is refused: it does not load",
            "churn champion: version 2 is refused, nothing serves in its place: it does not load",
        ),
    ],
)
def test_a_refused_version_is_named_beside_the_one_that_serves(
    house: House, monkeypatch: pytest.MonkeyPatch, version: str | None, problem: str, said: str
) -> None:
    entry = {"name": "churn", "alias": "champion", "version": version, "wanted": "2", "problem": problem}
    sync = {"name": "sync", "alias": None, "version": None, "wanted": None, "problem": "cannot read the registry"}
    monkeypatch.setattr(ServedModels, "status", lambda _: [entry, sync])
    view = models_view(house.parts.models, house.parts.settings.home, house.parts.database)
    assert view["trouble"] == [said, "cannot read the registry"]


def test_what_a_model_may_is_what_the_version_that_serves_was_trained_for(house: House) -> None:
    view = models_view(house.parts.models, house.parts.settings.home, house.parts.database)
    may = {model["name"]: model["may"] for model in view["models"]}
    assert may["lead"].startswith("First redemption within 28 days. Scores customers whom a campaign reached")
    own = replace(lead.DECLARATION, title="Books a visit within 14 days", purpose="")
    assert purpose("lead", own) == "Books a visit within 14 days. Never for prices or credit."
    assert purpose("of-somebody-else", None) == "What its card in MLflow says."


def test_ends_of_intervals_are_whiskers_and_counts_are_no_rivalry() -> None:
    ours = {"ndcg": 0.5, "ndcg.low": 0.4, "ndcg.high": 0.6, "auc": 0.8, "redemptions": 140.0}
    rival = {"ndcg": 0.3, "ndcg.low": 0.2, "ndcg.high": 0.4, "auc": 0.7, "redemptions": 140.0}
    ends = {"mine": {"auc": (0.75, 0.85)}}
    assert result_charts({"name": "mine", "metrics": ours, "rivals": {"most_bought": rival}, "intervals": ends}) == {
        "ndcg": [Bar("opportune", 0.5, "0.500", True, 0.4, 0.6), Bar("most bought", 0.3, "0.300", False, 0.2, 0.4)],
        "auc": [Bar("opportune", 0.8, "0.800", True, 0.75, 0.85), Bar("most bought", 0.7, "0.700")],
    }


def test_bars_of_log_likelihoods_have_a_length() -> None:
    ours = {"order_log_likelihood": -4.5, "order_log_likelihood.low": -4.6, "order_log_likelihood.high": -4.4}
    result = {"name": "send-time", "metrics": ours, "rivals": {"overall_best_hours": {"order_log_likelihood": -4.75}}}
    assert result_charts(result) == {
        "order_log_likelihood": [
            Bar("opportune", 4.5, "-4.500", True, 4.4, 4.6), Bar("overall best hours", 4.75, "-4.750"),
        ]
    }  # fmt: skip


def test_offers_are_found_by_a_part_of_their_name_or_id(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    now = house.parts.clock.now()
    monkeypatch.setattr(lists, "LOOKED_THROUGH", 7)
    with house.parts.database.write() as connection:
        documents = {
            f"o{n:03}": OFFER | {"name": "Tea" if n % 2 else "Größe", "requires_approval": True} for n in range(130)
        }
        put_offers(connection, documents, now)

    def found(**asked: str) -> tuple[list[str], str | None]:
        view = offers_view(house.parts.database, asked, now, False, Definitions())
        return [row["offer"].offer_id for row in view["rows"]], view["after"]

    assert found(named=" GRÖSSE ") == ([f"o{2 * n:03}" for n in range(OFFERS)], "o098")
    assert found(named="größe", after="o098") == ([f"o{n:03}" for n in range(100, 130, 2)], None)
    assert found(named="o12") == ([f"o{n}" for n in range(120, 130)], None)
    assert found(named="coffee") == ([], None)
    assert found() == ([f"o{n:03}" for n in range(OFFERS)], "o049")


def test_days_are_left_only_of_offers_that_run(house: House) -> None:
    now = house.parts.clock.now()
    ended = (now - timedelta(days=3)).isoformat()
    with house.parts.database.write() as connection:
        several = {"runs": {}, "ended": {"ends_at": ended}, "off": {"priority": 0.0}}
        put_offers(connection, {name: OfferIn(**OFFER, **more).document() for name, more in several.items()}, now)
        for name in several:
            count_response(connection, name, "email", ["shown"], microseconds(now - timedelta(days=10)), by=100)
    rows = offers_view(house.parts.database, {}, now, False, Definitions())["rows"]
    assert {row["offer"].offer_id: row["stage"].text for row in rows} == {
        "runs": "100 of 1,000 impressions, about 90 days left",
        "ended": "100 of 1,000 impressions",
        "off": "100 of 1,000 impressions",
    }


def test_a_page_of_offers_looks_at_no_other_offers_copy(house: House) -> None:
    """With 20,000 approved texts each page took a second."""
    database, now = house.parts.database, house.parts.clock.now()
    with database.write() as connection:
        put_offers(connection, {"o1": OfferIn(**OFFER).document()}, now)
    with database.read() as connection:
        plans = plans_of(database, connection, lambda _: offers_view(database, {}, now, False, Definitions()))
    of_offers = "SEARCH content_variants USING INDEX ix_content_variants_offer_id_channel_state (offer_id=?)"
    assert [line for line in plans if "content_variants" in line] == [of_offers]
