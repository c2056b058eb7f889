"""What is learnt of the moment: an offer that is bought from on one page is worth more there, for everybody."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from models.layered import new_layer
from models.next_offer import NextOfferModel
from service.decisions.lessons_store import newest_layer
from service.decisions.schemas import DecisionIn
from service.settings import Settings
from service.storage.database import Database
from tests.fakes.learning import Learning, learning_desk

PAGES = ("page=cart", "page=home")
TOLD = timedelta(days=15)
"""When it is sure that nothing comes of a delivery."""


@pytest.fixture
def learning(database: Database) -> Learning:
    return Learning(learning_desk(database), PAGES)


def sells(learning: Learning, offer: str, customers: range, bought: bool, **asked: Any) -> None:
    """The offer reaches customers, who all buy, or none of whom does."""
    for number in customers:
        decision = learning.decide(f"c{number}", offers=[offer], **asked)
        learning.happens("Email Delivered", decision, channel="email")
        if bought:
            learning.happens("Order Completed", decision, revenue_cents=900)


def a_cart_sells(learning: Learning) -> None:
    """Of offer a: whoever sees it in the cart buys, nobody else does."""
    sells(learning, "a", range(0, 12), True, context={"page": "cart"})
    sells(learning, "a", range(12, 24), False, context={"page": "home"})
    learning.desk.clock.time += TOLD
    learning.learn()


def chance(learning: Learning, offer: str, customer: str = "c30", **asked: Any) -> float:
    request = DecisionIn(customer_id=customer, offers=[offer], channels=["email"], dry_run=True, **asked)
    return float(learning.decider.draft([request], learning.desk.clock.now())[0].probabilities[0])


def odds(learning: Learning, offer: str, customer: str = "c30", **asked: Any) -> float:
    p = chance(learning, offer, customer, **asked)
    return p / (1 - p)


def by_page(learning: Learning, offer: str, customer: str = "c30") -> tuple[float, float, float]:
    """Odds in the cart, on the home page, and where no page is told."""
    cart, home = (odds(learning, offer, customer, context={"page": page}) for page in ("cart", "home"))
    return cart, home, odds(learning, offer, customer)


def test_offers_are_worth_what_they_bring_in_the_moment(learning: Learning) -> None:
    before = by_page(learning, "a")
    assert before[0] == before[1] == before[2]
    a_cart_sells(learning)
    of_a, of_b = by_page(learning, "a"), by_page(learning, "b")
    assert of_a[0] > of_a[2] > of_a[1]
    assert of_a[0] / of_a[1] > of_b[0] / of_b[1] > 1.0  # the other offer learns, too, but less
    assert odds(learning, "a", context={"page": "elsewhere"}) == of_a[2]  # not listed


def test_what_is_not_declared_is_not_learnt(database: Database) -> None:
    learning = Learning(learning_desk(database))
    a_cart_sells(learning)
    cart, home, untold = by_page(learning, "a")
    assert cart == home == untold


def test_placements_are_situations_too(database: Database) -> None:
    learning = Learning(learning_desk(database), ("placement=web.cart",))
    sells(learning, "a", range(0, 12), True, placement="web.cart")
    sells(learning, "a", range(12, 24), False, placement="web.home")
    learning.desk.clock.time += TOLD
    learning.learn()
    assert odds(learning, "a", placement="web.cart") > odds(learning, "a", placement="web.home")


def test_decisions_say_so_and_replay(learning: Learning) -> None:
    a_cart_sells(learning)
    told = learning.decide("c31", offers=["a"], context={"page": "cart"})
    reasons = {one["feature"]: one for one in told["actions"][0]["reasons"]}
    assert reasons["situation_page"]["text"] == "brings more orders where the page is cart than elsewhere"
    assert reasons["situation_page"]["effect"] > 0
    state = told["models"]["next-offer"]
    sells(learning, "a", range(24, 30), True, context={"page": "home"})
    learning.learn()
    assert learning.decide("c32", offers=["a"])["models"]["next-offer"] != state
    replayed = learning.reader.replay(told["decision_id"])
    assert replayed["equal"], replayed["differences"]
    assert "probabilities" in replayed["decided_again"]


def test_together_or_alone_is_the_same(learning: Learning) -> None:
    a_cart_sells(learning)
    asked = [
        DecisionIn(customer_id=f"c{number}", channels=["email"], dry_run=True, context={"page": page})
        for number, page in ((30, "cart"), (31, "home"), (32, "cart"), (33, "other"))
    ]
    now = learning.desk.clock.now()
    together = learning.decider.draft(asked, now)
    for one, alone in zip(together, (learning.decider.draft([request], now)[0] for request in asked), strict=True):
        assert list(one.probabilities) == list(alone.probabilities)


def test_of_who_refuses_profiling_only_the_placement_counts(database: Database) -> None:
    learning = Learning(learning_desk(database), ("page=cart", "placement=web.cart"))
    sells(learning, "a", range(0, 12), True, placement="web.cart", context={"page": "cart"})
    learning.learn()
    learning.desk.people.add("c30", profiling=False)
    plain = chance(learning, "a", placement="web.home")
    assert chance(learning, "a", placement="web.home", context={"page": "cart"}) == plain
    assert chance(learning, "a", placement="web.cart") > plain


@pytest.mark.parametrize("learnt", [True, False])
def test_a_new_model_keeps_what_it_cannot_know(learning: Learning, learnt: bool) -> None:
    """Whether it has learnt from those decisions or not: it knows nothing of their pages."""
    untouched = odds(learning, "a")
    a_cart_sells(learning)
    cart, home, _ = by_page(learning, "a")
    model = learning.desk.served.models["next-offer"]
    assert isinstance(model, NextOfferModel)
    until = learning.desk.clock.now() + timedelta(days=model.horizon_days)
    trained = {"until": until.isoformat()} if learnt else {}
    newer = replace(model, version="8", trained=trained, layer=new_layer().to_bytes())
    assert (newer.learnt_until is not None) == learnt
    learning.desk.served.models["next-offer"] = newer
    learning.learn()
    later_cart, later_home, later = by_page(learning, "a")
    assert later_cart / later_home == pytest.approx(cart / home, rel=0.25)
    assert learning.decide("c33")["models"]["next-offer"].startswith("8+")
    assert (later == pytest.approx(untouched)) == learnt  # what it was fitted on moves it nowhere else


def restarted(before: Learning, situations: tuple[str, ...]) -> Learning:
    """The same with other settings, once the lease of who learnt before is over."""
    learning = Learning(before.desk, situations)
    learning.learner._holder = before.learner._holder
    return learning


def test_other_situations_are_learnt_from_the_lessons_of_before(database: Database) -> None:
    plain = Learning(learning_desk(database))
    a_cart_sells(plain)
    learning = restarted(plain, PAGES)
    assert learning.models.refresh()
    assert not learning.models.refresh()  # else its loop would not rest
    assert by_page(learning, "a")[0] == by_page(learning, "a")[1]
    learning.learn()
    cart, home, _ = by_page(learning, "a")
    assert cart > home
    with database.read() as connection:
        state = newest_layer(connection)
    learning.learn()
    with database.read() as connection:
        assert newest_layer(connection) == state  # once
    again = restarted(learning, ())
    again.learn()
    assert len(set(by_page(again, "a"))) == 1


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"page": []}, "must list values"),
        ({"page": ["cart", "cart"]}, "each once"),
        ({"a=b": ["cart"]}, "no name of a field"),
        ({"page": [f"p{number}" for number in range(17)]}, "16 in all is the most"),
    ],
)
def test_settings_say_what_is_wrong_with_situations(told: dict[str, list[str]], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Settings(decisions={"situations": told})  # type: ignore[arg-type]


def test_numbers_and_truths_are_situations_as_requests_write_them() -> None:
    settings = Settings(decisions={"situations": {"step": [1, 2], "member": [True]}})  # type: ignore[arg-type]
    assert settings.decisions.situations == {"step": ["1", "2"], "member": ["true"]}
