"""Compare the cost of runs by door: `python -m tests.benchmarks.doors [--runs 1000]`.

A real fleet answers blocks of questions over sockets, over chat completions and as an MCP server,
in turn. The exit code is 2 if a run by another door costs its worker more than MAX_RATIO of one by
a socket.
"""

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import aiohttp
import psutil
from websockets.asyncio.client import connect

from tests.scripted_model import Script, ScriptedModel
from tests.serving import Fleet, running

MAX_RATIO = 1.1
LENGTH = 100  # tokens of an answer
PACE = 0.002  # seconds between two tokens
BLOCK = 20  # runs
AT_ONCE = 8
OVER_BUDGET = 2  # the exit code; an exception's is 1
QUESTION = "What is the answer?"

# A key of its own making, so that all of its runs have one owner.
AS_PROGRAM = {"Authorization": "Bearer a-key-that-this-benchmark-has-made-itself"}

type Ask = Callable[[aiohttp.ClientSession, str], Awaitable[None]]


async def by_socket(session: aiohttp.ClientSession, address: str) -> None:
    """Ask over a socket of its own, as each message has one, and read the events."""
    url = f"{address.replace('http', 'ws', 1)}ws/chat/"
    request = {"message": QUESTION, "message_id": str(uuid4()), "mode": "light"}
    async with connect(url, additional_headers=AS_PROGRAM, compression=None, proxy=None) as socket:
        await socket.send(json.dumps(request))
        async for frame in socket:
            if '"type":"done"' in str(frame):
                return
    raise AssertionError("a socket has ended without an answer")


async def by_completions(session: aiohttp.ClientSession, address: str) -> None:
    """Ask for a chat completion on a connection that is kept, as clients do; read the stream."""
    body = {
        "model": "fleet-light",
        "messages": [{"role": "user", "content": QUESTION}],
        "stream": True,
    }
    async with session.post(f"{address}v1/chat/completions", json=body) as response:
        content = await response.read()
    assert content.endswith(b"data: [DONE]\n\n"), content[-300:]


async def by_mcp(session: aiohttp.ClientSession, address: str) -> None:
    """Call the tool `ask`, with its steps, on a connection that is kept."""
    given = {"name": "ask", "arguments": {"question": QUESTION, "mode": "light"}}
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {**given, "_meta": {"progressToken": 1}},
    }
    headers = {"Accept": "application/json, text/event-stream"}
    async with session.post(f"{address}mcp", json=body, headers=headers) as response:
        content = await response.read()
    assert b'"status":"completed"' in content, content[-300:]


DOORS: dict[str, Ask] = {
    "socket": by_socket,
    "chat completions": by_completions,
    "MCP": by_mcp,
}


async def block(fleet: Fleet, ask: Ask) -> float:
    """Return the CPU time of one run in its worker, in milliseconds."""
    [worker] = fleet.children("fleet-worker")
    turns = asyncio.Semaphore(AT_ONCE)
    async with aiohttp.ClientSession(headers=AS_PROGRAM) as session:

        async def one() -> None:
            async with turns:
                await ask(session, fleet.address)

        before = cpu_of(worker)
        await asyncio.gather(*(one() for _ in range(BLOCK)))
        return (cpu_of(worker) - before) * 1000 / BLOCK


def cpu_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def measure(fleet: Fleet, turns: int) -> float:
    """Print a line for each door. Return the greatest ratio to sockets, as the median of turns."""
    found: dict[str, list[float]] = {name: [] for name in DOORS}
    for ask in DOORS.values():
        await block(fleet, ask)  # Imports, compiles and connects.
    for number in range(turns):
        # In each order as often, so that a drift of the machine cancels out.
        for name in sorted(DOORS, reverse=bool(number % 2)):
            found[name].append(await block(fleet, DOORS[name]))
    ratios = {
        name: statistics.median(b / a for a, b in zip(found["socket"], times, strict=True))
        for name, times in found.items()
    }
    sys.stdout.write("| door | CPU of the worker per run | of a socket's |\n|---|---:|---:|\n")
    for name, times in found.items():
        sys.stdout.write(f"| {name} | {statistics.median(times):.2f} ms | {ratios[name]:.2f} |\n")
    return max(ratios.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="by each door (%(default)s)")
    options = parser.parse_args()
    model = ScriptedModel()
    model.default = Script(tokens=["word "] * LENGTH, pace=PACE)
    with (
        TemporaryDirectory(prefix="fleet-benchmark-") as name,
        running(Path(name), model, "--workers", "1", FLEET_LOG_LEVEL="warning") as fleet,
    ):
        ratio = asyncio.run(measure(fleet, max(1, options.runs // BLOCK)))
    model.stop()
    sys.stdout.write(f"at most {MAX_RATIO:.2f}\n")
    sys.exit(OVER_BUDGET if ratio > MAX_RATIO else 0)


if __name__ == "__main__":
    main()
