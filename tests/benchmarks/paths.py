"""Measure the cost of each path: `python -m tests.benchmarks.paths [--quick] [--chats N]`.

The same prompts are answered three times: with the router, all light, and all by the full team. The
fleet is real. The model server plays every member of the team and counts its calls. It counts
tokens by bytes, and how many of a request it knew from the beginnings of earlier ones, as servers
with such a cache do. For each column it begins with an empty one.
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
from itertools import batched
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from websockets.asyncio.client import connect

import tests.benchmarks.configured  # noqa: F401 (the client checks events as the doors do)
from chat.workflow.agents import PLANNER, REVIEWER
from tests.chatting import AS_SCRIPT
from tests.prefix_cache import PrefixCache
from tests.scripted_model import Script, ScriptedModel
from tests.serving import running

PROMPTS = Path(__file__).parent.parent / "routing" / "prompts.jsonl"
MAX_RUNS = 8  # at once
FIRST_AFTER, PACE = 0.05, 0.004  # seconds, of every model call
LENGTH = 40  # words of every text

type Prompt = dict[str, Any]


@dataclass
class Column:
    """The cost of one way to answer all prompts."""

    calls: int = 0
    read: int = 0  # tokens
    cached: int = 0  # of these
    written: int = 0
    seconds: list[float] = field(default_factory=list)
    one_call: int = 0  # prompts labelled light that took one model call
    to_team: int = 0  # prompts labelled full that the team answered

    @property
    def tokens(self) -> int:
        return self.read + self.written


def scripted(length: int) -> ScriptedModel:
    """Return a model that plays every member of the team and always plans the same two subtasks."""
    model = ScriptedModel()
    model.default = Script(tokens=["word "] * length, first_after=FIRST_AFTER, pace=PACE)
    subtasks = [
        {"agent": "researcher", "task": "find the facts"},
        {"agent": "analyst", "task": "check the numbers"},
    ]
    model.as_agent(
        PLANNER.instructions,
        Script(tokens=[json.dumps({"subtasks": subtasks})], first_after=FIRST_AFTER),
    )
    model.as_agent(REVIEWER.instructions, Script(tokens=['{"score": 9}'], first_after=FIRST_AFTER))
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


def chats_of(prompts: Sequence[Prompt], length: int) -> list[list[Prompt]]:
    """Return the prompts as chats of so many; 0: each in its own, behind its context."""
    if length:
        return [list(chat) for chat in batched(prompts, length, strict=False)]
    return [[*({"text": text} for text in each.get("context", [])), each] for each in prompts]


async def measure(url: str, model: ScriptedModel, chats: list[list[Prompt]], mode: str) -> Column:
    column = Column()
    turns = asyncio.Semaphore(MAX_RUNS)
    before = len(model.calls)
    model.cache = PrefixCache()

    async def one(chat: list[Prompt]) -> None:
        conversation = None
        async with turns:
            for prompt in chat:
                is_context = "label" not in prompt
                started = time.perf_counter()
                conversation, usage = await ask(
                    url, prompt["text"], "light" if is_context else mode, conversation
                )
                if is_context:
                    continue
                column.seconds.append(time.perf_counter() - started)
                column.calls += usage["model_calls"]
                column.read += usage["input_tokens"]
                column.cached += usage.get("cached_tokens", 0)
                column.written += usage["output_tokens"]
                column.one_call += prompt["label"] == "light" and usage["model_calls"] == 1
                column.to_team += prompt["label"] == "full" and usage["model_calls"] > 1

    await asyncio.gather(*map(one, chats))
    earlier = sum("label" not in prompt for chat in chats for prompt in chat)
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
    parser.add_argument(
        "--chats", type=int, default=0, metavar="N", help="ask them in chats of N questions"
    )
    parser.add_argument(
        "--words", type=int, default=LENGTH, metavar="N", help="of every text (%(default)s)"
    )
    options = parser.parse_args()
    prompts = [json.loads(line) for line in options.file.read_text().splitlines()]
    if options.quick:
        prompts = prompts[:: max(1, len(prompts) // 50)][:50]
    chats = chats_of(prompts, options.chats)
    model = scripted(options.words)
    with (
        TemporaryDirectory() as folder,
        running(Path(folder), model, FLEET_LIGHT_THRESHOLD="") as fleet,
    ):
        url = fleet.address.replace("http", "ws") + "ws/chat/"
        routed = asyncio.run(measure(url, model, chats, "auto"))
        light = asyncio.run(measure(url, model, chats, "light"))
        full = asyncio.run(measure(url, model, chats, "full"))
    model.stop()
    show(prompts, {"with the router": routed, "all light": light, "all full": full})


def show(prompts: Sequence[Prompt], columns: dict[str, Column]) -> None:
    light = sum(prompt["label"] == "light" for prompt in prompts)
    most = columns["all full"]
    rows = {
        "model calls": [
            f"{column.calls:,} ({column.calls / most.calls:.0%})" for column in columns.values()
        ],
        "tokens": [
            f"{column.tokens:,} ({column.tokens / most.tokens:.0%})" for column in columns.values()
        ],
        "tokens read": [f"{column.read:,}" for column in columns.values()],
        "of these, cached": [
            f"{column.cached:,} ({column.cached / column.read:.0%})" for column in columns.values()
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
