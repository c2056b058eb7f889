"""A wrong journey is refused with the step and the field; a right one reads back the same from what is stored."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import BadRequest, Invalid
from service.journeys.parse_definition import MAX_BYTES, load_journey, parse_journey, read_text
from service.journeys.read_templates import read_templates

EXIT = {"id": "bye", "kind": "exit"}
DECIDE = {"id": "choose", "kind": "decide", "placement": "p", "channels": "email"}


def faults(*steps: dict[str, Any], **more: Any) -> dict[str, str]:
    with pytest.raises(Invalid) as refused:
        parse_journey({"name": "Test", "steps": list(steps), **more}, "j")
    return {error.field: error.detail for error in refused.value.errors}


def test_every_template_can_be_stored_as_it_is_and_reads_back() -> None:
    templates = read_templates()
    assert {one["id"] for one in templates} == {"welcome", "winback", "abandoned-cart", "post-purchase"}
    for template in templates:
        journey, canonical = parse_journey(template["definition"], "mine")
        assert load_journey("mine", canonical) == journey
        assert parse_journey(read_text(template["yaml"].encode(), "application/yaml"), "mine")[0] == journey


def test_an_unknown_next_step_is_named() -> None:
    found = faults({"id": "rest", "kind": "wait", "for": "1d", "next": "nowhere"}, EXIT)
    assert found == {"steps[0].next": "step 'rest': leads to 'nowhere', which is no step; the steps are rest, bye"}


def test_an_unreachable_step_is_named() -> None:
    found = faults({"id": "rest", "kind": "wait", "for": "1d", "next": "exit"}, EXIT)
    assert found == {"steps[1].id": "step 'bye': cannot be reached from the first step; link to it or remove it"}


def test_a_cycle_without_a_wait_is_named_and_one_with_a_wait_is_fine() -> None:
    back = {"id": "back", "kind": "branch", "cases": [{"when": "true", "next": "choose"}], "else": "exit"}
    assert faults(DECIDE, back) == {"steps[0].next": "step 'choose': is on a cycle without a wait; put a wait into it"}
    at_a_time = {"id": "rest", "kind": "wait", "until": "2026-12-24T09:00"}  # past the second time round
    assert "steps[0].next" in faults(DECIDE, at_a_time, back)
    parse_journey({"name": "x", "steps": [DECIDE, {"id": "rest", "kind": "wait", "for": "1d"}, back]}, "j")


def test_a_send_by_channels_that_nothing_is_decided_for_is_named() -> None:
    texts = {"id": "texts", "kind": "decide", "placement": "p", "channels": ["sms", "push"]}
    send = {"id": "write", "kind": "send", "decision": "texts", "channels": ["email", "web"]}
    told = "step 'write': what it sends is decided for push, sms only, so nothing would ever go"
    assert faults(DECIDE, texts, send, EXIT) == {"steps[2].channels": told}
    for right in ({"decision": "choose"}, {"decision": None}, {"channels": ["email", "sms"]}, {"channels": None}):
        parse_journey({"name": "x", "steps": [DECIDE, texts, send | right, EXIT]}, "j")


def test_a_branch_on_a_step_that_there_is_not_is_named() -> None:
    """Nobody has an outcome of it: every customer went `else`, and figures said "undecided"."""

    def branch(when: str) -> dict[str, Any]:
        return {"id": "which", "kind": "branch", "cases": [{"when": when, "next": "bye"}], "else": "exit"}

    found = faults(DECIDE, branch("steps.chose.outcome == 'action'"), EXIT)
    assert found == {"steps[1].cases[0].when": "there is no step 'chose'; the steps are choose, which, bye"}
    for right in (
        "steps.choose.outcome == 'steps.chose'",
        "steps.exists(one, one == 'choose')",
        "customer.traits.steps.chose > 1",
    ):
        parse_journey({"name": "x", "steps": [DECIDE, branch(right), EXIT]}, "j")


@pytest.mark.parametrize(
    ("until", "said"),
    [
        (20261224, "is no time"),  # seconds since 1970 to pydantic: a day in August of that year
        ("2026", "is no time"),
        (True, "is no time"),
        ("2026-13-01", "valid datetime"),
        ("9999-12-31T23:59:59", "between 1970 and 2100"),  # beyond all times in UTC for who lives west of it
        ("9999-12-31T23:59:59-05:00", "between 1970 and 2100"),
        ("0001-01-01", "between 1970 and 2100"),
    ],
)
def test_a_moment_is_a_time_that_can_come(until: Any, said: str) -> None:
    found = faults({"id": "rest", "kind": "wait", "until": until}, EXIT)
    assert list(found) == ["steps[0].until"]
    assert said in found["steps[0].until"]


@pytest.mark.parametrize("until", ["2026-12-24", "2026-12-24T09:00", "2026-12-24 09:00:00Z", "2100-12-31T23:59:59"])
def test_a_moment_reads_back_from_what_is_stored(until: str) -> None:
    document = {"name": "x", "steps": [{"id": "rest", "kind": "wait", "until": until}, EXIT]}
    journey, canonical = parse_journey(document, "j")
    assert load_journey("j", canonical) == journey


def test_wrong_cel_is_refused_with_its_place() -> None:
    found = faults(
        {
            "id": "b",
            "kind": "branch",
            "cases": [{"when": "customer.x >", "next": "exit"}, {"when": "zz == 1", "next": "exit"}],
        },
        entry={"event": "X", "where": "customer.x == 1"},
    )
    assert set(found) == {"steps[0].cases[0].when", "steps[0].cases[1].when", "entry.where"}
    assert found["steps[0].cases[1].when"].startswith("unknown name 'zz'")


@pytest.mark.parametrize(
    ("step", "field"),
    [
        ({"id": "a", "kind": "decide", "placement": "p", "channels": ["pigeon"]}, "steps[0].channels[0]"),
        ({"id": "a", "kind": "jump"}, "steps[0].kind"),
        ({"id": "a"}, "steps[0].kind"),
        ({"id": "A b", "kind": "exit"}, "steps[0].id"),
        ({"id": "a", "kind": "wait", "for": 3}, "steps[0].for"),
        ({"id": "a", "kind": "wait", "for": "3 moons"}, "steps[0].for"),
        ({"id": "a", "kind": "wait"}, "steps[0]"),
        ({"id": "a", "kind": "wait", "for": "1d", "until": "2026-01-01"}, "steps[0]"),
        ({"id": "a", "kind": "wait", "event": {"name": "X"}}, "steps[0].event.timeout"),
        ({"id": "a", "kind": "wait", "local_hour": {"at": "25:00"}}, "steps[0].local_hour.at"),
        ({"id": "a", "kind": "segment", "mode": "move", "to": "x"}, "steps[0]"),
        ({"id": "a", "kind": "webhook", "url": "ftp://x"}, "steps[0].url"),
        ({"id": "a", "kind": "exit", "colour": "red"}, "steps[0].colour"),
        ({"id": "a", "kind": "send"}, "steps[0].decision"),
        ({"id": "a", "kind": "wait", "event": {"name": "X", "timeout": "1d", "since": "open"}}, "steps[0].since"),
    ],
)
def test_each_fault_names_its_field(step: dict[str, Any], field: str) -> None:
    assert field in faults(step)


def test_a_doubled_step_and_another_id_are_refused() -> None:
    assert "steps[1].id" in faults(EXIT, EXIT)
    assert faults(EXIT, id="k") == {"id": "is 'k', but the address says 'j'"}


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (b'name: "a\\0b"\nsteps: [{id: a, kind: exit}]', "name"),
        (b'name: "a\\ud800b"\nsteps: [{id: a, kind: exit}]', "name"),
        (b"name: x\n1: y\nsteps: [{id: a, kind: exit}]", "body"),
        (
            b"name: x\nsteps: [{id: a, kind: webhook, url: 'https://x.y', payload: {n: " + b"9" * 400 + b"}}]",
            "steps[0].payload.n",
        ),
        (
            b"name: x\nsteps: [{id: a, kind: webhook, url: 'https://x.y', payload: {n: "
            + b"[" * 50
            + b"]" * 50
            + b"}}]",
            "steps[0].payload.n" + "[0]" * 37,
        ),
    ],
)
def test_what_json_cannot_hold_is_refused(text: bytes, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_journey(read_text(text, "application/yaml"), "j")
    assert refused.value.errors[0].field == field


def test_yaml_is_read_as_plain_values() -> None:
    text = b"at: 9:00\non: yes\nday: 2026-12-24\nn: 3\nf: 1.5\nt: true\nnone: ~\n"
    assert read_text(text, "application/x-yaml; charset=utf-8") == {
        "at": "9:00", "on": "yes", "day": "2026-12-24", "n": 3, "f": 1.5, "t": True, "none": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"{", "application/json"),
        (b"name: x", "application/json"),
        (b"a: [", "application/yaml"),
        (b"a: 1\na: 2", "application/yaml"),
        (b"a: &x [1]\nb: *x", "application/yaml"),
        (b"!!python/object/apply:os.system ['true']", "application/yaml"),
        (b"\xff\xfe\x00", "application/yaml"),
        (b"[" * 100_000, "application/yaml"),
        (b" " * (MAX_BYTES + 1), "application/json"),
    ],
)
def test_what_cannot_be_read_is_refused(text: bytes, kind: str) -> None:
    with pytest.raises(BadRequest):
        read_text(text, kind)


@pytest.mark.parametrize(
    "document", [None, [], "x", 3, {}, {"name": "x"}, {"name": "x", "steps": []}, {"name": "x", "steps": [3]}]
)
def test_what_is_no_journey_is_refused(document: Any) -> None:
    with pytest.raises(Invalid):
        parse_journey(document, "j")
