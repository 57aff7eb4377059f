"""What goes over the socket: events, which the server sends, and requests.

Written by `manage.py contract --write` from the structs of chat/protocol; needs only msgspec.
"""

from typing import Any, Literal, get_args
from uuid import UUID

from msgspec import Struct


class UiHint(Struct, frozen=True, kw_only=True):
    component: str
    priority: str = "normal"
    collapsible: bool = False


class NoData(Struct, frozen=True, kw_only=True):
    pass


class AgentTask(Struct, frozen=True, kw_only=True):
    """What an agent was asked in addition to the question: a specialist's subtask."""

    task: str = ""


class ModelCall(Struct, frozen=True, kw_only=True):
    """A model call that has ended, or was cut. Times are milliseconds.

    `started_ms` counts from the run's start, `first_chunk_ms` from the call's. `finish_reason` is
    the server's; it is empty if the server sent none.
    """

    number: int
    model: str
    started_ms: float
    duration_ms: float
    first_chunk_ms: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    cut: bool = False
    finish_reason: str = ""
    error: str = ""


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens as the model server counted them, or as `estimated` if it doesn't, or was cut."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    model_calls: int = 0
    tool_calls: int = 0
    cache_hits: int = 0
    search_credits: float = 0
    estimated: bool = False


class Timings(Struct, frozen=True, kw_only=True):
    """Milliseconds since the run was started; None if the moment never came.

    `phases` and `agents` are durations by name. `waiting_ms` is the part of the total that no
    phase explains; `cancel_ms` is the time from a cancel to the ending; `waited_ms` is the part of
    the total in which the run had no worker.
    """

    first_event_ms: float | None = None
    first_token_ms: float | None = None
    total_ms: float | None = None
    phases: dict[str, float] = {}
    agents: dict[str, float] = {}
    waiting_ms: float = 0.0
    cancel_ms: float | None = None
    waited_ms: float = 0.0


class AskClosedData(Struct, frozen=True, kw_only=True):
    """What became of an ask. `by` is "owner" or "staff"."""

    ask_id: UUID
    decision: str
    edited: bool = False
    by: str = "owner"


class AskData(Struct, frozen=True, kw_only=True):
    """What a person is asked, as the wire has it.

    `message` is one sentence, the question, or the words of the tool that needs a form. `schema` is
    that of `arguments`: those of the call, or the values that the fields of a form begin with. A
    form with a `url` has no fields: the person opens that page. `approver` is "owner", or
    "perm:app.codename" for staff with that permission.
    """

    ask_id: UUID
    kind: str
    message: str
    tool: str = ""
    call_id: str = ""
    arguments: dict[str, Any] = {}
    schema: dict[str, Any] = {}
    options: list[str] = []
    url: str = ""
    approver: str = "owner"
    expires_at: str = ""


class Cancel(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="cancel"):
    """Ends the run of this socket with `cancelled`."""


class ChatRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first frame: ask, answer again (`rerun_of`), or rejoin (a known `message_id`).

    `branch_of` asks another text instead of the question that this run answered. `after` is the
    last seq that a client which rejoins has seen. Without a `model`, the path's one answers;
    without a `preference`, that of the run which is repeated counts, or else the person's own.
    """

    message: str
    message_id: UUID
    conversation_id: UUID | None = None
    mode: Literal["auto", "full", "light", "plain"] = "auto"
    fresh: bool = False
    reasoning_effort: Literal["maximal", "medium", "minimal"] | None = None
    rerun_of: UUID | None = None
    branch_of: UUID | None = None
    model: str | None = None
    preference: Literal["balanced", "economy", "quality"] | None = None
    after: int = 0


class ConnectedData(Struct, frozen=True, kw_only=True):
    conversation_id: UUID
    message_id: UUID
    continues: UUID | None = None


class ErrorInfo(Struct, frozen=True, kw_only=True):
    """What went wrong: `code` for programs, `message` for people.

    `retry_after_s`: seconds until it may be tried again; left out if that is not known.
    """

    code: str
    message: str
    retryable: bool = False
    retry_after_s: float | None = None


class HeartbeatData(Struct, frozen=True, kw_only=True):
    silent_ms: int


class MissedQuote(Struct, frozen=True, kw_only=True):
    """A quotation that is not in a source that it cites. It may be in another one of the run."""

    text: str
    cites: list[int]
    found_in: int | None = None


class NoticeData(Struct, frozen=True, kw_only=True):
    code: str


class PhaseData(Struct, frozen=True, kw_only=True):
    phase: str


class Reply(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a person decided about one ask.

    `arguments` belong to `edit` and to the answer of a form, `text` to all other answers and to
    `refuse`. `remember`: approve this tool for the rest of the conversation.
    """

    ask_id: UUID
    decision: Literal["answer", "approve", "edit", "refuse", "withdraw"]
    arguments: dict[str, Any] | None = None
    text: str = ""
    remember: bool = False


class SnapshotData(Struct, frozen=True, kw_only=True):
    text: str


class ResumedData(Struct, frozen=True, kw_only=True):
    """A worker went on with a run that another one had begun.

    Steps behind `from_seq` are told again, and so are ends of steps that were `cut`. Reasoning of
    the agents in `redone` that was not complete is void. `silent_ms` is the time in which the run
    had no worker.
    """

    epoch: int
    from_seq: int
    silent_ms: float
    redone: list[str] = []


class Slowest(Struct, frozen=True, kw_only=True):
    name: str
    duration_ms: float


class SourceData(Struct, frozen=True, kw_only=True):
    """A page or a document that a result comes from. Answers cite it by its number.

    The number is unique in a run. `url` and `host` are empty for a document without an address.
    """

    number: int
    title: str
    url: str
    host: str
    published: str | None = None


class ToolCallData(Struct, frozen=True, kw_only=True):
    tool: str
    call_id: str
    arguments: dict[str, Any] = {}


class ToolRejection(Struct, frozen=True, kw_only=True):
    tool: str
    call_id: str
    reason: str


class PhaseTiming(Struct, frozen=True, kw_only=True):
    """How long a phase took. `started_ms` counts from the run's start, also below.

    `calls` has the model calls that belong to no agent: those of the router's model.
    """

    phase: str
    duration_ms: float
    cut: bool = False
    started_ms: float = 0.0
    calls: list[ModelCall] = []


class AgentTiming(Struct, frozen=True, kw_only=True):
    duration_ms: float
    usage: Usage = Usage()
    cut: bool = False
    started_ms: float = 0.0
    calls: list[ModelCall] = []


class RouteData(Struct, frozen=True, kw_only=True):
    """The chosen path.

    `confidence` is the probability that the light path answers well. `usage` is the cost of the
    router's model, if it was asked. `personal`: the person's own instructions go with the question.
    """

    path: str
    mode: str
    confidence: float
    reasons: list[str] = []
    skipped: list[str] = []
    escalated: bool = False
    duration_ms: float = 0.0
    usage: Usage = Usage()
    personal: bool = False


class AnswerData(Struct, frozen=True, kw_only=True):
    timings: Timings
    usage: Usage
    path: str | None = None


class QuoteCheck(Struct, frozen=True, kw_only=True):
    """How an answer's quotations and citations agree with what was read of its sources."""

    checked: int = 0
    found: int = 0
    missed: list[MissedQuote] = []
    unknown: list[int] = []


class ReplyRequest(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="reply"
):
    """The first frame that answers what the paused run `continues` asks. It starts a new run.

    All asks of that run are answered at once. `message_id` and `after` as in a ChatRequest.
    """

    message_id: UUID
    continues: UUID
    replies: list[Reply]
    after: int = 0


class Verdict(Struct, frozen=True, kw_only=True):
    """Which service levels of its path a run missed, judged once, at its ending.

    `missed` has the milliseconds above each limit; it is empty if all were met. `slowest` names the
    slowest phase, agent and tool.
    """

    missed: dict[str, float] = {}
    slowest: dict[str, Slowest] = {}


class ToolResultData(Struct, frozen=True, kw_only=True):
    """The result of a tool call. `message` is the reason of a failure.

    `age_s` are seconds since a cached result was fetched.
    """

    tool: str
    call_id: str
    ok: bool
    duration_ms: float
    cached: bool = False
    age_s: float | None = None
    stale: bool = False
    repeated: bool = False
    message: str = ""
    sources: list[SourceData] = []
    credits: float = 0
    started_ms: float = 0.0
    cut: bool = False


class Summary(Struct, frozen=True, kw_only=True):
    """The figures of a run, as its terminal event carries them. All are empty for a refusal."""

    status: str | None = None
    timings: Timings = Timings()
    usage: Usage = Usage()
    path: str | None = None
    escalated: bool = False
    models: list[str] = []
    sla: Verdict | None = None
    cost: float | None = None
    waiting: list[UUID] = []
    declined: str | None = None
    quotes: QuoteCheck | None = None
    unread_messages: int = 0
    summarized_messages: int = 0


class Event(Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every event carries."""

    seq: int = 0
    workflow_id: str = ""
    timestamp: str = ""
    category: str = "status"
    ui_hint: UiHint = UiHint(component="status")
    log_line: str = ""


class Connected(Event, frozen=True, kw_only=True, tag="connected"):
    """The run exists. Always its first event."""

    data: ConnectedData


class Resumed(Event, frozen=True, kw_only=True, tag="resumed"):
    """Another worker goes on with the run. Directly behind the opening snapshot of its epoch."""

    data: ResumedData


class RoutingDecided(Event, frozen=True, kw_only=True, tag="routing.decided"):
    """A path was chosen; sent again, with `escalated`, if a light answer was not good enough."""

    data: RouteData


class PhaseStart(Event, frozen=True, kw_only=True, tag="phase.start"):
    """A phase begins."""

    data: PhaseData


class PhaseComplete(Event, frozen=True, kw_only=True, tag="phase.complete"):
    """A phase has ended, or was cut."""

    data: PhaseTiming


class AgentStart(Event, frozen=True, kw_only=True, tag="agent.start"):
    """An agent's turn begins."""

    agent_id: str
    author: str
    data: AgentTask = AgentTask()


class AgentMessage(Event, frozen=True, kw_only=True, tag="agent.message"):
    """An agent says something to the others."""

    agent_id: str
    author: str
    message: str
    data: NoData = NoData()


class AgentOutput(Event, frozen=True, kw_only=True, tag="agent.output"):
    """An agent's result that is not the answer."""

    agent_id: str
    author: str
    message: str
    data: NoData = NoData()


class AgentComplete(Event, frozen=True, kw_only=True, tag="agent.complete"):
    """An agent's turn has ended, or was cut."""

    agent_id: str
    author: str
    data: AgentTiming


class ToolStart(Event, frozen=True, kw_only=True, tag="tool.start"):
    """A tool is called."""

    agent_id: str
    author: str
    data: ToolCallData


class ToolComplete(Event, frozen=True, kw_only=True, tag="tool.complete"):
    """A tool call has ended, with a result or a failure."""

    agent_id: str
    author: str
    data: ToolResultData


class ToolRejected(Event, frozen=True, kw_only=True, tag="tool.rejected"):
    """A tool call was dropped before dispatch."""

    agent_id: str
    author: str
    data: ToolRejection


class OrchestratorMessage(Event, frozen=True, kw_only=True, tag="orchestrator.message"):
    """A decision about the run, as text."""

    message: str
    data: NoData = NoData()


class OrchestratorThought(Event, frozen=True, kw_only=True, tag="orchestrator.thought"):
    """The reason of a decision."""

    message: str
    data: NoData = NoData()


class AskOpened(Event, frozen=True, kw_only=True, tag="ask.opened"):
    """A person is asked something. Only in the ending of a paused run."""

    agent_id: str
    author: str
    data: AskData


class AskClosed(Event, frozen=True, kw_only=True, tag="ask.closed"):
    """A person has replied. Among the first events of the run that goes on."""

    data: AskClosedData


class ReasoningDelta(Event, frozen=True, kw_only=True, tag="reasoning.delta"):
    """A piece of a model's thinking, or of what an agent writes for the others."""

    delta: str
    agent_id: str = ""
    data: NoData = NoData()


class ReasoningCompleted(Event, frozen=True, kw_only=True, tag="reasoning.completed"):
    """The thinking has ended."""

    agent_id: str = ""
    data: NoData = NoData()


class ResponseDelta(Event, frozen=True, kw_only=True, tag="response.delta"):
    """A piece of the answer, as the model sent it."""

    delta: str
    data: NoData = NoData()


class ResponseSnapshot(Event, frozen=True, kw_only=True, tag="response.snapshot"):
    """The answer so far is exactly this text."""

    data: SnapshotData


class ResponseCompleted(Event, frozen=True, kw_only=True, tag="response.completed"):
    """The whole answer. Directly before `done`."""

    message: str
    data: AnswerData


class Heartbeat(Event, frozen=True, kw_only=True, tag="heartbeat"):
    """No frame was sent for a while. Belongs to a socket, not to the run."""

    data: HeartbeatData


class Notice(Event, frozen=True, kw_only=True, tag="notice"):
    """Something about this socket, not about the run."""

    message: str
    data: NoticeData


class Cancelled(Event, frozen=True, kw_only=True, tag="cancelled"):
    """The run was cancelled. Directly before `done`."""

    data: NoData = NoData()


class Done(Event, frozen=True, kw_only=True, tag="done"):
    """The end of a completed, cancelled or paused run."""

    data: Summary


class Error(Event, frozen=True, kw_only=True, tag="error"):
    """The end of a failed run, or a refusal, whose `data` is empty."""

    error: ErrorInfo
    data: Summary = Summary()


# A program must skip events of other types.
StreamEvent = (
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

EVENT_TYPES: tuple[type[Event], ...] = get_args(StreamEvent)
