"""Tools as figures and metrics have them: under few names, and looked up when they are used."""

from django.conf import settings

from tooling.known import SWITCHED_OFF, TOOLS
from tooling.names import ALL, PARTING, matches, parted


def grouped(name: str) -> str:
    """Return the name of a tool; one for all tools of an MCP server, which may have any number."""
    server, _ = parted(name)
    return f"{server}{PARTING}{ALL}" if server else name


def exists(name: str) -> bool:
    """Return True for a tool of this fleet, or one that a server of it may have."""
    server, _ = parted(name)
    return server in settings.FLEET_FILE.file.mcp if server else name in {*TOOLS, *SWITCHED_OFF}


def is_cached(name: str) -> bool:
    """Return True if results of this tool are kept."""
    server, own = parted(name)
    if not server:
        return name in TOOLS and TOOLS[name].cache is not None
    table = settings.FLEET_FILE.file.mcp.get(server)
    return table is not None and matches(own, table.cache)
