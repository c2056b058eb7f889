"""`/v1/content`: generate, list, review and check copy."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.params import Depends
from pydantic import AfterValidator, BeforeValidator

from features.channels import Channel
from service.content.answer_schemas import CopyCheckedOut, MadeOut, TrailOut, VariantOut, VariantsOut
from service.content.content_desk import ContentDesk
from service.content.review_variant import Review
from service.content.schemas import (
    CheckIn,
    CommentIn,
    EditIn,
    GenerateIn,
    RejectIn,
    canonical_locale,
)
from service.content.tried_copy import try_copy
from service.content.variant import State, Variant
from service.web.answers import json_answer
from service.web.auth import Guard
from service.web.key_first import KeyFirst
from service.web.middleware import ONCE
from service.web.shapes import gives, tagged
from service.web.threads import in_thread

VariantId = Annotated[str, Path(max_length=64)]
IfMatch = Annotated[str | None, Header(alias="If-Match", description="The variant's ETag")]
LocaleTag = Annotated[str, Query(max_length=35), AfterValidator(canonical_locale)]
Blank = BeforeValidator(lambda value: value or None)
"""A filter without a value (`?state=&channel=email`) filters nothing."""


def routes(desk: ContentDesk, guard: Guard) -> APIRouter:
    """Every call needs the scope `review` (or `admin`)."""
    router = APIRouter(prefix="/v1/content", tags=["content"], route_class=KeyFirst)
    reviewing: Any = guard.needs("review")
    _add_making(router, desk, reviewing)
    _add_reading(router, desk, reviewing)
    _add_reviewing(router, desk, reviewing)
    return router


def _add_making(router: APIRouter, desk: ContentDesk, reviewing: Depends) -> None:
    @router.post(
        "/generate",
        status_code=201,
        summary="Make variants of copy",
        dependencies=[reviewing],
        responses=gives(MadeOut, 201) | {404: {}},
    )
    async def generate(request: Request, order: GenerateIn) -> Response:
        made = await desk.generate(order, request.state.key.label, request.scope.get(ONCE))
        return json_answer({"variants": [variant.as_dict() for variant in made]}, 201)

    @router.post(
        "/check",
        summary="Check copy written elsewhere",
        dependencies=[reviewing],
        responses=gives(CopyCheckedOut) | {404: {}},
    )
    async def check(copy: CheckIn) -> Response:
        offer = await in_thread(desk.offer, copy.offer_id) if copy.offer_id is not None else None
        checks = await in_thread(try_copy, copy.channel, copy.locale, copy.fields, offer, desk.rules)
        passed = all(verdict.passed for verdict in checks)
        return json_answer({"passed": passed, "checks": [verdict.as_dict() for verdict in checks]})


def _add_reading(router: APIRouter, desk: ContentDesk, reviewing: Depends) -> None:
    @router.get(
        "/variants", summary="List variants, oldest first", dependencies=[reviewing], responses=gives(VariantsOut)
    )
    async def variants(
        state: Annotated[State | None, Blank] = None,
        channel: Annotated[Channel | None, Blank] = None,
        locale: Annotated[LocaleTag | None, Blank] = None,
        offer_id: Annotated[str | None, Query(max_length=200)] = None,
        after: Annotated[str | None, Query(max_length=64)] = None,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    ) -> Response:
        filters = {"state": state, "channel": channel, "locale": locale, "offer_id": offer_id, "after": after}
        found = await in_thread(desk.variants, limit=limit + 1, **filters)
        more = found[limit - 1].variant_id if len(found) > limit else None
        return json_answer({"variants": [variant.as_dict() for variant in found[:limit]], "next": more})

    @router.get(
        "/variants/{variant_id}",
        summary="A variant with its trail",
        dependencies=[reviewing],
        responses=tagged(gives(TrailOut)),
    )
    async def variant(variant_id: VariantId) -> Response:
        found, trail = await in_thread(desk.variant, variant_id)
        return json_answer(found.as_dict() | {"trail": trail}, headers={"ETag": found.etag})


def _add_reviewing(router: APIRouter, desk: ContentDesk, reviewing: Depends) -> None:
    @router.post(
        "/variants/{variant_id}/approve",
        summary="Approve",
        dependencies=[reviewing],
        responses=tagged(gives(VariantOut)),
    )
    async def approve(request: Request, variant_id: VariantId, if_match: IfMatch = None) -> Response:
        review = Review(variant_id, if_match, request.state.key.label)
        return _reviewed(await in_thread(desk.reviewer.approve, review))

    @router.post(
        "/variants/{variant_id}/reject", summary="Reject", dependencies=[reviewing], responses=tagged(gives(VariantOut))
    )
    async def reject(
        request: Request, variant_id: VariantId, body: RejectIn | None = None, if_match: IfMatch = None
    ) -> Response:
        review = Review(variant_id, if_match, request.state.key.label)
        return _reviewed(await in_thread(desk.reviewer.reject, review, body.reason if body else None))

    @router.post(
        "/variants/{variant_id}/edit",
        summary="Edit; checks run again",
        dependencies=[reviewing],
        responses=tagged(gives(VariantOut)),
    )
    async def edit(request: Request, variant_id: VariantId, body: EditIn, if_match: IfMatch = None) -> Response:
        review = Review(variant_id, if_match, request.state.key.label)
        return _reviewed(await in_thread(desk.reviewer.edit, review, body.fields))

    @router.post(
        "/variants/{variant_id}/comment",
        summary="Comment",
        dependencies=[reviewing],
        responses=tagged(gives(VariantOut)),
    )
    async def comment(request: Request, variant_id: VariantId, body: CommentIn, if_match: IfMatch = None) -> Response:
        review = Review(variant_id, if_match, request.state.key.label)
        return _reviewed(await in_thread(desk.reviewer.comment, review, body.text))


def _reviewed(variant: Variant) -> Response:
    return json_answer(variant.as_dict(), headers={"ETag": variant.etag})
