"""What was done for an answer, as the page shows it: phases, in them agents, in them their tools and words."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from chat.protocol.events import (
    AgentComplete,
    AgentStart,
    PhaseComplete,
    PhaseStart,
    ToolComplete,
    ToolRejected,
    ToolStart,
)

from .markdown.blocks import render_all
from .wording import counted, duration, named, result_words, shortened

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
ORDINARY = ("", "any", "general")  # values of arguments that say nothing
UNTOLD = ("max_results",)  # arguments that nobody wants to read


Kind = Literal["route", "phase", "agent", "tool", "words", "speech", "notes"]
State = Literal["running", "done", "failed"]


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
        return [
            step
            for step in (*self.children, *self.said)
            if step.kind == kind and step.state == "running"
        ]


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
        self.phase = self.add(
            f"phase-{slug(self.phase_name)}",
            None,
            "phase",
            phase_title(self.phase_name),
            state="running",
        )
        return self.phase

    def complete_phase(self, event: PhaseComplete) -> Step:
        name = f"phase-{slug(event.data.phase)}"
        step = self._newest(name) or self.add(name, None, "phase", phase_title(event.data.phase))
        if step is self.phase:
            self.phase, self.phase_name = None, ""
        return done(step, event.data.duration_ms)

    def start_agent(self, event: AgentStart) -> Step:
        is_beside = bool(self.phase and self.phase.running("agent"))
        step = self.add(
            f"agent-{slug(event.agent_id)}",
            self.phase,
            "agent",
            named(event.author),
            state="running",
        )
        step.is_beside = is_beside
        step.doing = DOING.get(self.phase_name, "")
        return step

    def complete_agent(self, event: AgentComplete) -> dict[str, object]:
        """The agent's step, and those in it that were cut."""
        step = self.agent(event.agent_id, event.author)
        tokens = event.data.usage.output_tokens
        step.detail = counted(tokens, "token") if tokens else ""
        return {
            "step": done(step, event.data.duration_ms),
            "unfinished": cut_short(step.running("tool")),
        }

    def agent(self, agent_id: str, author: str = "") -> Step:
        """An agent's newest turn; a follower that joined later may not have seen it begin."""
        name = f"agent-{slug(agent_id)}"
        return self._newest(name) or self.add(name, self.phase, "agent", named(author or agent_id))

    def start_tool(self, event: ToolStart) -> Step:
        title, doing = tool_words(event.data.tool)
        agent = self.agent(event.agent_id, event.author)
        step = self.add(
            tool_key(agent, event.data.call_id),
            agent,
            "tool",
            title,
            state="running",
            detail=in_words(event.data.arguments),
        )
        step.doing = doing
        return step

    def complete_tool(self, event: ToolComplete) -> dict[str, object]:
        """The call's step; whole, where nobody saw it begin."""
        data = event.data
        agent = self.agent(event.agent_id, event.author)
        name = tool_key(agent, data.call_id)
        begun = self._newest(name)
        step = begun or self.add(name, agent, "tool", tool_words(data.tool)[0])
        done(step, data.duration_ms)
        step.note = result_words(data)
        if not data.ok:
            step.state = "failed"
        if data.sources:
            agent.doing = f"is reading {counted(len(data.sources), 'source')}"
        return {"step": step, "is_new": begun is None}

    def reject_tool(self, event: ToolRejected) -> Step:
        agent = self.agent(event.agent_id, event.author)
        title, _ = tool_words(event.data.tool)
        step = self.add(
            f"{tool_key(agent, event.data.call_id)}-no", agent, "tool", title, state="failed"
        )
        step.note = "not called: " + (
            REJECTIONS.get(event.data.reason) or shortened(event.data.reason)
        )
        return step

    def start_notes(self, agent: Step | None) -> Step:
        """Where an agent's words go that are not the answer, while it thinks or writes them."""
        return self.add(
            f"{agent.key}-notes" if agent else "notes", agent, "notes", "Thinking", state="running"
        )

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
    return PHASES.get(name) or named(name)


def cut_short(steps: list[Step]) -> list[Step]:
    for step in steps:
        step.state = "failed"
    return steps


def done(step: Step, ms: float) -> Step:
    step.state = "done"
    step.time = duration(ms)
    return step


def slug(words: str) -> str:
    """Fit for an id: call ids are words of a model. Two hyphens stand between a name and its number, so none has two."""
    return re.sub(r"[^a-zA-Z0-9_]+", "-", words)[:40]


def tool_key(agent: Step, call_id: str) -> str:
    return f"{agent.key}-tool-{slug(call_id)}"


def tool_words(tool: str) -> tuple[str, str]:
    """What a tool is called, and what somebody does with it."""
    if known := TOOLS.get(tool):
        return known
    title = named(tool)
    return title, f"is using {title}"


def in_words(arguments: Mapping[str, Any]) -> str:
    """A call's arguments in a line: a single one needs no name."""
    telling = {
        name: value
        for name, value in arguments.items()
        if value is not None and value is not False and value not in ORDINARY and name not in UNTOLD
    }
    if len(telling) == 1:
        return shortened(str(*telling.values()))
    return shortened(", ".join(f"{name}: {value}" for name, value in telling.items()))
