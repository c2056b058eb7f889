"""Approve, reject, edit, comment: each under an ETag, each noted with who and when."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from service.clock import new_id
from service.content.guardrails import Rules
from service.content.tried_copy import try_copy
from service.content.variant import Variant, said_hash
from service.content.variant_store import add_to_trail, find_variant, replace_variant
from service.errors import Conflict, FieldError, Invalid, NotFound, Problem, Stale
from service.offers.offers_store import read_offers
from service.storage.database import Connection, Database

_ETAG = re.compile(r'(?:W/)?"([^"]*)"')


class PreconditionRequired(Problem):
    """A change without If-Match could overwrite what somebody else has just done."""

    status, type, title = 428, "urn:opportune:precondition-required", "If-Match is needed"


@dataclass(frozen=True, slots=True)
class Review:
    """One reviewer's call: which variant, which version they saw (`If-Match`), who they are."""

    variant_id: str
    if_match: str | None
    who: str


@dataclass(frozen=True, slots=True)
class Seen:
    """The verdicts on these fields for the offer of this hash, found before anybody has to wait for the database."""

    fields: Mapping[str, str]
    offer_hash: str
    checks: tuple[dict[str, Any], ...]


class Reviewer:
    """The use cases of review. `changed` is called after each change, so that caches look again.

    Copy is checked before the transaction of its change: a long mail takes half a second, and all writers would wait.
    """

    def __init__(
        self, database: Database, now: Callable[[], datetime], rules: Rules, changed: Callable[[], None]
    ) -> None:
        self._database = database
        self._now = now
        self._rules = rules
        self._changed = changed

    def approve(self, review: Review, seen: str | None = None) -> Variant:
        """Approves the copy for the offer as it is now. Copy whose checks fail on it is refused (`Invalid`).

        `seen`: the hash of the offer that the copy was shown with, if it was; `Stale` where the offer is another now.
        """

        ahead = self._ahead(review, {})

        def act(connection: Connection, variant: Variant) -> tuple[Variant, dict[str, Any]]:
            checked = self._checked(connection, variant, variant.fields, ahead)
            if seen is not None and seen != checked.offer_hash:
                raise Stale("the offer was changed after the text was shown, so it was not approved; look at it again")
            if checked.failed:
                raise _refused(checked)
            return replace(checked, state="approved"), {"offer_hash": checked.offer_hash}

        return self._change(review, "approve", act)

    def reject(self, review: Review, reason: str | None) -> Variant:
        """Takes the copy out of use, with a reason for whoever wrote it."""
        return self._change(
            review, "reject", lambda _, variant: (replace(variant, state="rejected"), {"reason": reason})
        )

    def edit(self, review: Review, fields: Mapping[str, str | None]) -> Variant:
        """Replaces the fields given (None takes one out), checks again, and waits for approval again."""

        ahead = self._ahead(review, fields)

        def act(connection: Connection, variant: Variant) -> tuple[Variant, dict[str, Any]]:
            checked = self._checked(connection, variant, _merged(variant, fields), ahead)
            before = {name: variant.fields.get(name) for name in fields}
            return replace(checked, state="pending"), {"before": before, "after": dict(fields)}

        return self._change(review, "edit", act)

    def comment(self, review: Review, text: str) -> Variant:
        """Notes a remark; the next reviewer has to have seen it."""
        return self._change(review, "comment", lambda _, variant: (variant, {"text": text}))

    def _change(
        self, review: Review, action: str, act: Callable[[Connection, Variant], tuple[Variant, dict[str, Any]]]
    ) -> Variant:
        with self._database.write() as connection:
            variant = find_variant(connection, review.variant_id, lock=True)
            if variant is None:
                raise NotFound(f"there is no variant {review.variant_id!r}")
            require_match(review.if_match, variant)
            changed, detail = act(connection, variant)
            at = self._now()
            changed = replace(changed, version=variant.version + 1, updated_at=at)
            if not replace_variant(connection, changed, variant.version):
                raise Stale("the variant was changed while this ran; read it again")
            add_to_trail(connection, new_id(at), variant.variant_id, at, review.who, action, detail)
        self._changed()
        return changed

    def _ahead(self, review: Review, fields: Mapping[str, str | None]) -> Seen | None:
        """The variant with these fields, checked as things stand; None where the change will be refused anyway."""
        with self._database.read() as connection:
            variant = find_variant(connection, review.variant_id)
            offer = current_offer(connection, variant.offer_id) if variant is not None else None
        if variant is None or offer is None:
            return None
        return self._look(variant, _merged(variant, fields), offer)

    def _look(self, variant: Variant, fields: Mapping[str, str], offer: Mapping[str, Any]) -> Seen:
        checks = try_copy(variant.channel, variant.locale, fields, offer, self._rules)
        return Seen(dict(fields), said_hash(offer), tuple(check.as_dict() for check in checks))

    def _checked(
        self, connection: Connection, variant: Variant, fields: Mapping[str, str], ahead: Seen | None
    ) -> Variant:
        """The variant with these fields, checked against the offer as it is now: again, where it changed meanwhile."""
        offer = current_offer(connection, variant.offer_id)
        if offer is None:
            raise Conflict(f"the offer {variant.offer_id!r} is gone, so its copy can only be rejected")
        holds = ahead is not None and (ahead.fields, ahead.offer_hash) == (dict(fields), said_hash(offer))
        seen = ahead if ahead is not None and holds else self._look(variant, fields, offer)
        return replace(
            variant,
            fields=dict(fields),
            checks=seen.checks,
            offer_hash=seen.offer_hash,
            lineage={**variant.lineage, "offer_hash": seen.offer_hash},
        )


def _merged(variant: Variant, fields: Mapping[str, str | None]) -> dict[str, str]:
    """The variant's fields with those given in their place; None takes one out."""
    merged = {**variant.fields, **fields}
    return {name: text for name, text in merged.items() if text is not None}


def current_offer(connection: Connection, offer_id: str) -> Mapping[str, Any] | None:
    """The document of a live offer, or None."""
    found = read_offers(connection, [offer_id])
    return found[0].document if found else None


def require_match(if_match: str | None, variant: Variant) -> None:
    """Holds a change to the version that the reviewer saw: 428 without If-Match, 412 with an old one."""
    if if_match is None or not if_match.strip():
        detail = f"send 'If-Match: {variant.etag}' (the variant's ETag), so that no other change is overwritten"
        raise PreconditionRequired(detail, [FieldError("If-Match", detail)])
    if if_match.strip() == "*":
        return
    tags = _ETAG.findall(if_match) or [if_match.strip()]
    if str(variant.version) not in tags:
        detail = f"you saw version {', '.join(tags)}; it is now {variant.version}. Read the variant again"
        raise Stale(detail, [FieldError("If-Match", detail)], etag=variant.etag)


def _refused(variant: Variant) -> Invalid:
    errors = [
        FieldError(f"fields.{check['field']}" if check["field"] else "fields", f"{check['name']}: {check['detail']}")
        for check in variant.checks
        if not check["passed"]
    ]
    names = ", ".join(variant.failed)
    return Invalid(f"copy whose checks fail cannot be approved: {names}", errors, failed_checks=variant.failed)
