"""What a run's events say of its steps: the timeline, the path that was taken, and the sources."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from chat.protocol.events import (
    AgentComplete,
    AgentMessage,
    AgentOutput,
    AgentStart,
    AskClosed,
    OrchestratorMessage,
    OrchestratorThought,
    PhaseComplete,
    PhaseStart,
    ReasoningCompleted,
    ReasoningDelta,
    RoutingDecided,
    StreamEvent,
    ToolComplete,
    ToolRejected,
    ToolStart,
)
from chat.protocol.payloads import ResumedData, RouteData
from chat.spans import MEASURED
from tooling.sentences import localized

from .asks import AskView, closed_words
from .earlier import Earlier, still_told
from .elements import out_of_band
from .ending import SourceLink, path_title
from .markdown.blocks import Blocks, render_all
from .markdown.elements import Element
from .markdown.parts import LONG_TEXT
from .timeline import Step, Timeline
from .wording import listed, shortened, time_of


@dataclass(slots=True)
class Reasoning:
    """What an agent thinks, while it is streamed.

    `told` stands for all its deltas: a long run has many, so only their text is kept.
    """

    step: Step
    blocks: Blocks
    told: ReasoningDelta
    text: list[str] = field(default_factory=list)

    def feed(self, delta: str) -> list[Element]:
        self.text.append(delta)
        return self.blocks.feed(delta)

    def settle(self) -> None:
        """Bring what is kept up to date with the deltas."""
        self.told.delta = "".join(self.text)
        self.step.blocks = self.blocks.html()


class Steps:
    """The steps of one run, in one timeline with those of the paused runs that it goes on with."""

    def __init__(
        self,
        run: str,
        *,
        earlier: Earlier | None = None,
        started_at: datetime | None = None,
        told: Sequence[StreamEvent] = (),
    ) -> None:
        self.timeline = Timeline(run)
        self.route: RouteData | None = None
        self.sources: dict[int, SourceLink] = {}
        self.oldest_cached_at: datetime | None = None
        self.is_stale = False
        self.tools: set[str] = set()  # that gave a result
        self.is_withdrawn = False  # a person took back what the run had asked
        self.measured: list[StreamEvent] = []
        self._run = run
        self._earlier = earlier
        self._started_at = started_at
        self._told: list[StreamEvent] = []
        # By agent: the reasoning that is being streamed, and the step that the agent's output
        # replaces. The second stays when the reasoning is complete.
        self._reasoning: dict[str, Reasoning] = {}
        self._notes: dict[str, Step] = {}
        if earlier:
            for event in earlier.steps:
                self.show(event)
            # Don't count the time in which the run waited for a person.
            for step in self.timeline.running():
                step.started_at = started_at
        for event in told:
            self.apply(event)
        for reasoning in self._reasoning.values():
            reasoning.settle()

    def without_redone(self, resumed: ResumedData) -> "Steps":
        """Return the steps that still hold after another worker took the run over."""
        for reasoning in self._reasoning.values():
            reasoning.settle()
        told = still_told(self._told, resumed)
        return Steps(self._run, earlier=self._earlier, started_at=self._started_at, told=told)

    def apply(self, event: StreamEvent) -> dict[str, object]:
        """Take in an event; return what its partial needs to show it."""
        if not isinstance(event, ReasoningDelta):
            self._told.append(event)
        if isinstance(event, MEASURED):
            self.measured.append(event)
        return self.show(event)

    def show(self, event: StreamEvent) -> dict[str, object]:
        match event:
            case RoutingDecided():
                return {"step": self.decide(event.data)}
            case ToolComplete():
                self.take_result(event)
                return self.timeline.apply(event)
            case (
                PhaseStart()
                | PhaseComplete()
                | AgentStart()
                | AgentComplete()
                | ToolStart()
                | ToolRejected()
                | OrchestratorMessage()
                | OrchestratorThought()
            ):
                return self.timeline.apply(event)
            case AgentMessage():
                return self.speak(event)
            case AgentOutput():
                return self.put_out(event)
            case ReasoningDelta():
                self.reason(event)
                return {}
            case ReasoningCompleted():
                return self.complete_reasoning(event.agent_id)
            case AskClosed():
                return {"step": self.close_ask(event)}
            case _:
                # A kind that changes nothing else on the page is shown by its partial alone.
                return {"event": event}

    def decide(self, route: RouteData) -> Step:
        self.route = route
        phase = self.timeline.phase
        if route.escalated:
            # The light answer is taken back, and its sources with it: the team counts its own.
            self.sources.clear()
            self.oldest_cached_at, self.is_stale = None, False
        # An orchestrator.thought before this one has the reason of an escalation.
        reasons = "" if route.escalated else shortened(listed(map(localized, route.reasons)))
        return self.timeline.add("route", phase, "route", path_title(route.path), detail=reasons)

    def take_result(self, event: ToolComplete) -> None:
        data = event.data
        if data.ok:
            self.tools.add(data.tool)
        for source in data.sources:
            self.sources.setdefault(source.number, SourceLink.of(source))
        if data.cached:
            fetched_at = time_of(event.timestamp) - timedelta(seconds=data.age_s or 0)
            self.oldest_cached_at = min(self.oldest_cached_at or fetched_at, fetched_at)
            self.is_stale = self.is_stale or data.stale

    def speak(self, event: AgentMessage) -> dict[str, object]:
        """Add what an agent says to the others."""
        agent = self.timeline.agent(event.agent_id, event.author)
        step = self.timeline.add(f"speech-{event.seq}", agent, "speech", "")
        # Its first line may be ours; what follows is the model's.
        head, newline, rest = event.message.partition("\n")
        step.blocks = render_all(f"{localized(head)}{newline}{rest}", step.id)
        return {"step": step}

    def reason(self, event: ReasoningDelta) -> list[Element]:
        """Add a piece of an agent's reasoning; return the blocks that changed."""
        if event.agent_id not in self._reasoning:
            agent = self.timeline.agent(event.agent_id) if event.agent_id else None
            step = self.timeline.start_notes(event, agent)
            told = msgspec.structs.replace(event)
            self._told.append(told)
            self._reasoning[event.agent_id] = Reasoning(step, Blocks(step.id), told)
            self._notes[event.agent_id] = step
        return self._reasoning[event.agent_id].feed(event.delta)

    def begin_reasoning(self, event: ReasoningDelta) -> Step:
        """Add the first piece of an agent's reasoning; return its step."""
        self.reason(event)
        reasoning = self._reasoning[event.agent_id]
        reasoning.settle()
        return reasoning.step

    def may_take_long(self, event: ReasoningDelta | ReasoningCompleted) -> bool:
        """Return True if rendering this piece, or the end, of an agent's reasoning may."""
        if event.agent_id not in self._reasoning:
            return len(event.delta) > LONG_TEXT if isinstance(event, ReasoningDelta) else False
        blocks = self._reasoning[event.agent_id].blocks
        if isinstance(event, ReasoningCompleted):
            return blocks.may_take_long("", is_end=True)
        return blocks.may_take_long(event.delta)

    def is_reasoning(self, agent_id: str) -> bool:
        return agent_id in self._reasoning

    def complete_reasoning(self, agent_id: str) -> dict[str, object]:
        if agent_id not in self._reasoning:
            return {}
        reasoning = self._reasoning.pop(agent_id)
        reasoning.step.state = "done"
        changed = out_of_band(reasoning.blocks.finish())
        reasoning.settle()
        # Return the blocks, not the step as a whole: a new <details> would be closed again.
        return {"step": reasoning.step, "changed": changed}

    def put_out(self, event: AgentOutput) -> dict[str, object]:
        """Show an agent's complete output in place of its reasoning."""
        step = self._notes.pop(event.agent_id, None)
        if reasoning := self._reasoning.pop(event.agent_id, None):
            reasoning.settle()
        is_new = step is None
        if step is None:
            agent = self.timeline.agent(event.agent_id, event.author)
            step = self.timeline.start_notes(event, agent)
        return {"step": self.timeline.complete_notes(step, event.message), "is_new": is_new}

    def close_ask(self, event: AskClosed) -> Step:
        """Add what a person decided."""
        data = event.data
        self.is_withdrawn = self.is_withdrawn or data.decision == "withdraw"
        words = closed_words(self.asked(data.ask_id), data)
        return self.timeline.add(f"ask-{event.seq}", self.timeline.phase, "words", "", detail=words)

    def asked(self, ask_id: object) -> AskView | None:
        asks = self._earlier.asks if self._earlier else ()
        return next((ask for ask in asks if ask.data.ask_id == ask_id), None)
