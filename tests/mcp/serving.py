"""MCP servers of tests: programs that play a part, and what a run's toolbox does with them."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tooling.calls import Call, Rejection, ToolResult
from tooling.mcp.server import Judge, all_open
from tooling.mcp.servers import Servers
from tooling.services import Services
from tooling.tables import McpTable, ToolTable
from tooling.toolbox import Toolbox

PLAYER = Path(__file__).with_name("player.py")
HTTP_PLAYER = PLAYER.with_name("http_player.py")
PATIENCE = 20.0  # seconds


def playing(part: str, **fields: Any) -> McpTable:
    """Return the table of a server that plays this part."""
    table = {"command": [sys.executable, "-I", "-S", str(PLAYER), part], "read": ["*"], **fields}
    return McpTable(**table)


@asynccontextmanager
async def served(
    table: McpTable,
    *,
    limits: dict[str, ToolTable] | None = None,
    judge: Judge = all_open,
    secrets: Collection[str] = (),
    wanted: Collection[str] = (),
) -> AsyncIterator[Services]:
    """Keep a server with the name shop; yield services that have it, when it was tried."""
    servers = Servers({"shop": table}, limits or {}, judge, secrets, wanted)
    keeping = asyncio.create_task(servers.keep())
    try:
        await servers.tried(PATIENCE)
        yield Services(mcp=servers)
    finally:
        await servers.aclose()
        with suppress(asyncio.CancelledError):
            await keeping


def checked(services: Services, name: str = "shop__read", **arguments: Any) -> Call | Rejection:
    """Return the call of a new run, checked."""
    assert services.mcp
    box = Toolbox(services, allowed=frozenset(services.mcp.tools), max_calls=5)
    return box.check(name, arguments)


async def called(services: Services, name: str = "shop__read", **arguments: Any) -> ToolResult:
    """Return the result of a call of a new run."""
    assert services.mcp
    box = Toolbox(services, allowed=frozenset(services.mcp.tools), max_calls=5)
    call = box.check(name, arguments)
    assert isinstance(call, Call), call
    return await box.make(call)


async def until(condition: Callable[[], bool], within: float = PATIENCE) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


def children(path: Path = PLAYER) -> list[psutil.Process]:
    """Return the programs of this path that run, also those that have lost their parents."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if str(path) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


class Lag:
    """Measures for how long, in seconds of the loop's own work, nothing else could run."""

    longest = 0.0

    async def measure(self) -> None:
        while True:
            started = time.thread_time()
            await asyncio.sleep(0.001)
            self.longest = max(self.longest, time.thread_time() - started)


@asynccontextmanager
async def lag_measured() -> AsyncIterator[Lag]:
    lag = Lag()
    task = asyncio.create_task(lag.measure())
    try:
        yield lag
    finally:
        task.cancel()


@asynccontextmanager
async def answering(part: str, port: int = 0) -> AsyncIterator[str]:
    """Start a server that plays this part over HTTP, and yield its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(HTTP_PLAYER), part, str(port)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
