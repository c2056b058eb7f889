"""Offers as rankers see them, from rows of the OFFERS table."""

from __future__ import annotations

from features.offers import OfferInfo, offer_infos
from features.tables import OFFERS


def test_every_row_of_the_table_is_an_offer() -> None:
    frame = OFFERS.sample(30, seed=1)
    found = offer_infos(frame.iter_rows(named=True))
    assert [offer.offer_id for offer in found] == frame["offer_id"].to_list()
    assert [offer.discount_percent for offer in found] == frame["discount_percent"].to_list()
    assert [sorted(offer.product_ids) for offer in found] == [sorted(set(ids)) for ids in frame["product_ids"]]
    assert all(isinstance(hash(offer), int) for offer in found)


def test_what_is_not_said_is_unknown() -> None:
    offer = OfferInfo.from_row({"offer_id": "o1", "product_ids": None, "value": None})
    assert offer == OfferInfo("o1")
