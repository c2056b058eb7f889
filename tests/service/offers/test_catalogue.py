from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.offers.catalogue import CatalogueCache
from service.offers.offers_store import all_offers, delete_offer, list_offers, put_offers, read_offers, read_versions
from service.offers.put_offers import import_offers
from service.offers.schemas import OfferIn
from service.storage.database import Database

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def document(**fields: Any) -> dict[str, Any]:
    return OfferIn.model_validate({"name": "An offer", **fields}).document()


def put(database: Database, **offers: dict[str, Any]) -> list[Any]:
    with database.write() as connection:
        return put_offers(connection, offers, NOW)


def test_a_change_is_seen_by_every_cache_at_once(database: Database) -> None:
    here, there = CatalogueCache(), CatalogueCache()
    put(database, a=document(), b=document(value=2.0))
    with database.read() as connection:
        first = here.current(connection)
        assert list(first.by_id) == ["a", "b"]
        assert here.current(connection) is first
        assert list(there.current(connection).by_id) == ["a", "b"]
    put(database, b=document(value=3.0), c=document())
    with database.write() as connection:
        assert delete_offer(connection, "a", NOW)
        assert not delete_offer(connection, "a", NOW)
    for cache in (here, there):
        with database.read() as connection:
            now = cache.current(connection)
            assert list(now.by_id) == ["b", "c"]
            assert now.by_id["b"].value == 3.0
    assert list(first.by_id) == ["a", "b"]  # a decision in flight keeps the catalogue it began with


def test_versions_grow_with_change_only_and_all_are_kept(database: Database) -> None:
    assert put(database, a=document())[0].version == 1
    assert put(database, a=document())[0].version == 1
    assert put(database, a=document(value=5.0))[0].version == 2
    with database.write() as connection:
        delete_offer(connection, "a", NOW)
    assert put(database, a=document(value=5.0))[0].version == 3
    with database.read() as connection:
        kept = read_versions(connection, [("a", 1), ("a", 2), ("a", 9)])
        assert {key: kept[key]["value"] for key in kept} == {("a", 1): 1.0, ("a", 2): 5.0}
        assert [offer.offer_id for offer in list_offers(connection, "", 10)] == ["a"]
        assert [offer.offer_id for offer in all_offers(connection)] == ["a"]
        assert read_offers(connection, ["b"]) == []


def test_what_may_go_is_told_of_all_offers_at_once(database: Database) -> None:
    past = (NOW - timedelta(days=1)).isoformat()
    put(
        database,
        asks=document(channels=["email"], eligibility="customer.features.orders_90d >= 1"),
        ended=document(channels=["email"], ends_at=past),
        sms=document(channels=["sms"]),
        web=document(channels=["web", "email"]),
    )
    with database.read() as connection:
        catalogue = CatalogueCache().current(connection)
    (asked,) = catalogue.expressions
    assert catalogue.may_go(NOW, ["email"], {asked: True}).tolist() == [True, False, False, True]
    assert catalogue.may_go(NOW, ["email", "sms"], {asked: False}).tolist() == [False, False, True, True]
    assert catalogue.may_go(NOW, ["email"], {}).tolist() == [True, False, False, True]  # not told: judged later
    assert not catalogue.may_go(NOW, [], {}).any()
    assert catalogue.worth().value.tolist() == [1.0] * 4


def test_a_file_is_read_and_its_broken_lines_are_set_aside(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "offers.jsonl"
    lines = [
        orjson.dumps({"offer_id": "a", "name": "A"}),
        b"{broken",
        b"",
        orjson.dumps({"offer_id": "b", "name": "B", "eligibility": "customer.x >"}),
        orjson.dumps({"name": "no id"}),
        orjson.dumps({"offer_id": "c", "name": "C", "value": 2}),
    ]
    path.write_bytes(b"\n".join(lines))
    done = import_offers(path, database, NOW)
    assert (done.put, done.rejected) == (2, 3)
    assert done.rejects == tmp_path / "offers.jsonl.rejects.jsonl"
    rejected = [orjson.loads(line) for line in done.rejects.read_bytes().splitlines()]
    assert [reject["line"] for reject in rejected] == [2, 4, 5]
    assert "column" in rejected[0]["reason"]
    assert rejected[1]["reason"].startswith("eligibility")
    assert done.such_as == f"line 2: {rejected[0]['reason']}"
    path.write_bytes(b"\n".join([lines[0], lines[5]]))
    assert import_offers(path, database, NOW).rejects is None
    assert not done.rejects.exists()


@pytest.mark.parametrize("wrap", [lambda offers: offers, lambda offers: {"offers": offers}])
def test_json_is_read_too(database: Database, tmp_path: Path, wrap: Any) -> None:
    path = tmp_path / "offers.json"
    path.write_bytes(orjson.dumps(wrap([{"offer_id": "a", "name": "A"}]), option=orjson.OPT_INDENT_2))
    assert import_offers(path, database, NOW).put == 1


@pytest.mark.parametrize("text", [b'[{"offer_id": "a", "name": "A"}]', b'{"offer_id": "a", "name": "A"}\n{"broken'])
def test_a_byte_order_mark_is_no_part_of_an_offer(database: Database, tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "offers.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + text)
    assert import_offers(path, database, NOW).put == 1
