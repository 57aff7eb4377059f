"""The parameters of a tool: a JSON Schema (2020-12) from its signature, and the check of arguments.

msgspec makes the schema and the typed values. jsonschema finds the faults: it reports all of them,
while msgspec stops at the first, so that a model can correct its call in one step.
"""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self, get_type_hints

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from .schema_bounds import Uncheckable, accepted, errors_in

MAX_FAULTS = 5
MAX_FAULT_CHARS = 200

# A keyword of schemas that people fill in: the names of the properties in their order, because
# PostgreSQL stores the objects of JSON in another one.
ORDER = "propertyOrder"

type Json = bool | int | float | str | list[Json] | dict[str, Json] | None
type Arguments = dict[str, Any]  # typed by the signature of each tool


class InvalidArguments(Exception):
    """Raised for arguments that do not fit; its text names the faults for the model to correct."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of one tool."""

    schema: dict[str, Any]
    _struct: type[msgspec.Struct] | None = None  # None for a schema that others have written

    @classmethod
    def of_schema(cls, schema: object) -> Self:
        """Return parameters with a schema from outside; raise InvalidSchema if it is broken."""
        return cls(accepted(schema))

    @property
    def schema_in_order(self) -> dict[str, Any]:
        """The schema, with the order of its properties as a keyword of its own."""
        return {**self.schema, ORDER: list(self.schema["properties"])}

    def check(self, given: dict[str, Json]) -> Arguments:
        """Return the arguments with their defaults, also for null, or raise InvalidArguments."""
        optional = self.schema["properties"].keys() - self.schema.get("required", [])
        # Many models send null for an argument that they leave out.
        given = {
            name: value
            for name, value in given.items()
            if value is not None or name not in optional or self.takes_null(name)
        }
        if faults := faults_in(given, self.schema):
            raise InvalidArguments("; ".join(faults))
        if self._struct is None:
            # Its server knows the defaults. Those that are told may be wrong.
            return given
        try:
            # Not strict: JSON Schema takes 2.0 for an integer.
            return msgspec.structs.asdict(msgspec.convert(given, type=self._struct, strict=False))
        except msgspec.ValidationError as exc:
            raise InvalidArguments(str(exc)) from exc

    def takes_null(self, name: str) -> bool:
        """Return True if null means something else than leaving the argument out."""
        return self._struct is None and not faults_in({name: None}, {**self.schema, "required": []})

    def told(self, arguments: Arguments) -> Arguments:
        """Return the arguments that differ from their defaults, which are those worth showing."""
        defaults = {
            name: schema["default"]
            for name, schema in self.schema["properties"].items()
            if "default" in schema
        }
        return {
            name: value
            for name, value in arguments.items()
            if name not in defaults or value != defaults[name]
        }


def faults_in(given: dict[str, Json], schema: dict[str, Any]) -> list[str]:
    """Return the first faults of arguments, as texts for a person or a model to correct."""
    try:
        errors = list(islice(errors_in(given, schema), MAX_FAULTS))
    except Uncheckable:
        return ["they take too long to check"]
    return [describe(error, schema.get("properties", {})) for error in errors]


def describe(error: ValidationError, properties: Iterable[str]) -> str:
    place = ".".join(str(part) for part in error.absolute_path)
    match error.validator:
        case "additionalProperties" | "required":
            text = f"{error.message} (there are: {', '.join(properties)})"
        case "enum":
            text = f"`{place}`: {error.message}"
        case "maxLength":
            text = f"`{place}` is longer than {error.validator_value} characters"
        case _:
            text = f"`{place}`: {error.message}"
    return text if len(text) <= MAX_FAULT_CHARS else text[: MAX_FAULT_CHARS - 1] + "…"


def parameters_of(function: Callable[..., Any], *, passed: Iterable[object]) -> Parameters:
    """Return the parameters that a model fills in: all but those of a type that is `passed`."""
    hints = get_type_hints(function, include_extras=True)
    passed = set(passed)
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for parameter in inspect.signature(function).parameters.values():
        annotation = hints[parameter.name]
        if annotation in passed:
            continue
        if parameter.default is inspect.Parameter.empty:
            fields.append((parameter.name, annotation))
        else:
            fields.append((parameter.name, annotation, parameter.default))
    struct = msgspec.defstruct(function.__name__, fields, kw_only=True, forbid_unknown_fields=True)
    schema = inlined(msgspec.json.schema(struct), function.__name__)
    Draft202012Validator.check_schema(schema)
    return Parameters(schema, struct)


def inlined(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the schema with the tool's object on top. Servers don't follow a reference there."""
    definitions = dict(schema["$defs"])
    top = {key: value for key, value in definitions.pop(name).items() if key != "title"}
    return {**top, "$defs": definitions} if definitions else top
