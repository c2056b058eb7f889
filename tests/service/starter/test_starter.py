from __future__ import annotations

import csv
import errno
import json
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from service.errors import Conflict
from service.events.mapping import read_mapping
from service.events.normalize import Rules, normalize
from service.experiments.schemas import ExperimentIn
from service.journeys.parse_definition import parse_journey, read_text
from service.offers.schemas import BulkOffer
from service.settings import Settings
from service.starter import FILES, write_starter

AT = datetime(2026, 11, 22, tzinfo=UTC)
EXAMPLES = {"currency", "default_timezone", "decisions.situations"}
"""Settings of which the file shows another value than the default."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("starter") / "new"
    assert [path.name for path in write_starter(folder)] == list(FILES)
    return folder


def test_what_is_there_already_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "offers.jsonl").write_text("mine")
    assert "offers.jsonl" not in [path.name for path in write_starter(tmp_path)]
    assert (tmp_path / "offers.jsonl").read_text() == "mine"
    with pytest.raises(Conflict, match="has all of the example files already"):
        write_starter(tmp_path)
    with pytest.raises(Conflict, match="is a file"):
        write_starter(tmp_path / "offers.jsonl")


def test_a_file_that_the_disk_had_no_room_for_is_not_left_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be taken for the user's own, and left as it is."""
    write = Path.write_bytes

    def until_full(path: Path, content: bytes) -> int:
        if "mapping" in path.name:
            write(path, content[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    with monkeypatch.context() as full:
        full.setattr(Path, "write_bytes", until_full)
        with pytest.raises(OSError, match="No space left"):
            write_starter(tmp_path / "new")
    assert [path.name for path in write_starter(tmp_path / "new")] == list(FILES[FILES.index("mapping.toml") :])
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(FILES)


def test_the_settings_file_is_valid_and_names_every_setting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPPORTUNE_CONFIG", str(folder / "opportune.toml"))
    settings = Settings()
    assert settings.currency == "EUR"
    text = (folder / "opportune.toml").read_text()
    for name, field in Settings.model_fields.items():
        assert name in text
        for inner in getattr(field.annotation, "model_fields", {}):
            assert inner in text, f"{name}.{inner}"


def flat(values: dict[str, Any], within: str = "") -> dict[str, Any]:
    """Values by their whole names (`decisions.goals.click`)."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        inner = value.model_dump() if isinstance(value, BaseModel) else value
        found |= flat(inner, f"{within}{name}.") if isinstance(inner, dict) else {f"{within}{name}": inner}
    return found


def test_every_commented_default_can_be_taken_in_and_is_the_default(folder: Path) -> None:
    lines = []
    for line in (folder / "opportune.toml").read_text().splitlines():
        shown = line.removeprefix("# ")
        name, equals, _ = shown.partition(" = ")
        lines.append(shown if equals and name.strip('"').replace("_", "").isalpha() and "…" not in shown else line)
    values = tomllib.loads("\n".join(lines))
    values.pop("database_url"), values.pop("online_store"), values.pop("mlflow_tracking_uri")
    told = flat(Settings.model_validate(values).model_dump())
    defaults = flat(
        {name: field.get_default(call_default_factory=True) for name, field in Settings.model_fields.items()}
    )
    given = {name for name in flat(values) if defaults.get(name) is not None} - EXAMPLES
    assert len(given) > 40
    assert {name: told[name] for name in given} == {name: defaults[name] for name in given}


def test_offers_events_journey_and_test_are_valid(folder: Path) -> None:
    offers = [BulkOffer.model_validate_json(line) for line in (folder / "offers.jsonl").read_text().splitlines()]
    assert len(offers) == 3
    for line in (folder / "events.jsonl").read_text().splitlines():
        assert normalize(json.loads(line), Rules(), AT, imported=True)["customer_id"]
    document = read_text((folder / "winback.yaml").read_bytes(), "application/yaml")
    journey, _ = parse_journey(document, "winback")
    test = ExperimentIn.model_validate_json((folder / "winback-hour.experiment.json").read_text())
    split = journey.steps["which-hour"]
    assert {variant.key for variant in test.variants} == set(split.arms)  # type: ignore[union-attr]
    assert split.experiment == "winback-hour"  # type: ignore[union-attr]  # as the file: under its id, the split finds it


def test_the_mapping_turns_the_orders_into_events(folder: Path) -> None:
    mapping = read_mapping(folder / "mapping.toml")
    rows = list(csv.DictReader((folder / "orders.csv").read_text().splitlines()))
    mapping.check(list(rows[0]), "orders.csv")
    orders = [normalize(message, Rules(), AT, imported=True) for _, message, _ in mapping.messages(rows)]
    assert [order["revenue_cents"] for order in orders] == [990, 2010, 780]
    assert [len(order["products"]) for order in orders] == [1, 2, 1]
    assert orders[0]["timestamp"] == datetime(2026, 10, 1, 16, 5, tzinfo=UTC)
