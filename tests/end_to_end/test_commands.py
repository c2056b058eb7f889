"""How commands end: what they say, and where."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

import opportune
from models.load import write_golden
from tests.conftest import free_port
from tests.end_to_end.conftest import ROOT, Service
from tests.fakes.model_cases import propensity, propensity_rows
from training.gate import Findings, Verdict
from training.tracking import Tracking, log_and_register

NO_MEMORY = "the memory did not suffice; give this more, or end what else runs here, then again"


def test_an_estimate_that_is_refused_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    refused = Service(tmp_path).run("evaluate", "uniform")
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr == "opportune: uniform: no estimate. The decision log is empty.\n"


def test_uplift_without_a_test_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    refused = Service(tmp_path).run("uplift", "web.home")
    assert refused.returncode == 1
    assert refused.stdout == ""
    said = "uplift-web.home: no model; there are no decisions or no events yet; serve some with `opportune serve`"
    assert refused.stderr.splitlines()[-1] == f"opportune: {said}"


def test_drift_without_models_says_so(tmp_path: Path) -> None:
    told = Service(tmp_path).done("drift")
    assert (
        told.splitlines()[-1]
        == "no model serves yet; 'opportune train all' makes them, 'opportune serve' brings them in"
    )


def test_names_outside_ascii_are_read_whatever_the_locale(tmp_path: Path) -> None:
    """Cron's locale is C; PYTHONUTF8=0 and latin-1 locales switch off what Python does about that by itself."""
    home = tmp_path / "hömé"
    home.mkdir()
    line = '{"type": "track", "userId": "jürgen", "event": "Café visité", "messageId": "m", "timestamp": "%s"}'
    (home / "évents.jsonl").write_text(line % "2026-05-01T00:00:00Z", encoding="utf-8")
    service = Service(home, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert service.done("ingest", "évents.jsonl") == "évents.jsonl: 1 events\n"
    service.done("keys", "create", "--scope", "ingest", "--label", "Jürgen")
    assert "Jürgen" in service.done("keys", "list")
    service.done("score", "--out", "scöre.parquet")
    assert pl.read_parquet(home / "scöre.parquet").height == 1


def test_scopes_of_a_key_may_be_told_in_a_row(tmp_path: Path) -> None:
    service = Service(tmp_path)
    for row in (
        ["ingest", "decide"],
        ["ingest", "--scope", "decide"],
        ["ingest,decide"],
        ["ingest", "decide", "ingest"],
    ):
        assert service.done("keys", "create", "--scope", *row, "--label", "shop").startswith("op_")
    assert [line.split()[1] for line in service.done("keys", "list").splitlines()] == ["ingest,decide"] * 4
    wrong = service.run("keys", "create", "--scope", "ingest", "shop")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "no scope 'shop'" in wrong.stderr


def test_a_policy_that_there_is_not_is_wrong_usage(tmp_path: Path) -> None:
    wrong = Service(tmp_path).run("evaluate", "nosuch")
    assert wrong.returncode == 2
    assert "'nosuch' is no policy" in wrong.stderr


def test_what_cannot_be_done_is_refused_before_the_work(tmp_path: Path) -> None:
    folder = Service(tmp_path).run("score", "--out", str(tmp_path))
    assert folder.returncode == 2
    assert "is a folder; name a file in it" in folder.stderr


@pytest.mark.parametrize(
    ("failure", "free", "told"),
    [
        (OSError("disk I/O error"), 57_000, "disk I/O error; only 0.1 MB are free for HOME: make room, then again"),
        (OSError("disk I/O error"), 10**9, "disk I/O error"),
        (ValueError("no such model"), 57_000, "no such model"),
        (MemoryError(), 10**9, NO_MEMORY),
        (ImportError("nh3.abi3.so: failed to map segment from shared object"), 10**9, NO_MEMORY),
    ],
)
def test_a_command_that_fails_for_want_of_room_says_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failure: Exception,
    free: int,
    told: str,
) -> None:
    def failing(**_: object) -> None:
        raise failure

    monkeypatch.setattr(opportune, "app", failing)
    monkeypatch.setattr(opportune, "_homes", [tmp_path / "not" / "yet"])
    usage = type(shutil.disk_usage(tmp_path))(10**9, 10**9 - free, free)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(SystemExit) as ended:
        opportune.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"opportune: {told.replace('HOME', str(tmp_path / 'not' / 'yet'))}\n"


def test_scores_are_not_written_under_another_format_s_name(tmp_path: Path) -> None:
    refused = Service(tmp_path).run("score", "--out", "x.csv")
    assert refused.returncode == 2
    assert "written as Parquet; name a file x.parquet" in " ".join(refused.stderr.replace("│", " ").split())
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize("wrong", ["2099-01-01T00:00:00Z", "1969-12-31T00:00:00Z"])
def test_tables_are_not_built_of_days_to_come_or_before_1970(tmp_path: Path, wrong: str) -> None:
    for command in (["features"], ["train", "churn"]):
        refused = Service(tmp_path).run(*command, "--as-of", wrong)
        assert refused.returncode == 2
        assert f"{wrong} does not lie between 1970 and now" in refused.stderr.replace("\n", " ")
    assert not (tmp_path / "state" / "features").exists()


def test_tables_as_of_parts_of_a_second_are_refused_as_their_folders_are_named_by_the_second(tmp_path: Path) -> None:
    refused = Service(tmp_path).run("features", "--as-of", "2026-01-31T09:30:00.5Z")
    assert refused.returncode == 2
    told = " ".join(refused.stderr.replace("│", " ").split())
    assert "tables are as of whole seconds; write 2026-01-31T09:30:00Z" in told
    assert not (tmp_path / "state" / "features").exists()


def test_a_setting_that_there_is_not_is_told_in_plain_words(tmp_path: Path) -> None:
    unknown = Service(tmp_path, OPPORTUNE_DECISIONS__FLOORR="1").run("keys", "list")
    assert unknown.returncode == 1
    where = "decisions.floorr (in OPPORTUNE_DECISIONS__FLOORR)"
    assert unknown.stderr == f"opportune: {where}: there is no such setting; do you mean floor?\n"


def test_a_database_that_cannot_be_reached_is_told_with_its_own_words(tmp_path: Path) -> None:
    """A wrong name or password looks like an outage: without the driver's words nobody finds it."""
    url = f"postgresql://shop@127.0.0.1:{free_port()}/shop"
    listing = Service(tmp_path, OPPORTUNE_DATABASE_URL=url).run("keys", "list")
    doctor = Service(tmp_path, OPPORTUNE_DATABASE_URL=url).run("doctor")
    assert (listing.returncode, doctor.returncode) == (1, 1)
    for told in (listing.stderr, doctor.stdout):
        assert "the database does not answer now" in told
        assert "Connection refused" in told
    assert "cannot be opened: the database does not answer now" in doctor.stdout


def test_a_variable_that_should_be_json_is_named(tmp_path: Path) -> None:
    wrong = Service(tmp_path, OPPORTUNE_DECISIONS__CAPS="[{max").run("keys", "list")
    assert wrong.returncode == 1
    said = "lists and tables are written as JSON, and this is none"
    assert wrong.stderr == f"opportune: OPPORTUNE_DECISIONS__CAPS: {said}\n"


def test_a_package_that_is_not_installed_is_told_with_what_installs_it(tmp_path: Path) -> None:
    (tmp_path / "lightgbm.py").write_text("raise ModuleNotFoundError(name='lightgbm')")
    lacking = Service(tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}").run("train", "lead")
    assert lacking.returncode == 1
    told = "opportune: lightgbm is not installed; install what commands need: pip install 'opportune[train,demo]'"
    assert lacking.stderr.splitlines()[-1] == told


def test_a_file_of_which_nothing_can_be_read_is_a_failure(tmp_path: Path) -> None:
    wrong, mixed = tmp_path / "wrong.jsonl", tmp_path / "mixed.jsonl"
    wrong.write_text('{"event": "of nobody"}\nnot json\n')
    mixed.write_text(
        'not json\n{"type": "track", "event": "Order Completed", "userId": "c1", "messageId": "m1", '
        '"timestamp": "2026-01-05T10:00:00Z", "properties": {"revenue": 9.9, "currency": "GBP"}}\n'
    )
    offers = tmp_path / "offers.jsonl"
    offers.write_text('{"offer_id": "o1"}\n')
    service = Service(tmp_path)
    for refused in (service.run("ingest", str(wrong)), service.run("ingest", str(wrong))):
        assert refused.returncode == 1
        why = f"{wrong}.rejects.jsonl"
        told = f"opportune: {wrong}: none of its 2 lines could be read; {why} says why of each"
        assert refused.stderr.splitlines()[-1] == told
        assert len(Path(why).read_text().splitlines()) == 2
    refused = service.run("ingest", "--offers", str(offers))
    assert refused.returncode == 1
    assert "  such as line 1: name: Field required\n" in refused.stdout
    read = service.run("ingest", str(mixed))
    assert read.returncode == 0
    assert f"1 events, 1 rejected (see {mixed}.rejects.jsonl)\n  1 by line, such as: is no JSON" in read.stdout
    assert "money in GBP (1 events) is counted nowhere; give its rate in [currencies]" in read.stderr


def test_a_file_of_offers_that_is_read_as_events_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "offers.jsonl").write_text('{"offer_id": "o1", "name": "A", "channels": ["email"]}\n')
    refused = Service(tmp_path).run("ingest", "offers.jsonl")
    assert refused.returncode == 1
    assert "1 by type, such as: is missing; send one of" in refused.stdout
    assert "is it an offer? they are read by --offers FILE" in refused.stdout


def test_a_home_without_events_is_told_what_is_lacking(tmp_path: Path) -> None:
    service, told = Service(tmp_path), "there are no customers yet; bring events with 'opportune ingest PATH'"
    for command in ("score", "features"):
        done = service.run(command)
        assert done.returncode == 0
        assert told in done.stderr.splitlines()


def test_features_are_listed_and_one_that_there_is_not_leads_to_the_list(tmp_path: Path) -> None:
    service = Service(tmp_path)
    listed = service.done("features", "--explain", "all").splitlines()
    assert any(line.startswith("orders_90d ") for line in listed)
    assert any(line.startswith("offer_click_rate_90d ") for line in listed)
    unknown = service.run("features", "--explain", "nosuch")
    assert unknown.returncode == 1
    assert unknown.stderr == "opportune: no feature nosuch; 'opportune features --explain all' lists them\n"


def test_init_says_where_to_go_on(tmp_path: Path) -> None:
    made = Service(tmp_path).run("init", "shop")
    assert "shop/opportune.toml" in made.stdout.splitlines()
    assert made.stderr == "now: cd shop; its README.md says how to go on\n"


def test_a_port_that_there_is_not_is_wrong_usage(tmp_path: Path) -> None:
    assert Service(tmp_path).run("serve", "--port", "99999").returncode == 2


def test_customers_are_scored_by_the_champion_also_where_no_service_runs(tmp_path: Path) -> None:
    service, state = Service(tmp_path), tmp_path / "state"
    orders = tmp_path / "orders.jsonl"
    now = datetime.now(UTC)
    orders.write_text("".join(
        f'{{"type": "track", "event": "Order Completed", "userId": "c1", "messageId": "m{day}", '
        f'"timestamp": "{(now - timedelta(days=day)).isoformat()}"}}\n'
        for day in (20, 10)
    ))  # fmt: skip
    service.done("ingest", str(orders))
    out = tmp_path / "scores.parquet"
    service.done("score", "--out", str(out))
    assert pl.read_parquet(out)["churn_probability"].to_list() == [None]
    folder = tmp_path / "model"
    model = propensity()
    model.save(folder)
    rows = propensity_rows(11, 20)
    write_golden(model, folder, rows)
    tracking = Tracking.at(f"sqlite:///{state / 'mlflow.db'}", state)
    judged = Findings({}, {}, Verdict(True, "promoted"))
    log_and_register(tracking, "churn", folder, judged, example=rows.head(2))
    service.done("score", "--out", str(out))
    assert pl.read_parquet(out)["churn_probability"].null_count() == 0
    write_golden(model, folder, rows)
    golden = pl.read_parquet(folder / "golden.parquet")
    golden.with_columns(pl.col("golden_expected") / 2).write_parquet(folder / "golden.parquet")
    log_and_register(tracking, "churn", folder, judged, example=rows.head(2))
    refused = service.run("score", "--out", str(out))
    assert refused.returncode == 0
    assert "churn: version 2 is refused: churn does not reproduce" in refused.stderr
    assert "customers are scored by the models that served last" in refused.stderr
    assert pl.read_parquet(out)["churn_probability"].null_count() == 0
    (state / "mlflow.db").write_bytes(b"no database")
    scored = service.run("score", "--out", str(out))
    assert scored.returncode == 0
    assert "cannot read the registry" in scored.stderr
    assert pl.read_parquet(out)["churn_probability"].null_count() == 0, "those that served last"
