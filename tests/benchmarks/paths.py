"""Measure the cost of each path: `python -m tests.benchmarks.paths [--quick]`.

The same prompts are answered three times: with the router, all light, and all by the full team. The
fleet is real. The model server plays every member of the team and counts its calls. It reports no
usage, so the product estimates tokens from the texts, for all columns alike.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from websockets.asyncio.client import connect

from chat.workflow.agents import PLANNER, REVIEWER
from tests.chatting import AS_SCRIPT
from tests.scripted_model import Script, ScriptedModel
from tests.serving import running

PROMPTS = Path(__file__).parent.parent / "routing" / "prompts.jsonl"
MAX_RUNS = 8
FIRST_AFTER, PACE = 0.05, 0.004  # seconds, of every model call
LENGTH = 40  # tokens of every text


@dataclass
class Column:
    """The cost of one way to answer all prompts."""

    calls: int = 0
    tokens: int = 0
    seconds: list[float] = field(default_factory=list)
    one_call: int = 0  # prompts labelled light that took one model call
    to_team: int = 0  # prompts labelled full that the team answered


def scripted() -> ScriptedModel:
    """Return a model that plays every member of the team and always plans the same two subtasks."""
    model = ScriptedModel()
    model.default = Script(
        tokens=["word "] * LENGTH, first_after=FIRST_AFTER, pace=PACE, usage=False
    )
    subtasks = [
        {"agent": "researcher", "task": "find the facts"},
        {"agent": "analyst", "task": "check the numbers"},
    ]
    model.as_agent(
        PLANNER.instructions,
        Script(tokens=[json.dumps({"subtasks": subtasks})], first_after=FIRST_AFTER, usage=False),
    )
    model.as_agent(
        REVIEWER.instructions, Script(tokens=['{"score": 9}'], first_after=FIRST_AFTER, usage=False)
    )
    return model


async def ask(
    url: str, text: str, mode: str, conversation: str | None = None
) -> tuple[str, dict[str, Any]]:
    """Ask a question; return its conversation and the usage of its answer."""
    async with connect(url, additional_headers=AS_SCRIPT) as socket:
        request = {
            "message": text,
            "message_id": str(uuid.uuid4()),
            "mode": mode,
            "conversation_id": conversation,
        }
        await socket.send(json.dumps(request))
        events: dict[str, dict[str, Any]] = {}
        while not events.keys() & {"done", "error"}:
            event = json.loads(await socket.recv())
            events[event["type"]] = event
        return events["connected"]["data"]["conversation_id"], events["response.completed"]["data"][
            "usage"
        ]


async def measure(
    url: str, model: ScriptedModel, prompts: Sequence[dict[str, Any]], mode: str
) -> Column:
    column = Column()
    turns = asyncio.Semaphore(MAX_RUNS)
    before = len(model.calls)

    async def one(prompt: dict[str, Any]) -> None:
        async with turns:
            conversation = None
            for earlier in prompt.get("context", []):
                conversation, _ = await ask(url, earlier, "light", conversation)
            started = time.perf_counter()
            _, usage = await ask(url, prompt["text"], mode, conversation)
            column.seconds.append(time.perf_counter() - started)
            column.calls += usage["model_calls"]
            column.tokens += usage["input_tokens"] + usage["output_tokens"]
            column.one_call += prompt["label"] == "light" and usage["model_calls"] == 1
            column.to_team += prompt["label"] == "full" and usage["model_calls"] > 1

    await asyncio.gather(*map(one, prompts))
    earlier = sum(len(prompt.get("context", [])) for prompt in prompts)
    assert len(model.calls) - before - earlier == column.calls, (
        "the server counted other calls than the product"
    )
    return column


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        default=PROMPTS,
        help="lines of JSON with text, label and context",
    )
    parser.add_argument("--quick", action="store_true", help="50 prompts")
    options = parser.parse_args()
    prompts = [json.loads(line) for line in options.file.read_text().splitlines()]
    if options.quick:
        prompts = prompts[:: max(1, len(prompts) // 50)][:50]
    model = scripted()
    with (
        TemporaryDirectory() as folder,
        running(Path(folder), model, FLEET_LIGHT_THRESHOLD="") as fleet,
    ):
        url = fleet.address.replace("http", "ws") + "ws/chat/"
        routed = asyncio.run(measure(url, model, prompts, "auto"))
        light = asyncio.run(measure(url, model, prompts, "light"))
        full = asyncio.run(measure(url, model, prompts, "full"))
    model.stop()
    show(prompts, {"with the router": routed, "all light": light, "all full": full})


def show(prompts: Sequence[dict[str, Any]], columns: dict[str, Column]) -> None:
    light = sum(prompt["label"] == "light" for prompt in prompts)
    most = columns["all full"]
    rows = {
        "model calls": [
            f"{column.calls:,} ({column.calls / most.calls:.0%})" for column in columns.values()
        ],
        "tokens": [
            f"{column.tokens:,} ({column.tokens / most.tokens:.0%})" for column in columns.values()
        ],
        "seconds to done, median": [
            f"{statistics.median(column.seconds):.2f}" for column in columns.values()
        ],
        "light asks answered with one call": [
            f"{column.one_call} of {light}" for column in columns.values()
        ],
        "full asks answered by the team": [
            f"{column.to_team} of {len(prompts) - light}" for column in columns.values()
        ],
    }
    sys.stdout.write(
        f"{len(prompts)} prompts, {light} of them light\n\n"
        f"| what | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}\n"
    )
    for what, cells in rows.items():
        sys.stdout.write(f"| {what} | {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
