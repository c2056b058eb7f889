"""A wrong setting is told in a line: which, where it was written, what is wrong, what there is. Never its value."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from opportune import _sentence
from service.decisions.rules import RuleBook
from service.settings import Settings
from service.wiring.journeys import channels
from service.wrong_settings import unknown_variables, warn_of_unknown_variables


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a command says of a file and variables (OPPORTUNE_ is put before their names)."""
    monkeypatch.chdir(tmp_path)

    def tell(file: str = "", **variables: str) -> str:
        Path("opportune.toml").write_text(file)
        for name, value in variables.items():
            monkeypatch.setenv(f"OPPORTUNE_{name}", value)
        with pytest.raises(ValueError, match=r"\w") as refused:
            read(tmp_path)
        return _sentence(refused.value)

    return tell


def read(home: Path) -> None:
    """As the worker does."""
    settings = Settings(home=home)
    RuleBook(settings)
    channels(settings)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("[decisons]\nfloor = 0.1", "decisons (in opportune.toml): there is no such setting; do you mean decisions?"),
        ("[decisions]\nflor = 0.1", "decisions.flor (in opportune.toml): there is no such setting; do you mean floor?"),
        (
            "[consent]\nfloor = 0.1",
            "consent.floor (in opportune.toml): there is no such setting; there are when_unknown",
        ),
        (
            "[pages]\nport = 9000",
            "pages.port (in opportune.toml): there is no such setting; port stands at the top of the file, before the "
            "first [table]",
        ),
        ("[decisions.pages]", "decisions.pages (in opportune.toml): there is no such setting; write [pages]"),
        (
            "floor = 0.1",
            "floor (in opportune.toml): there is no such setting outside of a table; it belongs into [decisions]",
        ),
        (
            "port = 'x'",
            "port (in opportune.toml): Input should be a valid integer, unable to parse string as an integer",
        ),
        (
            "[[decisions.caps]]\nmax = 1\nper_days = 1\n[[decisions.caps]]\nmax = -1\nper_days = 7\nwhat = 1",
            "decisions.caps.1.max (in opportune.toml): Input should be greater than or equal to 0; and 1 more",
        ),
        (
            "[[placements.x.rules]]\nname = 'a'\ndo = 'pin'\ntag = ['tea']",
            "placements.x.rules.0.tag (in opportune.toml): there is no such setting; do you mean tags?",
        ),
        (
            "[[placements.x.rules]]\nname = 'a'\ndo = 'pin'\nwhen = 'offer.x >'",
            "placements.x.rules 'a' (in opportune.toml): when: Syntax error: mismatched input '<EOF>' (line 1, "
            "column 10)",
        ),
        ("[[placements.x.rules]]\ndo = 'pin'", "placements.x.rules.0.name (in opportune.toml): Field required"),
        ("decisions = 1", "decisions (in opportune.toml): must be a table; write [decisions] and its settings below"),
        (
            "[consent]\nwhen_unknown = 'no'",
            "consent.when_unknown (in opportune.toml): Input should be 'allow' or 'deny'",
        ),
        (
            "[currencies]\nusd = 1",
            "currencies.usd (in opportune.toml): 'usd' is no currency; write its three capitals, such as EUR",
        ),
        (
            "[pages]\nopen = true\n[webhook]\nurl = 'https://x.example'",
            "webhook (in opportune.toml): url is set, but no secret, by which posts are signed; set secret = "
            "'whsec_…', or no url",
        ),
    ],
)
def test_a_fault_of_the_file_is_told_with_what_there_is(told: Any, file: str, line: str) -> None:
    assert told(file) == line


@pytest.mark.parametrize(
    ("variables", "beginning"),
    [
        ({"PORT": "tcp://10.0.0.1:8000"}, "port (in OPPORTUNE_PORT): Input should be a valid integer"),
        (
            {"DECISIONS__FLOR": "0.1", "DECISIONS__EPSILON": "0.1"},
            "decisions.flor (in OPPORTUNE_DECISIONS__FLOR): there is no such setting; do you mean floor?",
        ),
        ({"DECISIONS__EPSILON": "2"}, "decisions.epsilon (in OPPORTUNE_DECISIONS__EPSILON): Input should be less than"),
        ({"DECISIONS": '{"epsilon": 2}'}, "decisions.epsilon (in OPPORTUNE_DECISIONS): Input should be less than"),
        ({"DECISIONS": '{"evidence": 9}'}, "decisions.epsilon (in opportune.toml): Input should be less than"),
        ({"DECISIONS": "[1"}, "OPPORTUNE_DECISIONS: lists and tables are written as JSON, and this is none"),
        (
            {"DECISIONS__CAPS": "[{", "DECISIONS__FLOOR": "0.1"},
            "OPPORTUNE_DECISIONS__CAPS: lists and tables are written as JSON",
        ),
        (
            {"DECISIONS__EPSILON": "0.1", "PLACEMENTS__X__ARMS__RANDOM": "0.5"},
            "placements.x.arms (in OPPORTUNE_PLACEMENTS__X__ARMS__RANDOM and opportune.toml): the shares of the arms",
        ),
    ],
)
def test_a_fault_of_a_variable_names_it_and_not_the_file(told: Any, variables: dict[str, str], beginning: str) -> None:
    file = "[decisions]\nepsilon = 3\n[placements.x.arms]\nmodel = 0.85"
    assert told(file, **variables).startswith(beginning)


@pytest.mark.parametrize(
    "variables",
    [
        {"DATABASE_URL": "me:geheim@db/shop"},
        {"ONLINE_STORE": "geheim@cache:6379"},
        {"ONLINE_STORE": "redis://:geheim/x@cache:6379"},
        {"SMTP__PASSWORD": '{"geheim": 1}', "SMTP__HOST": "x", "SMTP__PORT": "geheim"},
        {"WEBHOOK__SECRET": "whsec_geheim!"},
        {"TEXT_MODEL": '{"api_key": ["geheim"]}'},
    ],
)
def test_no_value_is_told_that_may_be_a_secret(told: Any, variables: dict[str, str]) -> None:
    line = told(**variables)
    assert any(f"OPPORTUNE_{name}" in line for name in variables)
    assert "geheim" not in line


def test_variables_that_nothing_reads_are_told_with_what_may_be_meant(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["OPPORTUNE_DECISONS__FLOOR", "OPPORTUNE_DECISIONS__FLOOR", "opportune_home", "OPPORTUNE_CONFIG", "PATH"]
    assert unknown_variables(names) == {"OPPORTUNE_DECISONS__FLOOR": "; do you mean OPPORTUNE_DECISIONS?"}
    assert unknown_variables(["OPPORTUNE_XYZZY"]) == {"OPPORTUNE_XYZZY": ""}
    monkeypatch.setenv("OPPORTUNE_CURENCY", "EUR")
    with caplog.at_level(logging.WARNING):
        warn_of_unknown_variables()
    assert "OPPORTUNE_CURENCY is no setting, so it does nothing; do you mean OPPORTUNE_CURRENCY?" in caplog.text
