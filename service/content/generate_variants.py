"""Makes variants for an offer: by the text model where there is one, by templates where not or where it fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service.clock import new_id
from service.content.guardrails import Check, Rules
from service.content.locales import writing
from service.content.merge_values import offer_values
from service.content.template_writer import VERSION, Draft, template_locale, usable_angles, write_templates
from service.content.text_model import PROMPT_VERSION, Brief, TextModel, TextModelFailure
from service.content.tried_copy import try_copy
from service.content.variant import Variant, said_hash
from service.web.threads import in_thread


@dataclass(frozen=True, slots=True)
class Order:
    """What to make: `n` variants of an offer for a channel, a locale and perhaps a segment."""

    offer_id: str
    offer: Mapping[str, Any]
    channel: str
    locale: str
    n: int
    angles: tuple[str, ...] = ()
    segment: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """A draft with its checks and where it comes from."""

    draft: Draft
    checks: tuple[Check, ...]
    lineage: Mapping[str, Any]


async def generate_variants(
    order: Order,
    model: TextModel | None,
    rules: Rules,
    default_locale: str,
    now: Callable[[], datetime],
    name: str | None = None,
) -> list[Variant]:
    """New variants, not stored yet: pending, or approved at once where the offer asks for no approval. Their ids begin
    with `name`, where they have one: see `named`.

    With a model: one call, one repair of what fails its checks, and templates for what still fails. Checking takes
    milliseconds a text, and longer for what a model makes up: never on the event loop, where decisions are answered.
    """
    written, why = await _by_model(order, model, rules) if model is not None else ([], None)
    if len(written) < order.n:
        missing = order.n - len(written)
        written += await in_thread(_by_templates, order, rules, default_locale, why, missing, written)
    at = now()
    ids = named(name, len(written)) if name else sorted(new_id(at) for _ in written)  # in the order written
    return [_variant(order, item, variant_id, at) for item, variant_id in zip(written, ids, strict=True)]


def named(name: str, many: int) -> list[str]:
    """The ids of variants that one request makes, in order."""
    return [f"{name}-{place:02}" for place in range(many)]


async def _by_model(order: Order, model: TextModel, rules: Rules) -> tuple[list[Written], str | None]:
    """The model's drafts that pass, and why there are not more of them."""
    brief = _brief(order)
    try:
        drafts = await model.write(brief)
    except TextModelFailure as failure:
        return [], str(failure)
    good, faulty = await in_thread(_sorted_out, drafts, order, rules, model.name, False)
    if not faulty:
        return good, None if len(good) == order.n else f"the model wrote {len(good)} of {order.n} variants"
    try:
        again = await model.repair(brief, faulty)
    except TextModelFailure as failure:
        return good, f"repair failed: {failure}"
    mended, broken = await in_thread(_sorted_out, again, order, rules, model.name, True)
    names = list(dict.fromkeys(check.name for _, checks in broken for check in checks))
    why = f"checks failed after a repair: {', '.join(names)}" if names else "the repair gave too few variants"
    whole = len(good) + len(mended) == order.n
    return good + mended, None if whole else why


def _brief(order: Order) -> Brief:
    usable = list(dict.fromkeys(order.angles)) or usable_angles((), order.offer)
    angles = tuple(usable[turn % len(usable)] for turn in range(order.n))
    values = offer_values(order.offer, writing(order.locale, order.channel))
    return Brief(order.channel, order.locale, order.segment, angles, order.offer, values)


def _sorted_out(
    drafts: Sequence[Draft], order: Order, rules: Rules, model: str, repaired: bool
) -> tuple[list[Written], list[tuple[Draft, list[Check]]]]:
    good: list[Written] = []
    faulty: list[tuple[Draft, list[Check]]] = []
    for draft in drafts:
        checks = try_copy(order.channel, draft.locale, draft.fields, order.offer, rules)
        failed = [check for check in checks if not check.passed]
        if failed:
            faulty.append((draft, failed))
        else:
            lineage = _lineage(order, draft, "model", model, PROMPT_VERSION, None) | {"repaired": repaired}
            good.append(Written(draft, tuple(checks), lineage))
    return good, faulty


def _by_templates(
    order: Order, rules: Rules, default_locale: str, why: str | None, n: int, besides: Sequence[Written]
) -> list[Written]:
    taken = len(besides)
    drafts = write_templates(
        order.channel, order.locale, order.offer, n + taken, order.angles, order.segment, default_locale
    )
    missing = why
    if template_locale(order.locale, default_locale) != order.locale.split("-")[0]:
        note = f"no templates in {order.locale}; written in {drafts[0].locale}"
        missing = f"{why}; {note}" if why else note
    return [
        Written(
            draft,
            tuple(try_copy(order.channel, draft.locale, draft.fields, order.offer, rules)),
            _lineage(order, draft, "templates", VERSION, VERSION, missing),
        )
        for draft in [*drafts[taken:], *drafts[:taken]][:n]  # the angles that come next, then others
    ]


def _lineage(
    order: Order, draft: Draft, writer: str, model: str, prompt_version: str, fallback: str | None
) -> dict[str, Any]:
    return {
        "writer": writer,
        "model": model,
        "prompt_version": prompt_version,
        "offer_hash": said_hash(order.offer),
        "requested_locale": order.locale,
        "locale": draft.locale,
        "segment": order.segment,
        "angle": draft.angle,
        "fallback": fallback,
    }


def _variant(order: Order, item: Written, variant_id: str, at: datetime) -> Variant:
    passed = all(check.passed for check in item.checks)
    approved = passed and order.offer.get("requires_approval") is False
    return Variant(
        variant_id=variant_id,
        offer_id=order.offer_id,
        offer_hash=said_hash(order.offer),
        channel=order.channel,
        locale=item.draft.locale,
        segment=order.segment,
        angle=item.draft.angle,
        state="approved" if approved else "pending",
        fields=item.draft.fields,
        checks=tuple(check.as_dict() for check in item.checks),
        lineage=item.lineage,
        version=1,
        created_at=at,
        updated_at=at,
    )
