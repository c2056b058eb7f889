"""Which offers may go to a customer on which channel, and the rule that stops each of the others. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.decisions.assortment import Assortment, assortment
from service.decisions.case import Case, CoolDown, Entry
from service.decisions.channel_rules import channel_failures, cooling_down
from service.decisions.offer_rules import cooled_tags, not_eligible, offer_failures
from service.decisions.pairs import Pairs
from service.decisions.quiet import next_allowed, zone_of
from service.decisions.verdicts import Failure, Verdicts, first_of, in_words
from service.offers.cel import Answer

Answers = Mapping[str, Answer]
_REMEMBERED = 256
"""Sets of answers, of channels and of candidates that are remembered for each set of offers."""


def judge(case: Case) -> Verdicts:
    """Every rule on every channel and offer of the case."""
    cooling = [(rule, failure) for rule in case.rules.cool_downs for failure in cooling_down(case, rule)]
    judged, pairs = _offers(case), _ends_in_the_quiet(case)
    messages = [entry for entry in case.usage.entries if entry.message]
    channels = {channel: tuple(channel_failures(case, channel, cooling, messages)) for channel in case.channels}
    if not cooling and not pairs and not any(channels.values()):
        return judged.on_open(case.channels, channels)
    tagged = [(rule, failure) for rule, failure in cooling if rule.tag is not None]
    if not tagged:
        return Verdicts(channels, judged.failures, pairs, judged.closed)
    offers = dict(judged.failures)
    for rule, failure in tagged:
        _close_tagged(case, rule, failure, offers, pairs)
    return Verdicts(channels, offers, pairs)


def _close_tagged(
    case: Case,
    rule: CoolDown,
    failure: Failure,
    offers: dict[str, tuple[Failure, ...]],
    pairs: dict[tuple[str, str], tuple[Failure, ...]],
) -> None:
    """Puts a cool-down on the offers that have its tag, on all channels or on its own."""
    for offer in case.offers:
        if rule.tag not in offer.info.tags:
            continue
        if rule.channel is None:
            offers[offer.offer_id] = (*offers[offer.offer_id], failure)
        elif rule.channel in case.channels:
            key = offer.offer_id, rule.channel
            pairs[key] = (*pairs.get(key, ()), failure)


@dataclass(frozen=True, slots=True)
class Judged:
    """The failures of each offer, and the positions of those that have any.

    `answers` are those that it was made of. `open` remembers the verdicts where no channel is closed, by the channels.
    """

    failures: Mapping[str, tuple[Failure, ...]]
    closed: tuple[int, ...]
    answers: Answers | None = None
    open: dict[tuple[str, ...], Verdicts] = field(default_factory=dict)

    def on_open(self, asked: tuple[str, ...], channels: Mapping[str, tuple[Failure, ...]]) -> Verdicts:
        """The verdicts where nothing stops any of the channels asked for."""
        found = self.open.get(asked)
        if found is None:
            if len(self.open) >= _REMEMBERED:
                self.open.clear()
            found = self.open[asked] = Verdicts(channels, self.failures, {}, self.closed)
        return found


def _offers(case: Case) -> Judged:
    """The failures of each offer. What eligibility alone says is remembered for each set of answers."""
    known = assortment(case.offers)
    seen: dict[str, list[Entry]] = {}
    for entry in case.usage.entries:
        if entry.impression:
            seen.setdefault(entry.offer_id, []).append(entry)
    places = known.special
    if not case.checked:
        tags = cooled_tags(case) if case.rules.tags_unchecked else frozenset()
        places = tuple(
            place
            for place, offer in enumerate(case.offers)
            if offer.offer_id not in known.free or not tags.isdisjoint(offer.info.tags)
        )
    elif not seen.keys().isdisjoint(known.capped):
        places = tuple(sorted({*places, *(known.place[name] for name in seen if name in known.capped)}))
    plain = _plain(case, known)
    if not places:
        return plain
    own = {
        offer.offer_id: tuple(offer_failures(case, offer, seen.get(offer.offer_id, ())))
        for offer in map(case.offers.__getitem__, places)
    }
    if all(failures == plain.failures[name] for name, failures in own.items()):
        return plain
    others = set(places)
    failing = [place for place in places if own[case.offers[place].offer_id]]
    closed = sorted([*failing, *(place for place in plain.closed if place not in others)])
    return Judged({**plain.failures, **own}, tuple(closed))


def _plain(case: Case, known: Assortment) -> Judged:
    """What each offer's eligibility says, whatever other rules it has. A refusal of profiling is told in its words."""
    profiling = case.customer.profiling
    found: Judged | None = known.judged.get((id(case.answers), profiling))
    if found is not None and found.answers is case.answers:
        return found
    key = profiling, case.checked, tuple(case.answers.items())
    found = known.judged.get(key)
    if found is None:
        if len(known.judged) >= _REMEMBERED:
            known.judged.clear()
        asked: dict[str | None, tuple[Failure, ...]] = {None: ()}
        asked |= {source: tuple(not_eligible(case, source)) for source in case.answers}
        failures = {offer.offer_id: asked[offer.eligibility] for offer in case.offers}
        closed = tuple(place for place, offer in enumerate(case.offers) if failures[offer.offer_id])
        found = known.judged[key] = known.judged[id(case.answers), profiling] = Judged(failures, closed, case.answers)
    return found


def candidates(case: Case, verdicts: Verdicts) -> Pairs:
    """The eligible (position of the offer, channel), in the order of the offers, then of the channels asked for."""
    known = assortment(case.offers)
    open_channels = tuple(channel for channel in case.channels if not verdicts.channels[channel])
    if verdicts.closed is None or verdicts.pairs:
        return _pairs(case, verdicts, open_channels)
    key = open_channels, verdicts.closed
    found = known.pairs.get(key)
    if found is None:
        if len(known.pairs) >= _REMEMBERED:
            known.pairs.clear()
        found = known.pairs[key] = _pairs(case, verdicts, open_channels)
    return found


def _pairs(case: Case, verdicts: Verdicts, open_channels: Sequence[str]) -> Pairs:
    return Pairs(
        (position, channel)
        for position, offer in enumerate(case.offers)
        if not verdicts.offers[offer.offer_id]
        for channel in open_channels
        if channel in offer.channels and (offer.offer_id, channel) not in verdicts.pairs
    )


def excluded(case: Case, verdicts: Verdicts) -> Sequence[Mapping[str, Any]]:
    """Every candidate that may not be, with the first rule that fails, as an answer names it. Never to be changed."""
    if not verdicts.told:
        verdicts.told.append([_named(*of) for of in _excluded(case, verdicts)])
    return verdicts.told[0]


def _named(offer_id: str, channel: str | None, failure: Failure) -> dict[str, Any]:
    return {
        "offer_id": offer_id,
        "channel": channel,
        "rule": failure.rule,
        "detail": failure.detail,
        "until": failure.until,
    }


def _excluded(case: Case, verdicts: Verdicts) -> Iterator[tuple[str, str | None, Failure]]:
    """No channel where none fits."""
    asked = frozenset(case.channels)
    closed = [(channel, first_of(failures)) for channel, failures in verdicts.channels.items() if failures]
    for offer in case.offers:
        if not verdicts.pairs and not verdicts.offers[offer.offer_id] and not asked.isdisjoint(offer.channels):
            yield from [(offer.offer_id, channel, failure) for channel, failure in closed if channel in offer.channels]
            continue
        fitting = [channel for channel in case.channels if channel in offer.channels]
        if not fitting:
            goes = ", ".join(offer.channels)
            yield offer.offer_id, None, Failure("offer_channel", f"the offer goes by {goes} only")
        for channel in fitting:
            failures = verdicts.of(offer.offer_id, channel)
            if failures:
                yield offer.offer_id, channel, failures[0]


def _ends_in_the_quiet(case: Case) -> dict[tuple[str, str], tuple[Failure, ...]]:
    """An offer that ends before its channel may speak again cannot be sent in time."""
    ending = assortment(case.offers).ending
    if not ending:
        return {}
    zone, _ = zone_of(case.customer.timezone, case.rules.default_timezone)
    found: dict[tuple[str, str], tuple[Failure, ...]] = {}
    for channel in case.channels:
        if channel not in case.rules.quiet_channels:
            continue
        first = next_allowed(case.at, zone, case.rules.quiet_start, case.rules.quiet_end)
        if first == case.at:
            continue
        for offer in ending:
            if channel in offer.channels and offer.ends_at is not None and case.at < offer.ends_at <= first:
                detail = f"ends at {in_words(offer.ends_at)}, before {channel} may be sent again"
                found[offer.offer_id, channel] = (Failure("ended", detail),)
    return found
