"""Tools as figures and metrics have them: under few names, and looked up when they are used."""

from fnmatch import fnmatchcase

from django.conf import settings

from tooling.known import SWITCHED_OFF, TOOLS


def grouped(name: str) -> str:
    """Return the name of a tool; one for all tools of an MCP server, which may have any number."""
    server, mark, _ = name.partition("__")
    return f"{server}__*" if mark else name


def exists(name: str) -> bool:
    """Return True for a tool of this fleet, or one that a server of it may have."""
    server, mark, _ = name.partition("__")
    return server in settings.FLEET_FILE.file.mcp if mark else name in {*TOOLS, *SWITCHED_OFF}


def is_cached(name: str) -> bool:
    """Return True if results of this tool are kept."""
    server, mark, own = name.partition("__")
    if not mark:
        return name in TOOLS and TOOLS[name].cache is not None
    table = settings.FLEET_FILE.file.mcp.get(server)
    return table is not None and any(fnmatchcase(own, pattern) for pattern in table.cache)
