"""The MCP servers of one event loop, and the tools that they have now."""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from types import MappingProxyType

from tooling.registry import Tool
from tooling.tables import McpTable, ToolTable
from tooling.watching import Watcher

from .connecting import to_the_end
from .pins import Judge, all_open
from .server import Server

JUDGING_INTERVAL = 3.0  # seconds until workers see that a definition was accepted


class Servers:
    """The connections to the configured servers, by their names in fleet.toml.

    `limits` are those of tools. `judge` returns why definitions of a server must not be used.
    `secrets` are taken out of what the servers say. `wanted` are names of tools that the operator
    has written elsewhere; those that no tool has are logged.
    """

    def __init__(
        self,
        tables: Mapping[str, McpTable],
        limits: Mapping[str, ToolTable] = MappingProxyType({}),
        judge: Judge = all_open,
        secrets: Collection[str] = (),
        wanted: Collection[str] = (),
    ) -> None:
        self.servers = {
            name: Server(name, table, limits=limits, judge=judge, secrets=secrets, wanted=wanted)
            for name, table in tables.items()
        }
        self._keeping: asyncio.Task[None] | None = None

    @property
    def tools(self) -> dict[str, Tool]:
        """All tools, by the names that models read: `server__tool`."""
        return {
            name: tool for server in self.servers.values() for name, tool in server.tools.items()
        }

    async def keep(self) -> None:
        """Keep all servers open for as long as the worker lives."""
        self._keeping = asyncio.current_task()
        with ExitStack() as stack:
            has_programs = any(server.table.command for server in self.servers.values())
            watcher = stack.enter_context(Watcher()) if has_programs else None
            # What is entered in a task must be left in it, so each connection has one.
            tasks = [
                asyncio.create_task(server.keep(watcher), name=f"MCP server {name}")
                for name, server in self.servers.items()
            ]
            judging = asyncio.create_task(self.keep_judging(), name="definitions of MCP servers")
            try:
                done, _ = await asyncio.wait([*tasks, judging], return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
            finally:
                judging.cancel()
                await to_the_end(self.leave(tasks))

    async def keep_judging(self) -> None:
        """Look at what is closed again and again, until an operator has accepted it."""
        while True:
            await asyncio.sleep(JUDGING_INTERVAL)
            for server in self.servers.values():
                await server.judge_again()

    async def leave(self, tasks: list[asyncio.Task[None]]) -> None:
        for server, task in zip(self.servers.values(), tasks, strict=True):
            server.is_leaving = True
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def tried(self, within: float) -> None:
        """Wait until each server has been open or has failed, for so many seconds at most."""
        waits = [asyncio.ensure_future(each.tried.wait()) for each in self.servers.values()]
        _, late = await asyncio.wait(waits, timeout=within)
        for wait in late:
            wait.cancel()

    async def aclose(self) -> None:
        """End the programs, and close the connections."""
        if self._keeping and not self._keeping.done():
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
