"""The MCP servers of one event loop, and the tools that they have now."""

from collections.abc import Mapping

from tooling.registry import Tool
from tooling.tables import McpTable


class Servers:
    """The connections to the configured servers, by their names in fleet.toml.

    `tools` are those that may be called, by the names that models read: `server__tool`.
    """

    def __init__(self, tables: Mapping[str, McpTable]) -> None:
        self.tables = tables
        self.tools: dict[str, Tool] = {}

    async def keep(self) -> None:
        """Keep all servers open for as long as the worker lives."""

    async def aclose(self) -> None:
        """End the programs, and close the connections."""
