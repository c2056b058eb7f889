"""Signing in and out by form, and the files that pages load."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from service.errors import NotFound, Problem, Unauthorized
from service.pages.routes.frame import Pages, form_of
from service.pages.sign_in import COOKIE, LASTS_S, Reader, local_path
from service.pages.site import HEADERS
from service.web.threads import in_thread


def add_signing_in(router: APIRouter, pages: Pages) -> None:
    @router.get("/sign-in")
    async def form(next: Annotated[str, Query(max_length=2_000)] = "/") -> Response:
        return pages.page("sign_in.html", None, next=local_path(next))

    @router.post("/sign-in")
    async def sign_in(
        request: Request,
        key: Annotated[str, Form(max_length=500)] = "",
        next: Annotated[str, Form(max_length=2_000)] = "/",
    ) -> Response:
        if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            return pages.sign_in_form("/", Unauthorized("This form was sent by another site."))
        try:
            _, cookie = await in_thread(pages.sessions.sign_in, key)
        except Problem as problem:
            return pages.sign_in_form(next, problem)
        response = RedirectResponse(local_path(next), 303, HEADERS)
        response.set_cookie(
            COOKIE, cookie, LASTS_S, path="/", secure=pages.sources.secure_cookies, httponly=True, samesite="strict"
        )
        return response

    @router.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        async def act(request: Request, reader: Reader) -> Response:
            await form_of(request, reader)
            response = RedirectResponse("/sign-in", 303, HEADERS)
            response.delete_cookie(COOKIE, path="/")
            return response

        return await pages.for_reader(request, act)

    @router.get("/favicon.ico")
    async def icon() -> Response:
        """What browsers ask for where no page names an icon: beside `/docs` and JSON."""
        found = pages.site.files["icon.svg"]
        return Response(found.body, 200, {"Cache-Control": "public, max-age=86400"}, found.kind)

    @router.get("/static/{name}")
    async def static(name: str) -> Response:
        found = pages.site.files.get(name)
        if found is None:
            raise NotFound(f"there is no file {name[:100]!r}")
        kept = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
        return Response(found.body, 200, kept, found.kind)
