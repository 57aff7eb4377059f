"""The timeline of an answer: phases, in them agents, in them their tools and outputs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, assert_never

from django.utils.translation import gettext, gettext_lazy, ngettext, pgettext

from chat.protocol.events import (
    AgentComplete,
    AgentStart,
    OrchestratorMessage,
    OrchestratorThought,
    PhaseComplete,
    PhaseStart,
    StreamEvent,
    ToolComplete,
    ToolRejected,
    ToolStart,
)
from chat.protocol.terms import Usage
from tooling.names import parted
from tooling.sentences import localized

from .markdown.blocks import render_all
from .wording import (
    Elapsed,
    cached_words,
    duration,
    number,
    result_words,
    shortened,
    time_of,
    title_of,
    tokens_written,
)

PHASES = {
    "routing": gettext_lazy("Choosing the path"),
    "analysis": gettext_lazy("Planning"),
    "research": gettext_lazy("Researching"),
    "writing": gettext_lazy("Drafting"),
    "review": gettext_lazy("Reviewing"),
    "revision": gettext_lazy("Revising"),
    "final": gettext_lazy("Writing the answer"),
    "answer": gettext_lazy("Answering"),
}
# The names of our agents. Others are shown as they are.
AGENTS = {
    "Assistant": gettext_lazy("Assistant"),
    "Planner": gettext_lazy("Planner"),
    "Researcher": gettext_lazy("Researcher"),
    "Analyst": gettext_lazy("Analyst"),
    "Writer": gettext_lazy("Writer"),
    "Reviewer": gettext_lazy("Reviewer"),
    "Editor": gettext_lazy("Editor"),
}
# What an agent does in a phase, and the title of its output there.
ACTIVITIES = {
    "analysis": gettext_lazy("%(agent)s is planning"),
    "writing": gettext_lazy("%(agent)s is drafting"),
    "review": gettext_lazy("%(agent)s is reviewing"),
    "revision": gettext_lazy("%(agent)s is revising"),
    "final": gettext_lazy("%(agent)s is writing the answer"),
    "answer": gettext_lazy("%(agent)s is answering"),
}
OUTPUTS = {
    "research": gettext_lazy("Notes"),
    "writing": gettext_lazy("Draft"),
    "revision": gettext_lazy("Draft"),
}
# The title of a tool, and what an agent does that uses it.
TOOLS = {
    "calculator": (gettext_lazy("Calculator"), gettext_lazy("%(agent)s is calculating")),
    "clock": (gettext_lazy("Clock"), gettext_lazy("%(agent)s is looking at the clock")),
    "read_page": (gettext_lazy("Web page"), gettext_lazy("%(agent)s is reading a page")),
    "web_search": (gettext_lazy("Web search"), gettext_lazy("%(agent)s is searching the web")),
    "ask_person": (gettext_lazy("Question to you"), gettext_lazy("%(agent)s is asking you")),
}
REJECTIONS = {
    "unknown_tool": gettext_lazy("there is no such tool"),
    "invalid_arguments": gettext_lazy("its arguments do not fit"),
    "not_allowed": gettext_lazy("it is not available for this answer"),
    "cap_reached": gettext_lazy("the limit of tool calls is reached"),
    "malformed": gettext_lazy("the call could not be read"),
    "refused": gettext_lazy("it was refused"),
}
DEFAULT_VALUES = ("", "any", "general")  # values of arguments that restrict nothing
HIDDEN_ARGUMENTS = ("max_results", "options")


Kind = Literal["route", "phase", "agent", "tool", "words", "speech", "notes"]
State = Literal["running", "done", "failed", "stopped", "waiting"]
StepEvent = (
    PhaseStart
    | PhaseComplete
    | AgentStart
    | AgentComplete
    | ToolStart
    | ToolComplete
    | ToolRejected
    | OrchestratorMessage
    | OrchestratorThought
)


@dataclass(slots=True)
class Step:
    """A line of the timeline, with the lines that belong to it: first its work, then its output."""

    key: str
    id: str
    slot: str
    kind: Kind
    title: str
    state: State = "done"
    detail: str = ""
    note: str = ""  # the result
    time: str = ""
    started_at: datetime | None = None  # of a step that is running
    activity: str = ""  # what the status line shows while it runs; %(agent)s is the agent
    is_parallel: bool = False  # begun while another agent was at work
    blocks: list[str] = field(default_factory=list)
    children: list["Step"] = field(default_factory=list)
    outputs: list["Step"] = field(default_factory=list)

    @property
    def elapsed(self) -> Elapsed:
        return Elapsed.since(self.started_at)

    def running(self, kind: Kind) -> list["Step"]:
        return [
            step
            for step in (*self.children, *self.outputs)
            if step.kind == kind and step.state == "running"
        ]

    def complete(self, ms: float, *, cut: bool = False) -> None:
        # A step that was cut for a pause has a note, and is done in the run that goes on.
        self.state, self.note = "done", ""
        self.time = duration(ms)
        if cut:
            self.stop()

    def stop(self) -> None:
        """Mark the step as ended before it was done."""
        self.state = "stopped"
        self.note = pgettext("step", "stopped")


class Timeline:
    """The steps of an answer as a tree: phases, in them agents, in them their tools and outputs.

    Keys follow from the events alone. So a step has the same id for a follower that has seen every
    event and for one that joined later.
    """

    def __init__(self, run: str) -> None:
        self.run = run
        self.steps: list[Step] = []
        self._known: dict[str, Step] = {}
        self.phase: Step | None = None  # the one that is running
        self.phase_name = ""
        self.remark = ""  # the last step, if it tells why an agent waits for its model

    def __len__(self) -> int:
        """Return the number of steps as a person counts them: agents and tool calls."""
        return sum(step.kind in ("agent", "tool") for step in self._known.values())

    def running(self) -> list[Step]:
        return [step for step in self._known.values() if step.state == "running"]

    def activity(self) -> str:
        """Return what is happening now, for the status line; empty if no step is running."""
        agents = [step for step in self.running() if step.kind == "agent"]
        if len(agents) > 1:
            count = len(agents)
            return ngettext("%(count)s agent is working", "%(count)s agents are working", count) % {
                "count": number(count)
            }
        if not agents:
            return self.phase.title if self.phase else ""
        (agent,) = agents
        tools = agent.running("tool")
        if len(tools) > 1:
            count = len(tools)
            return ngettext(
                "%(agent)s is using %(count)s tool", "%(agent)s is using %(count)s tools", count
            ) % {"agent": agent.title, "count": number(count)}
        if tools:
            return tools[0].activity % {"agent": agent.title}
        # In these phases the answer itself is streamed, so notes are reasoning before its words.
        if self.phase_name in ("answer", "final") and agent.running("notes"):
            return gettext("%(agent)s is thinking") % {"agent": agent.title}
        if self.remark:
            return self.remark
        return (agent.activity or gettext("%(agent)s is working")) % {"agent": agent.title}

    def add(
        self,
        name: str,
        parent: Step | None,
        kind: Kind,
        title: str,
        *,
        state: State = "done",
        detail: str = "",
    ) -> Step:
        """Add a step at the end of its parent's steps, or of the timeline."""
        # A phase may run twice, and a model may give two calls one id.
        key, count = name, 1
        while key in self._known:
            count += 1
            key = f"{name}--{count}"
        if parent is None:
            siblings, slot = self.steps, f"{self.run}-timeline"
        # An agent's outputs are below its tool calls, even if one was written before a call.
        elif parent.kind == "agent" and kind in ("notes", "speech"):
            siblings, slot = parent.outputs, f"{parent.id}-out"
        else:
            siblings, slot = parent.children, f"{parent.id}-in"
        step = Step(key, f"{self.run}-{key}", slot, kind, title, state, detail)
        siblings.append(step)
        self._known[key] = step
        return step

    def start(
        self,
        event: StreamEvent,
        name: str,
        parent: Step | None,
        kind: Kind,
        title: str,
        *,
        detail: str = "",
    ) -> Step:
        """Add a step that runs since this event."""
        step = self.add(name, parent, kind, title, state="running", detail=detail)
        step.started_at = time_of(event.timestamp)
        return step

    def newest(self, name: str) -> Step | None:
        """Return the last step that was added with this name."""
        count = 1
        step = self._known.get(name)
        while found := self._known.get(f"{name}--{count + 1}"):
            step, count = found, count + 1
        return step

    def apply(self, event: StepEvent) -> dict[str, object]:
        """Take in an event of a step; return the context of its partial."""
        self.remark = ""
        match event:
            case PhaseStart():
                return {"step": self.start_phase(event)}
            case PhaseComplete():
                return {"step": self.complete_phase(event)}
            case AgentStart():
                return {"step": self.start_agent(event)}
            case AgentComplete():
                return self.complete_agent(event)
            case ToolStart():
                return {"step": self.start_tool(event)}
            case ToolComplete():
                return self.complete_tool(event)
            case ToolRejected():
                return {"step": self.reject_tool(event)}
            case OrchestratorMessage() | OrchestratorThought():
                text = shortened(localized(event.message))
                self.remark = text
                return {
                    "step": self.add(f"words-{event.seq}", self.phase, "words", "", detail=text)
                }
        assert_never(event)

    def start_phase(self, event: PhaseStart) -> Step:
        self.phase_name = event.data.phase
        name, title = f"phase-{slug(self.phase_name)}", phase_title(self.phase_name)
        self.phase = self.start(event, name, None, "phase", title)
        return self.phase

    def complete_phase(self, event: PhaseComplete) -> Step:
        name, title = f"phase-{slug(event.data.phase)}", phase_title(event.data.phase)
        step = self.newest(name) or self.add(name, None, "phase", title)
        if step is self.phase:
            self.phase, self.phase_name = None, ""
        step.complete(event.data.duration_ms, cut=event.data.cut)
        return step

    def start_agent(self, event: AgentStart) -> Step:
        is_parallel = bool(self.phase and self.phase.running("agent"))
        name, title = f"agent-{slug(event.agent_id)}", agent_title(event.author)
        step = self.start(event, name, self.phase, "agent", title)
        step.is_parallel = is_parallel
        step.activity = str(ACTIVITIES.get(self.phase_name, ""))
        return step

    def complete_agent(self, event: AgentComplete) -> dict[str, object]:
        step = self.agent(event.agent_id, event.author)
        step.detail = cost_words(event.data.usage)
        step.complete(event.data.duration_ms, cut=event.data.cut)
        # Older runs have no end of a call that was cut together with its agent.
        return {"step": step, "unfinished": stopped(step.running("tool"))}

    def agent(self, agent_id: str, author: str = "") -> Step:
        """Return the step of an agent's newest turn."""
        # A follower that joined later may not have seen it begin.
        name = f"agent-{slug(agent_id)}"
        return self.newest(name) or self.add(
            name, self.phase, "agent", agent_title(author or agent_id)
        )

    def start_tool(self, event: ToolStart) -> Step:
        title, activity = tool_title(event.data.tool)
        agent = self.agent(event.agent_id, event.author)
        key, detail = tool_key(agent, event.data.call_id), arguments_text(event.data.arguments)
        step = self.start(event, key, agent, "tool", title, detail=detail)
        step.activity = activity
        return step

    def complete_tool(self, event: ToolComplete) -> dict[str, object]:
        data = event.data
        agent = self.agent(event.agent_id, event.author)
        key = tool_key(agent, data.call_id)
        begun = self.newest(key)
        step = begun or self.add(key, agent, "tool", tool_title(data.tool)[0])
        step.complete(data.duration_ms, cut=data.cut)
        if not data.cut:
            step.note = result_words(data)
            step.state = "done" if data.ok else "failed"
        # After a search an agent reads, until its next event says otherwise.
        if data.sources:
            agent.activity = reading_words(len(data.sources))
        return {"step": step, "is_new": begun is None}

    def reject_tool(self, event: ToolRejected) -> Step:
        agent = self.agent(event.agent_id, event.author)
        key, (title, _) = tool_key(agent, event.data.call_id), tool_title(event.data.tool)
        step = self.add(f"{key}-no", agent, "tool", title, state="failed")
        reason = rejection_words(event.data.reason)
        step.note = gettext("not called: %(reason)s") % {"reason": reason}
        return step

    def start_notes(self, event: StreamEvent, agent: Step | None) -> Step:
        """Add the place for what an agent writes that isn't the answer."""
        name = f"{agent.key}-notes" if agent else "notes"
        return self.start(event, name, agent, "notes", gettext("Thinking"))

    def complete_notes(self, step: Step, message: str) -> Step:
        step.title = str(OUTPUTS.get(self.phase_name) or gettext("Result"))
        words = len(message.split())
        step.detail = ngettext("%(count)s word", "%(count)s words", words) % {
            "count": number(words)
        }
        step.state = "done"
        step.blocks = render_all(message, step.id)
        return step


def cost_words(usage: Usage) -> str:
    """Return what an agent's turn cost; empty if that isn't known."""
    parts = []
    if count := usage.model_calls:
        words = ngettext("%(count)s call", "%(count)s calls", count)
        parts.append(words % {"count": number(count)})
    if usage.output_tokens:
        parts.append(tokens_written(usage))
    if usage.cached_tokens:
        parts.append(cached_words(usage))
    return " · ".join(parts)


def phase_title(name: str) -> str:
    return str(PHASES.get(name) or title_of(name))


def agent_title(author: str) -> str:
    title = title_of(author)
    return str(AGENTS.get(title, title))


def reading_words(sources: int) -> str:
    """Return what an agent does that has these sources, with a place for its name."""
    # The name comes later, so its place is kept.
    return ngettext(
        "%(agent)s is reading %(count)s source", "%(agent)s is reading %(count)s sources", sources
    ) % {"agent": "%(agent)s", "count": number(sources)}


def rejection_words(reason: str) -> str:
    return str(REJECTIONS.get(reason) or shortened(reason))


def stopped(steps: list[Step]) -> list[Step]:
    """Stop these steps and return them."""
    for step in steps:
        step.stop()
    return steps


def waiting(steps: list[Step]) -> list[Step]:
    """Mark these steps as waiting for a person and return them."""
    for step in steps:
        step.state = "waiting"
        step.note = pgettext("step", "waiting")
    return steps


def slug(text: str) -> str:
    """Return the text as a part of an id; models choose call ids, so it may hold anything."""
    # Never two hyphens in a row: these separate a name from its number.
    return re.sub(r"[^a-zA-Z0-9_]+", "-", text)[:40]


def tool_key(agent: Step, call_id: str) -> str:
    return f"{agent.key}-tool-{slug(call_id)}"


def tool_title(tool: str) -> tuple[str, str]:
    """Return the title of a tool, and what an agent does that uses it.

    That of an MCP server has its server behind it.
    """
    if known := TOOLS.get(tool):
        return str(known[0]), str(known[1])
    server, name = parted(tool)
    title = f"{title_of(name)} ({server})" if server else title_of(name)
    # The agent's name is filled in later, so its place is kept, and a % in the tool's name is safe.
    activity = gettext("%(agent)s is using %(tool)s")
    return title, activity % {"agent": "%(agent)s", "tool": title.replace("%", "%%")}


def arguments_text(arguments: Mapping[str, Any]) -> str:
    """Return the arguments of a call in one line, without the ones that restrict nothing."""
    shown = {
        name: value
        for name, value in arguments.items()
        if value is not None
        and value is not False
        and value not in DEFAULT_VALUES
        and name not in HIDDEN_ARGUMENTS
    }
    # A single argument, such as the query of a search, needs no name.
    if len(shown) == 1:
        return shortened(str(*shown.values()))
    return shortened(", ".join(f"{name}: {value}" for name, value in shown.items()))
