"""The structs of events and requests for programs in Python, out of the JSON Schema.

Closed sets of values are open in what a program gets: a value that a later version adds must not
keep an old program from reading the event.
"""

import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

from .changes import names_in, sent_names
from .schemas import Schema

HEAD = '''\
"""What goes over the socket: events, which the server sends, and requests.

Written by `manage.py contract --write` from the structs of chat/protocol; needs only msgspec.
"""

from typing import Any, Literal, get_args
from uuid import UUID

from msgspec import Struct

'''
TAIL = """

EVENT_TYPES: tuple[type[Event], ...] = get_args(StreamEvent)
"""
BASE = "Event"
SCALARS = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
}
AT = "#/$defs/"
WIDTH = 100


def protocol(schema: Schema) -> str:
    """Return the source of the module. `schema` has the defaults of what may be missing."""
    return HEAD + "\n".join(Writing(schema["$defs"], sent_names(schema)).module()) + TAIL


@dataclass(frozen=True)
class Writing:
    """The writing of one module."""

    named: Mapping[str, Schema]
    sent: set[str]

    def module(self) -> Iterator[str]:
        envelope, events = self.envelope(), part_names(self.named["StreamEvent"])
        for name in self.in_order():
            if name not in events:
                yield from self.struct(name, {})
        yield f'\nclass {BASE}(Struct, frozen=True, kw_only=True, tag_field="type"):'
        yield '    """What every event carries."""\n'
        yield from self.fields(envelope, [], str_for_values)
        yield ""
        for name in events:
            yield from self.struct(name, envelope)
        yield "\n# A program must skip events of other types."
        yield "StreamEvent = ("
        yield f"    {'\n    | '.join(events)}"
        yield ")"

    def envelope(self) -> dict[str, Schema]:
        """Return the fields that all events have in common."""
        events = [self.named[name]["properties"] for name in part_names(self.named["StreamEvent"])]
        return {
            name: schema
            for name, schema in events[0].items()
            if name != "type" and all(event.get(name) == schema for event in events)
        }

    def in_order(self) -> Iterator[str]:
        """Yield the names of the structs, each behind those that it is made of."""
        structs = {name for name, schema in self.named.items() if "properties" in schema}
        parts = {
            name: sorted(structs.intersection(names_in(self.named[name])))
            for name in sorted(structs)
        }
        yield from TopologicalSorter(parts).static_order()

    def struct(self, name: str, envelope: Mapping[str, Schema]) -> Iterator[str]:
        schema = self.named[name]
        fields = dict(schema["properties"])
        tag = fields.pop("type", {}).get("enum", [""])[0] if is_tagged(schema) else ""
        bases = [BASE if envelope else "Struct", "frozen=True", "kw_only=True"]
        if name in self.sent:
            bases.append("omit_defaults=True")
        if tag and not envelope:
            bases.append('tag_field="type"')
        if tag:
            bases.append(f'tag="{tag}"')
        yield ""
        yield from head(name, ", ".join(bases))
        words = list(docstring(schema))
        yield from words
        own = {key: kind for key, kind in fields.items() if key not in envelope}
        values = literal if name in self.sent else str_for_values
        written = list(self.fields(own, schema.get("required", ()), values))
        if words and written:
            yield ""
        yield from written if words or written else ["    pass"]
        yield ""

    def fields(
        self, fields: Mapping[str, Schema], required: Any, values: "Values"
    ) -> Iterator[str]:
        ordered = sorted(fields, key=lambda name: name not in required)
        for name in ordered:
            schema = fields[name]
            kind = self.kind(schema, values)
            if "default" in schema:
                yield f"    {name}: {kind} = {self.default(schema, schema['default'])}"
            elif name in required:
                yield f"    {name}: {kind}"
            else:
                yield f"    {name}: {kind} | None = None"

    def kind(self, schema: Schema, values: "Values") -> str:
        """Return a schema as an expression of types."""
        match schema:
            case {"$ref": str(place)}:
                return place.removeprefix(AT)
            case {"enum": list(found)}:
                return values(found)
            case {"anyOf": list(schemas)}:
                return " | ".join(self.kind(each, values) for each in schemas)
            case {"format": "uuid"}:
                return "UUID"
            case {"type": "array", "items": items}:
                return f"list[{self.kind(items, values)}]"
            case {"type": "object", "additionalProperties": dict(each)}:
                return f"dict[str, {self.kind(each, values)}]"
            case {"type": "object"}:
                return "dict[str, Any]"
            case {"type": str(kind)}:
                return SCALARS[kind]
        return "Any"

    def default(self, schema: Schema, value: Any) -> str:
        if not isinstance(value, dict) or "$ref" not in schema:
            return double_quoted(value)
        name = schema["$ref"].removeprefix(AT)
        fields = self.named[name]["properties"]
        others = [
            f"{key}={self.default(fields[key], each)}"
            for key, each in value.items()
            if fields[key].get("default", ...) != each
        ]
        return f"{name}({', '.join(others)})"


type Values = Callable[[list[str]], str]


def literal(values: list[str]) -> str:
    return f"Literal[{', '.join(map(double_quoted, values))}]"


def str_for_values(values: list[str]) -> str:
    return "str"


def double_quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def part_names(schema: Schema) -> list[str]:
    return [part["$ref"].removeprefix(AT) for part in schema["anyOf"]]


def is_tagged(schema: Schema) -> bool:
    return len(schema["properties"].get("type", {}).get("enum", ())) == 1


def head(name: str, bases: str) -> Iterator[str]:
    line = f"class {name}({bases}):"
    if len(line) <= WIDTH:
        yield line
    else:
        yield from (f"class {name}(", f"    {bases}", "):")


def docstring(schema: Schema) -> Iterator[str]:
    """Yield the lines of a docstring, as a formatter leaves them."""
    words = schema.get("description", "")
    if not words:
        return
    lines = words.splitlines()
    if len(lines) == 1 and len(words) + 10 <= WIDTH:
        yield f'    """{words}"""'
        return
    yield f'    """{lines[0]}'
    yield from (textwrap.indent(line, "    ") for line in lines[1:])
    yield '    """'
