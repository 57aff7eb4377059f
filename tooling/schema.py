"""The parameters of a tool: a JSON Schema (2020-12) from its signature, and the check of arguments.

msgspec makes the schema (`signatures`) and the typed values. jsonschema finds the faults: it
reports all of them, while msgspec stops at the first, so that a model can correct its call in one
step.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

import msgspec
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
            made = msgspec.convert(given, type=self._struct, strict=False, dec_hook=made_of_text)
            return msgspec.structs.asdict(made)
        except (msgspec.ValidationError, TypeError, ValueError, ArithmeticError) as exc:
            # As of a set whose members can't be compared.
            raise InvalidArguments(str(exc)) from exc

    def takes_null(self, name: str) -> bool:
        """Return True if null means something else than leaving the argument out."""
        return self._struct is None and not faults_in({name: None}, {**self.schema, "required": []})

    def told(self, arguments: Arguments) -> Arguments:
        """Return the arguments that differ from their defaults, as JSON: those worth showing.

        Those of a schema from outside are all shown: they are sent, and its defaults may be wrong.
        """
        if self._struct is None:
            told: Arguments = as_json(arguments)
            return told
        defaults = {
            name: schema["default"]
            for name, schema in self.schema["properties"].items()
            if "default" in schema
        }
        return {
            name: value
            for name, value in as_json(arguments).items()
            if name not in defaults or value != defaults[name]
        }


def as_json(value: object, *, allow_nan: bool = True) -> Any:
    """Return a value of any type as JSON has it.

    Raise ValueError for a number that JSON doesn't have, unless `allow_nan`.
    """
    plain = msgspec.to_builtins(value, str_keys=True, enc_hook=str)
    return json.loads(json.dumps(plain, allow_nan=allow_nan))


def made_of_text(kind: type, value: object) -> object:
    """Return the value of a type that is written as a text and that msgspec doesn't know."""
    try:
        return kind(value)
    except (LookupError, OSError, ArithmeticError) as exc:
        # msgspec says of ValueError and TypeError where they are.
        raise ValueError(str(exc)) from exc


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
