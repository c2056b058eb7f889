"""`/docs`: the OpenAPI document as one readable page, made on the server: no script, no outside resource."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache, partial
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, Response
from jinja2 import Environment, PackageLoader
from markupsafe import Markup, escape

from service.web.threads import in_thread

_METHODS = ("get", "put", "post", "delete", "patch")
_CSP = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def routes(app: FastAPI) -> APIRouter:
    """The document, the page and its style sheet: each made once, in a thread, for it takes a while."""
    router = APIRouter(include_in_schema=False)
    environment = Environment(loader=PackageLoader("service.web"), autoescape=True, trim_blocks=True)
    environment.filters["code_marked"] = code_marked

    @cache
    def document() -> bytes:
        return orjson.dumps(app.openapi())

    @cache
    def page() -> str:
        told = app.openapi()
        made = shapes(told)
        linked = partial(linked_to, {one["name"] for one in made})
        return environment.get_template("docs.html").render(
            api=told["info"], groups=grouped(told), shapes=made, linked=linked
        )

    @router.get("/openapi.json")
    async def openapi() -> Response:
        return Response(await in_thread(document), media_type="application/json")

    @router.get("/docs")
    async def docs() -> Response:
        headers = {"Content-Security-Policy": _CSP}
        return Response(await in_thread(page), media_type="text/html", headers=headers)

    @router.get("/docs/docs.css")
    async def style() -> Response:
        return Response(environment.get_template("docs.css").render(), media_type="text/css")

    return router


def code_marked(text: str) -> Markup:
    """What stands between backticks as code, all escaped."""
    code = Markup("<code>{}</code>")
    return Markup("").join(code.format(part) if odd % 2 else escape(part) for odd, part in enumerate(text.split("`")))


def linked_to(names: Collection[str], kind: str) -> Markup:
    """A type in words, each name of a shape a link to it."""
    link = Markup('<a href="#shape-{}">{}</a>')
    words = kind.split(" ")
    return Markup(" ").join(link.format(word, word) if word in names else escape(word) for word in words)


def grouped(document: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Operations by tag, in the order in which they were declared."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                operation = operations[method]
                tag = (operation.get("tags") or ["service"])[0]
                groups.setdefault(tag, []).append(_operation(method, path, operation, document))
    return groups


def shapes(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What bodies are made of: every named object."""
    return [
        {"name": name, "description": schema.get("description", ""), "fields": _fields(schema, document)}
        for name, schema in sorted(document.get("components", {}).get("schemas", {}).items())
        if schema.get("type") == "object"
    ]


def _operation(method: str, path: str, operation: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    content = operation.get("requestBody", {}).get("content", {})
    body = next((part.get("schema") for part in content.values()), None)
    return {
        "id": f"{method}-{path.strip('/').replace('/', '-').replace('{', '').replace('}', '') or 'root'}",
        "method": method.upper(),
        "path": path,
        "summary": operation.get("summary", ""),
        "description": operation.get("description", ""),
        "parameters": [
            {
                "name": parameter["name"],
                "in": parameter["in"],
                "required": parameter.get("required", False),
                "type": _type(parameter.get("schema", {}), document),
                "default": _default(parameter.get("schema", {})),
                "description": parameter.get("description", ""),
            }
            for parameter in operation.get("parameters", [])
        ],
        "fields": list(_fields(body, document)) if body else [],
        "example": _example(body, document),
        "answers": [_told(status, answer) for status, answer in operation.get("responses", {}).items()],
    }


def _told(status: str, answer: Mapping[str, Any]) -> dict[str, str]:
    """`shape` names the schema of a body that is not a problem's."""
    named = [str(part.get("schema", {}).get("$ref", "")) for part in answer.get("content", {}).values()]
    shape = named[0].rsplit("/", 1)[-1] if named else ""
    return {"status": status, "text": answer.get("description", ""), "shape": shape if shape != "Problem" else ""}


def _resolve(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found: Any = document
    for part in schema["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def _type(schema: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return " or ".join(dict.fromkeys(_type(choice, document) for choice in choices))
    name = str(schema.get("$ref", "")).rsplit("/", 1)[-1]
    resolved = _resolve(schema, document)
    if "const" in resolved:
        return str(resolved["const"])
    if "enum" in resolved:
        return " | ".join(str(value) for value in resolved["enum"])
    if resolved.get("type") == "array":
        return f"list of {_type(resolved.get('items', {}), document)}"
    within = resolved.get("additionalProperties")
    if not name and isinstance(within, dict) and within:
        return f"object of {_type(within, document)}"
    if "properties" in resolved:
        name = name or str(resolved.get("title", ""))
    kinds = resolved.get("type", "any")
    plain = " or ".join(kinds) if isinstance(kinds, list) else kinds  # JSON Schema lets a type be several
    return name or str(resolved.get("format") or plain)


def _fields(schema: Mapping[str, Any], document: Mapping[str, Any]) -> list[dict[str, Any]]:
    resolved = _resolve(schema, document)
    required = resolved.get("required", [])
    others = resolved.get("additionalProperties")
    told = [
        {
            "name": name,
            "type": _type(field, document),
            "required": name in required,
            "default": _default(field) if name not in required else "",
            "description": field.get("description", ""),
        }
        for name, field in resolved.get("properties", {}).items()
    ]
    if others and "title" in resolved:
        kind = _type({} if others is True else others, document)
        meaning = "Under any other name" if told else "Under any name"
        told.append({"name": "…", "type": kind, "required": False, "default": "", "description": meaning})
    return told


def _default(schema: Mapping[str, Any]) -> str:
    return orjson.dumps(schema["default"]).decode() if "default" in schema else ""


def _example(schema: Mapping[str, Any] | None, document: Mapping[str, Any]) -> str:
    examples = _resolve(schema, document).get("examples") if schema else None
    return orjson.dumps(examples[0], option=orjson.OPT_INDENT_2).decode() if examples else ""
