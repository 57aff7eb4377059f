"""JSON Schema of structs, for each direction: what programs send, and what they get.

In what they get, a field with a default is always there, unless its struct leaves defaults out. All
that they get stays open: fields and types that a program doesn't know must not stop it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin

import msgspec
from msgspec import UNSET, UnsetType, inspect

from chat.protocol.events import AnyEvent
from chat.protocol.requests import Cancel, ChatRequest, ReplyRequest

type Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SENT = (ChatRequest, ReplyRequest, Cancel)


@dataclass(frozen=True, slots=True)
class Schemas:
    """The schemas of several types, and of the structs that they are made of, by name."""

    of: Sequence[Schema]
    named: dict[str, Schema] = field(default_factory=dict)


def of_sent(types: Iterable[Any], *, at: str) -> Schemas:
    """Return the schemas of what programs send. `at` is where those with names will stand."""
    schemas, named = msgspec.json.schema_components(types, ref_template=f"{at}{{name}}")
    other = {f"{at}{name}": f"{at}{apart(name)}" for name in named if apart(name) != name}
    return Schemas(
        [referring(schema, other) for schema in schemas],
        {apart(name): referring(schema, other) for name, schema in named.items()},
    )


def apart(name: str) -> str:
    """Return a name for programs. Of structs with one name, each has that of its door before it."""
    *modules, own = name.split(".")
    return f"{modules[-2].title()}{own}" if len(modules) > 1 else own


def of_got(types: Sequence[Any], *, at: str) -> Schemas:
    """Return the schemas of what programs get."""
    found = of_sent(types, at=at)
    structs = {(struct.__name__, fields_of(struct)): struct for struct in structs_in(types)}
    for schema in found.named.values():
        name = schema.get("title", "").partition("[")[0]
        if struct := structs.get((name, frozenset(schema.get("properties", ())))):
            always = set(always_there(struct))
            fields = schema["properties"]
            schema["required"] = [name for name in fields if name in always]
            for name in always:
                fields[name].pop("default", None)
            schema.pop("additionalProperties", None)
    return found


def both(sent: Sequence[Any], got: Sequence[Any], *, at: str) -> tuple[Schemas, Schemas]:
    """Return the schemas of both directions. A name with two meanings gets an end in what is sent.

    All names can stand in one place.
    """
    shown, asked = of_got(got, at=at), of_sent(sent, at=at)
    shared = {name: asked.named[name] for name in asked.named if name in shown.named}
    twice = {name for name, schema in shared.items() if shown.named[name] != schema}
    while more := {name for name in shared if references(shared[name], at) & twice} - twice:
        twice |= more
    if not twice:
        return asked, shown
    other = {f"{at}{name}": f"{at}{name}Input" for name in twice}
    named = {
        f"{name}Input" if name in twice else name: referring(schema, other)
        for name, schema in asked.named.items()
    }
    return Schemas([referring(schema, other) for schema in asked.of], named), shown


def references(schema: Any, at: str) -> set[str]:
    """Return the names to which a schema refers."""
    match schema:
        case {"$ref": str(place)}:
            return {place.removeprefix(at)}
        case dict():
            return set().union(*(references(each, at) for each in schema.values()))
        case list():
            return set().union(*(references(each, at) for each in schema))
    return set()


def referring(schema: Any, names: dict[str, str]) -> Any:
    """Return the schema with other references."""
    match schema:
        case str():
            return names.get(schema, schema)
        case dict():
            return {key: referring(value, names) for key, value in schema.items()}
        case list():
            return [referring(each, names) for each in schema]
    return schema


def structs_in(types: Iterable[Any]) -> Iterable[type[msgspec.Struct]]:
    """Yield the structs that these types are made of."""
    seen: set[Any] = set()

    def within(kind: inspect.Type) -> Iterable[type[msgspec.Struct]]:
        if isinstance(kind, inspect.StructType):
            struct = get_origin(kind.cls) or kind.cls
            if struct not in seen:
                seen.add(struct)
                yield struct
                for each in kind.fields:
                    yield from within(each.type)
            return
        for name in kind.__struct_fields__:
            value = getattr(kind, name)
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, inspect.Type):
                    yield from within(part)
                elif isinstance(part, inspect.Field):
                    yield from within(part.type)

    for kind in inspect.multi_type_info(types):
        yield from within(kind)


def fields_of(struct: type[msgspec.Struct]) -> frozenset[str]:
    """Return the names of the fields as they are sent. Structs of one name differ in them."""
    tag = struct.__struct_config__.tag_field
    return frozenset([*struct.__struct_encode_fields__, *((tag,) if tag else ())])


def always_there(struct: type[msgspec.Struct]) -> Iterable[str]:
    """Yield the names of the fields, as they are sent, that are never left out."""
    config = struct.__struct_config__
    if config.tag_field:
        yield config.tag_field
    for each in msgspec.structs.fields(struct):
        may_be_unset = each.default is UNSET or UnsetType in get_args(each.type)
        if each.required or not (config.omit_defaults or may_be_unset):
            yield each.encode_name


def events_schema(version: str) -> Schema:
    """Return the schema of a StreamEvent. Its definitions have all events and requests."""
    at = "#/$defs/"
    sent, got = both(SENT, [AnyEvent], at=at)
    return {
        "$schema": DIALECT,
        "title": "AgenticFleet: events and requests",
        "description": (
            f"Version {version}. Programs must skip types of events, fields and values that they"
            " don't know: later versions add some."
        ),
        "$ref": f"{at}StreamEvent",
        "$defs": defined(sent, got),
    }


def defined(sent: Schemas, got: Schemas) -> dict[str, Schema]:
    return {
        "StreamEvent": {"description": "What the server sends.", **got.of[0]},
        "Request": {"description": "What a client sends.", "anyOf": list(sent.of)},
        **dict(sorted({**got.named, **sent.named}.items())),
    }


def with_defaults() -> dict[str, Schema]:
    """Return the definitions for a reader that fills in what an older server leaves out."""
    at = "#/$defs/"
    return defined(of_sent(SENT, at=at), of_sent([AnyEvent], at=at))
