"""Events as HTML for the page: what a follower's stream adds to it, and the same answer as history.

`AnswerView.render` returns out-of-band elements. Each has an id and replaces the element with it; one that is new names its
container in `data-slot`, so that a replay cannot show anything twice. Nothing here reads the database.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, assert_never
from urllib.parse import urlsplit

from django.template.loader import render_to_string

from .markdown import Blocks, Element, pattern, render_all, visible
from .protocol import (
    TYPE_OF,
    AgentComplete,
    AgentMessage,
    AgentOutput,
    AgentStart,
    AnyEvent,
    Cancelled,
    Code,
    Connected,
    Done,
    Ending,
    Error,
    ErrorInfo,
    Heartbeat,
    Mode,
    Notice,
    OrchestratorMessage,
    OrchestratorThought,
    Path,
    PhaseComplete,
    PhaseStart,
    ReasoningCompleted,
    ReasoningDelta,
    ResponseCompleted,
    ResponseDelta,
    ResponseSnapshot,
    RouteData,
    RoutingDecided,
    Source,
    Status,
    StreamEvent,
    Timings,
    ToolComplete,
    ToolRejected,
    ToolResultData,
    ToolStart,
    Usage,
    ending_events,
)

PHASES = {
    "routing": "Choosing the path",
    "analysis": "Planning",
    "research": "Researching",
    "writing": "Drafting",
    "review": "Reviewing",
    "revision": "Revising",
    "final": "Writing the answer",
    "answer": "Answering",
}
# What an agent does in a phase, and what its words are called there.
DOING = {
    "analysis": "is planning",
    "writing": "is drafting",
    "review": "is reviewing",
    "revision": "is revising",
    "final": "is writing the answer",
    "answer": "is answering",
}
OUTPUTS = {"research": "Notes", "writing": "Draft", "revision": "Draft"}
# Tools: what they are called, and what somebody does with them.
TOOLS = {
    "calculator": ("Calculator", "is calculating"),
    "clock": ("Clock", "is looking at the clock"),
    "web_search": ("Web search", "is searching the web"),
}
REJECTIONS = {
    "unknown_tool": "there is no such tool",
    "invalid_arguments": "its arguments do not fit",
    "not_allowed": "it is not available for this answer",
    "cap_reached": "the limit of tool calls is reached",
    "malformed": "the call could not be read",
}
PATHS: dict[Path, str] = {"light": "Light", "full": "Full team"}
OUTCOMES: dict[Status, str] = {"completed": "complete", "cancelled": "stopped", "failed": "failed"}
LONGEST_DETAIL = 300  # characters of a tool call that the timeline shows
LONGEST_NAME = 60  # characters of a tool's name, which may be a model's invention
LONGEST_TITLE = 150  # characters of a source's title
NUMBERS = 8  # sources that the closed line names
ORDINARY = ("", "any", "general")  # values of arguments that say nothing
UNTOLD = ("max_results",)  # arguments that nobody wants to read

HELP: dict[Code, str] = {
    "model_unavailable": "Set OPENAI_BASE_URL to a model server that runs, or unset it to use the built-in model. Then start again.",
    "model_error": "OPENAI_BASE_URL says where the model is, OPENAI_API_KEY is its key, FLEET_MODEL its name.",
    "context_too_long": "Begin a new chat, or ask with less text.",
}
NEEDS_ACTION: frozenset[Code] = frozenset({*HELP, "forbidden", "bad_request", "storage_unavailable", "too_many_runs"})
NOTHING_TO_REPEAT: frozenset[Code] = frozenset({"forbidden", "bad_request", "context_too_long"})


def duration(ms: float) -> str:
    if ms < 100:
        return f"{ms:.0f} ms"
    if ms < 10_000:
        return f"{ms / 1000:.1f} s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    if not minutes:
        return f"{seconds} s"
    return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def age(seconds: float) -> str:
    """How old something is, in one unit."""
    if seconds < 60:
        return f"{max(0, seconds):.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min"
    if seconds < 86_400:
        return f"{seconds // 3600:.0f} h"
    return counted(int(seconds // 86_400), "day")


Kind = Literal["route", "phase", "agent", "tool", "words", "speech", "notes"]
State = Literal["running", "done", "failed"]


# --- The timeline -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Step:
    """A line of the timeline, with the lines that belong to it: first what was done, then what was said."""

    key: str
    id: str
    slot: str
    kind: Kind
    title: str
    state: State = "done"
    detail: str = ""
    note: str = ""  # what came of it, in words
    time: str = ""
    doing: str = ""  # what the status line says while it runs
    is_beside: bool = False  # begun while another one was at work
    blocks: list[str] = field(default_factory=list)
    children: list["Step"] = field(default_factory=list)
    said: list["Step"] = field(default_factory=list)

    def running(self, kind: Kind) -> list["Step"]:
        return [step for step in (*self.children, *self.said) if step.kind == kind and step.state == "running"]


class Timeline:
    """Who did what, as a tree: phases, in them agents, in them their tools and words.

    Keys follow from the events alone, so that a follower who saw each of them and one who joined later name a step alike.
    """

    def __init__(self, run: str) -> None:
        self.run = run
        self.steps: list[Step] = []
        self._known: dict[str, Step] = {}
        self.phase: Step | None = None  # the one that is running
        self.phase_name = ""

    def __len__(self) -> int:
        """What was done, as a person counts it."""
        return sum(step.kind in ("agent", "tool") for step in self._known.values())

    def running(self) -> list[Step]:
        return [step for step in self._known.values() if step.state == "running"]

    def at_work(self) -> str:
        """Who does what at this moment; empty if nobody is known to do anything."""
        agents = [step for step in self.running() if step.kind == "agent"]
        if len(agents) > 1:
            return f"{len(agents)} agents are working"
        if not agents:
            return self.phase.title if self.phase else ""
        (agent,) = agents
        tools = agent.running("tool")
        if len(tools) > 1:
            return f"{agent.title} is using {len(tools)} tools"
        if tools:
            return f"{agent.title} {tools[0].doing}"
        if self.phase_name in ("answer", "final") and agent.running("notes"):
            return f"{agent.title} is thinking"
        return f"{agent.title} {agent.doing or 'is working'}"

    def add(self, name: str, parent: Step | None, kind: Kind, title: str, *, state: State = "done", detail: str = "") -> Step:
        """A new step at the end of its parent's, or of the timeline."""
        key, count = name, 1
        while key in self._known:
            count += 1
            key = f"{name}--{count}"
        if parent is None:
            siblings, slot = self.steps, f"{self.run}-timeline"
        elif parent.kind == "agent" and kind in ("notes", "speech"):
            siblings, slot = parent.said, f"{parent.id}-out"
        else:
            siblings, slot = parent.children, f"{parent.id}-in"
        step = Step(key, f"{self.run}-{key}", slot, kind, title, state, detail)
        siblings.append(step)
        self._known[key] = step
        return step

    def start_phase(self, event: PhaseStart) -> Step:
        self.phase_name = event.data.phase
        self.phase = self.add(f"phase-{_slug(self.phase_name)}", None, "phase", phase_title(self.phase_name), state="running")
        return self.phase

    def complete_phase(self, event: PhaseComplete) -> Step:
        name = f"phase-{_slug(event.data.phase)}"
        step = self._newest(name) or self.add(name, None, "phase", phase_title(event.data.phase))
        if step is self.phase:
            self.phase, self.phase_name = None, ""
        return _done(step, event.data.duration_ms)

    def start_agent(self, event: AgentStart) -> Step:
        is_beside = bool(self.phase and self.phase.running("agent"))
        step = self.add(f"agent-{_slug(event.agent_id)}", self.phase, "agent", _name(event.author), state="running")
        step.is_beside = is_beside
        step.doing = DOING.get(self.phase_name, "")
        return step

    def complete_agent(self, event: AgentComplete) -> dict[str, object]:
        """The agent's step, and those in it that were cut."""
        step = self.agent(event.agent_id, event.author)
        tokens = event.data.usage.output_tokens
        step.detail = counted(tokens, "token") if tokens else ""
        return {"step": _done(step, event.data.duration_ms), "unfinished": _cut(step.running("tool"))}

    def agent(self, agent_id: str, author: str = "") -> Step:
        """An agent's newest turn; a follower that joined later may not have seen it begin."""
        name = f"agent-{_slug(agent_id)}"
        return self._newest(name) or self.add(name, self.phase, "agent", _name(author or agent_id))

    def start_tool(self, event: ToolStart) -> Step:
        title, doing = _tool_words(event.data.tool)
        agent = self.agent(event.agent_id, event.author)
        step = self.add(_tool_key(agent, event.data.call_id), agent, "tool", title, state="running", detail=_in_words(event.data.arguments))
        step.doing = doing
        return step

    def complete_tool(self, event: ToolComplete) -> dict[str, object]:
        """The call's step; whole, where nobody saw it begin."""
        data = event.data
        agent = self.agent(event.agent_id, event.author)
        name = _tool_key(agent, data.call_id)
        begun = self._newest(name)
        step = begun or self.add(name, agent, "tool", _tool_words(data.tool)[0])
        _done(step, data.duration_ms)
        step.note = _outcome(data)
        if not data.ok:
            step.state = "failed"
        if data.sources:
            agent.doing = f"is reading {counted(len(data.sources), 'source')}"
        return {"step": step, "is_new": begun is None}

    def reject_tool(self, event: ToolRejected) -> Step:
        agent = self.agent(event.agent_id, event.author)
        title, _ = _tool_words(event.data.tool)
        step = self.add(f"{_tool_key(agent, event.data.call_id)}-no", agent, "tool", title, state="failed")
        step.note = "not called: " + (REJECTIONS.get(event.data.reason) or _shortened(event.data.reason))
        return step

    def start_notes(self, agent: Step | None) -> Step:
        """Where an agent's words go that are not the answer, while it thinks or writes them."""
        return self.add(f"{agent.key}-notes" if agent else "notes", agent, "notes", "Thinking", state="running")

    def complete_notes(self, step: Step, message: str) -> Step:
        step.title = OUTPUTS.get(self.phase_name, "Result")
        step.detail = counted(len(message.split()), "word")
        step.state = "done"
        step.blocks = render_all(message, step.id)
        return step

    def _newest(self, name: str) -> Step | None:
        """The newest step of this name."""
        count = 1
        step = self._known.get(name)
        while found := self._known.get(f"{name}--{count + 1}"):
            step, count = found, count + 1
        return step


def phase_title(name: str) -> str:
    return PHASES.get(name) or _name(name)


def _cut(steps: list[Step]) -> list[Step]:
    for step in steps:
        step.state = "failed"
    return steps


def _done(step: Step, ms: float) -> Step:
    step.state = "done"
    step.time = duration(ms)
    return step


def _slug(words: str) -> str:
    """Fit for an id: call ids are words of a model. Two hyphens stand between a name and its number, so none has two."""
    return re.sub(r"[^a-zA-Z0-9_]+", "-", words)[:40]


def _tool_key(agent: Step, call_id: str) -> str:
    return f"{agent.key}-tool-{_slug(call_id)}"


def _tool_words(tool: str) -> tuple[str, str]:
    """What a tool is called, and what somebody does with it."""
    if known := TOOLS.get(tool):
        return known
    title = _name(tool)
    return title, f"is using {title}"


def _name(name: str) -> str:
    return _capital(_shortened(name.replace("_", " "), LONGEST_NAME))


def _in_words(arguments: Mapping[str, Any]) -> str:
    """A call's arguments in a line: a single one needs no name."""
    telling = {
        name: value
        for name, value in arguments.items()
        if value is not None and value is not False and value not in ORDINARY and name not in UNTOLD
    }
    if len(telling) == 1:
        return _shortened(str(*telling.values()))
    return _shortened(", ".join(f"{name}: {value}" for name, value in telling.items()))


def _outcome(data: ToolResultData) -> str:
    """What came of a call, beyond that it was made."""
    if not data.ok:
        return _shortened(data.message) or "failed"
    if data.repeated:
        return "same as before"
    found = [counted(len(data.sources), "source")] if data.sources else []
    if data.cached:
        found.append("from the cache" + (f", {age(data.age_s)} old" if data.age_s is not None else ""))
    if data.stale:
        found.append("stale: nothing newer could be had")
    return ", ".join(found)


def _shortened(text: str, most: int = LONGEST_DETAIL) -> str:
    text = " ".join(visible(text).split())
    return text if len(text) <= most else text[: most - 1] + "…"


# --- Sources ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SourceLink:
    """A source as it is shown. The host is read from the address itself; an address that may not be followed is left out."""

    number: int
    title: str
    url: str
    host: str
    published: date | None

    @classmethod
    def of(cls, source: Source) -> "SourceLink":
        host = _host(source.url)
        title = _shortened(source.title, LONGEST_TITLE) or host or "Untitled"
        return cls(source.number, title, source.url if host else "", host, _day(source.published))


def _host(url: str) -> str:
    """The host of a web address that may be followed; empty if it may not."""
    # Browsers and urlsplit disagree about backslashes and blanks; nothing that needs them is followed.
    if not re.fullmatch(r"https?://[^\s\\\x00-\x20]+", url, re.IGNORECASE):
        return ""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return (parts.hostname or "") if parts.username is None else ""


def _day(published: str | None) -> date | None:
    try:
        return date.fromisoformat((published or "")[:10])
    except ValueError:
        return None


# --- The end of an answer ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is no whole answer, in words, and what one can do."""

    words: str
    wait: str = ""  # seconds that the page counts down
    after_wait: str = ""
    help: str = ""
    code: str = ""
    workflow_id: str = ""
    urgent: bool = False
    show_running: bool = False


@dataclass(frozen=True, slots=True)
class Why:
    """Why an answer went the way it did, in words."""

    sentences: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    """The foot of an answer that has ended, or was refused."""

    status: Status
    label: str
    path: str = ""
    badges: tuple[str, ...] = ()
    why: Why | None = None
    trouble: Trouble | None = None
    mode: Mode = "auto"  # that the question was asked in
    can_copy: bool = False
    can_ask_again: bool = True
    can_continue: bool = False
    can_use_team: bool = False
    can_search_again: bool = False
    can_rate: bool = False


def why_of(route: RouteData | None, timings: Timings, usage: Usage) -> Why | None:
    """None where nothing is known but the path."""
    spent = _spent(timings, usage)
    if route is None:
        return Why(rest=spent) if spent else None
    if route.escalated:
        reason = f": {_shortened(route.reasons[0])}" if route.reasons else ""
        # The first word was one that was taken back.
        return Why((f"Light, then the full team{reason}.",), rest=_spent(Timings(), usage))
    sure = f"{_percent(route.confidence)} sure that one agent suffices."
    if route.mode != "auto":
        return Why((f"{PATHS[route.path]}: asked for by you.", sure), rest=spent)
    reasons = tuple(_capital(_shortened(reason)) for reason in route.reasons)
    skipped = ", ".join(phase_title(phase).lower() for phase in route.skipped)
    return Why((sure,), reasons, ((f"Skipped: {skipped}.",) if skipped else ()) + spent)


def _percent(probability: float) -> str:
    percent = round(probability * 100)
    if percent > 99:
        return "More than 99 %"
    return f"{percent} %" if percent >= 1 else "Less than 1 %"


def _spent(timings: Timings, usage: Usage) -> tuple[str, ...]:
    parts = []
    if timings.first_token_ms is not None:
        parts.append(f"First word after {duration(timings.first_token_ms)}.")
    if usage.model_calls:
        calls = counted(usage.model_calls, "model call")
        parts.append(f"{calls}: {usage.input_tokens:,} tokens read, {usage.output_tokens:,} written.")
    return (" ".join(parts),) if parts else ()


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def trouble_of(error: ErrorInfo, workflow_id: str) -> Trouble:
    words, wait, rest = error.message, "", ""
    if error.code == "rate_limited" and (match := re.search(r"\b\d{1,4}(?= s\b)", words)):
        words, wait, rest = words[: match.start()], match[0], words[match.end() :]
    # A model that failed once may do better; one that will fail again needs another setting.
    needs_action = error.code in NEEDS_ACTION and not (error.code == "model_error" and error.retryable)
    return Trouble(
        words=words,
        wait=wait,
        after_wait=rest,
        help=HELP.get(error.code, "") if needs_action else "",
        code=error.code,
        workflow_id=workflow_id,
        urgent=needs_action,
        show_running=error.code == "too_many_runs",
    )


# --- One follower's view of one run -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Activity:
    """The line above an answer: who is at work, or how many steps it took. `why` says what is out of the ordinary."""

    words: str
    busy: bool = True
    why: str = ""


class AnswerView:
    """One run as the page shows it. Feed it the run's events in order: it keeps the text and knows what is on the page."""

    def __init__(self, workflow_id: str) -> None:
        self.workflow_id = workflow_id
        self.run = f"run-{workflow_id}"
        self.message_id = ""
        self.conversation_id = ""
        self.number = 0  # of the question in its conversation, where it is known
        self.rating: int | None = None
        self.activity = Activity("Connected")
        self.timeline = Timeline(self.run)
        self.end: End | None = None
        self._path: Path | None = None
        self._route: RouteData | None = None
        self._usage = Usage()
        self._sources: dict[int, SourceLink] = {}
        self._fetched_at: datetime | None = None  # of the oldest result that came from the cache
        self._is_stale = False
        self._restart("")
        self._thinking: dict[str, tuple[Step, Blocks]] = {}  # by agent
        self._thoughts: dict[str, Step] = {}  # by agent: its newest that is not followed by its words as a whole
        self._shown = self._surroundings

    @classmethod
    def of_record(cls, workflow_id: str, steps: Iterable[AnyEvent], text: str, ending: Ending | None) -> "AnswerView":
        """The answer as its row tells it; still open if there is no ending."""
        view = cls(workflow_id)
        for event in steps:
            view._fold(event)
        view._restart(text)
        for last in ending_events(ending, text) if ending else ():
            view._fold(last)
        if ending:
            view._end(ending.status, ending.timings, ending.usage, ending.path, ending.error)
        return view

    @property
    def blocks(self) -> list[str]:
        return self._blocks.html()

    @property
    def sources(self) -> list[SourceLink]:
        """What the answer was made from, by number; nothing while there is no answer yet."""
        return [self._sources[number] for number in sorted(self._sources)] if self._text else []

    @property
    def first_sources(self) -> list[SourceLink]:
        return self.sources[:NUMBERS]

    @property
    def sources_beyond(self) -> int:
        return max(0, len(self.sources) - NUMBERS)

    def render(self, event: AnyEvent | StreamEvent) -> str:
        """The out-of-band HTML that shows this event; empty if there is nothing to show."""
        match event:
            case ResponseDelta():
                return self._write(event.delta)
            case ReasoningDelta():
                return self._think(event)
            case Notice() | Heartbeat():
                return self._partial(event, **self._fold(event))
            case _:
                return self._partial(event, **self._fold(event)) + self._render_surroundings()

    # --- Answer and reasoning, without a template render per delta

    def _write(self, delta: str) -> str:
        is_first = not self._text
        self._text.append(delta)
        html = _out_of_band(self._blocks.feed(delta))
        if is_first:
            self._look()
            return html + self._render_surroundings()
        return html

    def _think(self, event: ReasoningDelta) -> str:
        if thinking := self._thinking.get(event.agent_id):
            return _out_of_band(thinking[1].feed(event.delta))
        step = self.timeline.start_notes(self.timeline.agent(event.agent_id) if event.agent_id else None)
        blocks = Blocks(step.id)
        blocks.feed(event.delta)
        step.blocks = blocks.html()
        self._thinking[event.agent_id] = step, blocks
        self._thoughts[event.agent_id] = step
        self._look()
        return self._partial(event, step=step) + self._render_surroundings()

    def _restart(self, text: str) -> None:
        self._text = [text] if text else []
        self._blocks = Blocks(self.run)
        self._blocks.feed(text)

    # --- What stands around the answer, and changes with many kinds of events

    @property
    def _surroundings(self) -> tuple[Activity, list[SourceLink]]:
        return self.activity, self.sources

    def _render_surroundings(self) -> str:
        """The status line and the sources, where they are not on the page already."""
        if not self.workflow_id:
            return ""
        (activity, sources), self._shown = self._shown, self._surroundings
        html = self._partial_named("activity") if activity != self.activity else ""
        return html + (self._partial_named("sources") if sources != self.sources else "")

    def _look(self) -> None:
        """See who is at work now."""
        if self.activity.busy:
            words = self.timeline.at_work() or ("Answering" if self._text else self.activity.words)
            escalated = self._route is not None and self._route.escalated
            self.activity = Activity(words, why=self._takeover if escalated else "")

    @property
    def _takeover(self) -> str:
        reasons = self._route.reasons if self._route else []
        return f"{_capital(_shortened(reasons[0]))}, so the full team takes over" if reasons else "The full team takes over"

    # --- Everything else

    def _fold(self, event: AnyEvent | StreamEvent) -> dict[str, object]:
        """Take the event in; what its partial needs to show it."""
        context = self._taken(event)
        self._look()
        if isinstance(event, Connected | ResponseSnapshot):
            # Their partials bring the surroundings along.
            self._shown = self._surroundings
        return context

    def _taken(self, event: AnyEvent | StreamEvent) -> dict[str, object]:
        match event:
            case Connected():
                self.message_id, self.conversation_id = str(event.data.message_id), str(event.data.conversation_id)
                return {}
            case RoutingDecided():
                return {"step": self._decide(event.data)}
            case PhaseStart():
                return {"step": self.timeline.start_phase(event)}
            case PhaseComplete():
                return {"step": self.timeline.complete_phase(event)}
            case AgentStart():
                return {"step": self.timeline.start_agent(event)}
            case AgentMessage():
                return self._say(event)
            case AgentOutput():
                return self._put_out(event)
            case AgentComplete():
                return self.timeline.complete_agent(event)
            case ToolStart():
                return {"step": self.timeline.start_tool(event)}
            case ToolComplete():
                self._take_result(event)
                return self.timeline.complete_tool(event)
            case ToolRejected():
                return {"step": self.timeline.reject_tool(event)}
            case OrchestratorMessage() | OrchestratorThought():
                words = _shortened(event.message)
                return {"step": self.timeline.add(f"words-{event.seq}", self.timeline.phase, "words", "", detail=words)}
            case ReasoningCompleted():
                return self._stop_thinking(event.agent_id)
            case ResponseSnapshot():
                self._restart(event.data.text)
                return {}
            case ResponseCompleted():
                self._path, self._usage = event.data.path, event.data.usage
                if event.message != "".join(self._text):
                    self._restart(event.message)
                    self._blocks.finish()
                    return {"replaced": True}
                return self._finish()
            case Cancelled():
                return self._finish()
            case Done():
                changed = self._finish()
                return changed | self._end(event.data.status, event.data.timings, self._usage, self._path, None)
            case Error():
                changed = self._finish()
                return changed | self._end("failed", Timings(), self._usage, self._path, event.error)
            case Notice():
                return {"id": f"{self.run}-notice-{_slug(event.data.code)}", "words": event.message}
            case Heartbeat() | ResponseDelta() | ReasoningDelta():
                return {}
            case StreamEvent():
                raise AssertionError(f"{type(event).__name__} is no kind of event")
        assert_never(event)

    def _decide(self, route: RouteData) -> Step:
        self._path, self._route = route.path, route
        if not route.escalated:
            reasons = ", ".join(route.reasons)
            return self.timeline.add("route", self.timeline.phase, "route", PATHS[route.path], detail=_shortened(reasons))
        # What the light answer was made from is gone with it; the team counts its own sources.
        self._sources.clear()
        self._fetched_at, self._is_stale = None, False
        return self.timeline.add("route", self.timeline.phase, "route", self._takeover)

    def _take_result(self, event: ToolComplete) -> None:
        data = event.data
        for source in data.sources:
            self._sources.setdefault(source.number, SourceLink.of(source))
        if data.cached:
            fetched_at = _moment(event.timestamp) - timedelta(seconds=data.age_s or 0)
            self._fetched_at = min(self._fetched_at or fetched_at, fetched_at)
            self._is_stale = self._is_stale or data.stale

    def _say(self, event: AgentMessage) -> dict[str, object]:
        agent = self.timeline.agent(event.agent_id, event.author)
        step = self.timeline.add(f"speech-{event.seq}", agent, "speech", "")
        step.blocks = render_all(event.message, step.id)
        return {"step": step}

    def _put_out(self, event: AgentOutput) -> dict[str, object]:
        """An agent's words as a whole: they take the place of those that were streamed."""
        step = self._thoughts.pop(event.agent_id, None)
        self._thinking.pop(event.agent_id, None)
        is_new = step is None
        if step is None:
            step = self.timeline.start_notes(self.timeline.agent(event.agent_id, event.author))
        return {"step": self.timeline.complete_notes(step, event.message), "is_new": is_new}

    def _stop_thinking(self, agent_id: str) -> dict[str, object]:
        if agent_id not in self._thinking:
            return {}
        step, blocks = self._thinking.pop(agent_id)
        step.state = "done"
        # Not the step as a whole: the reader may have opened it.
        return {"step": step, "changed": _out_of_band(blocks.finish())}

    def _finish(self) -> dict[str, object]:
        return {"changed": _out_of_band(self._blocks.finish())}

    def _end(self, status: Status, timings: Timings, usage: Usage, path: Path | None, error: ErrorInfo | None) -> dict[str, object]:
        badges = []
        if timings.total_ms is not None:
            badges.append(duration(timings.total_ms))
        if usage.tool_calls:
            badges.append(counted(usage.tool_calls, "tool"))
        if usage.output_tokens:
            badges.append(counted(usage.output_tokens, "token"))
        if self._fetched_at:
            old = age((datetime.now(UTC) - self._fetched_at).total_seconds())
            badges.append(f"cached {old} ago" + (", stale" if self._is_stale else ""))
        shown_path = PATHS[path] if path else ""
        trouble = trouble_of(error, self.workflow_id) if error else Trouble("Stopped.") if status == "cancelled" else None
        self.end = End(
            status,
            f"{shown_path}, {OUTCOMES[status]}" if path else OUTCOMES[status],
            shown_path,
            tuple(badges),
            why_of(self._route, timings, usage) if self.workflow_id else None,
            trouble,
            mode=self._route.mode if self._route else "auto",
            can_copy=bool(self._text and self.workflow_id),
            can_ask_again=error is None or error.code not in NOTHING_TO_REPEAT,
            can_continue=status == "cancelled" and bool(self._text),
            can_use_team=status == "completed" and path == "light",
            can_search_again=status == "completed" and self._fetched_at is not None,
            can_rate=status == "completed",
        )
        self.activity = Activity(counted(len(self.timeline), "step") if len(self.timeline) else "", busy=False)
        return {"unfinished": _cut(self.timeline.running())}

    def _partial(self, event: AnyEvent | StreamEvent, **context: object) -> str:
        return self._partial_named(TYPE_OF[type(event)].replace(".", "_"), **context)

    def _partial_named(self, name: str, **context: object) -> str:
        return render_to_string(f"chat/stream.html#{name}", {"answer": self, "oob": True, **context}).strip()


def _moment(timestamp: str) -> datetime:
    """When an event was; now, where it does not say."""
    return datetime.fromisoformat(timestamp) if timestamp else datetime.now(UTC)


def _out_of_band(elements: list[Element]) -> str:
    return "".join(_element_out_of_band(element) for element in elements)


def _element_out_of_band(element: Element) -> str:
    name = "row" if element.tag == "tr" else "element"
    return pattern(f"chat/stream.html#{name}", "tag", "id", "slot", "attributes", "html") % {
        "tag": element.tag,
        "id": element.id,
        "slot": element.slot,
        "attributes": element.attributes,
        "html": element.inner,
    }
