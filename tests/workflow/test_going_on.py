"""A workflow that is cut at any moment and played again arrives where it stopped.

Each script is played once to its end. Then it is cut behind each of its events, with and without
the newest result that was kept, and played again with what the journal and the readers have. The
model says the same words as before, or others.
"""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import OperationalError
from pytest_django import Settings

from chat.clock import Clock
from chat.llm.errors import ModelError
from chat.llm.messages import PULSE, ChatMessage, Finished, Piece, Reasoning, Text, WantedCall
from chat.protocol.events import (
    OrchestratorMessage,
    ReasoningDelta,
    ResponseDelta,
    ResponseSnapshot,
    RoutingDecided,
    StreamEvent,
    ToolComplete,
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
from chat.workflow.retelling import identity
from tooling.results import Output, Passage
from tooling.services import Services

USAGE = Usage(input_tokens=1, output_tokens=2, model_calls=1)

type Line = list[Piece] | ModelError

PHASES = ["answer", "analysis", "research", "writing", "review", "revision", "final"]
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

    async def stream(self, messages: Sequence[ChatMessage], **_: object) -> AsyncGenerator[Piece]:
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


def cuts_of(played: Played) -> Iterator[tuple[int, dict[str, Kept]]]:
    """Yield how many events readers have at a cut, and what is stored by then."""
    for place, stored in enumerate(played.stored):
        yield place, stored
        if stored:
            # The newest result was kept in the last moment, and did not get stored.
            yield place, dict(list(stored.items())[:-1])


def steps(events: Sequence[StreamEvent]) -> Counter[Any]:
    """Count the steps, without those that a cut changes."""
    return Counter(
        identity(event)
        for event in events
        if not isinstance(event, ResponseDelta | ReasoningDelta | ResponseSnapshot)
    )


@pytest.mark.parametrize("suffix", ["", "!"], ids=["same words", "other words"])
@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_workflow_that_is_cut_anywhere_goes_on(
    name: str, suffix: str, settings: Settings
) -> None:
    settings.FLEET_LIGHT_THRESHOLD = 0
    whole = await play(name)
    other = await play(name, suffix=suffix)
    texts = {text_of(whole.events), text_of(other.events)}
    undisturbed = Counter(agent for agent, _ in whole.models.prompts)
    for place, stored in cuts_of(whole):
        had = whole.events[:place]
        memory = Memory(
            kept=stored,
            told=[e for e in had if not isinstance(e, ResponseDelta | ReasoningDelta)],
            text=text_of(had),
        )
        again = await play(name, memory, suffix)
        where = f"cut behind event {place} with {len(stored)} results"
        # Text: right in the end, and never shorter but by a snapshot.
        text = text_of(again.events, memory.text)
        if suffix and not any(step.startswith(("final/", "answer/")) for step in stored):
            assert text in texts, where
        assert text.replace("!", "") == text_of(whole.events), where
        # Each step was told exactly once.
        assert steps([*had, *again.events]) == steps(whole.events), where
        # Only what was not kept is asked for again.
        made = Counter(agent for agent, _ in again.models.prompts)
        kept = Counter(
            step.split("/")[1].partition("-")[0]
            for step in stored
            if step.rpartition("/")[2].isdecimal() or step.endswith("/end")
        )
        assert made == undisturbed - kept, where
        # A phase that is over makes no calls, nor does a light answer that was taken back.
        begun = [phase for phase in PHASES if any(step.startswith(phase) for step in stored)]
        before = PHASES[: PHASES.index(begun[-1])] if begun else []
        phases = {phase_of(agent) for agent in made}
        assert phases.isdisjoint(before), where
        is_escalated = any(
            isinstance(event, RoutingDecided) and event.data.escalated for event in had
        )
        if is_escalated and stored == whole.stored[place]:
            assert "answer" not in phases, where
        # A source keeps its number.
        assert has_one_number_for_each_source([*had, *again.events]), where
        # Each call is counted, and once. Readers may know of calls whose results were not kept.
        numbers = [call.number for call in again.calls]
        assert len(set(numbers)) == len(numbers) >= len(whole.calls), where
        if not suffix:
            assert prompts_of(again) <= prompts_of(whole), where


def phase_of(agent: str) -> str:
    """Return the phase of an agent; of the writer, the last one it is at work in."""
    return {
        ASSISTANT.id: "answer",
        PLANNER.id: "analysis",
        RESEARCHER.id: "research",
        ANALYST.id: "research",
        REVIEWER.id: "review",
        EDITOR.id: "final",
    }.get(agent, "revision")


def has_one_number_for_each_source(events: Sequence[StreamEvent]) -> bool:
    pairs = {
        (source.number, source.url)
        for event in events
        if isinstance(event, ToolComplete)
        for source in event.data.sources
    }
    return len({n for n, _ in pairs}) == len({url for _, url in pairs}) == len(pairs)


async def test_what_is_kept_is_played_again_even_if_the_caps_are_reached() -> None:
    whole = await play("team")
    kept = whole.ledger.stored
    assert "revision/writer/1" in kept
    again = await play("team", Memory(kept), seconds=0)
    assert [agent for agent, _ in again.models.prompts] == [EDITOR.id]
    assert not any(isinstance(event, OrchestratorMessage) for event in again.events)


async def test_caps_count_what_earlier_workers_spent() -> None:
    whole, again = await play("team"), await play("team")
    assert whole.answer
    again = await play("team", Memory(whole.ledger.stored))
    assert again.answer
    assert again.answer.work.meter.tokens == whole.answer.work.meter.tokens


def prompts_of(played: Played) -> set[str]:
    """Return the prompts, without the secret marks around text from outside."""
    return {re.sub(r"\b[0-9a-f]{8}\b", "", repr(messages)) for _, messages in played.models.prompts}
