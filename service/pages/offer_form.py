"""The form of an offer: a document as its fields, and back. Pure. What the form does not show stays as it was."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from features.channels import CHANNELS
from service.errors import Invalid
from service.offers.schemas import NEEDS_ITSELF, BulkOffer
from service.pages.form_faults import in_words_of
from service.web.problems import invalid_from

LABELS = {
    "offer_id": "Id", "name": "Name", "description": "Description", "category": "Category", "channels": "Channels",
    "facts.discount": "Discount", "facts.price.amount": "Price", "facts.price.currency": "Currency",
    "facts.code": "Code", "facts.url": "Link", "facts.ends_at": "Valid until", "starts_at": "Shown from",
    "ends_at": "Shown until", "value": "Earns", "cost": "Costs", "caps": "At most", "eligibility": "Only for",
    "tags": "Tags", "priority": "Priority", "body": "Shown until",
}  # fmt: skip
"""How the form calls the fields of the API."""
NEW = BulkOffer(offer_id="new", name="new").document() | {"name": ""}
_TIMES = ("valid_until", "starts_at", "ends_at")
_NO_NUMBER = "must be a number such as 12.5"
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?")


def shown(document: Mapping[str, Any]) -> dict[str, str]:
    """The fields of the form, besides the id and the channels."""
    facts = document["facts"]
    price, place = facts["price"] or {}, _plain_cap(document)
    cap = {} if place is None else document["caps"][place]
    return {
        "name": document["name"],
        "description": document["description"],
        "category": document["category"] or "",
        "discount": _number_text((facts["discount"] or {}).get("percent")),
        "price": price.get("amount", ""),
        "currency": price.get("currency", ""),
        "code": facts["code"] or "",
        "url": facts["url"] or "",
        "valid_until": _time_text(facts["ends_at"]),
        "starts_at": _time_text(document["starts_at"]),
        "ends_at": _time_text(document["ends_at"]),
        "value": _number_text(document["value"]),
        "cost": _number_text(document["cost"]),
        "cap": _number_text(cap.get("max")),
        "cap_days": _number_text(cap.get("per_days")),
        "eligibility": document["eligibility"] or "",
        "tags": "\n".join(document["tags"]),
        "priority": _number_text(document["priority"]),
    }


def changed(document: Mapping[str, Any], asked: Mapping[str, str], channels: list[str]) -> dict[str, Any]:
    """The document with what is other in the form than it was shown. Nothing is checked yet."""
    before = {name: text.replace("\r\n", "\n").strip() for name, text in shown(document).items()}
    new = {name: asked[name].replace("\r\n", "\n").strip() for name in before}
    other = {name for name in before if new[name] != before[name]}
    made: dict[str, Any] = copy.deepcopy(dict(document))
    facts = made["facts"]
    for name in other.intersection(("name", "description")):
        made[name] = new[name]
    for name in other.intersection(("category", "eligibility")):
        made[name] = new[name] or None
    for name in other.intersection(("value", "cost", "priority")):
        made[name] = _number(new[name])
    for name in other.intersection(("code", "url")):
        facts[name] = new[name] or None
    for name in other.intersection(_TIMES):
        (facts if name == "valid_until" else made)["ends_at" if name == "valid_until" else name] = _time(new[name])
    if "discount" in other:
        facts["discount"] = {"percent": _number(new["discount"])} if new["discount"] else None
    if other.intersection(("price", "currency")):
        told = {"amount": new["price"], "currency": new["currency"].upper()}
        facts["price"] = told if new["price"] or new["currency"] else None
    if other.intersection(("cap", "cap_days")):
        _set_cap(made, new["cap"], new["cap_days"])
    if "tags" in other:
        made["tags"] = [tag.strip() for tag in new["tags"].split("\n") if tag.strip()]
    if set(channels) != set(made["channels"]):
        made["channels"] = [one for one in CHANNELS if one in channels]
    return made


def checked(document: Mapping[str, Any], offer_id: str) -> dict[str, Any]:
    """The document as the API would store it; `Invalid` names what is wrong by the form's labels."""
    try:
        offer = BulkOffer.model_validate({**document, "offer_id": offer_id})
    except ValidationError as wrong:
        told = invalid_from(wrong)
        numbers = [replace(one, detail=_NO_NUMBER) if "valid number" in one.detail else one for one in told.errors]
        raise in_words_of(LABELS, Invalid(told.detail, numbers)) from wrong
    assert not offer.needs(offer_id), NEEDS_ITSELF  # the form cannot say so
    return offer.document()


def in_words(now: Mapping[str, str], typed: Mapping[str, str]) -> list[tuple[str, str]]:
    """What an offer says now where a form says something else: (the field's name, the text)."""
    return [(name.replace("_", " "), text) for name, text in now.items() if text.strip() != typed[name].strip()]


def kept_caps(document: Mapping[str, Any]) -> int:
    """How many limits the form does not show."""
    return len(document["caps"]) - (_plain_cap(document) is not None)


def _plain_cap(document: Mapping[str, Any]) -> int | None:
    """Where the first limit stands that a customer has for some days: the one that the form shows."""
    plain = (n for n, cap in enumerate(document["caps"]) if cap["per"] == "customer" and cap["per_days"] is not None)
    return next(plain, None)


def _set_cap(made: dict[str, Any], most: str, days: str) -> None:
    place = _plain_cap(made)
    cap = [{"max": _number(most), "per_days": _number(days), "per": "customer"}] if most or days else []
    start = len(made["caps"]) if place is None else place
    made["caps"][start : start + (place is not None)] = cap


def _number_text(value: float | None) -> str:
    if value is None:
        return ""
    return str(int(value)) if value == int(value) else repr(value)


def _number(text: str) -> float | int | str:
    """Text that is no number is left as it is, for the check to tell."""
    if not _NUMBER.fullmatch(text):
        return text
    return float(text) if "." in text else int(text)


def _time_text(value: str | None) -> str:
    """In UTC, as browsers' fields for times write it; seconds where there are any."""
    if value is None:
        return ""
    time = datetime.fromisoformat(value).astimezone(UTC).replace(tzinfo=None)
    return time.isoformat(timespec="minutes" if not (time.second or time.microsecond) else "auto")


def _time(text: str) -> str | None:
    found = _TIME.fullmatch(text)
    if found is None:
        return text or None
    return f"{text.replace(' ', 'T')}{'' if found[1] else ':00'}Z"


FIELDS = ("id", *shown(NEW))
"""The fields of the form, besides the channels."""
