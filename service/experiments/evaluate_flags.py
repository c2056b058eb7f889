"""Experiments as flags, by the OpenFeature Remote Evaluation Protocol (open-feature/protocol, service/openapi.yaml)."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import xxhash

from service.customers.identity_store import present_id
from service.errors import NotFound
from service.events.values import DOT_SEGMENT, has_dot_segment, unsafe_text
from service.experiments.assign_customer import Covariate, Verdict, expose, judge, load
from service.experiments.definition import experiment_from
from service.experiments.experiment_store import list_experiments
from service.storage.database import Connection, Database


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: status and JSON body."""

    status: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request cannot be evaluated: an OpenFeature error code and what to do."""

    code: str
    details: str


def targeting_key(raw: bytes) -> str | Refusal:
    """The subject of a request `{"context": {"targetingKey": …}}` as events write ids (NFC), or why there is none."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return Refusal("PARSE_ERROR", f"the body is not JSON: {error}")
    if not isinstance(body, dict):
        return Refusal("PARSE_ERROR", 'the body must be an object {"context": {"targetingKey": "…"}}')
    unknown = sorted(set(body) - {"context"})
    if unknown:
        return Refusal("PARSE_ERROR", f"unknown field {unknown[0]!r}; attributes belong into `context`")
    context = body.get("context", {})
    if not isinstance(context, dict):
        return Refusal("INVALID_CONTEXT", "`context` must be an object")
    key = context.get("targetingKey")
    if key is None or key == "":
        return Refusal("TARGETING_KEY_MISSING", "`context.targetingKey` must name the customer")
    if not isinstance(key, str) or len(key) > 512:
        return Refusal("INVALID_CONTEXT", "`context.targetingKey` must be a string of at most 512 characters")
    unsafe = unsafe_text(key) or (DOT_SEGMENT if has_dot_segment(key) else None)
    if unsafe is not None:
        return Refusal("INVALID_CONTEXT", f"`context.targetingKey` {unsafe}")
    return unicodedata.normalize("NFC", key)


def evaluate_flag(
    database: Database, key: str, raw: bytes, now: datetime, covariate: Covariate | None = None
) -> Answer:
    """One flag, which is a use: a first evaluation exposes the customer (unless `exposed_by` is `event`)."""
    subject = targeting_key(raw)
    if isinstance(subject, Refusal):
        return Answer(400, {"key": key, "errorCode": subject.code, "errorDetails": subject.details})
    try:
        with database.read() as connection:
            subject = present_id(connection, subject)
            verdict = judge(connection, load(connection, key), subject, now)
    except NotFound as missing:
        return Answer(404, {"key": key, "errorCode": "FLAG_NOT_FOUND", "errorDetails": missing.detail})
    if verdict.new and verdict.experiment.exposed_by != "event":
        with database.write() as connection:
            verdict = _exposed(connection, verdict, subject, now, covariate)
    return Answer(200, _flag(verdict))


def evaluate_flags(database: Database, raw: bytes, now: datetime, covariate: Covariate | None = None) -> Answer:
    """Every flag at once, as client SDKs prefetch them. That shows nothing yet, so it exposes nobody, except in
    experiments whose `exposed_by` is `any_evaluation`.
    """
    subject = targeting_key(raw)
    if isinstance(subject, Refusal):
        return Answer(400, {"errorCode": subject.code, "errorDetails": subject.details})
    with database.read() as connection:
        subject = present_id(connection, subject)
        declared = map(experiment_from, list_experiments(connection))
        verdicts = [judge(connection, each, subject, now) for each in declared]
    uses = {each.experiment.id for each in verdicts if each.new and each.experiment.exposed_by == "any_evaluation"}
    if uses:
        with database.write() as connection:
            verdicts = [
                _exposed(connection, each, subject, now, covariate) if each.experiment.id in uses else each
                for each in verdicts
            ]
    return Answer(200, {"flags": [_flag(verdict) for verdict in verdicts]})


def _exposed(
    connection: Connection, verdict: Verdict, subject: str, now: datetime, covariate: Covariate | None
) -> Verdict:
    variant = expose(connection, verdict, subject, now, covariate)
    experiment = verdict.experiment
    value = verdict.value if variant is None else experiment.value_of(variant)
    return Verdict(experiment, variant, value, verdict.reason, False)


def _flag(verdict: Verdict) -> dict[str, Any]:
    experiment = verdict.experiment
    return {
        "key": experiment.id,
        "value": verdict.value,
        "reason": verdict.reason,
        "variant": verdict.variant or experiment.control,
        "metadata": {
            "experiment": experiment.id,
            "version": experiment.version,
            "in_experiment": verdict.variant is not None,
        },
    }


def entity_tag(body: Mapping[str, Any]) -> str:
    """A strong ETag of a bulk answer."""
    return f'"{xxhash.xxh3_128_hexdigest(orjson.dumps(body, option=orjson.OPT_SORT_KEYS))}"'


def matches(if_none_match: str | None, tag: str) -> bool:
    """Whether the client has this answer (RFC 9110, 13.1.2: weak comparison, lists, `*`)."""
    if if_none_match is None:
        return False
    held = {part.strip().removeprefix("W/") for part in if_none_match.split(",")}
    return "*" in held or tag in held
