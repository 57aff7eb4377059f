"""The union of StreamEvents: what the server sends, and what a run's log holds.

An event is a fact with the fields of its kind. `stamp` adds the envelope (seq, workflow_id,
timestamp, category, ui_hint, log_line) once: when the event gets its place in a run's log, or goes
to a socket.
"""

from datetime import UTC, datetime
from typing import Any, Literal, get_args

import msgspec
from msgspec import Struct

from .errors import ErrorInfo
from .payloads import (
    AgentTask,
    AgentTiming,
    AnswerData,
    AskClosedData,
    ConnectedData,
    HeartbeatData,
    NoData,
    NoticeData,
    PhaseData,
    PhaseTiming,
    ResumedData,
    RouteData,
    SnapshotData,
    ToolCallData,
    ToolRejection,
    ToolResultData,
)
from .terms import AskData, Category, Ending, Summary


class UiHint(Struct, frozen=True):
    component: str
    priority: Literal["low", "normal", "high"] = "normal"
    collapsible: bool = False


class StreamEvent(Struct, kw_only=True, tag_field="type"):
    """The envelope that every event carries; filled by `stamp`."""

    seq: int = 0
    workflow_id: str = ""
    timestamp: str = ""
    category: Category = "status"
    ui_hint: UiHint = UiHint("status")
    log_line: str = ""

    def summary(self) -> str:
        """Return what happened, for the log: never words of a person or a model."""
        return ""


class Connected(StreamEvent, tag="connected"):
    """The run exists. Always its first event."""

    data: ConnectedData


class Resumed(StreamEvent, tag="resumed"):
    """Another worker goes on with the run. Directly behind the opening snapshot of its epoch."""

    data: ResumedData

    def summary(self) -> str:
        return f"epoch={self.data.epoch} silent={self.data.silent_ms:.0f} ms"


class RoutingDecided(StreamEvent, tag="routing.decided"):
    """A path was chosen; sent again, with `escalated`, if a light answer was not good enough."""

    data: RouteData

    def summary(self) -> str:
        line = f"path={self.data.path} mode={self.data.mode} confidence={self.data.confidence:.2f}"
        return f"{line} escalated" if self.data.escalated else line


class PhaseStart(StreamEvent, tag="phase.start"):
    """A phase begins."""

    data: PhaseData

    def summary(self) -> str:
        return self.data.phase


class PhaseComplete(StreamEvent, tag="phase.complete"):
    """A phase has ended, or was cut."""

    data: PhaseTiming

    def summary(self) -> str:
        return f"{self.data.phase} {self.data.duration_ms:.0f} ms"


class AgentEvent(StreamEvent):
    agent_id: str
    author: str

    def summary(self) -> str:
        return self.agent_id


class AgentStart(AgentEvent, tag="agent.start"):
    """An agent's turn begins."""

    data: AgentTask = AgentTask()


class AgentMessage(AgentEvent, tag="agent.message"):
    """An agent says something to the others."""

    message: str
    data: NoData = NoData()


class AgentOutput(AgentEvent, tag="agent.output"):
    """An agent's result that is not the answer."""

    message: str
    data: NoData = NoData()


class AgentComplete(AgentEvent, tag="agent.complete"):
    """An agent's turn has ended, or was cut."""

    data: AgentTiming

    def summary(self) -> str:
        tokens = self.data.usage.output_tokens
        return f"{self.agent_id} {self.data.duration_ms:.0f} ms {tokens} tokens"


class ToolStart(AgentEvent, tag="tool.start"):
    """A tool is called."""

    data: ToolCallData

    def summary(self) -> str:
        return self.data.tool


class ToolComplete(AgentEvent, tag="tool.complete"):
    """A tool call has ended, with a result or a failure."""

    data: ToolResultData

    def summary(self) -> str:
        data = self.data
        return f"{data.tool} ok={data.ok} cached={data.cached} {data.duration_ms:.0f} ms"


class ToolRejected(AgentEvent, tag="tool.rejected"):
    """A tool call was dropped before dispatch."""

    data: ToolRejection

    def summary(self) -> str:
        # Not the tool: models invent names.
        return f"{self.agent_id} {self.data.reason}"


class OrchestratorMessage(StreamEvent, tag="orchestrator.message"):
    """A decision about the run, as text."""

    message: str
    data: NoData = NoData()


class OrchestratorThought(StreamEvent, tag="orchestrator.thought"):
    """The reason of a decision."""

    message: str
    data: NoData = NoData()


class AskOpened(AgentEvent, tag="ask.opened"):
    """A person is asked something. Only in the ending of a paused run."""

    data: AskData

    def summary(self) -> str:
        return f"{self.agent_id} {self.data.kind}"


class AskClosed(StreamEvent, tag="ask.closed"):
    """A person has replied. Among the first events of the run that goes on."""

    data: AskClosedData

    def summary(self) -> str:
        return self.data.decision


class ReasoningDelta(StreamEvent, tag="reasoning.delta"):
    """A piece of a model's thinking, or of what an agent writes for the others."""

    delta: str
    agent_id: str = ""
    data: NoData = NoData()

    def summary(self) -> str:
        return f"{len(self.delta)} characters"


class ReasoningCompleted(StreamEvent, tag="reasoning.completed"):
    """The thinking has ended."""

    agent_id: str = ""
    data: NoData = NoData()


class ResponseDelta(StreamEvent, tag="response.delta"):
    """A piece of the answer, as the model sent it."""

    delta: str
    data: NoData = NoData()

    def summary(self) -> str:
        return f"{len(self.delta)} characters"


class ResponseSnapshot(StreamEvent, tag="response.snapshot"):
    """The answer so far is exactly this text."""

    data: SnapshotData

    def summary(self) -> str:
        return f"{len(self.data.text)} characters"


class ResponseCompleted(StreamEvent, tag="response.completed"):
    """The whole answer. Directly before `done`."""

    message: str
    data: AnswerData

    def summary(self) -> str:
        return f"{len(self.message)} characters"


class Heartbeat(StreamEvent, tag="heartbeat"):
    """No frame was sent for a while. Belongs to a socket, not to the run."""

    data: HeartbeatData


class Notice(StreamEvent, tag="notice"):
    """Something about this socket, not about the run."""

    message: str
    data: NoticeData

    def summary(self) -> str:
        return self.data.code


class Cancelled(StreamEvent, tag="cancelled"):
    """The run was cancelled. Directly before `done`."""

    data: NoData = NoData()


class Done(StreamEvent, tag="done"):
    """The end of a completed, cancelled or paused run."""

    data: Summary

    def summary(self) -> str:
        return f"status={self.data.status} total_ms={self.data.timings.total_ms or 0:.0f}"


class Error(StreamEvent, tag="error"):
    """The end of a failed run, or a refusal, whose `data` is empty."""

    error: ErrorInfo
    data: Summary = Summary()

    def summary(self) -> str:
        return self.error.code


AnyEvent = (
    Connected
    | Resumed
    | RoutingDecided
    | PhaseStart
    | PhaseComplete
    | AgentStart
    | AgentMessage
    | AgentOutput
    | AgentComplete
    | ToolStart
    | ToolComplete
    | ToolRejected
    | OrchestratorMessage
    | OrchestratorThought
    | AskOpened
    | AskClosed
    | ReasoningDelta
    | ReasoningCompleted
    | ResponseDelta
    | ResponseSnapshot
    | ResponseCompleted
    | Heartbeat
    | Notice
    | Cancelled
    | Done
    | Error
)

TERMINAL = (Done, Error)

HINTS: dict[type[StreamEvent], tuple[Category, UiHint]] = {
    Connected: ("status", UiHint("status_line", "low")),
    Resumed: ("status", UiHint("status_line")),
    RoutingDecided: ("status", UiHint("route_badge")),
    PhaseStart: ("step", UiHint("timeline", collapsible=True)),
    PhaseComplete: ("step", UiHint("timeline", "low", collapsible=True)),
    AgentStart: ("step", UiHint("timeline", collapsible=True)),
    AgentMessage: ("step", UiHint("timeline", collapsible=True)),
    AgentOutput: ("step", UiHint("timeline", collapsible=True)),
    AgentComplete: ("step", UiHint("timeline", "low", collapsible=True)),
    ToolStart: ("tool", UiHint("timeline", collapsible=True)),
    ToolComplete: ("tool", UiHint("timeline", collapsible=True)),
    ToolRejected: ("tool", UiHint("timeline", collapsible=True)),
    OrchestratorMessage: ("step", UiHint("timeline", collapsible=True)),
    OrchestratorThought: ("thought", UiHint("timeline", "low", collapsible=True)),
    AskOpened: ("ending", UiHint("ask", "high")),
    AskClosed: ("step", UiHint("timeline")),
    ReasoningDelta: ("thought", UiHint("reasoning", "low", collapsible=True)),
    ReasoningCompleted: ("thought", UiHint("reasoning", "low", collapsible=True)),
    ResponseDelta: ("answer", UiHint("answer", "high")),
    ResponseSnapshot: ("answer", UiHint("answer", "high")),
    ResponseCompleted: ("answer", UiHint("answer", "high")),
    Heartbeat: ("status", UiHint("status_line", "low")),
    Notice: ("status", UiHint("notice")),
    Cancelled: ("ending", UiHint("ending", "high")),
    Done: ("ending", UiHint("ending", "high")),
    Error: ("ending", UiHint("ending", "high")),
}

EVENT_TYPES: tuple[type[StreamEvent], ...] = get_args(AnyEvent)
TYPE_OF = {kind: str(kind.__struct_config__.tag) for kind in EVENT_TYPES}
_SUMMARISED = {kind for kind in EVENT_TYPES if kind.summary is not StreamEvent.summary}


def stamp(event: StreamEvent, *, seq: int, workflow_id: str) -> None:
    """Give the event its envelope, in place."""
    event.seq = seq
    event.timestamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    derive(event, workflow_id=workflow_id)


def derive(event: StreamEvent, *, workflow_id: str) -> None:
    """Fill the parts of the envelope that follow from the run and the rest of the event."""
    kind = type(event)
    seq, event.workflow_id = event.seq, workflow_id
    event.category, event.ui_hint = HINTS[kind]
    line = f"run={workflow_id or '-'} seq={seq} {TYPE_OF[kind]}"
    event.log_line = f"{line} {event.summary()}" if kind in _SUMMARISED else line


def ending_events(ending: Ending, text: str) -> list[StreamEvent]:
    """Return the group of events that ends a run. The last one is the run's only terminal."""
    found = [ResponseSnapshot(data=SnapshotData(text))] if ending.lost else []
    summary = ending.summary
    if ending.error is not None:
        return [*found, Error(error=ending.error, data=summary)]
    done = Done(data=summary)
    if ending.status == "paused":
        asks = [AskOpened(agent_id=a.agent_id, author=a.author, data=a.data) for a in ending.asks]
        return [*found, *asks, done]
    if ending.status == "cancelled":
        return [*found, Cancelled(), done]
    return [
        ResponseCompleted(message=text, data=AnswerData(ending.timings, ending.usage, ending.path)),
        done,
    ]


# As `derive` fills them.
DERIVABLE = ("workflow_id", "category", "ui_hint", "log_line")


def is_cut_end(event: StreamEvent) -> bool:
    """Return True for the end of a step that was not done.

    A worker that was taken for dead may tell one, as its limits strike, before it is shut out.
    """
    return isinstance(event, PhaseComplete | AgentComplete | ToolComplete) and event.data.cut


def stored(event: StreamEvent) -> dict[str, Any]:
    """Return the event as a run's row keeps it: without what follows from the row and the type."""
    fields: dict[str, Any] = msgspec.to_builtins(event)
    for name in DERIVABLE:
        del fields[name]
    return fields


def event_of(step: object) -> AnyEvent | None:
    """Return a stored step as its event; None if an older version wrote a kind that is gone."""
    try:
        event: AnyEvent = msgspec.convert(step, AnyEvent)
    except msgspec.ValidationError:
        return None
    return event


_encoder = msgspec.json.Encoder()
_event_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode(event: StreamEvent) -> bytes:
    """Return the event as JSON, the one form for sockets and the log."""
    return _encoder.encode(event)


def with_html(payload: bytes, html: str) -> bytes:
    """Return an encoded event with the field `html` added."""
    return payload[:-1] + b',"html":' + _encoder.encode(html) + b"}"


def decode(payload: bytes | str) -> AnyEvent:
    """Return an encoded event as its struct. Raise msgspec.DecodeError if it isn't one."""
    return _event_decoder.decode(payload)
