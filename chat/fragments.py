"""Events as HTML for the page: what a follower's stream adds to it, and the same answer as history.

`AnswerView.render` returns out-of-band elements. Each has an id and replaces the element with it; one that is new names its
container in `data-slot`, so that a replay cannot show anything twice. Nothing here reads the database.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, assert_never

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
    RoutingDecided,
    Status,
    StreamEvent,
    Timings,
    ToolComplete,
    ToolRejected,
    ToolStart,
    Usage,
    ending_events,
)

PHASES = {
    "routing": "Choosing the path",
    "analysis": "Planning",
    "research": "Researching",
    "writing": "Writing",
    "review": "Reviewing",
    "revision": "Revising",
    "answer": "Answering",
}
PATHS: dict[Path, str] = {"light": "Light", "full": "Full"}
OUTCOMES: dict[Status, str] = {"completed": "complete", "cancelled": "stopped", "failed": "failed"}
LONGEST_DETAIL = 300  # characters of a tool call that the timeline shows

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


Kind = Literal["route", "phase", "agent", "tool", "words", "output", "thinking"]
State = Literal["running", "done", "failed"]


# --- The timeline -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Step:
    """A line of the timeline, with the lines that belong to it."""

    id: str
    slot: str
    kind: Kind
    title: str
    state: State = "done"
    detail: str = ""
    time: str = ""
    blocks: list[str] = field(default_factory=list)
    children: list["Step"] = field(default_factory=list)


class Timeline:
    """Who did what, as a tree: phases, in them agents, in them their tools and words."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.steps: list[Step] = []
        self._known: dict[str, Step] = {}
        self.phase: Step | None = None  # the one that is running
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def running(self) -> list[Step]:
        return [step for step in self._known.values() if step.state == "running"]

    def add(self, key: str, parent: Step | None, kind: Kind, title: str, *, state: State = "done", detail: str = "") -> Step:
        """A new step at the end of its parent's, or of the timeline."""
        slot = f"{parent.id}-in" if parent else f"{self.run}-timeline"
        step = Step(f"{self.run}-{_slug(key)}", slot, kind, title, state, detail)
        (parent.children if parent else self.steps).append(step)
        self._known[key] = step
        self._count += kind != "thinking"
        return step

    def start_phase(self, event: PhaseStart) -> Step:
        name = event.data.phase
        self.phase = self.add(self._fresh_key(f"phase-{name}"), None, "phase", phase_title(name), state="running")
        return self.phase

    def complete_phase(self, event: PhaseComplete) -> Step:
        name = event.data.phase
        step = self._current(f"phase-{name}", None, "phase", phase_title(name))
        if step is self.phase:
            self.phase = None
        return _done(step, event.data.duration_ms)

    def start_agent(self, event: AgentStart) -> Step:
        return self.add(self._fresh_key(f"agent-{event.agent_id}"), self.phase, "agent", event.author, state="running")

    def complete_agent(self, event: AgentComplete) -> Step:
        step = self.agent(event.agent_id, event.author)
        tokens = event.data.usage.output_tokens
        step.detail = counted(tokens, "token") if tokens else ""
        return _done(step, event.data.duration_ms)

    def agent(self, agent_id: str, author: str = "") -> Step:
        return self._current(f"agent-{agent_id}", self.phase, "agent", author or agent_id)

    def start_tool(self, event: ToolStart) -> Step:
        arguments = ", ".join(f"{name}: {value}" for name, value in event.data.arguments.items())
        parent = self.agent(event.agent_id, event.author)
        detail = _shortened(arguments)
        return self.add(f"tool-{event.data.call_id}", parent, "tool", event.data.tool, state="running", detail=detail)

    def complete_tool(self, event: ToolComplete) -> Step:
        data = event.data
        step = self._known.get(f"tool-{data.call_id}")
        if step is None:
            step = self.add(f"tool-{data.call_id}", self.agent(event.agent_id, event.author), "tool", data.tool)
        _done(step, data.duration_ms)
        if not data.ok:
            step.state = "failed"
        if data.cached:
            step.time = f"{step.time}, from the cache" + (f" ({duration(data.age_s * 1000)} old)" if data.age_s else "")
        return step

    def reject_tool(self, event: ToolRejected) -> Step:
        parent = self.agent(event.agent_id, event.author)
        detail = _shortened(event.data.reason)
        return self.add(f"tool-{event.data.call_id}-no", parent, "tool", f"{event.data.tool}: dropped", state="failed", detail=detail)

    def _current(self, key: str, parent: Step | None, kind: Kind, title: str) -> Step:
        """The newest step of this name; a follower that joined later may not have seen it begin."""
        count = 1
        step = self._known.get(key)
        while found := self._known.get(f"{key}-{count + 1}"):
            step, count = found, count + 1
        return step or self.add(key, parent, kind, title)

    def _fresh_key(self, key: str) -> str:
        count = 1
        while (name := key if count == 1 else f"{key}-{count}") in self._known:
            count += 1
        return name


def phase_title(name: str) -> str:
    return PHASES.get(name) or name.replace("_", " ").capitalize()


def _done(step: Step, ms: float) -> Step:
    step.state = "done"
    step.time = duration(ms)
    return step


def _slug(key: str) -> str:
    """Fit for an id: call ids are words of a model."""
    return re.sub(r"[^\w-]", "-", key, flags=re.ASCII)[:80]


def _shortened(text: str) -> str:
    text = visible(text)
    return text if len(text) <= LONGEST_DETAIL else text[: LONGEST_DETAIL - 1] + "…"


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
class End:
    """The foot of an answer that has ended, or was refused."""

    status: Status
    label: str
    badges: tuple[str, ...] = ()
    trouble: Trouble | None = None
    can_copy: bool = False
    can_ask_again: bool = True
    can_continue: bool = False


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
    """The line above an answer: who is at work, or how many steps it took."""

    words: str
    busy: bool = True


class AnswerView:
    """One run as the page shows it. Feed it the run's events in order: it keeps the text and knows what is on the page."""

    def __init__(self, workflow_id: str) -> None:
        self.workflow_id = workflow_id
        self.run = f"run-{workflow_id}"
        self.message_id = ""
        self.conversation_id = ""
        self.number = 0  # of the question in its conversation, where it is known
        self.activity = Activity("Connected")
        self.timeline = Timeline(self.run)
        self.end: End | None = None
        self._path: Path | None = None
        self._usage = Usage()
        self._restart("")
        self._thinking: tuple[Step, Blocks] | None = None

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

    def render(self, event: AnyEvent | StreamEvent) -> str:
        """The out-of-band HTML that shows this event; empty if there is nothing to show."""
        match event:
            case ResponseDelta():
                return self._write(event.delta)
            case ReasoningDelta():
                return self._think(event)
            case _:
                return self._partial(event, **self._fold(event))

    # --- Answer and reasoning, without a template render per delta

    def _write(self, delta: str) -> str:
        first = not self._text
        self._text.append(delta)
        html = _out_of_band(self._blocks.feed(delta))
        if first:
            self.activity = Activity("Answering")
            return html + self._partial_named("first_words")
        return html

    def _think(self, event: ReasoningDelta) -> str:
        if self._thinking:
            return _out_of_band(self._thinking[1].feed(event.delta))
        agent = self.timeline.agent(event.agent_id) if event.agent_id else None
        step = self.timeline.add(f"thinking-{event.seq}", agent, "thinking", "Thinking", state="running")
        blocks = Blocks(step.id)
        blocks.feed(event.delta)
        step.blocks = blocks.html()
        self._thinking = step, blocks
        self.activity = Activity(f"{agent.title} is thinking" if agent else "Thinking")
        return self._partial(event, step=step)

    def _restart(self, text: str) -> None:
        self._text = [text] if text else []
        self._blocks = Blocks(self.run)
        self._blocks.feed(text)

    # --- Everything else

    def _fold(self, event: AnyEvent | StreamEvent) -> dict[str, object]:
        """Take the event in; what its partial needs to show it."""
        match event:
            case Connected():
                self.message_id, self.conversation_id = str(event.data.message_id), str(event.data.conversation_id)
                return {}
            case RoutingDecided():
                return self._decide(event)
            case PhaseStart():
                return self._doing(f"{phase_title(event.data.phase)}", self.timeline.start_phase(event))
            case PhaseComplete():
                return {"step": self.timeline.complete_phase(event)}
            case AgentStart():
                step = self.timeline.start_agent(event)
                agents = sum(other.kind == "agent" for other in self.timeline.running())
                return self._doing(f"{agents} agents are working" if agents > 1 else f"{event.author} is working", step)
            case AgentMessage() | AgentOutput():
                return self._say(event)
            case AgentComplete():
                return {"step": self.timeline.complete_agent(event)}
            case ToolStart():
                return self._doing(f"{event.author} uses {event.data.tool}", self.timeline.start_tool(event))
            case ToolComplete():
                return self._doing(f"{event.author} is working", self.timeline.complete_tool(event))
            case ToolRejected():
                return {"step": self.timeline.reject_tool(event)}
            case OrchestratorMessage() | OrchestratorThought():
                words = _shortened(event.message)
                return {"step": self.timeline.add(f"words-{event.seq}", None, "words", "Fleet", detail=words)}
            case ReasoningCompleted():
                return self._stop_thinking()
            case ResponseSnapshot():
                self._restart(event.data.text)
                if event.data.text:
                    self.activity = Activity("Answering")
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

    def _decide(self, event: RoutingDecided) -> dict[str, object]:
        self._path = event.data.path
        words = "Light path" if event.data.path == "light" else "Full team"
        step = self.timeline.add("route", self.timeline.phase, "route", words, detail=_shortened(" ".join(event.data.reasons)))
        return self._doing(words, step)

    def _doing(self, words: str, step: Step) -> dict[str, object]:
        self.activity = Activity(words)
        return {"step": step}

    def _say(self, event: AgentMessage | AgentOutput) -> dict[str, object]:
        agent = self.timeline.agent(event.agent_id, event.author)
        kind: Kind = "words" if isinstance(event, AgentMessage) else "output"
        step = self.timeline.add(f"{kind}-{event.seq}", agent, kind, event.author, detail="Result" if kind == "output" else "")
        step.blocks = render_all(event.message, step.id)
        return {"step": step}

    def _stop_thinking(self) -> dict[str, object]:
        if self._thinking is None:
            return {}
        (step, blocks), self._thinking = self._thinking, None
        step.state = "done"
        # Not the step as a whole: the reader may have opened it.
        return {"step": step, "changed": _out_of_band(blocks.finish())}

    def _finish(self) -> dict[str, object]:
        return {"changed": _out_of_band(self._blocks.finish())}

    def _end(self, status: Status, timings: Timings, usage: Usage, path: Path | None, error: ErrorInfo | None) -> dict[str, object]:
        badges = [PATHS[path]] if path else []
        if timings.total_ms is not None:
            badges.append(duration(timings.total_ms))
        if usage.tool_calls:
            badges.append(counted(usage.tool_calls, "tool"))
        if usage.output_tokens:
            badges.append(counted(usage.output_tokens, "token"))
        label = ", ".join(([PATHS[path]] if path else []) + [OUTCOMES[status]])
        trouble = trouble_of(error, self.workflow_id) if error else Trouble("Stopped.") if status == "cancelled" else None
        self.end = End(
            status,
            label,
            tuple(badges),
            trouble,
            can_copy=bool(self._text and self.workflow_id),
            can_ask_again=error is None or error.code not in NOTHING_TO_REPEAT,
            can_continue=status == "cancelled" and bool(self._text),
        )
        self.activity = Activity(counted(len(self.timeline), "step") if len(self.timeline) else "", busy=False)
        unfinished = self.timeline.running()
        for step in unfinished:
            step.state = "failed"
        return {"unfinished": unfinished}

    def _partial(self, event: AnyEvent | StreamEvent, **context: object) -> str:
        return self._partial_named(TYPE_OF[type(event)].replace(".", "_"), **context)

    def _partial_named(self, name: str, **context: object) -> str:
        return render_to_string(f"chat/stream.html#{name}", {"answer": self, "oob": True, **context}).strip()


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
