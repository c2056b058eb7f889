"""A journey's JSON or YAML into its definition; every fault names the step and the field."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import orjson
import yaml
from pydantic import ValidationError

from service.errors import FieldError, Invalid, bad_body, path_of, summary
from service.journeys import conditions, schemas
from service.journeys.definition import (
    Branch,
    Call,
    Caps,
    Case,
    Decide,
    Entry,
    Exit,
    ForDuration,
    Goal,
    Journey,
    Reentry,
    Segment,
    Send,
    Split,
    Step,
    UntilEvent,
    UntilGoodHour,
    UntilLocalHour,
    UntilTime,
    Wait,
    WaitRule,
    Webhook,
    graph_faults,
)

_KINDS = frozenset(("wait", "branch", "decide", "send", "call", "webhook", "split", "segment", "exit"))
END = "exit"
MAX_BYTES = 512 * 1024
_DEEPEST = 40


class _PlainLoader(yaml.SafeLoader):
    """YAML 1.2's plain values (9:00 and `on` are text, as is a date), no aliases (a few bytes of them can stand for
    gigabytes), and no doubled keys.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.constructor.ConstructorError(None, None, "aliases (*name) are not allowed; write it out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} is there twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _PlainLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _first)


def read_text(text: bytes, content_type: str) -> Any:
    """The document in a body: YAML where the content type says so, else JSON. `BadRequest` names the place."""
    if len(text) > MAX_BYTES:
        raise bad_body(f"has {len(text):,} bytes; a journey is at most {MAX_BYTES // 1024} KiB")
    if "yaml" not in content_type.lower():
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError as fault:
            hint = "" if "json" in content_type.lower() else "; for YAML send 'Content-Type: application/yaml'"
            raise bad_body(f"is not JSON: {fault}{hint}") from None
    try:
        return yaml.load(text, _PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as fault:  # ValueError: not UTF-8, or a number of 5,000 digits
        raise bad_body(f"is not YAML that can be read: {' '.join(str(fault).split())[:300]}") from None


def parse_journey(document: Any, journey_id: str) -> tuple[Journey, dict[str, Any]]:
    """The checked definition, and the document in its canonical JSON form. `Invalid` lists every fault found."""
    if not isinstance(document, Mapping):
        raise Invalid("a journey is an object with name and steps", [FieldError("body", "is no object")])
    unfit = next(_unfit_values(document, ()), None)
    if unfit is not None:
        raise _refusal([unfit])
    try:
        body = schemas.JourneyBody.model_validate(document)
    except ValidationError as error:
        raise _refusal(list(_schema_faults(error, document))) from None
    if body.id is not None and body.id != journey_id:
        raise _refusal([FieldError("id", f"is {body.id!r}, but the address says {journey_id!r}")])
    faults = list(_doubled_ids(body.steps))
    if faults:
        raise _refusal(faults)
    journey = _journey(body, journey_id)
    place = {step.id: index for index, step in enumerate(body.steps)}
    faults = [_at(place, step, name, fault) for step, name, fault in graph_faults(journey)]
    faults += [*_expression_faults(body), *_time_faults(body)]
    if faults:
        raise _refusal(faults)
    canonical = body.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return journey, canonical | {"id": journey_id}


def load_journey(journey_id: str, canonical: Mapping[str, Any]) -> Journey:
    """The definition from a stored version, which was checked when it was written."""
    return _journey(schemas.JourneyBody.model_validate(canonical), journey_id)


def _unfit_values(value: Any, parts: tuple[Any, ...]) -> Iterator[FieldError]:
    """What JSON or a database cannot hold: YAML can write more than they can."""
    if len(parts) > _DEEPEST:
        yield FieldError(path_of(parts), f"is nested deeper than {_DEEPEST} levels")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str) or not _is_text(key):
                yield FieldError(path_of(parts), f"has the key {key!r}; keys are text")
            else:
                yield from _unfit_values(inner, (*parts, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _unfit_values(inner, (*parts, index))
    elif isinstance(value, str) and not _is_text(value):
        yield FieldError(path_of(parts), "holds a character that is none (NUL, or half of a pair)")
    elif isinstance(value, (int, float)) and not -(2**63) <= value < 2**63:  # NaN is not either
        yield FieldError(path_of(parts), "is a number beyond what JSON can hold")


def _is_text(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= mark <= "\udfff" for mark in text)


def _refusal(faults: Sequence[FieldError]) -> Invalid:
    return Invalid(summary(faults), faults)


def _at(place: Mapping[str, int], step: str, name: str, fault: str) -> FieldError:
    return FieldError(f"steps[{place[step]}].{name}", f"step '{step}': {fault}")


def _schema_faults(error: ValidationError, document: Mapping[str, Any]) -> Iterator[FieldError]:
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        parts = list(fault["loc"])
        step = ""
        if len(parts) > 1 and parts[0] == "steps" and isinstance(parts[1], int):
            if len(parts) > 2 and parts[2] in _KINDS:
                del parts[2]
            step = _step_name(document, parts[1])
        text = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            text = "unknown field; remove it or check its spelling"
        elif fault["type"] in {"union_tag_invalid", "union_tag_not_found"}:
            parts.append("kind")
            text = f"is not a kind of step; the kinds are {', '.join(sorted(_KINDS))}"
        yield FieldError(path_of(parts), step + text)


def _step_name(document: Mapping[str, Any], index: int) -> str:
    try:
        return f"step '{document['steps'][index]['id']}': "
    except (KeyError, IndexError, TypeError):
        return ""


def _doubled_ids(steps: Sequence[schemas.StepBody]) -> Iterator[FieldError]:
    seen: dict[str, int] = {}
    for index, step in enumerate(steps):
        if step.id in seen:
            yield FieldError(f"steps[{index}].id", f"step '{step.id}' is there twice, first as steps[{seen[step.id]}]")
        seen.setdefault(step.id, index)


def _expression_faults(body: schemas.JourneyBody) -> Iterator[FieldError]:
    """Each wrong CEL expression, with its place."""
    for place, source, variables in _expressions(body):
        fault = conditions.check(source, variables)
        if fault is not None:
            yield FieldError(place, fault)
        elif variables is conditions.BRANCH:
            ids = [step.id for step in body.steps]
            for name in conditions.steps_named(source):
                if name not in ids:
                    yield FieldError(place, f"there is no step {name!r}; the steps are {', '.join(ids)}")


def _time_faults(body: schemas.JourneyBody) -> Iterator[FieldError]:
    """Times so far away that they may have no place in UTC. Not asked of what is stored: it may be older than this."""
    for index, step in enumerate(body.steps):
        if isinstance(step, schemas.WaitBody) and step.until is not None and not 1970 <= step.until.year <= 2100:
            yield FieldError(f"steps[{index}].until", f"step '{step.id}': must lie between 1970 and 2100")


def _expressions(body: schemas.JourneyBody) -> Iterator[tuple[str, str, frozenset[str]]]:
    if body.entry.where is not None:
        yield "entry.where", body.entry.where, conditions.EVENT
    if body.goal is not None and body.goal.where is not None:
        yield "goal.where", body.goal.where, conditions.EVENT
    for index, step in enumerate(body.steps):
        at = f"steps[{index}]"
        if isinstance(step, schemas.BranchBody):
            for number, case in enumerate(step.cases):
                yield f"{at}.cases[{number}].when", case.when, conditions.BRANCH
        elif isinstance(step, schemas.WaitBody):
            for name, rule in (("event", step.event), ("not_event", step.not_event)):
                if rule is not None and rule.where is not None:
                    yield f"{at}.{name}.where", rule.where, conditions.EVENT


def _journey(body: schemas.JourneyBody, journey_id: str) -> Journey:
    ids = [step.id for step in body.steps]
    below = dict(zip(ids, [*ids[1:], None], strict=True))
    steps = {step.id: _step(step, below[step.id], frozenset(ids)) for step in body.steps}
    return Journey(
        id=journey_id,
        name=body.name,
        steps=steps,
        first=ids[0],
        description=body.description,
        entry=Entry(body.entry.event, body.entry.where, body.entry.segment),
        reentry=Reentry(body.reentry.rule, body.reentry.after),
        caps=Caps(body.caps.messages, body.caps.enrolled, body.caps.lifetime),
        goal=None if body.goal is None else Goal(body.goal.event, body.goal.within, body.goal.where, body.goal.exit),
    )


def _step(body: schemas.StepBody, below: str | None, ids: frozenset[str]) -> Step:
    def to(target: str | None, default: str | None) -> str | None:
        if target is None:
            return default
        return None if target == END and END not in ids else target

    following = to(getattr(body, "next", None), below)
    otherwise = to(getattr(body, "otherwise", None), following if hasattr(body, "next") else below)
    match body:
        case schemas.WaitBody():
            return Wait(body.id, _rule(body), following, otherwise)
        case schemas.BranchBody():
            return Branch(body.id, tuple(Case(case.when, to(case.next, None)) for case in body.cases), otherwise)
        case schemas.DecideBody():
            offers = None if body.offers is None else tuple(body.offers)
            return Decide(body.id, body.placement, tuple(body.channels), following, otherwise, offers, body.context)
        case schemas.SendBody():
            channels = None if body.channels is None else tuple(body.channels)
            return Send(body.id, following, otherwise, body.decision, channels, body.wait_up_to)
        case schemas.CallBody():
            return Call(body.id, body.title, body.instructions, following, otherwise, body.within)
        case schemas.WebhookBody():
            return Webhook(body.id, body.url, body.payload, following, otherwise)
        case schemas.SplitBody():
            return Split(
                body.id, body.experiment, {arm: to(target, None) for arm, target in body.arms.items()}, otherwise
            )
        case schemas.SegmentBody():
            return Segment(body.id, body.mode, body.to, body.source, following)
        case schemas.ExitBody():
            return Exit(body.id, body.reason)
    raise TypeError(f"no step is made of {type(body).__name__}")


def _rule(body: schemas.WaitBody) -> WaitRule:
    if body.length is not None:
        return ForDuration(body.length)
    if body.until is not None:
        return UntilTime(body.until)
    if body.local_hour is not None:
        days = frozenset(schemas.DAYS.index(day) for day in body.local_hour.days)
        return UntilLocalHour(body.local_hour.at, days)
    if body.good_hour is not None:
        return UntilGoodHour(body.good_hour.channel, body.good_hour.within)
    rule = body.event or body.not_event
    assert rule is not None
    negated = body.event is None
    return UntilEvent(tuple(rule.name), rule.timeout, negated, rule.where, rule.since, rule.of)
