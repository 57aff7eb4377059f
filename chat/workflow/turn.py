"""An agent's turn: model calls with tools between them, under the caps of the run."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from chat.clock import Stopwatch
from chat.llm.chunks import MAX_CALLS
from chat.llm.errors import EmptyAnswer, ModelError
from chat.llm.messages import (
    ChatMessage,
    Finished,
    Piece,
    Pulse,
    Reasoning,
    Text,
    WantedCall,
)
from chat.protocol.events import (
    AgentComplete,
    AgentOutput,
    AgentStart,
    ReasoningCompleted,
    ReasoningDelta,
    ResponseDelta,
    ToolComplete,
    ToolRejected,
    ToolStart,
)
from chat.protocol.payloads import (
    AgentTask,
    AgentTiming,
    SourceData,
    ToolCallData,
    ToolRejection,
    ToolResultData,
)
from chat.protocol.terms import Path, Usage
from tooling.toolbox import Rejection, ToolResult

from .agents import Agent
from .calls import CallRecord
from .prompt import as_told, within
from .work import Work

YIELD_EVERY_N_PIECES = 16


@dataclass(slots=True)
class Said:
    """The result of a turn, or the part so far."""

    is_cut: bool = False  # it had more to say than it may write
    cap: str = ""  # the cap of the path that stopped it between two rounds
    is_refused: bool = False
    ran_short: bool = False  # of tool calls
    lacks: str = ""  # why it could not look up what it was asked
    words: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All rounds together."""
        if len(self.words) > 1:
            self.words = ["".join(self.words)]
        return self.words[0] if self.words else ""


@dataclass(slots=True)
class Turn:
    """One agent's turn. `take` it once; `said` can be read at any time, even if it was cut."""

    agent: Agent
    work: Work
    messages: list[ChatMessage]
    max_tokens: int  # of a round; of an answer, all its rounds together
    tools: frozenset[str] = frozenset()
    rounds: int = 1  # model calls, with tools between them
    is_answer: bool = False  # its words are the answer that the person reads
    schema: dict[str, Any] | None = None
    task: str = ""  # what followers are told that it was asked; empty for the question itself
    # A light answer that needs more tools than it may use need not be finished, if the team would
    # answer anyway.
    stops_when_short: bool = False

    said: Said = field(default_factory=Said)
    rounds_used: int = 0
    tokens_used: int = 0  # of words; hidden thinking aside
    calls: list[CallRecord] = field(default_factory=list)
    is_thinking: bool = False
    is_done: bool = False  # it ended by itself

    async def take(self, first: WantedCall | None = None, *, lacking: str = "") -> Said:
        """Let the agent work and return what it said. Raise ModelError if its model fails.

        `first` is a tool call that is made before the model is asked; its result goes with the
        question. `lacking` says why the tool that the question needs cannot be called.
        """
        with self.announced():
            self.said.lacks = lacking
            self.inform(lacking)
            if first:
                await self.use_first(first)
            await self.speak_in_rounds()
            if self.is_answer and not self.said.text.strip() and not self.gives_up:
                raise self.empty_answer()
            if self.is_answer and self.said.is_cut:
                self.work.say(f"The answer reached the limit of {self.max_tokens:,} tokens.")
            self.is_done = True
        return self.said

    def empty_answer(self) -> EmptyAnswer:
        if self.said.cap:
            return EmptyAnswer(f"The limit of {self.said.cap} was reached before the answer.")
        return EmptyAnswer()

    @contextmanager
    def announced(self) -> Iterator[None]:
        """Tell the agent's start and, however its turn ends, its output and its end."""
        watch = Stopwatch(self.work.clock)
        self.work.tell(
            AgentStart(agent_id=self.agent.id, author=self.agent.name, data=AgentTask(self.task))
        )
        with self.work.ending_with(lambda cut: self.tell_end(watch, cut=cut)):
            yield

    def tell_end(self, watch: Stopwatch, *, cut: bool) -> None:
        cut = cut or bool(self.said.cap)
        self.stop_thinking()
        # A plan or a review is shown by the step that reads it.
        if self.said.text and not self.is_answer and self.schema is None:
            self.work.tell(
                AgentOutput(agent_id=self.agent.id, author=self.agent.name, message=self.said.text)
            )
        calls = [call.data for call in self.calls]
        usage = sum((call.usage for call in calls), Usage())
        timing = AgentTiming(watch.ms, usage, cut, watch.started_ms, calls)
        self.work.tell(AgentComplete(agent_id=self.agent.id, author=self.agent.name, data=timing))

    # --- Rounds

    async def speak_in_rounds(self) -> None:
        """Ask the model until it calls no more tools, or a cap is reached."""
        while self.may_speak:
            if self.rounds_used and (cap := self.work.meter.reached()):
                self.said.cap = cap
                self.work.say(f"The limit of {cap} is reached. {self.agent.name} stops here.")
                return
            await self.take_round()

    @property
    def may_speak(self) -> bool:
        """Return True if the model is asked, or asked again."""
        if not self.rounds_used:
            # A tool's result may be the whole answer.
            return not self.said.words
        return not self.is_last_round and self.messages[-1].role == "tool" and not self.gives_up

    @property
    def is_last_round(self) -> bool:
        return self.rounds_used >= self.rounds

    @property
    def gives_up(self) -> bool:
        return self.said.ran_short and self.stops_when_short

    async def take_round(self) -> None:
        """Make one model call, and the tool calls that it asks for."""
        self.rounds_used += 1
        said_before = len(self.said.text)
        calls = await self.speak()
        text = self.said.text[said_before:].lstrip()
        told = [as_told(call) for call in calls]
        self.messages.append(ChatMessage("assistant", text, tool_calls=told))
        if not calls:
            return
        async with asyncio.TaskGroup() as group:
            uses = [group.create_task(self.use(call)) for call in calls]
        for call, use in zip(calls, uses, strict=True):
            result = use.result()
            if isinstance(result, Rejection) and result.reason == "cap_reached":
                self.said.ran_short = True
            self.messages.append(ChatMessage("tool", result.text, tool_call_id=call.id))

    async def speak(self) -> list[WantedCall]:
        """Make one model call: tell its words as they come and return the tool calls it wants."""
        calls: list[WantedCall] = []
        messages = within(self.messages, settings.FLEET_CONTEXT_TOKENS)
        gap = "\n\n" if self.said.words else ""
        pieces = 0
        model = model_of(self.agent.tier)
        with self.work.calling(model, messages, is_of_agent=True) as call:
            self.calls.append(call)
            async with aclosing(self.stream(model, messages, call.traceparent)) as stream:
                async for piece in stream:
                    self.work.last_activity_at = time.monotonic()
                    call.hear(piece)
                    match piece:
                        case Pulse():
                            pass
                        case Text():
                            self.tell_words(gap + piece.text)
                            gap = ""
                        case Reasoning():
                            self.tell_thought(piece.text)
                        case WantedCall():
                            calls.append(piece)
                        case Finished():
                            self.finish_round(piece)
                    pieces += 1
                    if not pieces % YIELD_EVERY_N_PIECES:
                        # `tell` never waits, so a model that sends much at once would keep
                        # followers and other runs from their turn.
                        await asyncio.sleep(0)
        return calls

    def stream(
        self, model: str, messages: Sequence[ChatMessage], traceparent: str
    ) -> AsyncGenerator[Piece]:
        """Return the pieces of one model call."""
        # In the last round no tools are offered, so that the model must answer. The built-in model
        # cannot call any.
        is_offered = not self.is_last_round and not settings.FLEET_MODEL_BUILTIN
        return self.work.models.stream(
            messages,
            model=model,
            max_tokens=self.max_tokens - self.tokens_used if self.is_answer else self.max_tokens,
            effort=self.work.question.effort,
            is_aside=not self.is_answer,
            tools=self.work.toolbox.offered(self.tools) if is_offered else (),
            schema=self.schema,
            traceparent=traceparent,
        )

    def finish_round(self, end: Finished) -> None:
        self.tokens_used += end.words
        self.work.meter.tokens -= end.words
        self.said.is_cut, self.said.is_refused = end.is_cut, end.is_refused
        if end.wants_more:
            self.work.say(
                f"{self.agent.name} wanted more than {MAX_CALLS} tools at once;"
                " the others are left out."
            )

    # --- Words

    def tell_words(self, words: str) -> None:
        """Add to what the agent said. Readers see it as the answer, as a thought, or not at all."""
        self.said.words.append(words)
        if self.is_answer:
            self.stop_thinking()
            self.work.tell(ResponseDelta(delta=words))
        elif self.schema is None:
            self.tell_thought(words)

    def tell_thought(self, words: str) -> None:
        self.is_thinking = True
        self.work.tell(ReasoningDelta(delta=words, agent_id=self.agent.id))

    def stop_thinking(self) -> None:
        if self.is_thinking:
            self.is_thinking = False
            self.work.tell(ReasoningCompleted(agent_id=self.agent.id))

    # --- Tools

    async def use_first(self, call: WantedCall) -> None:
        """Make a tool call before the model is asked, and put its result before the question."""
        result = await self.use(call)
        if isinstance(result, Rejection):
            return self.inform(self.said.lacks)
        if result.untrusted:
            self.said.lacks = result.message
        if not result.ok:
            return self.inform(self.said.lacks)
        # Even the built-in model may phrase what was found outside: that is not an answer yet.
        return (
            self.put_before_question(result.text) if result.untrusted else self.inform(result.text)
        )

    def inform(self, words: str) -> None:
        """Put this before the question; for the built-in model, make it the answer."""
        # The built-in model would spoil it ("12 * 7 = 640").
        if words and settings.FLEET_MODEL_BUILTIN:
            self.tell_words(words)
        elif words:
            self.put_before_question(words)

    def put_before_question(self, words: str) -> None:
        # Not as a message of role "tool", which weak models do not know.
        question = self.messages.pop().content
        self.messages.append(ChatMessage("user", f"{words}\n\n{question}"))

    async def use(self, call: WantedCall) -> ToolResult | Rejection:
        """Check a tool call, make it if it is right, and return the outcome for the model."""
        toolbox = self.work.toolbox
        checked = toolbox.check(
            call.name, call.arguments, among=self.tools, is_too_late=self.is_last_round
        )
        if isinstance(checked, Rejection):
            data = ToolRejection(tool=checked.name, call_id=call.id, reason=checked.reason)
            self.work.tell(ToolRejected(agent_id=self.agent.id, author=self.agent.name, data=data))
            return checked
        start = ToolCallData(tool=checked.name, call_id=call.id, arguments=checked.arguments)
        self.work.tell(ToolStart(agent_id=self.agent.id, author=self.agent.name, data=start))
        watch = Stopwatch(self.work.clock)
        made: list[ToolResult] = []

        def tell_end(cut: bool) -> None:
            result = made[0] if made else ToolResult(checked.name, "", ok=False, message="stopped")
            data = result_data(result, call.id, watch, cut=cut)
            self.work.tell(ToolComplete(agent_id=self.agent.id, author=self.agent.name, data=data))

        with self.work.ending_with(tell_end):
            made.append(await toolbox.make(checked))
        return made[0]


async def side_by_side(turns: Sequence[Turn], *, until: float, forgiving: type[ModelError]) -> bool:
    """Let agents work at once until all are done or it is time.monotonic() `until`.

    Return False if a turn was cut at that time. A failure of the kind `forgiving` ends only the
    turn of that agent. Any other failure ends all turns and is raised.
    """
    tasks = [asyncio.create_task(finish(turn, forgiving)) for turn in turns]
    try:
        await asyncio.wait(
            tasks,
            timeout=max(0, until - time.monotonic()),
            return_when=asyncio.FIRST_EXCEPTION,
        )
    finally:
        for task in tasks:
            task.cancel()
        # Wait until the turns have told their ends.
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled():
            task.result()
    return not any(task.cancelled() for task in tasks)


async def finish(turn: Turn, forgiving: type[ModelError]) -> None:
    try:
        await turn.take()
    except forgiving as exc:
        turn.work.say(f"{turn.agent.name} could not finish: {exc}")


def model_of(path: Path) -> str:
    """Return the name of the model that answers on this path."""
    return settings.FLEET_LIGHT_MODEL if path == "light" else settings.FLEET_MODEL


def result_data(result: ToolResult, call_id: str, watch: Stopwatch, *, cut: bool) -> ToolResultData:
    """Return a tool's result as an event carries it."""
    return ToolResultData(
        tool=result.name,
        call_id=call_id,
        ok=result.ok,
        duration_ms=watch.ms,
        cached=result.cached,
        age_s=result.age_s,
        stale=result.stale,
        repeated=result.repeated,
        message=result.message,
        sources=[
            SourceData(source.number, source.title, source.url, source.host, source.published)
            for source in result.sources
        ],
        credits=result.credits,
        started_ms=watch.started_ms,
        cut=cut,
    )
