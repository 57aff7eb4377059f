"""What events carry in `data`, by kind."""

from typing import Any
from uuid import UUID

from msgspec import Struct

from .terms import Decision, Mode, Path, Timings, Usage


class NoData(Struct, frozen=True):
    pass


class ConnectedData(Struct, frozen=True):
    conversation_id: UUID
    message_id: UUID
    continues: UUID | None = None  # the paused run that this one goes on with


class ModelCall(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model call that has ended, or was cut. Times are milliseconds.

    `started_ms` counts from the run's start, `first_chunk_ms` from the call's. `finish_reason` is
    the server's; it is empty if the server sent none.
    """

    number: int  # in the order of the starts, from 1
    model: str
    started_ms: float
    duration_ms: float
    first_chunk_ms: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0  # input tokens that the server had read before
    reasoning_tokens: int = 0  # output tokens of hidden thinking
    estimated: bool = False  # the server reported no usage
    cut: bool = False
    finish_reason: str = ""
    error: str = ""  # the code, if the call failed

    @property
    def usage(self) -> Usage:
        return Usage(
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cached_tokens=self.cached_tokens,
            reasoning_tokens=self.reasoning_tokens,
            model_calls=1,
            estimated=self.estimated,
        )


class RouteData(Struct, frozen=True, kw_only=True):
    """The chosen path.

    `confidence` is the probability that the light path answers well. `usage` is the cost of the
    router's model, if it was asked. `personal`: the person's own instructions go with the question.
    """

    path: Path
    mode: Mode
    confidence: float
    reasons: list[str] = []
    skipped: list[str] = []
    escalated: bool = False
    duration_ms: float = 0.0
    usage: Usage = Usage()
    personal: bool = False


class PhaseData(Struct, frozen=True):
    phase: str


class PhaseTiming(Struct, frozen=True):
    """How long a phase took. `started_ms` counts from the run's start, also below.

    `calls` has the model calls that belong to no agent: those of the router's model.
    """

    phase: str
    duration_ms: float
    cut: bool = False  # it ended before it was done
    started_ms: float = 0.0
    calls: list[ModelCall] = []


class AgentTask(Struct, frozen=True, omit_defaults=True):
    """What an agent was asked in addition to the question: a specialist's subtask."""

    task: str = ""


class AgentTiming(Struct, frozen=True):
    duration_ms: float
    usage: Usage = Usage()
    cut: bool = False  # it ended before it was done; `usage` holds what it cost by then
    started_ms: float = 0.0
    calls: list[ModelCall] = []


class ToolCallData(Struct, frozen=True, kw_only=True):
    tool: str
    call_id: str
    arguments: dict[str, Any] = {}


class SourceData(Struct, frozen=True):
    """A page or a document that a result comes from. Answers cite it by its number.

    The number is unique in a run. `url` and `host` are empty for a document without an address.
    """

    number: int
    title: str
    url: str
    host: str
    published: str | None = None


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
    cut: bool = False  # the run ended before the call did

    @property
    def usage(self) -> Usage:
        # A repeated call is answered from the run itself, whatever the first one was.
        is_hit = self.cached and not self.repeated
        return Usage(tool_calls=1, cache_hits=is_hit, search_credits=self.credits)


class ToolRejection(Struct, frozen=True, kw_only=True):
    tool: str
    call_id: str
    reason: str


class AskClosedData(Struct, frozen=True, kw_only=True):
    """What became of an ask. `by` is "owner" or "staff"."""

    ask_id: UUID
    decision: Decision
    edited: bool = False
    by: str = "owner"


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


class SnapshotData(Struct, frozen=True):
    text: str


class HeartbeatData(Struct, frozen=True):
    silent_ms: int


class NoticeData(Struct, frozen=True):
    code: str


class AnswerData(Struct, frozen=True):
    timings: Timings
    usage: Usage
    path: Path | None = None
