"""Measure the search cache: `python -m tests.benchmarks.searches`.

A real fleet answers the same questions twice, first with a cold and then with a warm cache.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from websockets.asyncio.client import connect

from tests.scripted_model import ScriptedModel
from tests.scripted_search import Answer, ScriptedSearch
from tests.serving import running

SEARCH_TAKES = 0.3  # seconds


@dataclass
class Column:
    """One round of all questions."""

    tool_ms: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    hits: int = 0


async def ask_all(url: str, questions: list[str]) -> Column:
    column = Column()
    for question in questions:
        async with connect(url) as socket:
            started = time.perf_counter()
            await socket.send(
                json.dumps({"message": question, "message_id": str(uuid.uuid4()), "mode": "light"})
            )
            async for frame in socket:
                event = json.loads(frame)
                if event["type"] == "tool.complete":
                    column.tool_ms.append(event["data"]["duration_ms"])
                    column.hits += event["data"]["cached"]
                elif event["type"] in ("done", "error"):
                    break
            column.seconds.append(time.perf_counter() - started)
    return column


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=50)
    count: int = parser.parse_args().questions
    questions = [f"What is the weather in town number {number} today?" for number in range(count)]
    model, search = ScriptedModel(), ScriptedSearch()
    search.default = Answer(after=SEARCH_TAKES)
    with (
        TemporaryDirectory() as folder,
        running(
            Path(folder),
            model,
            "--workers",
            "2",
            TAVILY_API_KEY="tvly-x",
            TAVILY_BASE_URL=search.url,
        ) as fleet,
    ):
        url = fleet.address.replace("http", "ws") + "ws/chat/"
        columns = {
            "cold": asyncio.run(ask_all(url, questions)),
            "warm": asyncio.run(ask_all(url, questions)),
        }
    upstream = len(search.queries)
    model.stop()
    search.stop()
    sys.stdout.write(
        f"{count} questions, 2 workers, a search takes {SEARCH_TAKES * 1000:.0f} ms;"
        f" {upstream} searches upstream\n\n"
    )
    sys.stdout.write("| what | cold | warm |\n|---|---:|---:|\n")
    rows = {
        "hit rate": [f"{column.hits / count:.0%}" for column in columns.values()],
        "tool call, median (ms)": [
            f"{statistics.median(column.tool_ms):.1f}" for column in columns.values()
        ],
        "tool call, p99 (ms)": [
            f"{statistics.quantiles(column.tool_ms, n=100)[98]:.1f}" for column in columns.values()
        ],
        "send to done, median (ms)": [
            f"{statistics.median(column.seconds) * 1000:.0f}" for column in columns.values()
        ],
    }
    for what, cells in rows.items():
        sys.stdout.write(f"| {what} | {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
