"""A decision as its asker reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from service.decisions.case import Case
from service.decisions.draft import Draft
from service.decisions.eligibility import excluded
from service.decisions.record import case_from_record, left_out, verdicts_from_json
from service.decisions.rules import POLICY
from service.decisions.verdicts import Verdicts
from service.offers.offer import Offer


class Reply(dict[str, Any]):
    """An answer to the client. `actions_json`: its actions as its record told them; empty where there is none."""

    actions_json = b""


def json_of(told: dict[str, Any]) -> bytes:
    """An answer as JSON, which need not tell again what its record told."""
    actions = told.actions_json if isinstance(told, Reply) else b""
    return orjson.dumps({**told, "actions": orjson.Fragment(actions)} if actions else told, option=orjson.OPT_UTC_Z)


def answer(draft: Draft) -> Reply:
    """The answer to the client. Whatever may be in several answers is not to be changed."""
    case = draft.case
    body = Reply(
        decision_id=draft.decision_id,
        customer_id=draft.customer.customer_id,
        decided_at=case.at,
        arm=case.arm,
        policy={"name": POLICY, "version": case.rules.version},
        actions=draft.actions,
        models=draft.models,
        degraded=draft.degraded,
    )
    body.actions_json = draft.actions_json
    if draft.request.explain:
        body["excluded"] = _kept_out(case, draft.verdicts, left_out(draft))
    return body


def answer_of(row: Any, record: Mapping[str, Any], offers: tuple[Offer, ...]) -> dict[str, Any]:
    """The answer that a stored decision was, to the byte; `offers` are those of its record, as they were then.

    Of a customer who became another one since it has the id of now.
    """
    told = {
        "decision_id": row.decision_id,
        "customer_id": row.customer_id,
        "decided_at": row.decided_at,
        "arm": row.arm,
        "policy": {"name": row.policy, "version": row.policy_version},
        "actions": [{**action, "send_at": datetime.fromisoformat(action["send_at"])} for action in record["actions"]],
        "models": record["models"],
        "degraded": record["degraded"],
    }
    if record["request"]["explain"]:
        case = case_from_record(row, record, offers)
        told["excluded"] = _kept_out(case, verdicts_from_json(record["verdicts"], case), record.get("left_out", ()))
    return told


def _kept_out(case: Case, verdicts: Verdicts, of_the_list: Sequence[Sequence[str]]) -> list[Mapping[str, Any]]:
    """What rules keep out, then what the ranker and the list do."""
    more = [
        {"offer_id": offer_id, "channel": channel, "rule": rule, "detail": detail, "until": None}
        for offer_id, channel, rule, detail in of_the_list
    ]
    return [*excluded(case, verdicts), *more]
