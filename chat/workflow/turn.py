"""What every path is made of: an agent's turn with its model and its tools, under the caps of the run.

Steps are generators of StreamEvents; what a step found stands in its `Turn` afterwards.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from math import inf
from typing import Any

from django.conf import settings

from chat.llm.chunks import MAX_CALLS
from chat.llm.errors import EmptyAnswer
from chat.llm.messages import ChatMessage, Finished, Pulse, Reasoning, Text, ToolCall
from chat.protocol.events import (
    AgentComplete,
    AgentOutput,
    AgentStart,
    AgentTiming,
    OrchestratorMessage,
    PhaseComplete,
    PhaseData,
    PhaseStart,
    PhaseTiming,
    ReasoningCompleted,
    ReasoningDelta,
    ResponseDelta,
    Source,
    StreamEvent,
    ToolCallData,
    ToolComplete,
    ToolRejected,
    ToolRejection,
    ToolResultData,
    ToolStart,
)
from chat.protocol.terms import Path, Usage
from tooling.toolbox import Rejection, ToolResult

from .agents import Agent
from .prompt import as_told, within
from .work import Stopwatch, Work


@dataclass(slots=True)
class Turn:
    """One agent's turn. Drive it by `events`; what it came to can be read afterwards, also of one that was cut."""

    agent: Agent
    work: Work
    messages: list[ChatMessage]
    max_tokens: int  # a round; of an answer, all its rounds together
    tools: frozenset[str] = frozenset()
    rounds: int = 1  # model calls, with tools between them
    is_answer: bool = False  # its words are the answer that the person reads
    schema: dict[str, Any] | None = None
    stops_when_short: bool = False  # of tool calls: somebody else takes over then

    rounds_used: int = 0
    words_used: int = 0  # in tokens
    usage: Usage = field(default_factory=Usage)
    is_cut: bool = False
    is_refused: bool = False
    ran_short: bool = False
    lacks: str = ""  # why it could not look up what it was asked
    _words: list[str] = field(default_factory=list)
    _watch: Stopwatch = field(default_factory=Stopwatch)
    _is_thinking: bool = False
    _is_over: bool = False

    @property
    def text(self) -> str:
        """What the agent said so far, all rounds together."""
        if len(self._words) > 1:
            self._words = ["".join(self._words)]
        return self._words[0] if self._words else ""

    async def events(
        self, first: ToolCall | None = None, *, lacking: str = ""
    ) -> AsyncGenerator[StreamEvent]:
        """What the agent does, at the moment it happens. ModelError where its model fails.

        `first` is a tool call that is made before the model is asked; its result goes with the question.
        `lacking` says why the tool that the question needs cannot be called.
        """
        yield AgentStart(agent_id=self.agent.id, author=self.agent.name)
        self.lacks = lacking
        for event in self._tell(lacking):
            yield event
        if first:
            async with aclosing(self._use_first(first)) as events:
                async for event in events:
                    yield event
        cap: str | None = None
        while self._is_to_speak:
            if self.rounds_used and (cap := self.work.meter.reached()):
                self.is_cut = True
                yield OrchestratorMessage(
                    message=f"The limit of {cap} is reached. {self.agent.name} stops here."
                )
                break
            async with aclosing(self._round()) as events:
                async for event in events:
                    yield event
        if self.is_answer and not self.text.strip() and not self._gives_up:
            raise (
                EmptyAnswer(f"The limit of {cap} was reached before the answer.")
                if cap
                else EmptyAnswer
            )
        if self.is_answer and self.is_cut:
            yield OrchestratorMessage(
                message=f"The answer reached the limit of {self.max_tokens:,} tokens."
            )
        for event in self.close():
            yield event

    @property
    def is_last_round(self) -> bool:
        """Whether nothing would be made of a tool's result any more."""
        return self.rounds_used >= self.rounds

    @property
    def _is_to_speak(self) -> bool:
        """Whether its model is asked once more: after tools, and at first, unless a tool has said it all."""
        if not self.rounds_used:
            return not self._words
        return not self.is_last_round and self.messages[-1].role == "tool" and not self._gives_up

    @property
    def _gives_up(self) -> bool:
        return self.ran_short and self.stops_when_short

    def close(self) -> list[StreamEvent]:
        """The events that end the turn, where it was not ended: also of one that was cut."""
        if self._is_over:
            return []
        self._is_over = True
        last: list[StreamEvent] = []
        if self._is_thinking:
            last.append(ReasoningCompleted(agent_id=self.agent.id))
        if self.text and not self.is_answer and self.schema is None:
            last.append(
                AgentOutput(agent_id=self.agent.id, author=self.agent.name, message=self.text)
            )
        return [
            *last,
            AgentComplete(
                agent_id=self.agent.id,
                author=self.agent.name,
                data=AgentTiming(self._watch.ms, self.usage),
            ),
        ]

    async def _round(self) -> AsyncGenerator[StreamEvent]:
        """One model call, and the tools that it asks for."""
        self.rounds_used += 1
        calls: list[ToolCall] = []
        said_before = len(self.text)
        async with aclosing(self._speak(calls)) as events:
            async for event in events:
                yield event
        self.messages.append(
            ChatMessage(
                "assistant",
                self.text[said_before:].lstrip(),
                tool_calls=[as_told(call) for call in calls],
            )
        )
        if not calls:
            return
        async with aclosing(merged([self._use(call) for call in calls])) as events:
            async for event in events:
                yield event

    async def _speak(self, calls: list[ToolCall]) -> AsyncGenerator[StreamEvent]:
        """The model's words as they come, and into `calls` what it wants called."""
        gap = "\n\n" if self._words else ""
        pieces = self.work.models.stream(
            within(self.messages, settings.FLEET_CONTEXT_TOKENS),
            model=model_of(self.agent.tier),
            max_tokens=self.max_tokens - self.words_used if self.is_answer else self.max_tokens,
            effort=self.work.question.effort,
            is_aside=not self.is_answer,
            # Who may not ask again is offered nothing: it has to answer. The built-in model does not know how to call.
            tools=()
            if self.is_last_round or settings.FLEET_MODEL_BUILTIN
            else self.work.toolbox.offered(self.tools),
            schema=self.schema,
        )
        async with aclosing(pieces):
            async for piece in pieces:
                self.work.last_activity_at = time.monotonic()
                match piece:
                    case Pulse():
                        pass
                    case Text():
                        words, gap = gap + piece.text, ""
                        for event in self._say(words):
                            yield event
                    case Reasoning():
                        self._is_thinking = True
                        yield ReasoningDelta(delta=piece.text, agent_id=self.agent.id)
                    case ToolCall():
                        calls.append(piece)
                    case Finished():
                        self.usage += piece.usage
                        self.words_used += piece.words
                        self.work.meter.tokens -= piece.words
                        self.is_cut, self.is_refused = piece.is_cut, piece.is_refused
                        if piece.wants_more:
                            message = f"{self.agent.name} wanted more than {MAX_CALLS} tools at once; the others are left out."
                            yield OrchestratorMessage(message=message)

    def _say(self, words: str) -> list[StreamEvent]:
        self._words.append(words)
        if self.is_answer:
            ended: list[StreamEvent] = (
                [ReasoningCompleted(agent_id=self.agent.id)] if self._is_thinking else []
            )
            self._is_thinking = False
            return [*ended, ResponseDelta(delta=words)]
        if self.schema is None:
            self._is_thinking = True
            return [ReasoningDelta(delta=words, agent_id=self.agent.id)]
        return []

    async def _use_first(self, call: ToolCall) -> AsyncGenerator[StreamEvent]:
        """A call that is made before the model is asked."""
        used = Use(self, call)
        async with aclosing(used.events()) as events:
            async for event in events:
                yield event
        if used.is_from_outside:
            self.lacks = used.failure
        if used.is_ok and used.is_from_outside:
            self._ask_with(used.text)
        else:
            for event in self._tell(used.text if used.is_ok else self.lacks):
                yield event

    def _tell(self, words: str) -> list[StreamEvent]:
        """Let the model know this with the question; the built-in one would spoil it, so there it is the answer as it stands."""
        if words and settings.FLEET_MODEL_BUILTIN:
            return self._say(words)
        if words:
            self._ask_with(words)
        return []

    def _ask_with(self, words: str) -> None:
        # Not as a tool's message, which weak models do not know.
        question = self.messages.pop().content
        self.messages.append(ChatMessage("user", f"{words}\n\n{question}"))

    async def _use(self, call: ToolCall) -> AsyncGenerator[StreamEvent]:
        """A call that the model asked for; it reads what came of it in its next round."""
        used = Use(self, call)
        async with aclosing(used.events()) as events:
            async for event in events:
                yield event
        self.ran_short = self.ran_short or used.is_beyond_cap
        self.messages.append(ChatMessage("tool", used.text, tool_call_id=call.id))


@dataclass(slots=True)
class Use:
    """One tool call of a turn: checked first, then made. `text` is what the model reads of it."""

    turn: Turn
    call: ToolCall
    text: str = ""
    is_ok: bool = False
    is_from_outside: bool = False
    failure: str = ""  # for a person
    is_beyond_cap: bool = False

    async def events(self) -> AsyncGenerator[StreamEvent]:
        agent, toolbox = self.turn.agent, self.turn.work.toolbox
        checked = toolbox.check(
            self.call.name,
            self.call.arguments,
            among=self.turn.tools,
            is_too_late=self.turn.is_last_round,
        )
        if isinstance(checked, Rejection):
            self.text, self.is_beyond_cap = checked.text, checked.reason == "cap_reached"
            data = ToolRejection(tool=checked.name, call_id=self.call.id, reason=checked.reason)
            yield ToolRejected(agent_id=agent.id, author=agent.name, data=data)
            return
        start = ToolCallData(tool=checked.name, call_id=self.call.id, arguments=checked.arguments)
        yield ToolStart(agent_id=agent.id, author=agent.name, data=start)
        result = await toolbox.make(checked)
        self.text, self.is_ok, self.is_from_outside, self.failure = (
            result.text,
            result.ok,
            checked.tool.untrusted,
            result.message,
        )
        yield ToolComplete(
            agent_id=agent.id, author=agent.name, data=result_data(result, self.call.id)
        )


def model_of(path: Path) -> str:
    """The model that answers on this path."""
    return settings.FLEET_LIGHT_MODEL if path == "light" else settings.FLEET_MODEL


def result_data(result: ToolResult, call_id: str) -> ToolResultData:
    return ToolResultData(
        tool=result.name,
        call_id=call_id,
        ok=result.ok,
        duration_ms=round(result.duration_ms, 2),
        cached=result.cached,
        age_s=result.age_s,
        stale=result.stale,
        repeated=result.repeated,
        message=result.message,
        sources=[
            Source(source.number, source.title, source.url, source.host, source.published)
            for source in result.sources
        ],
        credits=result.credits,
    )


async def phase(name: str, events: AsyncGenerator[StreamEvent]) -> AsyncGenerator[StreamEvent]:
    """The events between the marks of a phase."""
    watch = Stopwatch()
    yield PhaseStart(data=PhaseData(name))
    async with aclosing(events):
        async for event in events:
            yield event
    yield PhaseComplete(data=PhaseTiming(name, watch.ms))


async def merged(
    sources: Sequence[AsyncGenerator[StreamEvent]], *, until: float = inf
) -> AsyncGenerator[StreamEvent]:
    """The events of all sources, each at the moment it happens, up to time.monotonic() `until`.

    The first failure of a source is raised, and ends the others, as closing does.
    """
    queue: asyncio.Queue[StreamEvent | None] = asyncio.Queue()  # None: a source is done
    tasks = [asyncio.create_task(drain(source, queue)) for source in sources]
    try:
        working = len(tasks)
        while working:
            try:
                async with asyncio.timeout(
                    None if until == inf else max(0, until - time.monotonic())
                ):
                    event = await queue.get()
            except TimeoutError:
                return
            if event is not None:
                yield event
            else:
                working -= 1
                for task in tasks:
                    if task.done():
                        task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def drain(
    source: AsyncGenerator[StreamEvent], queue: "asyncio.Queue[StreamEvent | None]"
) -> None:
    try:
        async with aclosing(source):
            async for event in source:
                await queue.put(event)
    finally:
        queue.put_nowait(None)
