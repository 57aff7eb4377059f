"""OpenAPI 3.1 of all that is asked over HTTP, out of the table of routes."""

import inspect
import re
from collections.abc import Sequence
from typing import Any

from chat.access.tokens import SCOPES
from chat.doors.calls import JSON, NAME, Route
from chat.doors.errors import ErrorBody
from chat.doors.streams import EVENT_STREAM

from .schemas import Schema, Schemas, both, of_sent

AT = "#/components/schemas/"
INTRODUCTION = (
    "How programs ask the fleet over HTTP. Programs must skip fields, types of events and values"
    " that they don't know: later versions add some. Every refusal is an error object, also one"
    " that no operation names: 400, 401, 403, 404, 405, 413, 415, 429, 5xx."
)
BEARER = (
    "A token of this server (`fleet_…`). With FLEET_API=open, programs may ask without one, or with"
    " a key of their own making of at least 32 characters, by which they are known again."
)


def openapi(routes: Sequence[Route], *, version: str) -> Schema:
    """Return the document of these routes."""
    bodies = [body for route in routes for body in bodies_of(route)]
    results = [route.gives for route in routes if route.gives is not None]
    sent, got = both(bodies, [*results, ErrorBody], at=AT)
    wanted, given = iter(sent.of), iter(got.of)
    paths: dict[str, Schema] = {}
    named = {**got.named, **sent.named}
    for route in routes:
        body = any_of([next(wanted) for _ in bodies_of(route)])
        result = next(given) if route.gives is not None else None
        query = of_sent([route.query], at=AT) if route.query else Schemas([])
        named |= {name: schema for name, schema in query.named.items() if name != title_of(query)}
        path = paths.setdefault(NAME.sub(r"{\1}", route.path), {})
        path[route.method.lower()] = operation(route, body, result, query)
    return {
        "openapi": "3.1.0",
        "info": {"title": "AgenticFleet", "version": version, "description": INTRODUCTION},
        "servers": [{"url": "/"}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(named.items())),
            "responses": {"Error": {"description": "A refusal.", "content": error_content()}},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": BEARER}
            },
        },
    }


def bodies_of(route: Route) -> list[type]:
    return [body for body in (route.body, route.other_body) if body]


def any_of(schemas: list[Schema]) -> Schema | None:
    """Return a schema of what fits one of these; None if there are none."""
    return {"anyOf": schemas} if len(schemas) > 1 else next(iter(schemas), None)


def operation(
    route: Route, body: Schema | None, result: Schema | None, query: Schemas
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": operation_id(route),
        "summary": route.summary.rstrip("."),
        "responses": {
            **responses(route, result),
            "default": {"$ref": "#/components/responses/Error"},
        },
        "security": [{"token": []}] if route.scope else [],
    }
    if words := inspect.getdoc(route.function):
        found["description"] = words
    if route.tag:
        found["tags"] = [route.tag]
    if route.scope in SCOPES:
        found["x-scope"] = route.scope
    if parameters := [*path_parameters(route), *query_parameters(query)]:
        found["parameters"] = parameters
    if body is not None:
        found["requestBody"] = {"required": True, "content": {JSON: {"schema": body}}}
    return found


def responses(route: Route, result: Schema | None) -> dict[str, Any]:
    """Return what is answered, by status. What streams is always a 200."""
    found: dict[str, Any] = {}

    def add(status: int, media: str, schema: Schema) -> None:
        answer = found.setdefault(str(status), {"description": route.summary})
        answer.setdefault("content", {})[media] = {"schema": schema}

    found[str(route.status)] = {"description": route.summary}
    if result is not None:
        add(route.status, JSON, result)
    if route.also:
        add(route.status, route.also, {"type": "string"})
    if route.streams:
        # Without a type: some programs check each message, as an object, and others the whole.
        add(200, EVENT_STREAM, {"description": route.streams})
    if route.nothing:
        found[str(route.nothing_status)] = {"description": route.nothing}
    return found


def operation_id(route: Route) -> str:
    """Return a name for functions of clients: the method and the words of the path."""
    return "_".join([route.method.lower(), *re.findall(r"\w+", NAME.sub(r"\1", route.path))])


def path_parameters(route: Route) -> list[Schema]:
    return [
        {"name": found[1], "in": "path", "required": True, "schema": part_schema(found[2])}
        for found in NAME.finditer(route.path)
    ]


def part_schema(kind: str | None) -> Schema:
    return {"type": "string", "format": "uuid"} if kind == ":uuid" else {"type": "string"}


def query_parameters(query: Schemas) -> list[Schema]:
    if not query.of:
        return []
    struct = query.named[title_of(query)]
    return [
        {"name": name, "in": "query", "required": name in struct["required"], "schema": schema}
        for name, schema in struct["properties"].items()
    ]


def title_of(query: Schemas) -> str:
    """Return the name of the struct of a query."""
    return str(query.of[0]["$ref"].removeprefix(AT)) if query.of else ""


def error_content() -> Schema:
    return {JSON: {"schema": {"$ref": f"{AT}ErrorBody"}}}
