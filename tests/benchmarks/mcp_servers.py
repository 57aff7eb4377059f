"""What an MCP server costs a worker: `uv run python -m tests.benchmarks.mcp_servers`.

On two busy cores: import 480 ms of CPU time, open and list 41 ms (of a server that starts at once),
call p50 0.2 ms, p99 1.4. A worker grows by 35 MB with the SDK, by 1 MB with a server, and has a
watcher of 10 MB. A result of 900 KB keeps the loop busy for 2 ms, a list of 5,000 tools for 38.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import time

import django
import psutil

ENVIRONMENT = {**os.environ, "DJANGO_SETTINGS_MODULE": "agenticfleet.settings"}
CALLS = 500
MB = 2**20


def imports() -> float:
    """Return the seconds of CPU time that importing the SDK takes, after what a worker has."""
    code = """
import django, time
django.setup()
before = time.process_time()
import tooling.mcp.server
print(time.process_time() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    return float(done.stdout)


async def measure() -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    # Only now, to see what it takes.
    from tests.mcp.serving import called, lag_measured, playing, served

    with_sdk = process.memory_info().rss
    started = time.perf_counter()
    async with served(playing("good")) as services:
        opened = time.perf_counter() - started
        assert services.mcp
        tool = services.mcp.tools["shop__read"]
        times = []
        for number in range(CALLS):
            started = time.perf_counter()
            await tool.run({"text": str(number)}, services)
            times.append((time.perf_counter() - started) * 1000)
        grown = process.memory_info().rss
        [watcher] = [each for each in process.children() if "watcher.py" in str(each.cmdline())]
        print(f"open and list {opened * 1000:.0f} ms")
        print(f"call p50 {statistics.median(times):.1f} ms, p99 {sorted(times)[-CALLS // 100]:.1f}")
        print(
            f"memory: SDK {(with_sdk - before) / MB:.0f} MB, server {(grown - with_sdk) / MB:.0f}"
        )
        print(f"watcher {watcher.memory_info().rss / MB:.0f} MB")
    for part in ("large but fits", "many tools"):
        async with lag_measured() as lag, served(playing(part)) as services:
            if part != "many tools":
                assert (await called(services)).ok
        print(f"{part}: loop busy for {lag.longest * 1000:.0f} ms")


if __name__ == "__main__":
    print(f"import {imports() * 1000:.0f} ms of CPU time")
    os.environ.update(ENVIRONMENT)
    django.setup()
    asyncio.run(measure())
