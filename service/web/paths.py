"""What may stand in an address where an id is asked for, and which route an address is of."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from types import SimpleNamespace
from typing import Any

from fastapi.routing import iter_route_contexts
from starlette.convertors import Convertor, register_url_convertor
from starlette.routing import compile_path

App = Callable[..., Awaitable[None]]


class AnyText(Convertor[str]):
    """Any text: ids may have slashes; a line break in one is a fault of the id, not an address that is not there."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("any", AnyText())
CUSTOMER_ID = "{customer_id:any}"
OFFER_ID = "{offer_id:any}"


class NameRoute:
    """ASGI: names the route of a request that was answered before it came there, for who counts.

    A repeated answer under an `Idempotency-Key` is one, and a body that is too large.
    """

    def __init__(self, app: App) -> None:
        self.app = app
        self._routes: list[tuple[str, re.Pattern[str]]] = []

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        try:
            await self.app(scope, receive, send)
        finally:
            if scope["type"] == "http" and "route" not in scope:
                path = self._path_of(scope)
                if path is not None:
                    scope["route"] = SimpleNamespace(path=path, path_format=path)

    def _path_of(self, scope: MutableMapping[str, Any]) -> str | None:
        if not self._routes:
            paths = dict.fromkeys(route.path for route in iter_route_contexts(scope["app"].routes) if route.path)
            self._routes = [(path, compile_path(path)[0]) for path in paths]
        return next((path for path, pattern in self._routes if pattern.match(scope["path"])), None)
