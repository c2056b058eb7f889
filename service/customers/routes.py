"""HTTP of customers, and the page behind an unsubscribe link."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import AfterValidator, BeforeValidator

from features.channels import CHANNELS
from service.clock import Clock
from service.customers.answer_schemas import ConsentsOut, CustomerOut, ErasedOut, ExportOut, ScoresOut, SendTimesOut
from service.customers.erase_customer import CustomerEraser
from service.customers.link_words import Speech
from service.customers.look_up import CustomerReader, Rivals
from service.customers.schemas import ConsentsIn
from service.customers.set_consents import consents_of, set_consents
from service.customers.unsubscribe import Link, Unsubscriber
from service.errors import FieldError, Invalid, Unavailable
from service.events.values import Errors, identifier
from service.storage.database import Database
from service.web.answers import json_answer
from service.web.auth import Guard
from service.web.key_first import KeyFirst
from service.web.paths import CUSTOMER_ID
from service.web.shapes import gives
from service.web.threads import in_thread

Exclusively = Callable[[Callable[[], bool]], bool]
_LINK_FAULTS: dict[int | str, dict[str, Any]] = {
    404: {"description": "The link is not ours; a page says so.", "content": {"text/html": {}}},
    503: {"description": "The database is away; a page says so.", "content": {"text/html": {}}},
}
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "Cache-Control": "no-store",
}


def _id(value: str) -> str:
    errors: Errors = []
    read = identifier(value, "customer_id", errors)
    if errors or read is None:
        raise ValueError(errors[0].detail if errors else "is empty; send the id")
    return read


def _cost(value: str) -> str:
    channel, _, amount = value.partition(":")
    _channel(channel)
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", amount):
        raise ValueError("is a channel and an amount, such as sms:0.05")
    return value


def _channel(value: str) -> str:
    if value not in CHANNELS:
        raise ValueError(f"is no channel; use one of {', '.join(sorted(CHANNELS))}")
    return value


def _with_its_plus(value: Any) -> Any:
    """A zone's `+` that is not written as %2B in an address comes as a blank."""
    return re.sub(r"(T[\d:.]+) (\d\d:?\d\d)$", r"\1+\2", value) if isinstance(value, str) else value


Moment = Annotated[datetime | None, BeforeValidator(_with_its_plus)]
CustomerId = Annotated[str, Path(description="userId, or an anonymousId"), AfterValidator(_id)]


def routes(
    database: Database,
    clock: Clock,
    guard: Guard,
    reader: CustomerReader,
    eraser: CustomerEraser,
    exclusively: Exclusively,
    unsubscriber: Unsubscriber,
    speech: Speech,
) -> APIRouter:
    """`/v1/customers/{id}` and what is below it, and `/u/{token}`. Ids may contain slashes."""
    router = APIRouter()
    router.include_router(_customers(database, clock, guard, reader, eraser, exclusively))
    router.include_router(_links(unsubscriber, speech))
    return router


def _customers(
    database: Database,
    clock: Clock,
    guard: Guard,
    reader: CustomerReader,
    eraser: CustomerEraser,
    exclusively: Exclusively,
) -> APIRouter:
    router = APIRouter(prefix="/v1/customers", tags=["customers"], route_class=KeyFirst)
    may_read, may_tell, may_all = guard.needs("decide", "review"), guard.needs("ingest"), guard.needs("admin")

    @router.get(
        f"/{CUSTOMER_ID}/scores",
        summary="Lead, churn, winback and declared scores",
        dependencies=[may_read],
        responses=gives(ScoresOut) | {404: {}},
    )
    async def get_scores(customer_id: CustomerId) -> Response:
        return json_answer(await in_thread(reader.scores, customer_id))

    @router.get(
        f"/{CUSTOMER_ID}/send-times",
        summary="The best allowed hours",
        dependencies=[may_read],
        responses=gives(SendTimesOut),
    )
    async def get_send_times(
        customer_id: CustomerId,
        channel: Annotated[str, Query(), AfterValidator(_channel)],
        start: Annotated[Moment, Query(alias="from", description="default: now")] = None,
        end: Annotated[Moment, Query(alias="to", description="default: a week later")] = None,
        n: Annotated[int, Query(ge=1, le=168)] = 3,
        compare: Annotated[
            list[Annotated[str, AfterValidator(_channel)]] | None,
            Query(max_length=len(CHANNELS), description="further channels; the answer then has the best of all first"),
        ] = None,
        value: Annotated[float, Query(ge=0, le=1e9, description="what a response is worth")] = 1.0,
        cost: Annotated[
            list[Annotated[str, AfterValidator(_cost)]] | None,
            Query(max_length=len(CHANNELS), description="what sending costs, in the same currency: sms:0.05"),
        ] = None,
    ) -> Response:
        first = _utc("from", start) or clock.now()
        last = _utc("to", end) or first + timedelta(days=7)
        costs = {name: float(amount) for name, _, amount in (one.partition(":") for one in cost or [])}
        rivals = Rivals(tuple(compare or ()), value, costs)
        return json_answer(await in_thread(reader.send_times, customer_id, channel, first, last, n, rivals))

    @router.put(
        f"/{CUSTOMER_ID}/consents",
        summary="Tell a customer's answers",
        dependencies=[may_tell],
        responses=gives(ConsentsOut),
    )
    async def put_consents(customer_id: CustomerId, body: ConsentsIn) -> Response:
        def put() -> dict[str, Any]:
            with database.write() as connection:
                answers = body.answers()
                profile, _ = set_consents(connection, customer_id, answers, body.profiling, clock.now(), "api")
                return {"customer_id": profile.customer_id, "consents": consents_of(profile)}

        return json_answer(await in_thread(put))

    @router.get(
        f"/{CUSTOMER_ID}/export",
        summary="Everything held of a customer",
        dependencies=[may_all],
        responses=gives(ExportOut) | {404: {}},
    )
    async def get_export(customer_id: CustomerId) -> Response:
        return json_answer(await in_thread(reader.export, customer_id))

    @router.get(
        f"/{CUSTOMER_ID}", summary="A customer", dependencies=[may_read], responses=gives(CustomerOut) | {404: {}}
    )
    async def get_customer(customer_id: CustomerId) -> Response:
        return json_answer(await in_thread(reader.overview, customer_id))

    @router.delete(
        f"/{CUSTOMER_ID}",
        summary="Erase a customer everywhere",
        dependencies=[may_all],
        responses=gives(ErasedOut),
    )
    async def delete_customer(customer_id: CustomerId) -> Response:
        return json_answer(await in_thread(eraser.erase, customer_id, exclusively))

    return router


def _links(unsubscriber: Unsubscriber, speech: Speech) -> APIRouter:
    router = APIRouter(tags=["links"])

    async def answer(request: Request, token: str, act: Callable[[Link], str | None], shown: str) -> Response:
        """Acts on the link and shows a page of that name; or the page for who cannot be helped now."""

        def page(name: str, status: int, link: Link | None = None, locale: str | None = None) -> Response:
            language = speech.language(locale, request.headers.get("accept-language"))
            return _page(language, speech.words[language], name, status, link)

        try:
            link = await in_thread(unsubscriber.read_token, token)
            if link is None:
                return page("wrong", 404)
            return page(shown, 200, link, await in_thread(act, link))
        except Unavailable:
            return page("later", 503)

    @router.get(
        "/u/{token}", summary="Asks before it unsubscribes", response_class=HTMLResponse, responses=_LINK_FAULTS
    )
    async def ask(token: str, request: Request) -> Response:
        return await answer(request, token, unsubscriber.locale, "ask")

    @router.post("/u/{token}", summary="Unsubscribes (RFC 8058)", response_class=HTMLResponse, responses=_LINK_FAULTS)
    async def unsubscribe(token: str, request: Request) -> Response:
        return await answer(request, token, unsubscriber.unsubscribe, "done")

    return router


def _page(language: str, words: Mapping[str, str], name: str, status: int, link: Link | None) -> Response:
    """`ask`, `done`, `wrong` or `later` in one language."""
    by = "" if link is None else words.get(f"by.{link.channel}", words["by.webhook"])
    title = escape(words["title" if name == "ask" else f"{name}_title"])
    text = escape(words[name].replace("{by}", by))
    form = f'<form method="post"><button>{escape(words["button"])}</button></form>' if name == "ask" else ""
    html = (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<style>:root{color-scheme:light dark}body{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;"
        "margin:4rem auto;padding:0 1rem;overflow-wrap:anywhere}button{font:inherit;padding:.6rem 1.5rem}</style>"
        f'</head><body><main dir="auto"><h1>{title}</h1><p>{text}</p>{form}</main></body></html>'
    )
    return Response(html, status, _PAGE_HEADERS, media_type="text/html; charset=utf-8")


def _utc(name: str, at: datetime | None) -> datetime | None:
    """Query times: with an offset, or UTC; years that cannot be reckoned with are refused."""
    if at is None:
        return None
    if not 1970 <= at.year <= 2100:
        raise Invalid(f"{name}: the year {at.year} is outside 1970 to 2100", [FieldError(name, "choose another year")])
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
