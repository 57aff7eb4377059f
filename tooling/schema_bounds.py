"""JSON Schemas that others have written: which are accepted, and checks of values in bounds.

A schema of a few lines can take minutes, by references that branch or patterns that backtrack, or
never end, or ask another server.
"""

import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import msgspec
import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

MAX_BYTES = 32_768
MAX_DEPTH = 32
MAX_STEPS = 4000  # keywords looked at in one check, about 35 ms
PATTERN_TIMEOUT = 0.01  # seconds for all patterns of a check

# They look at each pair, match names by patterns, or walk through the schema by themselves. Their
# author checks them.
NOT_CHECKED = ("uniqueItems", "patternProperties", "unevaluatedItems", "unevaluatedProperties")

# What is left of the running check: its steps, and the seconds for its patterns.
_left: ContextVar[list[float]] = ContextVar("left")

type Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]


class InvalidSchema(Exception):
    """Raised for a schema that can't be used; its text says why."""


class Uncheckable(Exception):
    """Raised if the check of a value against a schema has no end in sight."""


def errors_in(value: object, schema: dict[str, Any]) -> Iterator[ValidationError]:
    """Yield the errors of a value. Raise Uncheckable if that takes too many steps."""
    _left.set([MAX_STEPS, PATTERN_TIMEOUT])
    # Without a registry of its own, it would fetch what a reference names.
    validator = BoundedValidator(schema, registry=Registry())
    try:
        yield from validator.iter_errors(value)
    except (RecursionError, ArithmeticError, Unresolvable) as exc:
        raise Uncheckable from exc


def accepted(given: object) -> dict[str, Any]:
    """Return the schema of an object in the form that tools have, or raise InvalidSchema."""
    try:
        written = msgspec.json.encode(given)
        if len(written) > MAX_BYTES:
            raise InvalidSchema(f"it is longer than {MAX_BYTES:,} bytes")
        schema = msgspec.json.decode(written)
        if depth_of(schema) > MAX_DEPTH:
            raise InvalidSchema(f"it is deeper than {MAX_DEPTH} levels")
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as exc:
        raise InvalidSchema("it is not JSON") from exc
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        raise InvalidSchema("it is not the schema of an object")
    if "$ref" in schema:
        raise InvalidSchema("it has a reference in place of properties")
    schema = {key: value for key, value in schema.items() if key not in ("$schema", "$id")}
    schema = {**schema, "type": "object", "properties": schema.get("properties", {})}
    if isinstance(properties := schema["properties"], dict):
        schema["properties"] = {name: as_object(each) for name, each in properties.items()}
    rewrite_tuples(schema)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as exc:
        raise InvalidSchema(f"{exc.json_path}: {exc.message[:200]}") from exc
    except RecursionError as exc:
        raise InvalidSchema("it is too deep") from exc
    # What looks references up takes it for granted that each keyword has a value of its kind.
    check_references(schema)
    try:
        for value in ({}, dict.fromkeys(schema["properties"])):
            for _ in errors_in(value, schema):
                pass
    except Uncheckable as exc:
        raise InvalidSchema("its references have no end") from exc
    return schema


def as_object(schema: object) -> object:
    """Return a schema that is true or false as an object that says the same."""
    match schema:
        case True:
            return {}
        case False:
            return {"not": {}}
    return schema


def depth_of(value: object) -> int:
    match value:
        case dict():
            return 1 + max(map(depth_of, value.values()), default=0)
        case list():
            return 1 + max(map(depth_of, value), default=0)
    return 0


def rewrite_tuples(value: object) -> None:
    """Rewrite the schemas of tuples from the form that older drafts have."""
    if isinstance(value, dict):
        if isinstance(value.get("items"), list):
            value["prefixItems"] = value.pop("items")
            if "additionalItems" in value:
                value["items"] = value.pop("additionalItems")
        for each in value.values():
            rewrite_tuples(each)
    elif isinstance(value, list):
        for each in value:
            rewrite_tuples(each)


def check_references(schema: dict[str, Any]) -> None:
    """Raise InvalidSchema for references to other documents, or to nothing."""
    resolver = Registry().with_resource("", DRAFT202012.create_resource(schema)).resolver()
    waiting: list[object] = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for key in ("$ref", "$dynamicRef"):
                if not isinstance(reference := value.get(key, "#"), str):
                    continue
                if not reference.startswith("#"):
                    raise InvalidSchema(f"it refers to another document, {reference[:100]!r}")
                try:
                    resolver.lookup(reference)
                except Unresolvable as exc:
                    raise InvalidSchema(f"it has nothing at {reference[:100]!r}") from exc
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def counted(keyword: Keyword) -> Keyword:
    """Return the keyword so that it counts as a step."""

    def check(validator: Any, wanted: Any, value: Any, schema: Any) -> Any:
        left = _left.get()
        left[0] -= 1
        if left[0] < 0:
            raise Uncheckable
        return keyword(validator, wanted, value, schema)

    return check


def pattern(validator: Any, wanted: str, value: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(value, str) and not matches(wanted, value):
        yield ValidationError(f"{value!r} does not match {wanted!r}")


def matches(wanted: str, text: str) -> bool:
    """Return True if the pattern is in the text, also if that can't be said in time."""
    left = _left.get()
    if left[1] <= 0:
        return True
    started = time.perf_counter()
    try:
        return regex.search(wanted, text, timeout=left[1]) is not None
    except (TimeoutError, regex.error):
        return True
    finally:
        left[1] -= time.perf_counter() - started


def nothing(validator: Any, wanted: Any, value: Any, schema: Any) -> None:
    return None


def additional(validator: Any, wanted: Any, value: Any, schema: Any) -> Any:
    # Names that patterns describe are left to the author of the schema.
    if "patternProperties" in schema:
        return None
    return Draft202012Validator.VALIDATORS["additionalProperties"](validator, wanted, value, schema)


BoundedValidator = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {
        name: counted(keyword)
        for name, keyword in {
            **Draft202012Validator.VALIDATORS,
            "pattern": pattern,
            "additionalProperties": additional,
            **dict.fromkeys(NOT_CHECKED, nothing),
        }.items()
    },
)
