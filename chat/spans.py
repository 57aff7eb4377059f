"""The steps of a run as intervals: phases, in them agents, in them model calls and tool calls.

Built from the events alone, so that the wire, the row, the pages, metrics and traces agree.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Literal

from .protocol.events import AgentComplete, PhaseComplete, RoutingDecided, StreamEvent, ToolComplete
from .protocol.payloads import AgentTiming, ModelCall, PhaseTiming, ToolResultData
from .protocol.terms import Usage

# Their data has times, usage and the path. All other kinds are of no interest here.
MEASURED = (RoutingDecided, PhaseComplete, AgentComplete, ToolComplete)

type Kind = Literal["phase", "agent", "call", "tool"]


@dataclass(frozen=True, slots=True)
class Span:
    """A step that has ended. `name` is a phase, an agent's id, a model or a tool."""

    kind: Kind
    name: str
    data: PhaseTiming | AgentTiming | ModelCall | ToolResultData
    author: str = ""  # of an agent: the name that people read
    children: list["Span"] = field(default_factory=list)

    @property
    def started_ms(self) -> float:
        """Milliseconds since the run was started."""
        return self.data.started_ms

    @property
    def duration_ms(self) -> float:
        return self.data.duration_ms

    def with_children(self) -> Iterator["Span"]:
        """Yield this span and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.with_children()


def spans_of(events: Iterable[StreamEvent]) -> list[Span]:
    """Return the phases of a run in their order, each with its parts in the order of their starts.

    A part whose phase has not ended stands at the top.
    """
    found: list[Span] = []
    parts: list[Span] = []  # of the phase that is open
    tools: dict[str, list[Span]] = {}  # by the agent that uses them
    for event in events:
        match event:
            case ToolComplete(data=data):
                tools.setdefault(event.agent_id, []).append(Span("tool", data.tool, data))
            case AgentComplete(data=data):
                children = [*spans_of_calls(data.calls), *tools.pop(event.agent_id, [])]
                children.sort(key=attrgetter("started_ms"))
                parts.append(Span("agent", event.agent_id, data, event.author, children))
            case PhaseComplete(data=data):
                parts += spans_of_calls(data.calls)
                parts.sort(key=attrgetter("started_ms"))
                found.append(Span("phase", data.phase, data, children=parts))
                parts = []
    return [*found, *parts]


def spans_of_calls(calls: Iterable[ModelCall]) -> Iterator[Span]:
    return (Span("call", call.model, call) for call in calls)


def unexplained(usage: Usage, calls: Sequence[ModelCall]) -> Usage:
    """Return the model calls and tokens of a run that none of `calls` has.

    An older version stored no calls, and the row of a lost run has none.
    """
    return Usage(
        model_calls=max(0, usage.model_calls - len(calls)),
        input_tokens=max(0, usage.input_tokens - sum(call.input_tokens for call in calls)),
        output_tokens=max(0, usage.output_tokens - sum(call.output_tokens for call in calls)),
        cached_tokens=max(0, usage.cached_tokens - sum(call.cached_tokens for call in calls)),
    )


def all_spans(events: Iterable[StreamEvent]) -> Iterator[Span]:
    """Yield every span of a run, parents first."""
    for span in spans_of(events):
        yield from span.with_children()
