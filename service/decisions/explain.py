"""A decision in plain words: why this, why not the rest, why nothing, and the smallest change that would flip it. Pure.

Works on the full record of a decision, as the API shows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from service.decisions.formula import formula
from service.decisions.money import money
from service.decisions.quiet import zone_of
from service.decisions.rule_words import RuleWords
from service.decisions.score import NEXT_OFFER
from service.decisions.stages import known_by
from service.decisions.standing import standing

ARMS = {
    "model": "The model's policy decided.",
    "random": "This customer is in the small share for whom chance decides, so that the effect can be measured.",
    "business_as_usual": "This customer is in the share that gets what the old way would send.",
    "holdout": "This customer is in the holdout: nothing is sent, so that the effect of sending can be measured.",
}
DEGRADED = {
    "unknown_customer": "Nothing is known of this customer yet, so what works for everyone was used.",
    "features": "The customer's features could not be read, so what works for everyone was used.",
    "database": "The database was away: nothing could be checked, so only what needs no check was weighed.",
    "features:snapshot": "The customer's features could not be read; those read last were used.",
    "last_model:next-offer": "The newest model of offers failed or was refused, so the one before it was used.",
    "rates": "The response rates could not be read, so every offer was taken to do alike.",
    "model:next-offer": "No model of offers serves, so the response rates of the offers were used, and what this "
    "customer bought, looked at and clicked.",
    "model:send-time": "No model of good hours serves, so the hour was chosen by the customer's own habits, or, where "
    "little is known of these, the first allowed time.",
    "content": "For some action there are no approved words.",
    "unknown_timezone": "The customer's time zone is not one, so the default zone was used.",
    "reasons": "The model could not give its reasons.",
    "model:uplift": "The model of uplift failed, so probabilities stood for it.",
}
CONTEXTLESS = {
    "profiling_opt_out": "The customer refused profiling: nothing known of the person was used, only what works for "
    "everyone."
}
_CHANNEL_WIDE = frozenset({"placement_channel", "consent", "suppression", "frequency_cap"})


@dataclass(frozen=True, slots=True)
class Explanation:
    """Sentences, each complete in itself."""

    headline: str
    why: tuple[str, ...]
    why_not: tuple[str, ...]
    why_nothing: tuple[str, ...]
    would_flip: tuple[str, ...]
    limits: tuple[str, ...]


def explain(record: Mapping[str, Any], would_flip: Sequence[str] = ()) -> Explanation:
    """The record in words. `why_nothing` is empty when something was chosen, `why` when nothing was.

    `would_flip`: see `explain_decision`.
    """
    names: Mapping[str, str] = record.get("offer_names", {})
    actions = record["actions"]
    weighed = [candidate for candidate in record["candidates"] if candidate["eligible"]]
    stopped = [candidate for candidate in record["candidates"] if not candidate["eligible"]]
    first = actions[0] if actions else None
    nothing = weighed[-1]["expected_value"]  # always weighed, and always the last
    rules = RuleWords(record, nothing, {offer: named(offer, names) for offer in record["offers"]})
    return Explanation(
        headline=_headline(record, first, names),
        why=(*_why(record, first, weighed, names, rules), *_business(record, names)) if first else (),
        why_not=(*_not_first(weighed, first, names, rules), *_stopped(record, stopped, names)),
        why_nothing=() if first else tuple(_why_nothing(record, weighed, stopped)),
        would_flip=tuple(would_flip),
        limits=tuple(_limits(record)),
    )


def _limits(record: Mapping[str, Any]) -> Iterator[str]:
    if record["contextless"] in CONTEXTLESS:
        yield CONTEXTLESS[record["contextless"]]
    for part in record["degraded"]:
        if part != "features" or "features:snapshot" not in record["degraded"]:
            yield DEGRADED.get(part, f"A part was missing: {part}.")


def _headline(record: Mapping[str, Any], first: Mapping[str, Any] | None, names: Mapping[str, str]) -> str:
    if first is None:
        return "Nothing is sent."
    when = _when(first["send_at"], record["decided_at"], record["customer"].get("timezone"))
    return f"{named(first['offer_id'], names)} by {first['channel']}, {when}."


def _why(
    record: Mapping[str, Any],
    first: Mapping[str, Any],
    weighed: Sequence[Mapping[str, Any]],
    names: Mapping[str, str],
    rules: RuleWords,
) -> Sequence[str]:
    drawn = percent(first["propensity"])
    place = next(place for place, candidate in enumerate(weighed) if candidate["rank"] == 1)
    worth = f"It is expected to earn {money(first['expected_value'])}: {formula(record, weighed, place)}."
    said = [ARMS[record["arm"]], worth]
    open_to_all = [candidate for candidate in weighed if not _excluded(candidate)]
    best = max(open_to_all, key=lambda c: c["expected_value"])
    likeliest = max(open_to_all, key=lambda c: c["propensity"])
    explored = record["arm"] == "random" or likeliest["propensity"] - first["propensity"] > 1e-9
    by_rule = "" if record["arm"] != "model" or explored else rules.before(first, best)
    if record["arm"] == "model" and explored and likeliest["expected_value"] <= first["expected_value"]:
        held = rules.before(likeliest, first)
        said.append(
            f"{_capital(_called(likeliest, names))} was likelier to come first{f', as {held}' if held else ''}; this "
            f"was tried, with a probability of {drawn}, to learn how well it does."
        )
    elif best["expected_value"] <= first["expected_value"]:
        said.append(
            f"Nothing else that may be sent is expected to earn more; its probability of being drawn was {drawn}."
        )
    elif by_rule:
        said.append(
            f"{_capital(_called(best, names))} is expected to earn more ({money(best['expected_value'])}), but "
            f"{by_rule}; the probability that this was drawn was {drawn}."
        )
    elif record["arm"] != "business_as_usual":
        other = likeliest if record["arm"] == "model" and explored else best
        said.append(
            f"{_capital(_called(other, names))} looked better ({money(other['expected_value'])}); this was tried, with "
            f"a probability of {drawn}, to learn whether that is so."
        )
    if first.get("send_at_probability", 1.0) < 0.5:
        said.append(
            "The hour is another than the one that looks best; it was tried, with a probability of "
            f"{percent(first['send_at_probability'])}, to learn whether that is so."
        )
    stage = first.get("stage")
    if stage:
        by = known_by(stage["name"], record["scored_by"] == NEXT_OFFER)
        said.append(f"Its chance is known by {by}: {stage['text']}.")
    said += [f"{_capital(reason['text'])}." for reason in first.get("reasons", ()) if reason["effect"] >= 0]
    return said


def _called(candidate: Mapping[str, Any], names: Mapping[str, str]) -> str:
    offer_id = candidate["offer_id"]
    return f"{named(offer_id, names)} by {candidate['channel']}" if offer_id else "sending nothing"


def _business(record: Mapping[str, Any], names: Mapping[str, str]) -> Sequence[str]:
    """What business rules did here, and what they cost."""
    said = []
    for rule in record.get("business_rules", ()):
        about = ", ".join(named(offer, names) for offer in rule["offers"])
        what = f"The rule {rule['name']} ({rule['do']}{f' {about}' if about else ''})"
        if rule["do"] == "diversity":
            what = "Keeping the list diverse"
        cost = rule["cost"]
        if abs(cost) < 1e-9:
            said.append(f"{what} costs nothing here.")
        else:
            said.append(f"{what} {'costs' if cost > 0 else 'gains'} {money(abs(cost))} of expected value here.")
    return said


def _not_first(
    weighed: Sequence[Mapping[str, Any]],
    first: Mapping[str, Any] | None,
    names: Mapping[str, str],
    rules: RuleWords,
) -> Sequence[str]:
    """A sentence for each offer, and one more for each channel of which something else is said."""
    channels: dict[tuple[str, str], list[str]] = {}
    key = (first["offer_id"], first["channel"]) if first else None
    nothing = weighed[-1]["expected_value"]
    for candidate in sorted(weighed, key=lambda c: -c["expected_value"]):
        offer_id, channel = candidate["offer_id"], candidate["channel"]
        if offer_id is not None and (offer_id, channel) != key:
            said = _held_or_outdone(candidate, first, nothing, rules)
            channels.setdefault((offer_id, said), []).append(channel)
    return [f"{named(offer, names)} by {one_of(those)} {said}." for (offer, said), those in channels.items()]


def _held_or_outdone(
    candidate: Mapping[str, Any], first: Mapping[str, Any] | None, nothing: float, rules: RuleWords
) -> str:
    worth = money(candidate["expected_value"])
    by_rule = rules.place(first, candidate) if first else ""
    if first and not by_rule and candidate["expected_value"] > first["expected_value"]:
        by_rule = rules.before(first, candidate)
    because = f": {by_rule}" if by_rule else ""
    if candidate["verdicts"] and (held := _held_back(candidate)):
        return f"was expected to earn {worth}, but {held}"
    if candidate["rank"]:
        return f"is number {candidate['rank']} ({worth}){because}"
    if candidate["expected_value"] <= nothing and candidate["expected_value"] < 0.0:
        return f"would cost more than it is expected to earn ({worth})"
    if candidate["expected_value"] <= nothing:
        than = "less" if candidate["expected_value"] < nothing else "no more"
        return f"is expected to earn {than} than sending nothing is worth ({worth})"
    return f"was expected to earn {worth}{because}"


def _excluded(candidate: Mapping[str, Any]) -> bool:
    """Whether a business rule takes a weighed candidate out of the draw."""
    return bool(candidate["verdicts"]) and candidate["verdicts"].get("business_rule", "pass") != "pass"


def _held_back(candidate: Mapping[str, Any]) -> str:
    """The rule of the ranker or of the list that kept a weighed candidate out, in words; empty when none did."""
    failed = [verdict["detail"] for verdict in candidate["verdicts"].values() if verdict != "pass"]
    return str(failed[0]) if failed else ""


def _stopped(
    record: Mapping[str, Any], stopped: Sequence[Mapping[str, Any]], names: Mapping[str, str]
) -> Sequence[str]:
    """One sentence a rule and offer; what stops a whole channel is said once."""
    said: dict[str, None] = {}
    zone = record["customer"].get("timezone")
    for candidate in stopped:
        rule, verdict = _first_failure(candidate)
        until = _until(verdict, zone)
        if rule in _CHANNEL_WIDE:
            said[f"Nothing may go by {candidate['channel']}: {verdict['detail']}{until}."] = None
        else:
            now = standing(verdict["detail"], record) if rule == "eligibility" else ""
            said[f"{named(candidate['offer_id'], names)}: {verdict['detail']}{now}{until}."] = None
    return list(said)


def _why_nothing(
    record: Mapping[str, Any], weighed: Sequence[Mapping[str, Any]], stopped: Sequence[Mapping[str, Any]]
) -> Sequence[str]:
    if record["arm"] == "holdout":
        return [ARMS["holdout"]]
    offered = [candidate for candidate in weighed if candidate["offer_id"] is not None]
    others = [candidate for candidate in offered if not _excluded(candidate)]
    if not offered and not stopped:
        return [_none_asked_for(record["request"]["offers"])]
    if not others:
        count = len(stopped) + len(offered)
        return [f"Rules stop {'the only candidate' if count == 1 else f'all {count} candidates'}."]
    best = max(others, key=lambda candidate: candidate["expected_value"])
    if record["arm"] == "business_as_usual":
        return [ARMS["business_as_usual"], "Its offer may not be sent to this customer now."]
    nothing = weighed[-1]
    if best["expected_value"] <= nothing["expected_value"] and nothing["expected_value"] > 0:
        told = f"the best: {money(best['expected_value'])} against {money(nothing['expected_value'])}"
        return [f"Every message that may be sent is expected to earn less than sending nothing is worth ({told})."]
    if best["expected_value"] < 0:
        worth = money(best["expected_value"])
        return [f"Every message that may be sent is expected to cost more than it earns (the best: {worth})."]
    drawn = percent(nothing["propensity"])
    return [ARMS[record["arm"]], f"Sending nothing was drawn, with a probability of {drawn}, to learn."]


def _none_asked_for(named_offers: Sequence[str] | None) -> str:
    if named_offers is None:
        return "The catalogue has no offer for the channels asked for."
    if named_offers:
        return "None of the offers that the request named goes by the channels asked for."
    return "The request named no offers: its list of offers was empty."


def _first_failure(candidate: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    return next((rule, verdict) for rule, verdict in candidate["verdicts"].items() if verdict != "pass")


def named(offer_id: str, names: Mapping[str, str]) -> str:
    """What an offer is called."""
    name = names.get(offer_id)
    return f"“{name}”" if name and name != offer_id else f"Offer {offer_id}"


def one_of(names: Sequence[str]) -> str:
    """Example: email, push or sms."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _until(verdict: Mapping[str, Any], zone: str | None) -> str:
    until = verdict["until"]
    return "" if until is None or _utc(until) in verdict["detail"] else f", until {_local(until, zone)}"


def _when(send_at: Any, decided_at: Any, zone: str | None) -> str:
    return "now" if _time(send_at) <= _time(decided_at) else f"at {_local(send_at, zone)}"


def _local(value: Any, zone: str | None) -> str:
    """A time by the customer's own clock, where their zone is known, and in UTC."""
    at = _time(value).astimezone(UTC)
    home, unknown = zone_of(zone, "UTC")
    if unknown or home.key == "UTC":
        return _utc(at)
    local = at.astimezone(home)
    utc = f"{at:%H:%M} UTC" if local.date() == at.date() else _utc(at)
    return f"{local:%Y-%m-%d %H:%M} in {home.key} ({utc})"


def _time(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def _utc(value: Any) -> str:
    return f"{_time(value):%Y-%m-%d %H:%M} UTC"


def percent(share: float) -> str:
    """A share of 1 in words."""
    return f"{share:.1%}" if share >= 0.001 else "under 0.1%"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
