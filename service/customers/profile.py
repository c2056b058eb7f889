"""What events change in a customer's profile: the newest word counts, in whatever order events come. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from service.clock import CLOCKS_APART
from service.customers.consent import MARKETING, told_by

MOST_SEGMENTS = 1000
_LOCALE = re.compile(r"^[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*$")
_SAME_ZONE_US = 3_600_000_000
"""The same zone, told with every page view, is noted again after so long."""
_ZONE, _LANGUAGE, _COUNTRY, _SEGMENTS, _COMPANY = "@timezone", "@locale", "@country", "@segments", "@company"


@dataclass(slots=True)
class Profile:
    """A customer's row. `trait_times` and `consent_times` say when each value was told (µs since 1970).

    `segments` maps a segment to who put the customer there (`traits`, `group`, `journey`, …); `identified` is true
    once a `userId` named the customer.
    """

    customer_id: str
    first_seen: datetime
    updated_at: datetime
    identified: bool = False
    timezone: str | None = None
    locale: str | None = None
    country: str | None = None
    profiling: bool = True
    traits: dict[str, Any] = field(default_factory=dict)
    trait_times: dict[str, int] = field(default_factory=dict)
    segments: dict[str, str] = field(default_factory=dict)
    consents: dict[str, dict[str, bool]] = field(default_factory=dict)
    consent_times: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConsentChange:
    """One answer of a customer, for the record of consents. `answer` None: back to saying nothing."""

    customer_id: str
    at: datetime
    channel: str
    purpose: str
    answer: bool | None
    source: str


def microseconds(at: datetime) -> int:
    """Microseconds since 1970."""
    return int(at.timestamp()) * 1_000_000 + at.microsecond


def absorb(
    profile: Profile, event: Mapping[str, Any], now: datetime | None = None
) -> tuple[bool, ConsentChange | None]:
    """Changes the profile by one EVENTS row; whether it changed, and the consent it told."""
    at: datetime = event["timestamp"]
    kind = event["type"]
    changed = _meet(profile, event, at)
    told: ConsentChange | None = None
    if kind == "identify":
        changed = _identify(profile, event, microseconds(at)) or changed
    elif kind == "group":
        changed = _group(profile, event, microseconds(at)) or changed
    elif kind == "track":
        answer = told_by(event["event"], event["channel"])
        if answer is not None:
            heard = dict(profile.consent_times)
            told = ConsentChange(profile.customer_id, at, answer[0], MARKETING, answer[1], str(event["event"]))
            told = told if apply_consent(profile, told, now) else None
            changed = heard != profile.consent_times or told is not None or changed
    if changed:
        profile.updated_at = max(profile.updated_at, event["received_at"])
    return changed, told


def apply_consent(profile: Profile, change: ConsentChange, now: datetime | None = None) -> bool:
    """Notes an answer, unless a newer one stands; False then, or when it is no news.

    An answer given again is no news, but its time is: what comes late from before it counts no more. Of one that was
    noted by a clock ahead of `now` it is not known when it was given: a refusal goes before it.
    """
    key, time = f"{change.channel}.{change.purpose}", microseconds(change.at)
    heard = profile.consent_times.get(key, -1)
    ahead = now is not None and heard > microseconds(now + CLOCKS_APART)
    if time < heard and not (ahead and change.answer is False):
        return False
    profile.consent_times[key] = time
    purposes = dict(profile.consents.get(change.channel, {}))
    if purposes.get(change.purpose) == change.answer:
        return False
    if change.answer is None:
        del purposes[change.purpose]
    else:
        purposes[change.purpose] = change.answer
    profile.consents[change.channel] = purposes
    if not purposes:
        del profile.consents[change.channel]
    return True


def merge(into: Profile, other: Profile) -> None:
    """One person's two profiles become one: newer values win, a refusal stays a refusal."""
    slots = {_ZONE: "timezone", _LANGUAGE: "locale", _COUNTRY: "country"}
    for key, time in other.trait_times.items():
        if time <= into.trait_times.get(key, -1):
            continue
        into.trait_times[key] = time
        if key in slots:
            setattr(into, slots[key], getattr(other, slots[key]))
        elif key in other.traits:
            into.traits[key] = other.traits[key]
        else:  # taken back since, or what is no trait
            into.traits.pop(key, None)
    into.segments = {**other.segments, **into.segments}
    _merge_consents(into, other)
    into.profiling = into.profiling and other.profiling
    into.first_seen = min(into.first_seen, other.first_seen)
    into.updated_at = max(into.updated_at, other.updated_at)


def _merge_consents(into: Profile, other: Profile) -> None:
    """The newer of two answers stands, where neither is a refusal: who took an answer back has not given it."""
    for key in sorted({*other.consent_times, *(f"{c}.{p}" for c, answers in other.consents.items() for p in answers)}):
        channel, _, purpose = key.partition(".")
        mine, theirs = (one.consents.get(channel, {}).get(purpose) for one in (into, other))
        heard, told = into.consent_times.get(key, -1), other.consent_times.get(key, 0)
        answer = False if False in (mine, theirs) else theirs if told > heard else mine
        into.consent_times[key] = max(heard, told)
        purposes = {name: said for name, said in into.consents.get(channel, {}).items() if name != purpose}
        if answer is not None:
            purposes[purpose] = answer
        into.consents[channel] = purposes
        if not purposes:
            del into.consents[channel]


def locale_of(value: Any) -> str | None:
    """A language tag (`pt-BR`) from what senders write (`pt_BR`); None for anything else."""
    if type(value) is not str:
        return None
    tag = value.partition(".")[0].replace("_", "-")
    return tag if _LOCALE.match(tag) and len(tag) <= 35 else None


def _meet(profile: Profile, event: Mapping[str, Any], at: datetime) -> bool:
    changed = False
    if at < profile.first_seen:
        profile.first_seen, changed = at, True
    if not profile.identified and event["customer_id"] != event["anonymous_id"]:
        profile.identified = changed = True
    zone, told = event["timezone"], profile.trait_times.get(_ZONE, -1)
    if zone is not None and microseconds(at) >= told + (_SAME_ZONE_US if zone == profile.timezone else 0):
        profile.timezone, profile.trait_times[_ZONE], changed = zone, microseconds(at), True
    return changed


def _identify(profile: Profile, event: Mapping[str, Any], time: int) -> bool:
    traits: dict[str, Any] = _parsed(event["traits"])
    changed = False
    for key, value in traits.items():
        changed = _set_trait(profile, key, value, time) or changed
    address = traits.get("address")
    place = traits.get("country") or (address.get("country") if type(address) is dict else None)
    language = locale_of(traits.get("locale") or traits.get("language") or _parsed(event["context"]).get("locale"))
    for name, slot, value in (("country", _COUNTRY, place), ("locale", _LANGUAGE, language)):
        if type(value) is str and 0 < len(value) <= 64 and not _older(profile, slot, time):
            changed = _tell(profile, slot, time) or getattr(profile, name) != value or changed
            setattr(profile, name, value)
    declared = traits.get("segments")
    if type(declared) is list and not _older(profile, _SEGMENTS, time):
        names = [name for name in declared if type(name) is str and 0 < len(name) <= 255][:MOST_SEGMENTS]
        kept = {name: source for name, source in profile.segments.items() if source != "traits"}
        segments = {**dict.fromkeys(names, "traits"), **kept}
        changed = _tell(profile, _SEGMENTS, time) or segments != profile.segments or changed
        profile.segments = segments
    return changed


def _group(profile: Profile, event: Mapping[str, Any], time: int) -> bool:
    group = _parsed(event["properties"]).get("groupId")
    if type(group) is not str:
        return False
    changed = group not in profile.segments
    profile.segments.setdefault(group, "group")
    if not _older(profile, _COMPANY, time):
        known = profile.traits.get("company")
        company = {**(known if type(known) is dict else {}), **_parsed(event["traits"]), "id": group}
        changed = _tell(profile, _COMPANY, time) or company != known or changed
        profile.traits["company"], profile.trait_times["company"] = company, time
    return changed


def _set_trait(profile: Profile, key: str, value: Any, time: int) -> bool:
    if _older(profile, key, time):
        return False
    newer = _tell(profile, key, time)
    if value is None:
        return profile.traits.pop(key, None) is not None or newer
    if profile.traits.get(key) == value:
        return newer
    profile.traits[key] = value
    return True


def _older(profile: Profile, slot: str, time: int) -> bool:
    return time < profile.trait_times.get(slot, -1)


def _tell(profile: Profile, slot: str, time: int) -> bool:
    """Notes when something was told last; False where that is known. To be kept even where the value is the same."""
    newer = time != profile.trait_times.get(slot)
    profile.trait_times[slot] = time
    return newer


def _parsed(packed: Any) -> dict[str, Any]:
    value = orjson.loads(packed) if packed else {}
    return value if type(value) is dict else {}
