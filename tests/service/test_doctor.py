"""What `opportune doctor` says of the settings."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from service import dangling, doctor
from service.content.variant import Variant, said_hash
from service.content.variant_store import add_variants
from service.doctor import FIRST_STEPS, Finding, examine, next_step, unwritable
from service.events.quality_store import add_counts
from service.events.tally import Key
from service.experiments.define_experiment import define_experiment
from service.experiments.schemas import ExperimentIn
from service.journeys.definitions import Definitions
from service.journeys.enrol_customer import Entering, enrol
from service.journeys.enrolment_store import enrolments
from service.journeys.manage_journeys import change_status, must_find, put_journey
from service.offers.offers_store import delete_offer, put_offers
from service.offers.schemas import OfferIn
from service.settings import Settings
from service.wiring import build
from tests.fakes.impact import arms_measured
from training.tracking import Tracking


def told(home: Path, capsys: pytest.CaptureFixture[str], **placement: Any) -> list[str]:
    """The lines about settings, of a catalogue with the offer `a`."""
    settings = Settings(home=home, text_vectors=False, placements={"x": placement})
    parts = build(Settings(home=home, text_vectors=False))
    with parts.database.write() as connection:
        offer = OfferIn.model_validate({"name": "A", "value": 1.0}).document()
        put_offers(connection, {"a": offer}, parts.clock.now())
    parts.close()
    capsys.readouterr()
    failed = examine(settings)
    said = capsys.readouterr()
    lines = said.out.splitlines()
    parts_of = list(dict.fromkeys(line.split()[1] for line in lines if line.startswith("fail")))
    ends = f"opportune: not well: {', '.join(parts_of)}; the lines that begin with 'fail' say what to do\n"
    assert (failed, said.err) == ((1, ends) if parts_of else (0, ""))
    return [line for line in lines if line.split()[1] in {"placements", "configuration", "state"}]


def test_offers_that_the_catalogue_lacks_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = [
        {"name": "first", "do": "pin", "offers": ["a", "b"]},
        {"name": "less", "do": "boost", "offers": ["a"]},
    ]
    lines = told(tmp_path, capsys, business_as_usual="nope", rules=rules)
    usual, rule = [line for line in lines if "placements" in line]
    assert usual.startswith("note")
    assert "x.business_as_usual: the catalogue has no offer 'nope'" in usual
    assert rule.startswith("note")
    assert "x: the rule 'first' (pin): the catalogue has no offer 'b';" in rule


@pytest.mark.parametrize(("purpose", "said"), [("marketting", True), ("marketing", False), ("service", False)])
def test_a_purpose_with_a_slip_lets_refusals_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], purpose: str, said: bool
) -> None:
    lines = [line for line in told(tmp_path, capsys, purpose=purpose) if "purpose" in line]
    assert [line.endswith("no refusal of another holds for it; do you mean marketing?") for line in lines] == [
        True
    ] * said


def test_offers_that_are_there_need_no_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = [{"name": "first", "do": "pin", "offers": ["a"]}, {"name": "shoes", "do": "bury", "tags": ["shoes"]}]
    lines = told(tmp_path, capsys, business_as_usual="a", rules=rules)
    assert [line for line in lines if "placements" in line] == []


def test_a_wrong_expression_is_a_fault_of_the_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [fault] = [
        line
        for line in told(tmp_path, capsys, rules=[{"name": "a", "do": "boost", "when": "offer.valeu >"}])
        if line.startswith("fail")
    ]
    assert fault.split()[1] == "configuration"
    assert "placements.x.rules 'a': when:" in fault
    assert "OPPORTUNE_HOME" not in fault


def test_a_disk_that_is_nearly_full_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    used = type(shutil.disk_usage(tmp_path))(10**9, 10**9 - 3_000_000, 3_000_000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: used)
    assert examine(Settings(home=tmp_path / "home", text_vectors=False)) == 1
    assert "fail  disk           only 3 MB are free for" in capsys.readouterr().out


def test_an_eligibility_that_asks_for_no_feature_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(home=tmp_path, text_vectors=False)
    parts = build(settings)
    rules = {
        "typo": "customer.features.ordrs_90d >= 1.0",
        "right": "customer.features.orders_90d >= 1.0 && customer.scores.lead > 0.5",
        "score": "customer.scores.laed > 0.5",
    }
    documents = {
        name: OfferIn.model_validate({"name": name, "eligibility": rule}).document() for name, rule in rules.items()
    }
    with parts.database.write() as connection:
        put_offers(connection, documents, parts.clock.now())
    parts.close()
    examine(settings)
    lines = [line for line in capsys.readouterr().out.splitlines() if "its eligibility" in line]
    assert len(lines) == 2
    assert "score: its eligibility: there is no score 'laed'; do you mean lead?, so nobody gets it" in lines[0]
    assert "typo: its eligibility: there is no feature 'ordrs_90d'; do you mean orders_90d" in lines[1]


@pytest.mark.parametrize(("days", "warned"), [(0, False), (30, True), (56, True), (57, False)])
def test_records_that_go_before_promises_are_due_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], days: int, warned: bool
) -> None:
    examine(Settings(home=tmp_path, text_vectors=False, decisions={"keep_records_days": days}))
    told = [line for line in capsys.readouterr().out.splitlines() if line.split()[1] == "drift"]
    assert [f"is {days}; what came of promises for 56 days" in line for line in told] == [True] * warned


def test_a_secret_with_which_no_worker_starts_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert examine(Settings(home=tmp_path, webhook={"secret": "no base64!"})) == 1  # type: ignore[arg-type]
    assert "a webhook secret is 'whsec_' and base64" in capsys.readouterr().out


def test_an_mlflow_that_is_away_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "sync.json").write_text('{"refused": {}, "problem": "cannot read the registry at http://m"}')
    assert examine(Settings(home=tmp_path, text_vectors=False)) == 1
    [told] = [line for line in capsys.readouterr().out.splitlines() if "registry" in line]
    assert told.startswith("fail")
    assert "start MLflow, or correct mlflow_tracking_uri" in told


def test_a_model_that_was_trained_and_that_nothing_serves_yet_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(home=tmp_path, text_vectors=False)
    examine(settings)
    assert not (tmp_path / "mlflow.db").exists()
    assert "lead, churn, winback, send-time, next-offer: none serves" in capsys.readouterr().out
    client = Tracking.at(settings.tracking_uri).client
    for name in ("opportune-churn", "opportune-lead"):
        client.create_registered_model(name)
        client.create_model_version(name, str(tmp_path))
    client.set_registered_model_alias("opportune-churn", "champion", "1")
    assert examine(settings) == 1  # for want of a key
    told = [line.split(maxsplit=2)[2] for line in capsys.readouterr().out.splitlines() if line.split()[1] == "models"]
    assert told[0].startswith("churn: version 1 will serve; 'opportune serve' brings it in")
    assert told[1].startswith("lead, winback, send-time, next-offer: none serves")
    assert "'opportune train lead winback send-time next-offer' makes them, where there is enough data" in told[1]
    away = examine(Settings(home=tmp_path, text_vectors=False, mlflow_tracking_uri="http://127.0.0.1:9"))
    assert away == 1
    assert "cannot read the registry at http://127.0.0.1:9" in capsys.readouterr().out


def test_the_next_step_is_the_first_that_is_still_to_do() -> None:
    todo = [Finding("fail", "", "", "opportune serve"), Finding("note", "", "", "opportune features")]
    assert next_step(todo) == "opportune features"
    assert next_step([Finding("ok", "", "")]) is None
    assert next_step([*todo, Finding("fail", "", "")]) is None  # what fails is to be mended before


def test_an_empty_home_is_told_the_way_to_a_whole_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(home=tmp_path / "home", text_vectors=False)
    examine(settings)
    first = capsys.readouterr().out.splitlines()
    assert any(line.startswith("ok    home") and "it is new" in line for line in first)
    assert first[-1] == f"next  {FIRST_STEPS[0]}"
    parts = build(settings)
    with parts.database.write() as connection:
        put_offers(connection, {"a": OfferIn.model_validate({"name": "A"}).document()}, parts.clock.now())
    parts.close()
    examine(settings)
    second = capsys.readouterr().out.splitlines()
    assert not any("it is new" in line for line in second)
    assert second[-1] == f"next  {FIRST_STEPS[1]}"


def test_what_an_active_journey_names_and_what_is_gone_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who comes to such a step is stuck: an offer that left the catalogue stopped everybody, and nothing said so."""
    settings = Settings(home=tmp_path, text_vectors=False)
    parts = build(settings)
    now = parts.clock.now()
    split = {"id": "test", "kind": "split", "experiment": "tea", "arms": {"a": "choose"}, "else": "choose"}
    decide = {"id": "choose", "kind": "decide", "placement": "p", "channels": ["email"], "offers": ["mild"]}
    with parts.database.write() as connection:
        put_offers(connection, {"mild": OfferIn.model_validate({"name": "Mild"}).document()}, now)
        draft = ExperimentIn.model_validate({"variants": ["a", "b"], "status": "draft"})
        define_experiment(connection, "tea", draft, now)
        put_journey(connection, "sold", {"name": "J", "steps": [split, decide]}, now, None)
        change_status(connection, "sold", "activate", now)
        row = must_find(connection, "sold")
        enrol(connection, row, Definitions().get(connection, "sold", 1), "anna", now, {"api": True}, Entering())
        put_journey(connection, "sold", {"name": "J", "steps": [{"id": "end", "kind": "exit"}]}, now, None)
        connection.execute(update(enrolments).values(status="stuck"))
        put_journey(connection, "idle", {"name": "J", "steps": [split, decide]}, now, None)
        delete_offer(connection, "mild", now)
    parts.close()
    assert examine(settings) == 1
    told = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    assert [(verdict, detail) for verdict, part, detail in told if part == "journeys" and "sold" in detail] == [
        ("fail", "sold: 1 are stuck; /journeys says why, and lets them try again"),
        (
            "fail",
            "sold, version 1: steps[1].offers[0]: step 'choose': the catalogue has no offer 'mild'; put it first, or "
            "take it out",
        ),
        (
            "note",
            "sold, version 1: step 'test': the experiment 'tea' is a draft, so all go else; put it with status running",
        ),
    ]
    assert not any("idle" in detail for *_, detail in told)


def test_an_offer_that_requires_one_that_never_was_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that was there once is another thing: who had it then may go on."""
    settings = Settings(home=tmp_path, text_vectors=False)
    parts = build(settings)
    offers = {
        "old": {"name": "Old"},
        "after": {"name": "After", "requires": [{"offer_id": "old"}]},
        "never": {"name": "Never", "requires": [{"offer_id": "odl"}]},
    }
    with parts.database.write() as connection:
        documents = {name: OfferIn.model_validate(offer).document() for name, offer in offers.items()}
        put_offers(connection, documents, parts.clock.now())
        delete_offer(connection, "old", parts.clock.now())
    parts.close()
    examine(settings)
    told = [line for line in capsys.readouterr().out.splitlines() if "requires the offer" in line]
    assert [line.split(maxsplit=2)[2].partition(",")[0] for line in told] == ["never: requires the offer 'odl'"]


def test_limits_on_what_nothing_is_decided_for_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cap with a typing slip held nothing back, and nothing said so."""
    limits = {
        "caps": [{"placement": name, "max": 1, "per_days": 7} for name in ("email.wekly", "email.weekly", "sms.own")],
        "cool_downs": [{"after": "purchase", "days": 3, "tag": tag} for tag in ("teas", "tea")],
        "situations": {"placement": ["web.home"]},
    }
    settings = Settings(home=tmp_path, text_vectors=False, decisions=limits, placements={"sms.own": {}})  # type: ignore[arg-type]
    parts = build(settings)
    with parts.database.write() as connection:
        offer = OfferIn.model_validate({"name": "A", "tags": ["tea"]}).document()
        put_offers(connection, {"a": offer}, parts.clock.now())
    assert list(dangling.of_limits(parts)) == []  # nothing is decided at all yet
    arms_measured(parts.database, {"model": 2, "holdout": 2}, {"model": 1.0, "holdout": 1.0})
    assert [(part, detail) for _, part, detail in dangling.of_limits(parts)] == [
        (
            "placements",
            "decisions.caps: nothing was decided for the placement 'email.wekly' yet; do you mean email.weekly?",
        ),
        ("offers", "decisions.cool_downs: no offer has the tag 'teas'; do you mean tea?"),
        ("placements", "decisions.situations: nothing was decided for the placement 'web.home' yet"),
    ]
    parts.close()


def test_channels_of_an_active_journey_without_approved_copy_are_told(tmp_path: Path) -> None:
    """It ran, and its figures said "blocked" for each customer."""
    parts = build(Settings(home=tmp_path, text_vectors=False))
    now = parts.clock.now()
    decide = {"id": "choose", "kind": "decide", "placement": "p", "channels": ["email", "sms", "call"]}
    offer = OfferIn.model_validate({"name": "A"}).document()

    def variant(name: str, channel: str, of: Any) -> Variant:
        told = said_hash(of), channel, "en", None, "plain", "approved", {"body": "Hi"}, (), {}, 1, now, now
        return Variant(name, "a", *told)

    with parts.database.write() as connection:
        put_offers(connection, {"a": offer}, now)
        add_variants(connection, [variant("v1", "email", offer), variant("v2", "sms", offer | {"name": "B"})])
        put_journey(connection, "j", {"name": "J", "steps": [decide]}, now, None)
        change_status(connection, "j", "activate", now)
    assert [detail for *_, detail in dangling.of_copy(parts)] == [
        "j: step 'choose': none of its offers has approved copy by sms, so nothing is sent; approve some at /review"
    ]
    parts.close()


def test_events_that_come_under_another_name_are_told(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, text_vectors=False, event_names={"Bestellt": "Order Completed"})
    parts = build(settings)
    now = parts.clock.now()
    wait = {"id": "w", "kind": "wait", "event": {"name": ["opened", "Order Complete", "Quiz Done"], "timeout": "1d"}}
    journey = {"name": "J", "entry": {"event": "Bestellt"}, "goal": {"event": "Order Completed"}, "steps": [wait]}
    with parts.database.write() as connection:
        put_journey(connection, "j", journey, now, None)
        assert list(dangling.of_events(parts)) == []
        change_status(connection, "j", "activate", now)
        for name, event in (("test", "Quiz Dnoe"), ("right", "page")):
            experiment = ExperimentIn.model_validate({"variants": ["a", "b"], "metric": event})
            define_experiment(connection, name, experiment, now)
        add_counts(connection, "api", {Key(now.date().isoformat(), "event", "Quiz Done"): 1})
    assert [detail for *_, detail in dangling.of_events(parts)] == [
        "the journey j is about 'Bestellt', which [event_names] renames to 'Order Completed', so it never comes; name "
        "that",
        "the journey j is about 'Order Complete', which never came; do you mean 'Order Completed'?",
        "the experiment test is about 'Quiz Dnoe', which never came; do you mean 'Quiz Done'?",
    ]
    parts.close()


def test_a_home_without_journeys_needs_no_worker(tmp_path: Path) -> None:
    parts = build(Settings(home=tmp_path, text_vectors=False))
    assert [finding.step for finding in doctor._loops(parts)] == ["opportune serve", None]
    with parts.database.write() as connection:
        steps = [{"id": "end", "kind": "exit"}]
        put_journey(connection, "j", {"name": "J", "steps": steps}, parts.clock.now(), None)
    assert [finding.step for finding in doctor._loops(parts)] == ["opportune serve", "opportune worker"]
    parts.close()


def test_what_another_user_left_in_the_home_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A nightly run as root, and the service could write no event any more; the doctor saw nothing."""
    build(Settings(home=tmp_path, text_vectors=False)).close()
    (tmp_path / "events" / "bucket=3").mkdir(parents=True, exist_ok=True)
    assert unwritable(tmp_path) == []
    gone = tmp_path / "exports"
    gone.mkdir()
    assert unwritable(tmp_path, lambda path, mode: path != gone or bool(gone.rmdir())) == []  # a running service's
    foreign = {tmp_path / "state.db", tmp_path / "events" / "bucket=3"}
    access = os.access
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) not in foreign and access(path, mode))
    assert unwritable(tmp_path, os.access) == sorted(foreign)
    monkeypatch.setattr("service.doctor.unwritable", lambda home: sorted(foreign))
    assert examine(Settings(home=tmp_path, text_vectors=False)) == 1
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.split()[:2] == ["fail", "home"]]
    assert f"2 of its folders and files cannot be written, such as {tmp_path}/events/bucket=3" in line


def test_a_home_that_is_open_to_everybody_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(Settings(home=tmp_path, text_vectors=False)).close()
    for mode, told in ((0o700, 0), (0o750, 0), (0o755, 1)):
        tmp_path.chmod(mode)
        examine(Settings(home=tmp_path, text_vectors=False))
        lines = capsys.readouterr().out.splitlines()
        assert sum(line.startswith("note  home") and "chmod 700" in line for line in lines) == told


def test_secrets_in_a_file_that_everybody_can_read_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "opportune.toml"
    file.write_text('[smtp]\npassword = "hush"\n')
    for mode, told in ((0o640, 0), (0o644, 1)):
        file.chmod(mode)
        examine(Settings(text_vectors=False))
        lines = [line for line in capsys.readouterr().out.splitlines() if "smtp.password" in line]
        assert (len(lines), "hush" in str(lines)) == (told, False)
    assert "chmod 640, or set OPPORTUNE_SMTP__PASSWORD" in lines[0]


def test_a_home_that_may_only_be_read_is_examined_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Path) -> None:
        raise OSError(30, "Read-only file system", f"{tmp_path}/outbox")

    monkeypatch.setattr("service.wiring.journeys.FileChannel", refused)
    assert examine(Settings(home=tmp_path, text_vectors=False)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("fail  home ") and "Read-only file system" in line for line in lines)
    assert any(line.split()[1] == "events" for line in lines)


def test_a_database_that_takes_nothing_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of it was read, and was well."""
    build(Settings(home=tmp_path, text_vectors=False)).close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        connection.execute("CREATE TRIGGER full BEFORE INSERT ON leases BEGIN SELECT RAISE(FAIL, 'full'); END")
    assert examine(Settings(home=tmp_path, text_vectors=False)) == 1
    assert any(line.startswith("fail  state ") for line in capsys.readouterr().out.splitlines())


def test_decisions_that_wait_for_the_database_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(Settings(home=tmp_path, text_vectors=False)).close()
    (tmp_path / "spool").mkdir(exist_ok=True)
    with (tmp_path / "spool" / "1-a.jsonl").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as by a service that cannot bring them in
        examine(Settings(home=tmp_path, text_vectors=False))
    assert "note  decisions      some wait on the disk" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("holdout", "verdict", "told"),
    [
        (300, "ok", "email.weekly: Deciding brings"),
        (60, "fail", "(model 500 of 50%, random 200 of 20%, holdout 60 of 30%)"),
    ],
)
def test_arms_that_are_not_as_planned_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], holdout: int, verdict: str, told: str
) -> None:
    settings = Settings(home=tmp_path, text_vectors=False)
    parts = build(settings)
    people = {"model": 500, "random": 200, "holdout": holdout}
    arms_measured(parts.database, people, {"model": 1_000.0, "random": 990.0, "holdout": 600.0})
    parts.close()
    capsys.readouterr()
    examine(settings)
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.split()[1] == "impact"]
    assert line.startswith(verdict)
    assert told in line
