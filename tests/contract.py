"""Whether what is sent fits the written contract."""

import json
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
