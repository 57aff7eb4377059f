"""Whether what is sent fits the written contract."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from chat.doors.contract.serving import written

EVENTS = "events.schema.json"


def check_event(event: dict[str, Any]) -> None:
    """Raise ValidationError if this event isn't as its schema says. Tests may have added types."""
    if name := names().get(event["type"]):
        validator(name).validate(event)


@cache
def names() -> dict[str, str]:
    """Return the names of the events' schemas, by type."""
    mapping = written(EVENTS)["$defs"]["StreamEvent"]["discriminator"]["mapping"]
    return {kind: place.rpartition("/")[2] for kind, place in mapping.items()}


@cache
def validator(name: str) -> Draft202012Validator:
    schema = written(EVENTS)
    return Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": schema["$defs"]})


def fits(name: str, frame: str | bytes | dict[str, Any]) -> bool:
    """Return True if a frame has the schema with this name."""
    value = frame if isinstance(frame, dict) else json.loads(frame)
    return validator(name).is_valid(value)


# --- Responses at the doors


def check_response(method: str, path: str, status: int, kind: str, body: bytes) -> None:
    """Raise ValidationError if a response isn't as OpenAPI says, or an event of a run in it."""
    schema = schema_of(method, path, status, kind)
    if schema is None or not body:
        return
    if kind == "application/json":
        in_openapi(json.dumps(schema)).validate(json.loads(body))
    elif path.startswith("/api/v1/runs"):
        for line in body.decode().splitlines():
            if line.startswith("data: "):
                check_event(json.loads(line.removeprefix("data: ")))


def schema_of(method: str, path: str, status: int, kind: str) -> dict[str, Any] | None:
    """Return the schema of a response; None if the test has added its route itself."""
    for pattern, methods in paths():
        if pattern.fullmatch(path) and (operation := methods.get(method.lower())):
            answers = operation["responses"]
            if status >= 400:
                assert kind == "application/json", kind
                return {"$ref": "#/components/schemas/ErrorBody"}
            assert str(status) in answers, f"{method} {path} answers with {status}"
            content = answers[str(status)].get("content", {})
            assert not content or kind in content, f"{method} {path} answers with {kind}"
            return content[kind]["schema"] if content else None
    return None


@cache
def paths() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    def found() -> Iterator[tuple[re.Pattern[str], dict[str, Any]]]:
        for path, methods in written("openapi.json")["paths"].items():
            yield re.compile(re.sub(r"\\{\w+\\}", ".+", re.escape(path))), methods

    return sorted(found(), key=lambda each: -len(each[0].pattern))


@cache
def in_openapi(schema: str) -> Draft202012Validator:
    components = written("openapi.json")["components"]
    return Draft202012Validator({**json.loads(schema), "components": components})
