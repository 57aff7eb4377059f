"""Forms that a tool needs filled in: the flat JSON Schemas that MCP allows for this, and bounds.

The words are those of the tool's author, perhaps on another server. What isn't known of a schema is
left out: a page must be able to show all of it, and a regular expression may take forever.
"""

import math
import re
from collections.abc import Mapping
from datetime import date, datetime
from itertools import islice
from typing import Any

import ada_url
import msgspec
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError

from .names import parted
from .schema import MAX_FAULTS, ORDER, describe
from .untrusted import cut, one_line, visible, web_host

MAX_MESSAGE_CHARS = 2000
MAX_STATE_BYTES = 64 * 1024  # it is kept in the journal until the person replies
MAX_FIELDS = 20
MAX_NAME_CHARS = 60
MAX_OPTIONS = 100
MAX_LABEL_CHARS = 100
MAX_HINT_CHARS = 300
MAX_TEXT_CHARS = 4000  # that a person writes into one field
EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,255}")


class UnfitForm(ValueError):
    """Raised for a form that can't be shown; its text says why."""


class Form(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a person is asked for a tool. With a `url` they open a page, and have no fields.

    `state` is the tool's own, which it gets back with the reply.
    """

    message: str
    schema: dict[str, Any] = {}
    state: str = ""
    url: str = ""

    @property
    def defaults(self) -> dict[str, Any]:
        """The values that the fields begin with."""
        fields = self.schema.get("properties", {}).items()
        return {name: field["default"] for name, field in fields if "default" in field}


def asker_of(tool: str) -> str:
    """Return whose words a form of this tool has: an MCP server's, or the tool's own."""
    server, name = parted(tool)
    return server or name.replace("_", " ")


def request_of(tool: str, message: str, url: str) -> str:
    """Return what a form asks in one line that says whose words they are."""
    place = f" ({web_host(url)})" if url else ""
    return f"{asker_of(tool)} asks: {one_line(message)}{place}"


def form_of(message: str, schema: Mapping[str, Any] | None, *, state: str, url: str) -> Form:
    """Return a form that can be shown and kept. Raise UnfitForm."""
    message = cut(visible(message).strip(), MAX_MESSAGE_CHARS)
    if not message:
        raise UnfitForm("it has no message")
    if len(state.encode(errors="replace")) > MAX_STATE_BYTES:
        raise UnfitForm(f"its state has more than {MAX_STATE_BYTES // 1024} KiB")
    if url:
        if not web_host(url):
            raise UnfitForm("its address is not one of a page")
        return Form(message, object_of({}, []), state, url)
    return Form(message, flat(schema or {}), state)


def flat(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of an object with what is known of it. Raise UnfitForm."""
    properties = schema.get("properties")
    if schema.get("type", "object") != "object" or not isinstance(properties, Mapping):
        raise UnfitForm("its schema is not that of an object with properties")
    if not 0 < len(properties) <= MAX_FIELDS:
        raise UnfitForm(f"it needs between 1 and {MAX_FIELDS} fields")
    fields = {name_of(name): field_of(name, given) for name, given in properties.items()}
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(name in fields for name in required):
        raise UnfitForm("it requires what is no field")
    return object_of(fields, required)


def object_of(fields: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": fields,
        "required": required,
        "additionalProperties": False,
        ORDER: list(fields),
    }


def name_of(name: object) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS or name != one_line(name):
        raise UnfitForm(f"a field needs a name of at most {MAX_NAME_CHARS} characters")
    return name


def field_of(name: str, given: object) -> dict[str, Any]:
    """Return what is known of a field's schema. Raise UnfitForm."""
    if not isinstance(given, Mapping):
        raise UnfitForm(f"the field {name} has no schema")
    match given.get("type", "string" if "enum" in given or "oneOf" in given else None):
        case "string":
            field = options_of(name, given) or text_of(given)
        case "boolean":
            field = {"type": "boolean"}
        case "integer" | "number" as kind:
            field = {"type": kind, **numbers(given, "minimum", "maximum")}
        case "array":
            field = {"type": "array", "items": items_of(name, given), "uniqueItems": True}
            field |= counts(given, "minItems", "maxItems")
        case kind:
            raise UnfitForm(f"the field {name} has the type {cut(str(kind), 40)}")
    for key, max_chars in (("title", MAX_LABEL_CHARS), ("description", MAX_HINT_CHARS)):
        if isinstance(words := given.get(key), str) and (shown := one_line(words)):
            field[key] = cut(shown, max_chars)
    default = given.get("default")
    has_default = default is not None and not (isinstance(default, str) and "\0" in default)
    if has_default and not faults_of_form({name: default}, object_of({name: field}, [])):
        field["default"] = default
    return field


def text_of(given: Mapping[str, Any]) -> dict[str, Any]:
    field = {"type": "string", "maxLength": MAX_TEXT_CHARS} | counts(given, "minLength")
    field["maxLength"] = min(MAX_TEXT_CHARS, counts(given, "maxLength").get("maxLength", math.inf))
    if given.get("format") in FORMATS.checkers:
        field["format"] = given["format"]
    return field


def items_of(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    items = given.get("items")
    options = options_of(name, items) if isinstance(items, Mapping) else None
    if options is None:
        raise UnfitForm(f"the field {name} has several values, but none to choose from")
    return options


def options_of(name: str, given: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the schema of one of several texts; None if any text will do. Raise UnfitForm."""
    titled = given.get("oneOf", given.get("anyOf"))
    if titled is None and "enum" not in given:
        return None
    values, titles = given.get("enum"), given.get("enumNames")
    if titled is not None:
        parts = titled if isinstance(titled, list) else []
        values = [each.get("const") if isinstance(each, Mapping) else None for each in parts]
        titles = [each.get("title") if isinstance(each, Mapping) else None for each in parts]
    if (
        not isinstance(values, list)
        or not 0 < len(values) <= MAX_OPTIONS
        or not all(isinstance(each, str) and is_short(each) for each in values)
        or len(set(values)) < len(values)
    ):
        raise UnfitForm(f"the field {name} needs between 1 and {MAX_OPTIONS} texts to choose from")
    if not isinstance(titles, list) or len(titles) != len(values):
        titles = [None] * len(values)
        if all(len(each) <= MAX_LABEL_CHARS and each == one_line(each) for each in values):
            return {"type": "string", "enum": values}
    options = [
        {"const": value, "title": label_of(title) or label_of(value) or "–"}
        for value, title in zip(values, titles, strict=True)
    ]
    return {"type": "string", "oneOf": options}


def label_of(words: object) -> str:
    return cut(one_line(words), MAX_LABEL_CHARS) if isinstance(words, str) else ""


def is_short(text: str) -> bool:
    # PostgreSQL can't store a NUL.
    return len(text) <= MAX_TEXT_CHARS and "\0" not in text


def numbers(given: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {
        name: value
        for name in names
        if isinstance(value := given.get(name), int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    }


def counts(given: Mapping[str, Any], *names: str) -> dict[str, Any]:
    found = numbers(given, *names)
    return {name: value for name, value in found.items() if isinstance(value, int) and value >= 0}


FORMATS = FormatChecker(formats=())


@FORMATS.checks("email")
def is_email(value: object) -> bool:
    return not isinstance(value, str) or bool(EMAIL.fullmatch(value))


@FORMATS.checks("uri")
def is_uri(value: object) -> bool:
    return not isinstance(value, str) or ada_url.check_url(value)


@FORMATS.checks("date", raises=ValueError)
def is_date(value: object) -> bool:
    return not isinstance(value, str) or date.fromisoformat(value).isoformat() == value


@FORMATS.checks("date-time", raises=ValueError)
def is_moment(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


def choices_of(field: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the texts that a field of a form offers, each with its title; none if it has none."""
    spec = field.get("items", field)
    titled = [(each["const"], each["title"]) for each in spec.get("oneOf", [])]
    return titled or [(each, each) for each in spec.get("enum", [])]


def faults_of_form(values: Mapping[str, Any], schema: dict[str, Any]) -> list[str]:
    """Return the first faults of what a person filled in, as texts for them to correct."""
    validator = Draft202012Validator(schema, format_checker=FORMATS)
    errors = islice(validator.iter_errors(values), MAX_FAULTS)
    return [fault_of(error, schema["properties"]) for error in errors]


def fault_of(error: ValidationError, fields: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in error.absolute_path)
    match error.validator:
        case "oneOf" | "anyOf":
            return f"`{place}` is none of those to choose from"
        case "format":
            return f"`{place}` is no {error.validator_value}"
        case "minLength":
            return f"`{place}` is shorter than {error.validator_value} characters"
    return describe(error, fields)
