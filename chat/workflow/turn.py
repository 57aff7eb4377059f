"""An agent's turn: model calls with tools between them, under the caps of the run."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from chat.clock import Stopwatch
from chat.llm.dialects.calls import MAX_CALLS
from chat.llm.errors import EmptyAnswer, ModelError
from chat.llm.messages import (
    ChatMessage,
    Finished,
    Piece,
    Pulse,
    Reasoning,
    Remark,
    Retraction,
    Text,
    WantedCall,
)
from chat.llm.servers import is_stand_in
from chat.protocol.events import (
    AgentComplete,
    AgentOutput,
    AgentStart,
    ReasoningCompleted,
    ReasoningDelta,
    ResponseDelta,
    ResponseSnapshot,
)
from chat.protocol.payloads import AgentTask, AgentTiming, SnapshotData
from chat.protocol.terms import Usage
from tooling.calls import Rejection
from tooling.registry import Tool
from tooling.sentences import sentence

from .agent_models import (
    is_of_server,
    model_instead,
    model_now,
    model_of,
    tell_model,
    window_of,
)
from .agents import Agent
from .calls import CallRecord, KeptCall
from .offering import tools_to_offer, window_beside, with_called
from .prompt import Prompt, as_told
from .reading import fit, tell_unread
from .said import Said
from .stand_in import said_by_tool
from .steps import Round, TurnEnd, Used
from .together import every
from .tool_use import ToolUse
from .work import Work

YIELD_EVERY_N_PIECES = 16
CAP_BEFORE_ANSWER = sentence("The limit of %(cap)s was reached before the answer.")
CAP_REACHED = sentence("The limit of %(cap)s is reached. %(agent)s stops here.")
TOO_MANY_CALLS = sentence(
    "%(agent)s wanted more than %(count)s tools at once; the others are left out."
)


@dataclass(slots=True)
class Turn:
    """One agent's turn. `take` it once; `said` can be read at any time, even if it was cut."""

    agent: Agent
    work: Work
    prompt: Prompt
    max_tokens: int  # of a round; of an answer, all its rounds together
    tools: frozenset[str] = frozenset()  # that it may call; its model is offered some of them
    wanted: frozenset[str] = frozenset()  # the first of these to offer
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
    calls: list[CallRecord | KeptCall] = field(default_factory=list)
    is_thinking: bool = False
    is_done: bool = False  # it ended by itself
    has_spoken: bool = False  # the model, in the current round: words or thoughts
    _offered: list[Tool] | None = None  # to `_asked`, with each round
    _asked: str = ""  # the model of the last round
    _kept_calls: set[int] = field(default_factory=set)  # the numbers of those that rounds have

    def __post_init__(self) -> None:
        self.max_tokens = min(self.max_tokens, window_of(self.agent, self.work).output_tokens)

    async def take(self, first: WantedCall | None = None, *, lacking: str = "") -> Said:
        """Let the agent work and return what it said. Raise ModelError if its model fails.

        `first` is a tool call that is made before the model is asked; its result goes with the
        question. `lacking` says why the tool that the question needs cannot be called.
        """
        with self.announced():
            self.said.lacks = lacking
            self.warn(lacking)
            try:
                if first:
                    await self.use_first(first)
                await self.speak_in_rounds()
            except ModelError as exc:
                self.keep_end(exc)
                raise
            if self.is_answer and not self.said.text.strip() and not self.gives_up:
                raise self.empty_answer()
            if self.is_answer:
                for lack in self.said.lacking(self.tokens_used, self.max_tokens):
                    self.work.say(lack)
            self.is_done = True
        return self.said

    def empty_answer(self) -> EmptyAnswer:
        if self.said.cap:
            return EmptyAnswer(CAP_BEFORE_ANSWER % {"cap": self.said.cap})
        return EmptyAnswer()

    @contextmanager
    def announced(self) -> Iterator[None]:
        """Tell the agent's start and, however its turn ends, its output and its end."""
        watch = self.work.begin(
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
            # A round that an earlier worker has made was within the caps.
            is_kept = self.work.has_kept(f"{self.agent.id}/{self.rounds_used + 1}")
            if self.rounds_used and not is_kept and (cap := self.work.meter.reached()):
                self.said.cap = cap
                self.work.say(CAP_REACHED % {"cap": cap, "agent": self.agent.name})
                return
            await self.take_round()

    @property
    def may_speak(self) -> bool:
        """Return True if the model is asked, or asked again."""
        if not self.rounds_used:
            # A tool's result may be the whole answer.
            return not self.said.words
        calls_tools = self.prompt.messages[-1].role == "tool"
        return calls_tools and not self.is_last_round and not self.gives_up

    @property
    def is_last_round(self) -> bool:
        return self.rounds_used >= self.rounds

    @property
    def gives_up(self) -> bool:
        return self.said.ran_short and self.stops_when_short

    async def take_round(self) -> None:
        """Make one model call, and the tool calls that it asks for."""
        self.rounds_used += 1
        await self.prepare(model_now(self.agent, self.work))
        made = await self.work.once(
            f"{self.agent.id}/{self.rounds_used}",
            Round,
            self.unless_ended(self.speak),
            retell=self.retell,
            # Directly behind the end of the answer comes the end of the run.
            is_free=lambda made: self.is_answer and not made.calls,
        )
        if not self.work.is_inherited(f"{self.agent.id}/{self.rounds_used}"):
            self._kept_calls.add(made.call.number)
        self.tokens_used += made.words
        self.said.is_cut, self.said.is_refused = made.is_cut, made.is_refused
        self.said.is_filtered = made.is_filtered
        # Thinking may have used up the limit, and an estimate may be half of the real number.
        spent = self.tokens_used * (2 if made.call.estimated else 1)
        self.said.is_cut_early = (
            made.is_cut and not made.call.reasoning_tokens and spent < self.max_tokens
        )
        if made.wants_more:
            self.work.say(TOO_MANY_CALLS % {"agent": self.agent.name, "count": MAX_CALLS})
        text = made.text.lstrip()
        if not made.calls:
            self.prompt.messages.append(ChatMessage("assistant", text))
            return
        self.work.is_answering = False
        uses = await every(self.use(call, number) for number, call in enumerate(made.calls))
        told = [as_told(used.call) for used in uses]
        results = [ChatMessage("assistant", text, tool_calls=told)]
        for used in uses:
            if isinstance(used.result, Rejection) and used.result.reason == "cap_reached":
                self.said.ran_short = True
            results.append(ChatMessage("tool", used.result.text, tool_call_id=used.call.id))
        self.prompt.messages += results

    async def speak(self) -> Round:
        """Make one model call and tell its words as they come.

        If the server of the agent's own model fails before the first word, another model is asked,
        for the rest of the run.
        """
        model = model_now(self.agent, self.work)
        if model_instead(self.agent, self.work.question) not in ("", model):
            try:
                return await self.ask(model)
            except ModelError as exc:
                if self.has_spoken or not is_of_server(exc):
                    raise
                self.work.failed_models.add(model)
            model = model_now(self.agent, self.work)
            await self.prepare(model)
        tell_model(self.agent, model, self.work)
        return await self.ask(model)

    async def prepare(self, model: str) -> None:
        """Choose the tools for this model, once, and shorten what it is given to what it reads."""
        window = self.work.models.window(model)
        if self._offered is None or self._asked != model:
            self._asked = model
            names = self.tools if self.rounds > 1 else ()  # else the call must be the answer
            self._offered = await tools_to_offer(
                self.work,
                names,
                window,
                model=model,
                history=self.prompt.history,
                wanted=self.wanted,
                task=self.task,
            )
        usable = self.work.toolbox.usable_tools(self.tools)
        self._offered = with_called(self._offered, usable, self.prompt.messages)
        fit(self.prompt, window_beside(self._offered, window), self.work)
        if self.is_answer:
            history = self.prompt.history
            self.work.unread_messages = history.unread
            self.work.summarized_messages = history.summarized

    async def ask(self, model: str) -> Round:
        """Ask this model and tell its words as they come."""
        self.has_spoken = False
        calls: list[WantedCall] = []
        words: list[str] = []
        end: Finished | None = None
        has_thought = False
        before = len(self.said.words)
        window = self.work.models.window(model)
        messages, tools, pieces = self.prompt.messages, self._offered or [], 0
        with self.work.calling(model, messages, is_of_agent=True) as call:
            self.calls.append(call)
            stream = self.stream(
                model, messages, tools, call.traceparent, most=window.output_tokens
            )
            async with aclosing(stream):
                async for piece in stream:
                    self.work.last_activity_at = time.monotonic()
                    call.hear(piece)
                    match piece:
                        case Pulse():
                            pass
                        case Text():
                            self.has_spoken = True
                            self.tell_words(piece.text if words else self.gap + piece.text)
                            words.append(piece.text)
                        case Reasoning():
                            self.has_spoken = has_thought = True
                            self.tell_thought(piece.text)
                        case Retraction():
                            self.take_back("".join(words), before)
                            has_thought = True
                            words.clear()
                        case Remark():
                            self.work.say(piece.text)
                        case WantedCall():
                            calls.append(piece)
                        case Finished():
                            end = piece
                            self.work.meter.tokens -= piece.words
                            tell_unread(messages, piece.usage, window, self.work)
                    pieces += 1
                    if not pieces % YIELD_EVERY_N_PIECES:
                        # `tell` never waits, so a model that sends much at once would keep
                        # followers and other runs from their turn.
                        await asyncio.sleep(0)
        assert end, "the client ends each stream with Finished"
        if self.is_answer:
            self.work.answered_by = model
        return Round.of(call.data, "".join(words), calls, end, has_thought=has_thought)

    @property
    def gap(self) -> str:
        """What stands between the words of two rounds."""
        return "\n\n" if self.said.words else ""

    def retell(self, made: Round) -> None:
        """Take in a round that was kept, and tell what readers have not seen of it."""
        if not self.work.is_inherited(f"{self.agent.id}/{self.rounds_used}"):
            self.calls.append(KeptCall(made.call))
        self.is_thinking = made.has_thought or (
            bool(made.text) and not self.is_answer and self.schema is None
        )
        if not made.text:
            return
        words = self.gap + made.text
        self.said.words.append(words)
        if self.is_answer:
            self.work.answered_by = made.call.model
            self.stop_thinking()
            self.work.repeat_words(words)

    def stream(
        self,
        model: str,
        messages: Sequence[ChatMessage],
        tools: Sequence[Tool],
        traceparent: str,
        *,
        most: int,
    ) -> AsyncGenerator[Piece]:
        """Return the pieces of one model call, which may write at `most` so many tokens."""
        return self.work.models.stream(
            messages,
            model=model,
            max_tokens=min(most, self.max_tokens - (self.tokens_used if self.is_answer else 0)),
            effort=self.work.question.effort,
            is_aside=not self.is_answer,
            tools=[tool.offer for tool in tools],
            may_call=not self.is_last_round,
            schema=self.schema,
            traceparent=traceparent,
        )

    @property
    def has_stand_in(self) -> bool:
        return is_stand_in(model_of(self.agent, self.work.question))

    # --- Words

    def tell_words(self, words: str) -> None:
        """Add to what the agent said. Readers see it as the answer, as a thought, or not at all."""
        self.said.words.append(words)
        if self.is_answer:
            self.stop_thinking()
            self.work.is_answering = True
            self.work.tell(ResponseDelta(delta=words))
        elif self.schema is None:
            self.tell_thought(words)

    def take_back(self, words: str, before: int) -> None:
        """Tell the words of this round as a thought; `before` pieces are of earlier ones."""
        del self.said.words[before:]
        if self.is_answer and words:
            self.work.tell(ResponseSnapshot(data=SnapshotData(self.said.text)))
            self.tell_thought(words)

    def tell_thought(self, words: str) -> None:
        self.is_thinking = True
        self.work.tell(ReasoningDelta(delta=words, agent_id=self.agent.id))

    def stop_thinking(self) -> None:
        if self.is_thinking:
            self.is_thinking = False
            self.work.tell(ReasoningCompleted(agent_id=self.agent.id))

    # --- Tools

    async def use(self, call: WantedCall, number: int) -> Used:
        """Make a tool call that the model asked for, or reject it. Return its outcome."""
        name = f"{self.agent.id}/{self.rounds_used}/tool-{number}"
        tools = ToolUse(self.agent, self.work, self.tools)
        used = await self.work.once(
            name,
            Used,
            self.unless_ended(lambda: tools.use(call, name, is_too_late=self.is_last_round)),
            retell=tools.retell,
            is_free=lambda used: used.is_free,
        )
        await tools.settle(used)
        return used

    async def use_first(self, call: WantedCall) -> None:
        """Make a tool call before the model is asked, and put its result behind the question."""
        result = (await self.use(call, 0)).result
        if isinstance(result, Rejection):
            return self.warn(self.said.lacks)
        # The model has not asked for it, so it keeps the calls that it may make.
        self.work.toolbox.allow_another()
        if result.untrusted:
            self.said.lacks = result.message
        if self.has_stand_in and (words := said_by_tool(call.name, result)):
            return self.tell_words(words)
        if not result.ok:
            return self.warn(self.said.lacks)
        return self.prompt.add_material(result.text)

    def warn(self, lacking: str) -> None:
        """Add to the question why it cannot be looked up. Readers see it among the steps."""
        # The stand-in would only repeat it, in place of an answer.
        if lacking and not self.has_stand_in:
            self.prompt.add_to_question(lacking)

    # --- A turn that ended before it was done

    def keep_end(self, failure: ModelError | None = None) -> None:
        """Keep that the turn ended by a failure of its model, or was cut by a time limit."""
        calls = [call.data for call in self.calls if call.number not in self._kept_calls]
        self.work.keep(self.end_name, TurnEnd.of(self.said.text, calls, failure), rides=True)

    def unless_ended[T](self, make: Callable[[], Awaitable[T]]) -> Callable[[], Awaitable[T]]:
        """Return `make` for a step that an earlier worker may have left out.

        If the turn had ended there, it ends in the same way again.
        """

        async def made() -> T:
            if end := self.work.kept(self.end_name, TurnEnd):
                self.said.words = [end.text] if end.text else []
                if not self.work.is_inherited(self.end_name):
                    self.calls += [KeptCall(call) for call in end.calls]
                raise end.failure or asyncio.CancelledError
            return await make()

        return made

    @property
    def end_name(self) -> str:
        return f"{self.agent.id}/end"
