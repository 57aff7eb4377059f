"""A run's steps as its page shows them: phases, agents with what they said, tool and model calls.

Built from the stored events. Words of people, models and the web pass through `Say`, which hides
them from operators who may not read them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Literal
from urllib.parse import urlencode

import msgspec
from django.conf import settings
from django.urls import reverse
from django.utils.dateparse import parse_datetime

from chat.protocol.events import (
    AgentComplete,
    AgentMessage,
    AgentOutput,
    AgentStart,
    OrchestratorMessage,
    OrchestratorThought,
    PhaseComplete,
    PhaseStart,
    Resumed,
    RoutingDecided,
    StreamEvent,
    ToolComplete,
    ToolRejected,
    ToolStart,
)
from chat.protocol.payloads import (
    AgentTiming,
    ModelCall,
    PhaseTiming,
    RouteData,
    ToolCallData,
    ToolRejection,
    ToolResultData,
)
from chat.protocol.terms import Usage
from chat.rendering.ending import SourceLink
from chat.rendering.timeline import OUTPUTS, phase_title, rejection_words, tool_title
from chat.rendering.wording import age, cached_share, counted, duration, shortened, title_of
from tooling.known import TOOLS

FOLD_ABOVE = 600  # characters of a text that is folded
PREVIEW_CHARS = 240
LINE_CHARS = 100  # of arguments that are shown in one line

type Say = Callable[[str], str]
State = Literal["done", "failed", "stopped", "rejected", "unfinished"]


@dataclass(frozen=True, slots=True)
class Words:
    """A text of a person, a model or the web. A long one is folded."""

    text: str

    @property
    def preview(self) -> str:
        """The beginning of a text that is folded; empty for a short one."""
        return shortened(self.text, PREVIEW_CHARS) if len(self.text) > FOLD_ABOVE else ""


@dataclass(frozen=True, slots=True)
class PhaseLine:
    title: str
    timing: PhaseTiming
    share: float  # per cent of the run's total

    @property
    def time(self) -> str:
        return duration(self.timing.duration_ms)


@dataclass(slots=True)
class ToolUse:
    """A tool call with its result. One without a result was cut with its run."""

    agent: str
    title: str
    arguments: Words | None = None
    state: State = "unfinished"
    time: str = ""
    started: str = ""
    facts: list[str] = field(default_factory=list)
    message: Words | None = None  # the reason of a failure
    sources: list[SourceLink] = field(default_factory=list)
    hidden_sources: str = ""  # their number, if the operator may not read them
    cache_address: str = ""  # of the inspector, with a search for this result


@dataclass(slots=True)
class Turn:
    """An agent's part: what it was asked, what it said, and what that took."""

    agent_id: str
    name: str
    phase: str
    task: Words | None = None
    said: list[tuple[str, Words]] = field(default_factory=list)
    tools: list[ToolUse] = field(default_factory=list)
    timing: AgentTiming | None = None

    @property
    def state(self) -> State:
        if self.timing is None:
            return "unfinished"
        return "stopped" if self.timing.cut else "done"

    @property
    def figures(self) -> str:
        if self.timing is None:
            return ""
        usage = self.timing.usage
        parts = [duration(self.timing.duration_ms)]
        if usage.model_calls:
            about = "≈ " if usage.estimated else ""
            read, cached = f"{about}{usage.input_tokens:,} tokens read", cached_note(usage)
            read += f" ({cached})" if cached else ""
            written = f"{usage.output_tokens:,} written"
            parts += [counted(usage.model_calls, "model call"), f"{read}, {written}"]
        if self.tools:
            parts.append(counted(len(self.tools), "tool call"))
        return " · ".join(parts)


def cached_note(usage: Usage) -> str:
    """Return how much of the input the model server had cached; empty if it reports none."""
    if not usage.cached_tokens:
        return ""
    return f"{usage.cached_tokens:,} cached, {cached_share(usage)}"


@dataclass(frozen=True, slots=True)
class CallLine:
    """A model call. `cost` is None without a price."""

    who: str
    call: ModelCall
    cost: float | None

    @property
    def started(self) -> str:
        return seconds(self.call.started_ms)

    @property
    def first_chunk(self) -> str:
        return "–" if self.call.first_chunk_ms is None else duration(self.call.first_chunk_ms)

    @property
    def time(self) -> str:
        return duration(self.call.duration_ms)

    @property
    def outcome(self) -> str:
        parts = [self.call.error, "cut" if self.call.cut else "", self.call.finish_reason]
        return ", ".join(part for part in parts if part) or "–"


@dataclass(frozen=True, slots=True)
class Takeover:
    """Another worker went on with the run, after a time without one."""

    epoch: int
    silent_ms: float
    redone: str  # the agents whose step in flight was made again
    at: datetime | None  # None if an event lacks its time

    @property
    def silence(self) -> str:
        return duration(self.silent_ms)


class Steps:
    """What the events of a run tell, in the order in which it happened."""

    def __init__(self, events: Iterable[StreamEvent], *, total_ms: float, say: Say) -> None:
        self.phases: list[PhaseLine] = []
        self.turns: list[Turn] = []
        self.tools: list[ToolUse] = []
        self.calls: list[CallLine] = []
        self.routes: list[RouteData] = []
        self.notes: list[Words] = []  # of the orchestrator
        self.takeovers: list[Takeover] = []
        self._say = say
        self._total_ms = total_ms
        self._phase = ""
        self._open: dict[tuple[str, str], tuple[ToolUse, ToolCallData]] = {}  # by agent and call
        for event in events:
            self.add(event)
        self.calls.sort(key=attrgetter("call.number"))

    def words(self, text: str) -> Words | None:
        return Words(self._say(text)) if text else None

    def add(self, event: StreamEvent) -> None:
        match event:
            case Resumed(data=resumed):
                redone = ", ".join(title_of(agent_id) for agent_id in resumed.redone)
                at = parse_datetime(event.timestamp)
                self.takeovers.append(Takeover(resumed.epoch, resumed.silent_ms, redone, at))
            case RoutingDecided(data=route):
                self.routes.append(route)
            case PhaseStart():
                self._phase = event.data.phase
            case PhaseComplete(data=timing):
                share = 100 * timing.duration_ms / self._total_ms if self._total_ms else 0
                title = phase_title(timing.phase)
                self.phases.append(PhaseLine(title, timing, round(min(100, share), 1)))
                self.add_calls("Router", timing.calls)
            case AgentStart():
                turn = self.turn(event.agent_id, event.author, is_new=True)
                turn.task = self.words(event.data.task)
            case AgentMessage() | AgentOutput() if text := self.words(event.message):
                is_output = isinstance(event, AgentOutput)
                title = str(OUTPUTS.get(self._phase, "Result")) if is_output else "To the team"
                self.turn(event.agent_id, event.author).said.append((title, text))
            case AgentComplete(data=timing):
                turn = self.turn(event.agent_id, event.author)
                turn.timing = timing
                self.add_calls(turn.name, timing.calls)
            case ToolStart(data=data):
                use = self.use(event.agent_id, event.author, tool_title(data.tool)[0])
                use.arguments = self.words(json_of(data.arguments))
                self._open[event.agent_id, data.call_id] = use, data
            case ToolComplete(data=result):
                self.complete_tool(event, result)
            case ToolRejected(data=rejection):
                self.reject_tool(event, rejection)
            case OrchestratorMessage() | OrchestratorThought() if text := self.words(event.message):
                self.notes.append(text)

    def turn(self, agent_id: str, author: str, *, is_new: bool = False) -> Turn:
        """Return the newest turn of this agent, or a new one."""
        newest = next((turn for turn in self.turns[::-1] if turn.agent_id == agent_id), None)
        if newest is None or is_new:
            phase = phase_title(self._phase) if self._phase else ""
            newest = Turn(agent_id, title_of(author or agent_id), phase)
            self.turns.append(newest)
        return newest

    def use(self, agent_id: str, author: str, title: str) -> ToolUse:
        turn = self.turn(agent_id, author)
        use = ToolUse(turn.name, title)
        turn.tools.append(use)
        self.tools.append(use)
        return use

    def add_calls(self, who: str, calls: Iterable[ModelCall]) -> None:
        prices = settings.FLEET_PRICES
        for call in calls:
            cost = prices.cost_of([call], []) if prices else None
            self.calls.append(CallLine(who, call, cost))

    def complete_tool(self, event: ToolComplete, result: ToolResultData) -> None:
        begun = self._open.pop((event.agent_id, result.call_id), None)
        if begun is None:
            use = self.use(event.agent_id, event.author, tool_title(result.tool)[0])
        else:
            use, start = begun
            use.cache_address = cache_address(start) if self.may_read else ""
        use.state = "stopped" if result.cut else "done" if result.ok else "failed"
        use.time = duration(result.duration_ms)
        # Earlier versions stored no start.
        use.started = seconds(result.started_ms) if result.started_ms else ""
        use.facts = facts_of(result)
        use.message = self.words(result.message)
        if self.may_read:
            use.sources = [SourceLink.of(source) for source in result.sources]
        elif result.sources:
            use.hidden_sources = counted(len(result.sources), "source")

    def reject_tool(self, event: ToolRejected, rejection: ToolRejection) -> None:
        # Models invent names, so the name of an unknown tool is a model's words.
        is_known = rejection.tool in TOOLS
        name = tool_title(rejection.tool)[0] if is_known else self._say(rejection.tool)
        use = self.use(event.agent_id, event.author, shortened(name, 60))
        use.state = "rejected"
        use.facts = [rejection_words(rejection.reason)]

    @property
    def may_read(self) -> bool:
        return self._say("x") == "x"


def facts_of(result: ToolResultData) -> list[str]:
    facts = []
    if result.cached:
        old = f", {age(result.age_s)} old" if result.age_s is not None else ""
        facts.append(f"from the cache{old}")
    if result.stale:
        facts.append("stale")
    if result.repeated:
        facts.append("repeated: made before in this run")
    if result.credits:
        facts.append(credits_of(result.credits))
    return facts


def credits_of(count: float) -> str:
    return f"{count:g} credit{'' if count == 1 else 's'}"


def cache_address(call: ToolCallData) -> str:
    """Return the address of the cache inspector with a search for this call; empty without one.

    The key of the entry depends on the day and on the account, so it isn't computed here.
    """
    tool = TOOLS.get(call.tool)
    query = call.arguments.get("query")
    if tool is None or tool.cache is None or not isinstance(query, str):
        return ""
    found = urlencode({"tool": call.tool, "q": query[:200]})
    return f"{reverse('admin:tooling_cachedresult_changelist')}?{found}"


def json_of(arguments: object) -> str:
    """Return the arguments as JSON: in one line if it is short."""
    encoded = msgspec.json.encode(arguments)
    line = msgspec.json.format(encoded, indent=0).decode()
    return line if len(line) <= LINE_CHARS else msgspec.json.format(encoded, indent=2).decode()


def seconds(ms: float) -> str:
    """Return a moment of the run."""
    return f"{ms / 1000:.1f} s"
