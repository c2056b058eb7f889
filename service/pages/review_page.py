"""What the review page shows: each variant as a customer reads it, its source, checks and history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pydantic import ValidationError

from service.content.content_desk import ContentDesk
from service.content.email_layout import email_html
from service.content.fields import CHANNEL_FIELDS
from service.content.fill import Filled, RenderError, Values
from service.content.find_outdated import find_outdated
from service.content.locales import writing
from service.content.merge_tags import CUSTOMER_TAGS, LINK_TAGS, known_paths
from service.content.merge_values import look_up, offer_values
from service.content.render import compile_copy
from service.content.schemas import GenerateIn
from service.content.variant import STATES, Variant, said_hash
from service.content.variant_store import count_states, list_variants, read_variants, trail_of
from service.errors import FieldError, Invalid, Problem, Stale
from service.offers.offers_store import read_offers
from service.pages.form_faults import in_words_of
from service.storage.database import Connection
from service.web.problems import invalid_from

PAGE = 20
OUTDATED = "outdated"
FAILING = "failing"
CHOICES = (*STATES, FAILING, OUTDATED)
"""What may be shown by state: the states of texts, those that wait with a failed check, and approved texts whose offer
has changed since.
"""
LOOKED_THROUGH = 200
"""So many texts are read at a time for those that fail."""
SAMPLE = {"first_name": "Alex", "last_name": "Rivera", "city": "Ipoh"}
SAMPLE_LINK = "https://example.invalid/unsubscribe"
NOTICES = {
    "approve": "Approved. It is in use from now on.",
    "reject": "Rejected.",
    "edit": "Saved. The checks ran again; it waits for approval.",
    "comment": "Comment added.",
}
WRITTEN = "Written. Nothing of it goes out before it is approved."
LABELS = {"offer_id": "Offer's id", "channel": "Channel", "locale": "Language", "n": "How many texts"}
ASKED = ("offer", "channel", "locale", "n")
"""The fields of the form that has copy written."""


DONE = {"approve": "approved", "reject": "rejected", "edit": "edited", "comment": "commented", "generate": "ordered"}
"""Actions of the trail, of something that was done."""


@dataclass(frozen=True, slots=True)
class Item:
    """A text on the page. `offer_hash` is of its offer as it is now, None where that is gone; `fault` says why the text
    cannot be previewed.
    """

    variant: Variant
    offer_name: str
    offer_hash: str | None
    preview: Mapping[str, str] | None
    fault: str | None
    trail: Sequence[Mapping[str, Any]]

    @property
    def gone(self) -> bool:
        return self.offer_hash is None

    @property
    def changed(self) -> bool:
        """The offer has changed since the checks ran: what they said may no longer hold, and approval does not."""
        return self.offer_hash not in (None, self.variant.offer_hash)

    @property
    def approvable(self) -> bool:
        """Whether approving it would do something and may succeed; after a change of the offer the checks run then."""
        if self.gone:
            return False
        return self.changed or not (self.variant.failed or self.variant.state == "approved")


def review_view(
    desk: ContentDesk, filters: Mapping[str, str | None], after: str | None, only: str | None = None
) -> dict[str, Any]:
    """Items of one page (or `only` one text), the counts of each state, and the id to go on after."""
    with desk.database.read() as connection:
        found = read_variants(connection, [only]) if only else _listed(connection, filters, after)
        offers = {offer.offer_id: offer.document for offer in read_offers(connection, [v.offer_id for v in found])}
        trails = trail_of(connection, [variant.variant_id for variant in found])
        counts = count_states(connection)
    items = [_item(variant, offers.get(variant.offer_id), trails[variant.variant_id], desk) for variant in found[:PAGE]]
    more = found[PAGE - 1].variant_id if len(found) > PAGE else None
    return {"variants": items, "counts": counts, "after": more, "done": DONE}


def _listed(connection: Connection, filters: Mapping[str, str | None], after: str | None) -> list[Variant]:
    if filters["state"] == FAILING:
        return list(islice(_failing(connection, filters, after), PAGE + 1))
    if filters["state"] != OUTDATED:
        return list_variants(connection, **filters, limit=PAGE + 1, after=after)
    outdated = find_outdated(connection, filters["channel"], filters["language"], filters["offer_id"])
    return read_variants(connection, [one for one in outdated if after is None or one > after][: PAGE + 1])


def _failing(connection: Connection, filters: Mapping[str, str | None], after: str | None) -> Iterator[Variant]:
    """Texts that wait, and cannot be approved as they are."""
    wanted = {**filters, "state": "pending"}
    while found := list_variants(connection, **wanted, limit=LOOKED_THROUGH, after=after):
        yield from (variant for variant in found if variant.failed)
        after = found[-1].variant_id


def _item(
    variant: Variant, offer: Mapping[str, Any] | None, trail: Sequence[Mapping[str, Any]], desk: ContentDesk
) -> Item:
    if offer is None:
        return Item(variant, f"{variant.offer_id} (gone)", None, None, None, trail)
    try:
        preview: Mapping[str, str] | None = _rendered(variant, offer, desk)
        fault = None
    except RenderError as error:
        preview, fault = None, f"It cannot be rendered: {error}"
    return Item(variant, str(offer["name"]), said_hash(offer), preview, fault, trail)


def _rendered(variant: Variant, offer: Mapping[str, Any], desk: ContentDesk) -> dict[str, str]:
    compiled = compile_copy(variant.channel, variant.locale, variant.fields, offer, desk.rules.zone)
    return compiled.render(Filled(Values(SAMPLE), lambda: SAMPLE_LINK))


def in_reviewers_words(desk: ContentDesk, variant_id: str, problem: Problem) -> Problem:
    """The same problem for people who know texts and colleagues, not versions and ETags."""
    if isinstance(problem, Stale) and "etag" in problem.extra:
        _, trail = desk.variant(variant_id)
        who, done = trail[-1]["who"], DONE.get(trail[-1]["action"], "changed")
        on = " on" if done == "commented" else ""
        return Stale(f"nothing was changed: {who} has {done}{on} this text since you opened it")
    if "failed_checks" in problem.extra:
        errors = [FieldError(one.field.removeprefix("fields."), one.detail) for one in problem.errors]
        told = "the text was not approved, since a check fails"
        return Invalid(f"{told}. {errors[0].field}: {errors[0].detail}" if len(errors) == 1 else told, errors)
    return problem


def order_of(asked: Mapping[str, str]) -> GenerateIn:
    """What the form asks for; `Invalid` names what is wrong."""
    try:
        count: Any = int(asked["n"])
    except ValueError:
        count = asked["n"]
    wanted = {"offer_id": asked["offer"], "channel": asked["channel"], "locale": asked["locale"], "n": count}
    try:
        return GenerateIn.model_validate(wanted)
    except ValidationError as wrong:
        raise in_words_of(LABELS, invalid_from(wrong)) from wrong


def write_view(desk: ContentDesk, asked: Mapping[str, str]) -> dict[str, Any]:
    """What the form for new copy begins with: the channels of its offer come first."""
    with desk.database.read() as connection:
        found = read_offers(connection, [asked["offer"]]) if asked.get("offer") else []
    own = [channel for offer in found for channel in offer.document["channels"]]
    return {
        "asked": asked,
        "channels": [*own, *(channel for channel in CHANNEL_FIELDS if channel not in own)],
        "default_locale": desk.default_locale,
        "writer": desk.model and desk.model.name,
    }


def preview_document(desk: ContentDesk, variant_id: str) -> str:
    """The e-mail as the sample customer gets it, as a document of its own; NotFound when there is none."""
    variant, _ = desk.variant(variant_id)
    try:
        fields = _rendered(variant, desk.offer(variant.offer_id), desk)
    except RenderError as error:
        return f"It cannot be rendered: {error}"
    return email_html({"locale": variant.locale, "subject": "", "body": "", **fields})


def edit_view(desk: ContentDesk, variant_id: str) -> dict[str, Any]:
    """The variant, its offer's name and the merge tags that the offer can fill."""
    variant, _ = desk.variant(variant_id)
    offer = desk.offer(variant.offer_id)
    values = offer_values(offer, writing(variant.locale, variant.channel))
    own = [path for path in known_paths(values) if path.startswith("offer.")]
    filled = [path for path in own if look_up(values, path.removeprefix("offer.")) not in (None, "")]
    tags = [f"{{{{ {path} }}}}" for path in (*sorted(filled), *CUSTOMER_TAGS, *LINK_TAGS)]
    return {"v": variant, "offer_name": str(offer["name"]), "tags": tags}
