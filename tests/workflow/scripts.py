"""Workflows that are played in memory: what models say, and what is told and kept."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings as django_settings
from django.db import OperationalError

from chat.clock import Clock
from chat.llm.errors import ModelError
from chat.llm.faults.verdicts import unreachable
from chat.llm.messages import PULSE, ChatMessage, Finished, Piece, Reasoning, Text, WantedCall
from chat.llm.windows import Window
from chat.protocol.events import (
    ResponseDelta,
    ResponseSnapshot,
    StreamEvent,
    stamp,
)
from chat.protocol.terms import Usage
from chat.workflow.agents import (
    ANALYST,
    ASSISTANT,
    EDITOR,
    PLANNER,
    RESEARCHER,
    REVIEWER,
    WRITER,
    Agent,
)
from chat.workflow.answer import Answer, Resources
from chat.workflow.memory import Kept, Memory
from chat.workflow.opinion import Opinions
from chat.workflow.question import Question
from tooling.results import Output, Passage
from tooling.services import Services

USAGE = Usage(input_tokens=1, output_tokens=2, model_calls=1)

GONE = "gone"  # a model whose server is down

type Line = list[Piece] | ModelError

AGENTS = (ASSISTANT, PLANNER, RESEARCHER, ANALYST, WRITER, REVIEWER, EDITOR)


def says(
    *words: str,
    thinks: str = "",
    calls: Sequence[tuple[str, dict[str, Any]]] = (),
    hangs: bool = False,
) -> Line:
    wanted = [
        WantedCall(f"call-{name}-{number}", name, json.dumps(arguments))
        for number, (name, arguments) in enumerate(calls)
    ]
    thought = [Reasoning(thinks)] if thinks else []
    end = PULSE if hangs else Finished(USAGE, words=2)
    return [*thought, *map(Text, words), *wanted, end]


def searches(*queries: str) -> Line:
    return says("I look.", calls=[("web_search", {"query": query}) for query in queries])


PLAN = json.dumps(
    {
        "mode": "parallel",
        "subtasks": [
            {"agent": "researcher", "task": "part 1"},
            {"agent": "analyst", "task": "part 2"},
            {"agent": "researcher", "task": "part 3"},
        ],
    }
)
TEAM: dict[str, list[Line]] = {
    PLANNER.id: [says(PLAN)],
    RESEARCHER.id: [searches("kafka", "rabbit"), says("found ", "[1]", thinks="hm")],
    ANALYST.id: [says(calls=[("calculator", {"expression": "6 * 7"})]), says("it is 42")],
    WRITER.id: [says("a draft"), says("a better draft")],
    REVIEWER.id: [says('{"score": 3, "missing": ["more"]}')],
    EDITOR.id: [says("The ", "final ", "answer ", "[1].", thinks="let me see")],
}
SCRIPTS: dict[str, tuple[str, dict[str, list[Line]]]] = {
    "light": ("light", {ASSISTANT.id: [says("It ", "is ", "noon.")]}),
    "light with a tool": (
        "light",
        {
            ASSISTANT.id: [
                says("Let me see. ", calls=[("calculator", {"expression": "2 + 2"})]),
                says("It ", "is ", "4."),
            ]
        },
    ),
    "team": ("full", TEAM),
    "escalated": ("auto", {ASSISTANT.id: [says("I don't know", " that.")], **TEAM}),
    "a specialist fails": (
        "full",
        {**TEAM, ANALYST.id: [ModelError("model_error", "The model fell over.")]},
    ),
    "refused and repeated calls": (
        "full",
        {
            **TEAM,
            ANALYST.id: [
                says(
                    calls=[
                        ("calculator", {"expression": "1 + 1"}),
                        ("calculator", {"wrong": 1}),
                        ("no_tool", {}),
                    ]
                ),
                says(calls=[("calculator", {"expression": "1 + 1"}), ("calculator", {"wrong": 1})]),
                says("two"),
            ],
        },
    ),
    "an unreadable plan": ("full", {**TEAM, PLANNER.id: [says("no plan")]}),
}


class Pages:
    """A search that finds two pages for each query."""

    account = "test"

    async def search(self, request: dict[str, Any]) -> Output:
        await asyncio.sleep(0)
        query = request["query"]
        return Output(
            passages=tuple(
                Passage(f"{query} {n}", f"https://example.org/{query}/{n}", f"about {query}")
                for n in (1, 2)
            )
        )

    async def aclose(self) -> None:
        pass


@dataclass
class Models:
    """Plays a script by agent. What an agent says follows from what it has said before."""

    lines: dict[str, list[Line]]
    suffix: str = ""  # of each text, to say the same in other words
    prompts: list[tuple[str, list[ChatMessage]]] = field(default_factory=list)

    def window(self, model: str) -> Window:
        return Window(6000, 4096, 0)

    async def stream(
        self, messages: Sequence[ChatMessage], *, model: str, **_: object
    ) -> AsyncGenerator[Piece]:
        if model == GONE:
            raise unreachable("there", proxy="", reason="refused")
        agent = next(a for a in AGENTS if a.instructions == messages[0].content)
        self.prompts.append((agent.id, list(messages)))
        line = self.lines[agent.id][self.turn_of(agent, messages)]
        await asyncio.sleep(0)
        if isinstance(line, ModelError):
            yield Text("half a ")
            raise line
        for piece in line:
            is_prose = isinstance(piece, Text) and agent not in (PLANNER, REVIEWER)
            if piece is PULSE:
                await asyncio.Event().wait()
            yield Text(piece.text + self.suffix) if is_prose and self.suffix else piece

    def turn_of(self, agent: Agent, messages: Sequence[ChatMessage]) -> int:
        if agent is WRITER:
            return int("Missing or wrong" in messages[-1].content)
        return sum(message.role == "assistant" for message in messages)


@dataclass
class Ledger:
    """A journal in memory, with the same rule for results that ride."""

    stored: dict[str, Kept] = field(default_factory=dict)
    riding: dict[str, Kept] = field(default_factory=dict)
    fails_to_flush: bool = False

    def keep(self, name: str, value: str, *, rides: bool = False) -> None:
        assert name not in self.stored, "kept twice"
        self.riding[name] = Kept(value)
        if not rides:
            self.stored |= self.riding
            self.riding = {}

    async def flush(self) -> None:
        if self.fails_to_flush:
            raise OperationalError
        self.stored |= self.riding


@dataclass
class Played:
    """A workflow that was played, with what was stored at each event."""

    models: Models
    ledger: Ledger
    events: list[StreamEvent] = field(default_factory=list)
    stored: list[dict[str, Kept]] = field(default_factory=list)
    answer: Answer | None = None

    @property
    def calls(self) -> list[Any]:
        assert self.answer
        return self.answer.work.calls


async def play(
    name: str,
    memory: Memory | None = None,
    suffix: str = "",
    *,
    approved: frozenset[str] = frozenset(),
    seconds: float = 60,
    fails_to_flush: bool = False,
    on_begin: Callable[["Played"], None] = lambda played: None,
) -> Played:
    mode, lines = SCRIPTS[name]
    models = Models(lines, suffix)
    ledger = Ledger(dict(memory.kept) if memory else {}, fails_to_flush=fails_to_flush)
    played = Played(models, ledger)
    on_begin(played)

    def tell(event: StreamEvent) -> None:
        stamp(event, seq=len(played.events) + 1, workflow_id="run")
        played.events.append(event)
        played.stored.append(dict(ledger.stored))

    answer = played.answer = Answer(
        Question("How many are 6 * 7, and why?", mode, approved=approved),  # type: ignore[arg-type]
        Resources(models, Services(search=Pages()), Opinions(models)),  # type: ignore[arg-type]
        tell,
        clock=Clock(time.perf_counter()),
        journal=ledger,
        memory=memory,
        # Caps count seconds of work, of which so many are left.
        worked_s=django_settings.FLEET_FULL_CAPS.seconds - seconds,
    )
    await answer.write()
    return played


def text_of(events: Sequence[StreamEvent], text: str = "") -> str:
    for event in events:
        if isinstance(event, ResponseDelta):
            text += event.delta
        elif isinstance(event, ResponseSnapshot):
            text = event.data.text
    return text
