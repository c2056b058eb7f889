"""A decision written down: all it was made of, small, and read back whole."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import orjson

from models.candidates import MOST
from service.decisions.assortment import assortment
from service.decisions.case import Case, Customer, Entry, Rules, Shared, Usage
from service.decisions.choose import Candidate, Candidates
from service.decisions.draft import Draft
from service.decisions.frozen_row import freeze, thaw
from service.decisions.parts_store import part_id
from service.decisions.remembered import Remembered
from service.decisions.rules import POLICY, rules_from_json, rules_to_json
from service.decisions.verdicts import Failure, Verdicts
from service.errors import NotFound
from service.offers.cel import Answer
from service.offers.offer import Offer

OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z
VERSION = 3
_REFUSAL_TOLD = 3
"""The first version whose verdicts tell a refusal of profiling."""
COST_OF_WHAT_GOES = 3
"""The first version in which a rule costs what goes out, no longer the whole list: see `steering`."""
_NOT_RANKED = (None, None, None)
_WRITTEN_WHOLE = b"x\x01"
"""How records and candidates begin that were written before version 2: compressed JSON with everything in it."""


class Parts(Protocol):
    """Finds what records have in common: see `parts_store`."""

    def __getitem__(self, name: str) -> bytes: ...


class Packed(NamedTuple):
    """A decision's row, and the parts that its record needs."""

    row: dict[str, Any]
    parts: dict[str, bytes]


def left_out(draft: Draft) -> list[list[str]]:
    """[offer, channel, rule, detail] of the candidates that rules of the ranker or of the list kept out."""
    return [
        [draft.case.offers[draft.eligible[one.candidate][0]].offer_id, draft.eligible[one.candidate][1], *one[1:]]
        for one in draft.left_out
    ]


def pack(draft: Draft) -> Packed:
    """The row of a decision: `record` has everything but the candidates, which training reads."""
    case = draft.case
    first = draft.actions[0] if draft.actions else None
    record, parts = _record(draft)
    row = {
        "decision_id": draft.decision_id,
        "customer_id": draft.customer.customer_id,
        "decided_at": case.at,
        "placement": case.placement,
        "arm": case.arm,
        "policy": POLICY,
        "policy_version": case.rules.version,
        "offer_id": first["offer_id"] if first else None,
        "channel": first["channel"] if first else None,
        "candidates": pack_candidates(
            draft.candidates,
            {a["rank"]: (a["send_at"], a["send_at_probability"]) for a in draft.actions},
            draft.another_time,
        ),
        "record": record,
        "in_ledger": bool(draft.actions),
    }
    return Packed(row, parts)


def unsqueeze(packed: bytes, parts: Parts) -> Any:
    """The record that `pack` wrote, whole. `NotFound` where it is kept no longer."""
    if not packed:
        raise NotFound("the record of this decision is no longer kept (see decisions.keep_records_days)")
    if packed[:1] == _WRITTEN_WHOLE[:1]:
        return orjson.loads(zlib.decompress(packed))
    end = 5 + int.from_bytes(packed[1:5], "little")
    record = orjson.loads(packed[5:end])
    record["rules"] = orjson.loads(parts[record["rules"]])
    weighed = record.pop("weighed")
    common = orjson.loads(parts[weighed]) if isinstance(weighed, str) else weighed
    record["offers"], record["untold"] = common["offers"], common["untold"]
    answers = zip(common["rules"], record["answers"], strict=True)
    record["answers"] = {rule: [told, None, None] if isinstance(told, bool) else told for rule, told in answers}
    if record["features"] is not None:
        record["features"] = thaw(parts[record["features"]], packed[end:])
    return record


def pack_candidates(
    candidates: Candidates, times: Mapping[int | None, tuple[datetime, float]], another_time: bool = False
) -> bytes:
    """Candidates as columns: the numbers as they are (compressing them costs time and saves little), then the rest.

    The layout: length of the numbers in bytes (4, little-endian); probability, expected value, propensity as float64,
    one column after another (NaN: no probability); then JSON of the names of offers and channels, the number of each
    candidate's, and rank, time and the time's probability (`times`, by rank) of those that have them; behind them a 1
    of a decision of `another_time`.
    """
    numbers = candidates.columns.tobytes()
    ranked = [[place, rank, *times.get(rank, (None, None))] for place, rank in sorted(candidates.ranks.items())]
    rest = b"[", candidates.names, b",", orjson.dumps(ranked, option=OPTIONS), b",1]" if another_time else b"]"
    return b"".join((len(numbers).to_bytes(4, "little"), numbers, *rest))


class Columns(NamedTuple):
    """Stored candidates as columns: those of candidate n are `offers[of_offer[n]]`, `channels[of_channel[n]]`,
    `numbers[:, n]`. "Send nothing" (both None) is the last.
    """

    offers: list[str | None]
    channels: list[str | None]
    of_offer: list[int]
    of_channel: list[int]
    numbers: np.ndarray
    """float64 [3, candidates]: probability (NaN: none), expected value, propensity."""
    ranked: list[list[Any]]
    """[place, rank, send_at, its probability] of those that have them. Decisions made before hours were explored have
    no probability of their time."""


def unpack_columns(packed: bytes) -> Columns:
    """What `pack_candidates` wrote, and what was written before it."""
    end = 4 + int.from_bytes(packed[:4], "little")
    if packed[:2] == _WRITTEN_WHOLE and packed[end : end + 1] != b"[":  # the length of 5,477 columns looks like it
        return _columns_of(orjson.loads(zlib.decompress(packed)))
    numbers = np.frombuffer(packed[4:end], np.float64).reshape(3, -1)
    offers, channels, of_offer, of_channel, ranked, *_ = orjson.loads(packed[end:])
    told = Columns(offers, channels, of_offer, of_channel, numbers, [[*one, None][:4] for one in ranked])
    places = [one[0] for one in ranked]
    many = {len(of_offer), len(of_channel), numbers.shape[1]}
    named = ((of_offer, len(offers)), (of_channel, len(channels)), (places, numbers.shape[1]))
    if len(many) > 1 or any(of and not (min(of) >= 0 and max(of) < most) for of, most in named):
        raise ValueError("its candidates have names and numbers that do not belong together")
    return told


def _columns_of(lines: list[list[Any]]) -> Columns:
    numbers = np.array([[np.nan if line[at] is None else line[at] for line in lines] for at in (2, 3, 4)], np.float64)
    ranked = [[place, line[5], line[6], None] for place, line in enumerate(lines) if line[5] is not None]
    places = list(range(len(lines)))
    return Columns([line[0] for line in lines], [line[1] for line in lines], places, places, numbers, ranked)


def unpack_candidates(packed: bytes) -> list[list[Any]]:
    """[offer, channel, probability, expected value, propensity, rank, send_at, its probability] of each candidate;
    "send nothing" is the last: see `Columns`.
    """
    told = unpack_columns(packed)
    lines = [
        [told.offers[offer], told.channels[channel], None if chance != chance else chance, value, weight, *_NOT_RANKED]
        for offer, channel, chance, value, weight in zip(
            told.of_offer, told.of_channel, *told.numbers.tolist(), strict=True
        )
    ]
    for place, *ranked in told.ranked:
        lines[place][5:] = ranked
    return lines


def of_another_time(packed: bytes) -> bool:
    """Whether the candidates are of a decision asked for as of another time (see `draft`); false of old ones."""
    return packed[-3:] == b",1]"


def candidates_of(packed: bytes) -> list[Candidate]:
    """The weighed candidates of a stored decision."""
    return [Candidate(*line[:6]) for line in unpack_candidates(packed)]


def _record(draft: Draft) -> tuple[bytes, dict[str, bytes]]:
    """A 2, the length of the JSON (4 bytes, little-endian), the JSON and the frozen row; and the parts it names."""
    case = draft.case
    rules, of_rules = _rules_part(case.rules)
    name, of_offers = _offers_part(case.offers)
    parts = {rules: of_rules}
    shared = draft.request.offers is None and len(case.offers) < MOST  # else hardly two have the same
    if shared:
        parts[name] = of_offers
    layout, row = None, b""
    if draft.row is not None:
        of_layout, row = freeze(draft.row, case.offers)
        layout = _layout_id(of_layout)
        parts[layout] = of_layout
    record = {
        "v": VERSION,
        "request": draft.request.__dict__,
        "seed": case.seed,
        "rules": rules,
        "customer": case.customer,
        "locale": draft.customer.locale,
        "contextless": draft.contextless,
        "checked": case.checked,
        "learnt": case.learnt,
        "features": layout,
        "channels": case.channels,
        "weighed": name if shared else orjson.Fragment(of_offers),
        "answers": _answers_told(case.answers),
        "usage": usage_to_json(case.usage),
        "verdicts": _verdicts_told(draft.verdicts),
        "steered": case.steered,
        "left_out": left_out(draft),
        "costs": [list(cost) for cost in draft.costs],
        "goals": draft.goals,
        "uplift": draft.uplift,
        "scores": draft.scores,
        "scored_by": draft.scored_by,
        "actions": orjson.Fragment(draft.told()),
        "models": draft.models,
        "degraded": draft.degraded,
    }
    told = orjson.dumps(record, option=OPTIONS)
    return b"".join((b"\x02", len(told).to_bytes(4, "little"), told, row)), parts


def _of_answers(answers: Mapping[str, Answer]) -> orjson.Fragment:
    """In the order of the expressions' texts, which the offers' part has."""
    return orjson.Fragment(orjson.dumps([_answer(answers[source]) for source in sorted(answers)]))


def _answer(told: Answer) -> bool | list[Any]:
    plain = told.missing is None and told.problem is None
    return told.holds if plain else [told.holds, told.missing, told.problem]


def _of_rules(rules: Rules) -> tuple[str, bytes]:
    body = orjson.dumps(rules_to_json(rules), option=OPTIONS)
    return part_id(body), body


def _of_offers(offers: tuple[Offer, ...]) -> tuple[str, bytes]:
    sources = sorted({offer.eligibility for offer in offers if offer.eligibility is not None})
    versions = [[offer.offer_id, offer.version] for offer in offers]
    body = orjson.dumps({"offers": versions, "untold": assortment(offers).untold, "rules": sources})
    return part_id(body), body


def _of_verdicts(verdicts: Verdicts) -> orjson.Fragment:
    return orjson.Fragment(orjson.dumps(verdicts_to_json(verdicts), option=OPTIONS))


_rules_part, _offers_part = Remembered(_of_rules), Remembered(_of_offers)
_answers_told, _verdicts_told = Remembered(_of_answers), Remembered(_of_verdicts)
_layout_id = lru_cache(maxsize=8)(part_id)


def usage_to_json(usage: Usage) -> dict[str, Any]:
    """The ledger as a decision saw it."""
    return {
        "entries": [tuple(entry) for entry in usage.entries],
        "shared": [[offer, index, s.used, s.oldest, s.slices, s.free] for (offer, index), s in usage.shared.items()],
        "moments": [[kind, offer, first, last] for (kind, offer), (first, last) in usage.moments.items()],
    }


def usage_from_json(value: Mapping[str, Any]) -> Usage:
    """The ledger out of a record."""
    return Usage(
        tuple(Entry(*line) for line in value["entries"]),
        {
            (offer, index): Shared(used, oldest, tuple(more[0]) if more else (), *more[1:])
            for offer, index, used, oldest, *more in value["shared"]
        },
        {(kind, offer): (first, last) for kind, offer, first, last in value.get("moments", ())},
    )


def verdicts_to_json(verdicts: Verdicts) -> dict[str, Any]:
    """Only what failed: every other rule passed."""
    return {
        "channels": {name: [_failure(f) for f in failures] for name, failures in verdicts.channels.items() if failures},
        "offers": {name: [_failure(f) for f in failures] for name, failures in verdicts.offers.items() if failures},
        "pairs": [
            [offer, channel, [_failure(f) for f in failures]] for (offer, channel), failures in verdicts.pairs.items()
        ],
    }


def verdicts_from_json(value: Mapping[str, Any], case: Case) -> Verdicts:
    """Verdicts out of the record of a case."""
    return Verdicts(
        {channel: _failures(value["channels"].get(channel, ())) for channel in case.channels},
        {offer.offer_id: _failures(value["offers"].get(offer.offer_id, ())) for offer in case.offers},
        {(offer, channel): _failures(failures) for offer, channel, failures in value["pairs"]},
    )


def _failure(failure: Failure) -> list[Any]:
    return [failure.rule, failure.detail, failure.until]


def _failures(told: Sequence[Sequence[Any]]) -> tuple[Failure, ...]:
    return tuple(Failure(rule, detail, until and datetime.fromisoformat(until)) for rule, detail, until in told)


def case_from_record(row: Any, record: Mapping[str, Any], offers: tuple[Offer, ...]) -> Case:
    """The case of a stored decision; `offers` are those of the record, at their versions then."""
    customer = record["customer"]
    return Case(
        customer=Customer(**{**customer, "segments": tuple(customer["segments"])}),
        placement=row.placement,
        channels=tuple(record["channels"]),
        offers=offers,
        at=row.decided_at,
        arm=row.arm,
        seed=record["seed"],
        top_k=record["request"]["top_k"],
        rules=rules_from_json(record["rules"]),
        usage=usage_from_json(record["usage"]),
        answers={source: Answer(*told) for source, told in record["answers"].items()},
        checked=record.get("checked", True),
        steered=tuple(tuple(positions) for positions in record.get("steered", ())),
        learnt=record.get("learnt", 0.0),
    )


def worded_as_then(case: Case, record: Mapping[str, Any]) -> Case:
    """The case for which verdicts are told in the words of the record's version."""
    if record.get("v", 1) >= _REFUSAL_TOLD:
        return case
    return replace(case, customer=replace(case.customer, profiling=True))
