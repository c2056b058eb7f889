"""Refusals say what to do about them: the stumbles of who tries the API with curl."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from service.web.problems import install_problem_handlers


class Thing(BaseModel):
    name: str


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    install_problem_handlers(app)

    @app.put("/things")
    async def put(thing: Thing) -> Thing:
        return thing

    @app.delete("/things/{code}")
    async def fail(code: int) -> None:
        raise OSError(code, "words of the system", "a-file-with-a-name")

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as made:
        yield made


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ({"Content-Type": "application/x-www-form-urlencoded"}, "was sent as application/x-www-form-urlencoded"),
        ({}, "was sent without its type"),
    ],
)
async def test_json_that_was_sent_as_something_else_is_told_so(
    client: httpx.AsyncClient, headers: dict[str, str], sent: str
) -> None:
    answer = await client.put("/things", content=b'{"name":"a"}', headers=headers)
    assert answer.status_code == 422
    assert answer.json()["detail"] == f"body: {sent}; add the header Content-Type: application/json"


async def test_what_is_wrong_in_json_is_told_as_it_is(client: httpx.AsyncClient) -> None:
    assert (await client.put("/things", json=[])).json()["detail"] == "body: should be an object, {…}"
    assert (await client.put("/things", json={})).json()["errors"] == [{"field": "name", "detail": "Field required"}]
    as_other = await client.put("/things", content=b"", headers={"Content-Type": "text/plain"})
    assert as_other.json()["errors"] == [{"field": "body", "detail": "Field required"}]


async def test_a_method_that_an_address_has_not_is_told_with_those_that_it_has(client: httpx.AsyncClient) -> None:
    answer = await client.get("/things")
    assert (answer.status_code, answer.headers["allow"]) == (405, "PUT")
    assert answer.json()["detail"] == "GET is not possible at this address; it takes PUT"


@pytest.mark.parametrize(
    ("code", "status", "detail"),
    [
        (errno.EROFS, 503, "the disk of the home takes nothing now (Read-only file system)"),
        (errno.EMFILE, 503, "no more files can be opened (Too many open files)"),
        (errno.ENOENT, 500, "Something failed here"),
    ],
)
async def test_a_disk_that_takes_nothing_is_a_part_that_is_away(
    client: httpx.AsyncClient, code: int, status: int, detail: str
) -> None:
    """An erasure on one that had turned read-only was an internal error; no file is named, which may bear an id."""
    answer = await client.delete(f"/things/{code}")
    assert (answer.status_code, answer.json()["detail"].startswith(detail)) == (status, True)
    assert "a-file-with-a-name" not in answer.text
    assert answer.headers.get("retry-after") == ("5" if status == 503 else None)
