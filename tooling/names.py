"""Names of tools: those of MCP servers, and patterns that stand for several."""

import re
from collections.abc import Collection

# What model servers accept as the name of a function.
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
ALL = "*"  # what a pattern may end with, to stand for all names that begin so
PARTING = "__"  # between an MCP server and its tool; no other name has it


def matches(name: str, patterns: Collection[str]) -> bool:
    """Return True if the name is among these; one that ends with `*` stands for what begins so."""
    return name in patterns or any(
        pattern.endswith(ALL) and name.startswith(pattern[: -len(ALL)]) for pattern in patterns
    )


def parted(tool: str) -> tuple[str, str]:
    """Return the MCP server of a tool, and its name there; no server for any other tool."""
    server, _, name = tool.partition(PARTING)
    return (server, name) if name else ("", tool)
