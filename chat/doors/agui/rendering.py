"""The events of a run as AG-UI 1.0 has them.

A client refuses a stream in which something is closed that isn't open, opened twice, or left open
at the end. So everything is told from one list of what is open (`state`), and each of our events is
rendered so that it can be rendered once more if only the first of its messages have arrived.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from chat.doors import sse, streams
from chat.protocol.errors import ErrorInfo
from chat.protocol.events import (
    AgentComplete,
    AgentMessage,
    AgentOutput,
    AgentStart,
    AskOpened,
    Connected,
    Done,
    Error,
    OrchestratorMessage,
    OrchestratorThought,
    PhaseComplete,
    PhaseStart,
    ReasoningCompleted,
    ReasoningDelta,
    ResponseCompleted,
    ResponseDelta,
    ResponseSnapshot,
    Resumed,
    RoutingDecided,
    StreamEvent,
    ToolComplete,
    ToolRejected,
    ToolStart,
)
from chat.protocol.terms import Summary
from chat.runs.replay import Entry

from .interrupts import interrupt_of, waits_for_call
from .request import Sent
from .results import UNMADE, content_of, result_id, usage_of
from .state import Cursor, Text, Thought, ToolCall, key_of

PROTOCOL = "1.0"
STARTED, HAS_ARGUMENTS, COMPLETE = 1, 2, 3  # what was told of a tool call
ENDED = 0  # seqs of agents that are told no more are negative


class Rendering(streams.Rendering):
    """One stream of AG-UI: of a run from its beginning, or from a cursor."""

    def __init__(self, thread: str, run: str, *, run_id: str, sent: Sent, cursor: Cursor) -> None:
        """`thread` and `run` are the client's ids, `run_id` is ours."""
        self.thread = thread
        self.run = run
        self.run_id = run_id
        self.sent = sent
        self.state = cursor.state
        self._whole = cursor.after  # up to which all events are rendered
        self._seq = 0  # of the event that is being rendered
        self._asks: list[AskOpened] = []
        # Each with the cursor behind it.
        self._said: list[tuple[dict[str, Any], str]] = []

    # --- What a stream asks for

    def events(self, batch: Sequence[Entry]) -> bytes:
        return b"".join(self.rendered(entry) for entry in batch)

    def rendered(self, entry: Entry) -> bytes:
        """Return the messages of one event. The id of the last one says that it is whole."""
        if self.state.has_ended:
            return b""
        self._seq = entry.seq
        self.begin(entry.event)
        self.render(entry.event)
        if not isinstance(entry.event, AskOpened):
            # What is asked is told by the ending, to which all of it belongs.
            self._whole = entry.seq
        if not self._said:
            return b""
        *before, (last, _) = self._said
        self._said = []
        whole = Cursor(self._whole, self.state)
        return b"".join(wire(*message) for message in [*before, (last, whole.id)])

    def notice(self, code: str, message: str) -> bytes:
        if not self.state.has_begun or self.state.has_ended:
            return b""
        notice = {"code": code, "message": message}
        return wire({"type": "CUSTOM", "name": "fleet.notice", "value": notice})

    def refusal(self, error: ErrorInfo) -> bytes:
        """Return what ends this stream, but not the run: it has no cursors."""
        if self.state.has_ended:
            return b""
        self.close()
        self.state.has_ended = True
        self.say("RUN_ERROR", message=error.message, code=error.code)
        said, self._said = self._said, []
        return b"".join(wire(message) for message, _ in said)

    def say(self, kind: str, **fields: Any) -> None:
        """Add a message, without the fields that are None. The state is that behind it."""
        message = {"type": kind, **{key: each for key, each in fields.items() if each is not None}}
        self._said.append((message, Cursor(self._whole, self.state).id))

    # --- Events

    def begin(self, event: StreamEvent) -> None:
        """Open the stream. The first event is another one if the log was lost."""
        if self.state.has_begun:
            return
        self.state.has_begun = True
        ids = {"run": self.run_id}
        if isinstance(event, Connected):
            ids["conversation"] = str(event.data.conversation_id)
        self.say(
            "RUN_STARTED",
            threadId=self.thread,
            runId=self.run,
            protocolVersion=PROTOCOL,
            metadata={"fleet": ids},
        )
        if self.sent.is_cut:
            # The client has some of this run, of which it gets all.
            self.say("MESSAGES_SNAPSHOT", messages=self.sent.messages())

    def render(self, event: StreamEvent) -> None:
        match event:
            case ResponseDelta():
                self.write(event.delta)
            case ReasoningDelta():
                self.think(event)
            case ReasoningCompleted():
                self.end_thought(event.agent_id)
            case ResponseSnapshot():
                self.be(event.data.text)
            case ResponseCompleted():
                self.be(event.message)
                self.end_text()
            case PhaseStart() | PhaseComplete():
                self.step(event)
            case AgentStart():
                self.start_agent(event.agent_id, event.author, event.data.task)
            case AgentComplete():
                self.complete_agent(event)
            case ToolStart():
                self.call(event, event.data.tool, event.data.call_id, event.data.arguments)
            case ToolComplete():
                self.result(event)
            case ToolRejected():
                self.call(event, event.data.tool, event.data.call_id, {})
                refused = {"ok": False, "message": f"Not called: {event.data.reason}."}
                self.end_call(event.data.call_id, event.agent_id, refused)
            case _:
                self.render_rest(event)

    def render_rest(self, event: StreamEvent) -> None:
        match event:
            case RoutingDecided():
                value = msgspec.to_builtins(event.data)
                self.say("CUSTOM", name="fleet.routing", value=value)
            case AgentMessage():
                agent = self.opened(event.agent_id, event.author)
                self.tell("fleet.message", event.message, author=event.author, agent=agent)
            case AgentOutput():
                agent = self.opened(event.agent_id, event.author)
                self.tell("fleet.output", event.message, author=event.author, agent=agent)
            case OrchestratorMessage():
                self.tell("fleet.decision", event.message)
            case OrchestratorThought():
                self.tell("fleet.thought", event.message)
            case Resumed():
                for agent_id in event.data.redone:
                    self.end_thought(agent_id)
            case AskOpened():
                self._asks.append(event)
            case Done():
                self.finish(event.data)
            case Error():
                self.close()
                self.state.has_ended = True
                error = event.error
                usage = usage_of(event.data)
                self.say("RUN_ERROR", message=error.message, code=error.code, usage=usage)

    def id_of(self, seq: int | str) -> str:
        """Return the id of what the event with this seq began. Others are the client's or an
        ask's.
        """
        return f"{self.run_id}-{seq}" if isinstance(seq, int) else seq

    # --- The answer

    def write(self, words: str) -> None:
        """Add words to the answer."""
        if not words:
            return
        text = self.state.text
        if text is None or (not text.is_open and isinstance(text.id, int)):
            text = self.state.text = Text(self._seq)
            self.say("TEXT_MESSAGE_START", messageId=self.id_of(text.id), role="assistant")
        elif not text.is_open:
            # It goes on with what a paused run has said.
            text.is_open = True
            self.say("TEXT_MESSAGE_START", messageId=self.id_of(text.id), role="assistant")
        text.add(words)
        self.say("TEXT_MESSAGE_CONTENT", messageId=self.id_of(text.id), delta=words)

    def be(self, whole: str) -> None:
        """Let the answer be this text."""
        text = self.state.text
        if text and not text.begins(whole):
            self.end_text()
            self.state.text = text = None
            # Nothing else can take words back.
            self.say("MESSAGES_SNAPSHOT", messages=self.sent.messages())
        self.write(whole[text.length :] if text else whole)

    def end_text(self) -> None:
        text = self.state.text
        if text and text.is_open:
            text.is_open = False
            self.say("TEXT_MESSAGE_END", messageId=self.id_of(text.id))

    # --- Reasoning

    def think(self, event: ReasoningDelta) -> None:
        agent = self.opened(event.agent_id, event.agent_id) if event.agent_id else None
        thought = self.state.thoughts.get(event.agent_id)
        if thought is None:
            thought = self.state.thoughts[event.agent_id] = Thought(self._seq)
            self.say("REASONING_START", messageId=self.id_of(thought.id), subagentRunId=agent)
        named = self.id_of(thought.id)
        if not thought.has_message:
            thought.has_message = True
            self.say(
                "REASONING_MESSAGE_START", messageId=named, role="reasoning", subagentRunId=agent
            )
        self.say("REASONING_MESSAGE_CONTENT", messageId=named, delta=event.delta)

    def end_thought(self, agent_id: str) -> None:
        thought = self.state.thoughts.get(agent_id)
        if thought is None:
            return
        if thought.has_message:
            thought.has_message = False
            self.say("REASONING_MESSAGE_END", messageId=self.id_of(thought.id))
        del self.state.thoughts[agent_id]
        self.say("REASONING_END", messageId=self.id_of(thought.id))

    # --- Steps and agents

    def step(self, event: PhaseStart | PhaseComplete) -> None:
        phase, steps = event.data.phase, self.state.steps
        if isinstance(event, PhaseStart) and phase not in steps:
            steps.append(phase)
            self.say("STEP_STARTED", stepName=phase)
        elif isinstance(event, PhaseComplete) and phase in steps:
            steps.remove(phase)
            self.say("STEP_FINISHED", stepName=phase)

    def start_agent(self, agent_id: str, author: str, task: str = "") -> str:
        """Begin an agent's turn, and return its handle."""
        self.end_agent(agent_id)
        self.state.agents[agent_id] = self._seq
        handle = self.handle_of(agent_id)
        self.say("SUBAGENT_STARTED", subagentRunId=handle, name=author, description=task or None)
        return handle

    def complete_agent(self, event: AgentComplete) -> None:
        self.end_thought(event.agent_id)
        # One that was cut may be waiting for a person: the ending says so.
        if not event.data.cut:
            self.end_agent(event.agent_id)

    def end_agent(self, agent_id: str, asks: Sequence[str] = ()) -> None:
        if self.state.agents.get(agent_id, ENDED) <= ENDED:
            return
        self.end_thought(agent_id)
        handle = self.handle_of(agent_id)
        if asks:
            # The interrupts name it.
            self.state.agents[agent_id] *= -1
        else:
            del self.state.agents[agent_id]
        outcome = {"type": "suspended", "interruptIds": asks} if asks else None
        self.say("SUBAGENT_FINISHED", subagentRunId=handle, outcome=outcome)

    def opened(self, agent_id: str, author: str) -> str:
        """Return an agent's handle. Begin its turn if a log that was lost, or a paused run, did."""
        if agent_id in self.state.agents:
            return self.handle_of(agent_id)
        return self.start_agent(agent_id, author)

    def known(self, agent_id: str) -> str | None:
        return self.handle_of(agent_id) if agent_id in self.state.agents else None

    def handle_of(self, agent_id: str) -> str:
        return f"{self.run_id}-{agent_id}-{abs(self.state.agents[agent_id])}"

    def tell(self, kind: str, text: str, *, author: str = "", agent: str | None = None) -> None:
        content = {"text": text, "author": author} if author else {"text": text}
        self.say(
            "ACTIVITY_SNAPSHOT",
            messageId=self.id_of(self._seq),
            activityType=kind,
            content=content,
            subagentRunId=agent,
        )

    # --- Tool calls

    def call(
        self,
        event: ToolStart | ToolComplete | ToolRejected | AskOpened,
        tool: str,
        call_id: str,
        arguments: Mapping[str, Any],
        *,
        named: int | str | None = None,
    ) -> None:
        """Tell what of a call isn't told yet: its name, its arguments, and that these are whole."""
        if not isinstance(event, AskOpened):
            self.opened(event.agent_id, event.author)
        agent = self.known(event.agent_id)
        call = self.state.calls.setdefault(
            key_of(event.agent_id, call_id), ToolCall(self._seq if named is None else named)
        )
        id_ = self.id_of(call.id)
        if call.told < STARTED:
            call.told = STARTED
            self.say("TOOL_CALL_START", toolCallId=id_, toolCallName=tool, subagentRunId=agent)
        if call.told < HAS_ARGUMENTS:
            call.told = HAS_ARGUMENTS
            delta = msgspec.json.encode(arguments).decode()
            self.say("TOOL_CALL_ARGS", toolCallId=id_, delta=delta)
        if call.told < COMPLETE:
            call.told = COMPLETE
            self.say("TOOL_CALL_END", toolCallId=id_)

    def result(self, event: ToolComplete) -> None:
        data = event.data
        if data.cut:
            return  # It may be made again, by another worker. The ending closes all.
        self.call(event, data.tool, data.call_id, {})
        self.end_call(data.call_id, event.agent_id, content_of(data))

    def end_call(self, call_id: str, agent_id: str, content: Mapping[str, Any]) -> None:
        self.end_call_of(key_of(agent_id, call_id), content, agent=self.known(agent_id))

    def end_call_of(
        self, key: int, content: Mapping[str, Any], *, agent: str | None = None
    ) -> None:
        id_ = self.id_of(self.state.calls.pop(key).id)
        self.say(
            "TOOL_CALL_RESULT",
            messageId=result_id(id_),
            toolCallId=id_,
            content=msgspec.json.encode(content).decode(),
            role="tool",
            subagentRunId=agent,
        )

    # --- Endings

    def finish(self, summary: Summary) -> None:
        interrupts: list[dict[str, Any]] = []
        if summary.status == "paused":
            interrupts = self.ask()
            outcome: dict[str, Any] = {"type": "interrupt", "interrupts": interrupts}
        else:
            outcome = {"type": "cancelled" if summary.status == "cancelled" else "success"}
        self.close()
        self.state.has_ended = True
        self.say(
            "RUN_FINISHED",
            threadId=self.thread,
            runId=self.run,
            outcome=outcome,
            usage=usage_of(summary),
        )

    def ask(self) -> list[dict[str, Any]]:
        """Show the calls that wait for a person, and return what is asked."""
        interrupts = []
        for ask in self._asks:
            data = ask.data
            if waits_for_call(data):
                key = key_of(ask.agent_id, data.call_id)
                known = self.state.calls.get(key)
                if known and known.id != str(data.ask_id):
                    self.end_call_of(key, UNMADE)
                named = str(data.ask_id)
                self.call(ask, data.tool, data.call_id, data.arguments, named=named)
            interrupts.append(interrupt_of(data, agent=self.known(ask.agent_id)))
        return interrupts

    def close(self) -> None:
        """Close all that is open, what was opened last first."""
        for agent_id in reversed(list(self.state.thoughts)):
            self.end_thought(agent_id)
        self.end_text()
        waiting = {str(ask.data.ask_id) for ask in self._asks}
        for key, call in list(self.state.calls.items()):
            if call.id not in waiting:
                self.end_call_of(key, UNMADE)
        for agent_id in reversed(list(self.state.agents)):
            asks = [str(ask.data.ask_id) for ask in self._asks if ask.agent_id == agent_id]
            self.end_agent(agent_id, asks)
        for phase in reversed(list(self.state.steps)):
            self.state.steps.remove(phase)
            self.say("STEP_FINISHED", stepName=phase)


def wire(message: Mapping[str, Any], id: str = "") -> bytes:  # noqa: A002
    return sse.message(msgspec.json.encode(message), id=id)
