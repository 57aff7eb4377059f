"""The tools of a server, as models may read them: cleaned, bounded, and checked."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import mcp_types

from tooling.clusters import beginning
from tooling.names import NAME, PARTING, matches
from tooling.schema import Parameters
from tooling.schema_bounds import MAX_DEPTH, InvalidSchema
from tooling.tables import McpTable
from tooling.untrusted import cut, one_line, visible

MAX_DESCRIPTION_CHARS = 1000
MAX_HINT_CHARS = 500  # of a parameter
MAX_TOOLS = 200


@dataclass(frozen=True, slots=True)
class Definition:
    """A tool, as its server defines it."""

    tool: str  # its name at the server
    name: str  # the one that models call it by
    description: str
    parameters: Parameters


@dataclass(frozen=True, slots=True)
class Listing:
    """The tools of a server that there are, and why others are left out, by their names there."""

    definitions: Sequence[Definition]
    left_out: dict[str, str] = field(default_factory=dict)


def listing_of(
    server: str,
    table: McpTable,
    tools: Sequence[mcp_types.Tool],
    *,
    taken: Collection[str],
    is_cut: bool = False,
) -> Listing:
    """Return those of the tools that the table names and that can be used.

    `taken` are names of other tools. Takes milliseconds for each.
    """
    definitions: dict[str, Definition] = {}
    left_out = {}
    for tool in tools:
        if table.tools and not matches(tool.name, table.tools):
            continue
        name = name_of(server, tool.name)
        shown = cut(one_line(tool.name[:200]), 80)
        if len(definitions) == MAX_TOOLS:
            left_out[f"all after {MAX_TOOLS}"] = "too many"
            break
        if not tool.name or not NAME.fullmatch(name):
            left_out[shown] = "a name of other characters, or too long"
        elif name in taken or name in definitions:
            left_out[shown] = "the name is taken"
        else:
            try:
                definitions[name] = definition_of(name, tool)
            except InvalidSchema as exc:
                left_out[shown] = str(exc)
    if is_cut:
        left_out["all further pages"] = "too many"
    return Listing(list(definitions.values()), left_out)


def name_of(server: str, tool: str) -> str:
    """Return the name of a tool for models, whose servers take no dots and slashes."""
    return f"{server}{PARTING}{re.sub('[./]', '_', tool)}"


def definition_of(name: str, tool: mcp_types.Tool) -> Definition:
    """Return what models read of a tool. Raise InvalidSchema."""
    about = tool.description or tool.title or tool.name
    return Definition(
        tool.name,
        name,
        shortened(about, MAX_DESCRIPTION_CHARS),
        Parameters.of_schema(cleaned(tool.input_schema)),
    )


def cleaned(schema: Any, depth: int = 0) -> Any:
    """Return a schema without what people don't see. Raise InvalidSchema if it needs that."""
    if depth > MAX_DEPTH:
        raise InvalidSchema(f"it is deeper than {MAX_DEPTH} levels")
    match schema:
        case str():
            if schema != visible(schema):
                raise InvalidSchema("it has characters that people don't see")
        case list():
            return [cleaned(each, depth + 1) for each in schema]
        case dict():
            return {
                cleaned(key, depth + 1): cleaned(value, depth + 1)
                for key, given in schema.items()
                if (value := told(key, given)) is not None or given is None
            }
    return schema


def told(key: str, value: object) -> object:
    """Return the value of a keyword of a schema with clean words; None to leave it out."""
    match key, value:
        case "description" | "title", str():
            return shortened(value, MAX_HINT_CHARS)
        case (("$comment" | "pattern" | "default"), str()) if value != visible(value):
            return None
        case "examples", list():
            return None
    return value


def shortened(text: str, most: int) -> str:
    # Cleaning takes time in proportion: cut before and after.
    return cut(one_line(beginning(text, most * 4)), most)
