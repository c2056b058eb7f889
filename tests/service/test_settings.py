"""Settings that are refused when they are read, by name: a typing slip must not turn a protection off."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import make_url

from features.channels import CHANNELS
from service.settings import Placement, Settings


@pytest.mark.parametrize(
    ("where", "settings"),
    [
        ("quiet_hours.channels.0", {"quiet_hours": {"channels": ["emial"]}}),
        ("decisions.caps.0.channel", {"decisions": {"caps": [{"channel": "emial", "max": 1, "per_days": 7}]}}),
        (
            "decisions.cool_downs.0.channel",
            {"decisions": {"cool_downs": [{"after": "purchase", "days": 1, "channel": "emial"}]}},
        ),
        ("placements.x.channels.1", {"placements": {"x": {"channels": ["email", "emial"]}}}),
    ],
)
def test_a_channel_that_there_is_not_is_named(where: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(**settings)
    [error] = refused.value.errors()
    assert ".".join(map(str, error["loc"])) == where
    assert "no channel 'emial'; use email, sms, push, web, call or webhook" in error["msg"]


def test_a_placement_without_channels_could_show_nothing() -> None:
    with pytest.raises(ValidationError, match="is empty, so nothing could be shown"):
        Settings(placements={"x": {"channels": []}})  # type: ignore[dict-item]
    assert Placement().channels == list(CHANNELS)


def test_a_webhook_without_a_secret_would_go_to_a_file_instead() -> None:
    with pytest.raises(ValidationError, match="url is set, but no secret"):
        Settings(webhook={"url": "https://example.org/hook"})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["what?", "100%41"])
def test_a_home_that_would_not_hold_its_databases_is_refused(name: str, tmp_path: Path) -> None:
    assert make_url(f"sqlite:///{tmp_path / name}/state.db").database != str(tmp_path / name / "state.db")
    with pytest.raises(ValidationError, match="would lie elsewhere"):
        Settings(home=tmp_path / name / "home")


def test_a_home_may_have_blanks_and_any_letters(tmp_path: Path) -> None:
    home = tmp_path / "a b ก#'\"&+;" / "home"
    assert make_url(Settings(home=home).state_url).database == str(home / "state.db")


def test_no_channel_need_have_quiet_hours() -> None:
    assert Settings(quiet_hours={"channels": []}).quiet_hours.channels == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"database_url": "mysql://shop"}, "begins with 'mysql'; use postgresql://"),
        ({"online_store": "memcached://shop"}, "use postgresql:// or redis://"),
        ({"clock": "moon"}, "use 'system' or 'file:PATH'"),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        Settings(**settings)


def test_a_home_that_is_a_link_to_what_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    """The disk is not mounted; commands said "File exists", and so did the doctor, and nothing else."""
    (tmp_path / "home").symlink_to(tmp_path / "disk" / "shop")
    with pytest.raises(ValidationError, match="disk/shop, which is not there; make or mount that"):
        Settings(home=tmp_path / "home")
    (tmp_path / "disk" / "shop").mkdir(parents=True)
    assert Settings(home=tmp_path / "home").make_home() == tmp_path / "home"


def test_a_home_that_is_a_file_and_a_config_that_is_no_toml_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "opportune.toml"
    file.write_bytes(b"[decisions\n")
    with pytest.raises(ValidationError, match="is a file; name a folder"):
        Settings(home=file)
    monkeypatch.setenv("OPPORTUNE_CONFIG", str(file))
    with pytest.raises(ValueError, match=r"opportune\.toml cannot be read as TOML"):
        Settings()
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"opportune\.toml cannot be read as TOML"):
        Settings()


def test_a_new_home_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        assert Settings(home=tmp_path / "new" / "home").make_home().stat().st_mode & 0o777 == 0o700
        (tmp_path / "shared").mkdir(mode=0o750)
        assert Settings(home=tmp_path / "shared").make_home().stat().st_mode & 0o777 == 0o750
    finally:
        os.umask(before)


def test_a_home_that_cannot_be_made_or_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"home cannot be made \(Not a directory\); set OPPORTUNE_HOME"):
        Settings(home=tmp_path / "file" / "home").make_home()
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write anywhere but on a disk that is read only
    with pytest.raises(ValueError, match="cannot be written; set OPPORTUNE_HOME"):
        Settings(home=tmp_path).make_home()


@pytest.mark.parametrize(
    ("where", "settings"),
    [
        ("decisions.exploration", {"decisions": {"exploration": float("inf")}}),
        ("decisions.value_of_nothing", {"decisions": {"value_of_nothing": float("nan")}}),
        ("decisions.goals.click", {"decisions": {"goals": {"click": float("inf")}}}),
        ("decisions.reservation_hours", {"decisions": {"reservation_hours": 1e12}}),
        ("decisions.attribution_days", {"decisions": {"attribution_days": 1e9}}),
        ("decisions.time_budget_ms", {"decisions": {"time_budget_ms": 1e12}}),
        ("decisions.keep_records_days", {"decisions": {"keep_records_days": 1e9}}),
        ("smtp.timeout_s", {"smtp": {"timeout_s": 0}}),
        ("smtp.port", {"smtp": {"port": 99_999}}),
        ("smtp.sender", {"smtp": {"sender": "nobody"}}),
        ("quiet_hours.start", {"quiet_hours": {"start": "21:00:00+02:00"}}),
        ("public_url", {"public_url": "shop.example.org"}),
    ],
)
def test_what_no_decision_or_message_could_be_made_with_is_named(where: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(**settings)
    [error] = refused.value.errors()
    assert ".".join(map(str, error["loc"])) == where


def test_settings_that_are_named_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPPORTUNE_CONFIG", str(tmp_path / "oportune.toml"))
    with pytest.raises(ValueError, match=r"names .*oportune\.toml, which is no file; correct or unset it"):
        Settings()


def test_links_begin_with_an_address_that_can_be_opened() -> None:
    assert Settings(host="::1", port=9000).base_url == "http://[::1]:9000"
    assert Settings(host="::1", public_url="https://shop.example.org/").base_url == "https://shop.example.org"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"currency": "Euro"}, "'Euro' is no currency; write its three capitals, such as EUR"),
        ({"currencies": {"usd": 1}}, "'usd' is no currency; write its three capitals, such as EUR"),
        ({"default_country": "Germany"}, "'Germany' is no country; write its two capitals, such as DE"),
    ],
)
def test_codes_that_are_none_are_told_with_how_they_are_written(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Settings(**wrong)
