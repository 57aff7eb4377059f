"""TypeScript types out of the JSON Schema of events and requests."""

import json
from collections.abc import Iterator

from .schemas import Schema

HEAD = """\
// Written by `manage.py contract --write` from the structs of chat/protocol.
// Skip types of events, fields and values that you don't know: later versions add some.
"""
SCALARS = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}
AT = "#/$defs/"


def typescript(schema: Schema) -> str:
    """Return the source of a module with a type for each definition."""
    return "\n".join([HEAD, *map("\n".join, map(definition, schema["$defs"].items()))])


def definition(item: tuple[str, Schema]) -> Iterator[str]:
    name, schema = item
    yield from comment(schema)
    if "properties" not in schema:
        yield f"export type {name} = {written(schema)};\n"
        return
    yield f"export interface {name} {{"
    for field, kind in schema["properties"].items():
        is_optional = field not in schema.get("required", ())
        yield f"  {field}{'?' if is_optional else ''}: {written(kind)};"
    yield "}\n"


def comment(schema: Schema) -> Iterator[str]:
    if lines := schema.get("description", "").splitlines():
        yield "/**"
        yield from (f" * {line}".rstrip() for line in lines)
        yield " */"


def written(schema: Schema) -> str:
    """Return a schema as an expression of types."""
    match schema:
        case {"$ref": str(place)}:
            return place.removeprefix(AT)
        case {"enum": list(values)}:
            return " | ".join(json.dumps(value) for value in values)
        case {"anyOf": list(schemas)}:
            return " | ".join(map(written, schemas))
        case {"type": "array"}:
            return f"Array<{written(schema.get('items', {}))}>"
        case {"type": "object"}:
            each = schema.get("additionalProperties")
            return f"Record<string, {written(each) if isinstance(each, dict) else 'unknown'}>"
        case {"type": str(kind)}:
            return SCALARS[kind]
    return "unknown"
