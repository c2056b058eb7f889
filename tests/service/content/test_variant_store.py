"""What is asked of all texts at every change, or every page, is answered without reading all of them again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.content.variant import State, Variant
from service.content.variant_store import (
    add_variants,
    approved_for,
    approved_places,
    approved_variants,
    list_variants,
    replace_variant,
)
from service.storage.database import Connection, Database
from tests.fakes.plans import plans_of, sqlite_at

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


def variant(name: str, state: State, offer_id: str = "tea", locale: str = "en") -> Variant:
    return Variant(
        name, offer_id, "hash", "sms", locale, None, "plain", state, {"body": name}, (), {}, 1, NOW, NOW
    )  # fmt: skip


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = sqlite_at(tmp_path)
    with database.write() as connection:
        add_variants(connection, [variant(name, "approved") for name in "abc"] + [variant("d", "pending")])
    return database


def change(connection: Connection, before: Variant, **what: object) -> None:
    """As reviewers do: each change is another version."""
    told = {"version": before.version + 1, "updated_at": NOW + timedelta(minutes=1), **what}
    assert replace_variant(connection, replace(before, **told), before.version)


def test_only_texts_that_changed_are_read_again(database: Database) -> None:
    with database.write() as connection:
        before = approved_variants(connection)
        assert list(before) == ["a", "b", "c"]
        change(connection, before["a"], fields={"body": "other words"})
        change(connection, before["b"], state="rejected")
        change(connection, variant("d", "pending"), state="approved")
        after = approved_variants(connection, before)
        assert list(after) == ["a", "c", "d"]
        assert [after["a"].fields["body"], after["d"].version] == ["other words", 2]
        assert after["c"] is before["c"]
        assert after == approved_variants(connection)


def test_a_text_of_the_same_version_but_another_time_is_another(database: Database) -> None:
    """As after a backup was brought back, and a text approved anew."""
    with database.write() as connection:
        before = approved_variants(connection)
        change(connection, before["a"], version=1, fields={"body": "other words"})
        assert approved_variants(connection, before)["a"].fields["body"] == "other words"


def test_where_something_is_approved_is_told_once(database: Database) -> None:
    with database.write() as connection:
        add_variants(connection, [variant("e", "approved", "tea", "de"), variant("f", "approved", "cake")])
        tea = [("tea", "hash", "sms", "de"), ("tea", "hash", "sms", "en")]
        assert sorted(approved_places(connection)) == [("cake", "hash", "sms", "en"), *tea]
        assert sorted(approved_places(connection, ["tea"])) == tea


def test_where_all_texts_stand_is_read_off_an_index(database: Database) -> None:
    standing = "SEARCH content_variants USING {}INDEX ix_content_variants_standing (state=?)"
    with database.read() as connection:
        known = approved_variants(connection)
        covered = [standing.format("COVERING ")]
        assert plans_of(database, connection, lambda at: approved_variants(at, known)) == covered
        assert plans_of(database, connection, approved_for) == covered
        pending = plans_of(database, connection, lambda at: list_variants(at, "pending", limit=21))
        assert pending == [standing.format("")]
