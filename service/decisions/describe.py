"""A stored decision as the API shows it: everything that it used, and every rule's verdict on every candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from service.decisions.record import unpack_candidates
from service.decisions.verdicts import LIST_RULES, RULES, lasts


def describe(row: Any, record: Mapping[str, Any], channels_of: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The full record as the API shows it: every candidate with each rule's verdict.

    `channels_of` has the channels of each offer as it was then.
    """
    return {
        "decision_id": row.decision_id,
        "customer_id": row.customer_id,
        "decided_at": row.decided_at,
        "placement": row.placement,
        "arm": row.arm,
        "policy": {
            "name": row.policy,
            "version": row.policy_version,
            "rules": record["rules"],
            "learnt": record.get("learnt", 0.0),
        },
        "seed": record["seed"],
        "request": record["request"],
        "customer": record["customer"],
        "contextless": record["contextless"],
        "features": record["features"],
        "scores": record["scores"],
        "answers": {
            source: {"holds": holds, "missing": missing, "problem": problem}
            for source, (holds, missing, problem) in record["answers"].items()
        },
        "ledger": record["usage"],
        "candidates": list(_weighed(row, record, channels_of)),
        "business_rules": [
            {"name": name, "do": do, "offers": offers, "cost": cost}
            for name, do, offers, cost in record.get("costs", ())
        ],
        "goals": record.get("goals", {}),
        "uplift": record.get("uplift"),
        "actions": record["actions"],
        "scored_by": record["scored_by"],
        "models": record["models"],
        "offers": dict(record["offers"]),
        "degraded": record["degraded"],
    }


def _weighed(row: Any, record: Mapping[str, Any], channels_of: Mapping[str, Sequence[str]]) -> Any:
    found = {(line[0], line[1]): line for line in unpack_candidates(row.candidates)}
    failed = record["verdicts"]
    pairs = {(offer, channel): failures for offer, channel, failures in failed["pairs"]}
    left_out = {(offer, channel): [rule, detail, None] for offer, channel, rule, detail in record.get("left_out", ())}
    for offer, _ in record["offers"]:
        for channel in record["channels"]:
            if channel not in channels_of.get(offer, record["channels"]):
                continue
            line = found.get((offer, channel))
            failures = [*failed["channels"].get(channel, []), *failed["offers"].get(offer, [])]
            failures += pairs.get((offer, channel), [])
            if (offer, channel) in left_out:
                failures.append(left_out[offer, channel])
            yield {
                "offer_id": offer,
                "channel": channel,
                "eligible": line is not None,
                "verdicts": _each_rule(failures),
                **_numbers(line),
            }
    yield {"offer_id": None, "channel": None, "eligible": True, "verdicts": {}, **_numbers(found.get((None, None)))}


def _each_rule(failures: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Of a rule that fails more than once that which lasts longest, as an answer names it."""
    verdicts: dict[str, Any] = dict.fromkeys((*RULES, *LIST_RULES), "pass")
    for rule, detail, until in failures:
        if verdicts[rule] == "pass" or _lasts(until) > _lasts(verdicts[rule]["until"]):
            verdicts[rule] = {"detail": detail, "until": until}
    return verdicts


def _lasts(until: str | None) -> float:
    return lasts(None if until is None else datetime.fromisoformat(until))


def _numbers(line: Sequence[Any] | None) -> dict[str, Any]:
    names = ("probability", "expected_value", "propensity", "rank", "send_at", "send_at_probability")
    return dict(zip(names, line[2:] if line is not None else [None, None, 0.0, None, None, None], strict=True))
