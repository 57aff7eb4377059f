"""Events as HTML for the page: what a stream adds to it, and the same answer from history.

`AnswerView.render` returns out-of-band elements. Each has an id and replaces the element with that
id. A new one names its container in `data-slot`, so that a replay can't show anything twice.
Nothing here reads the database.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from django.template.loader import render_to_string
from django.utils.html import escape

from chat.protocol.events import (
    TYPE_OF,
    AgentComplete,
    AgentMessage,
    AgentOutput,
    AgentStart,
    AnyEvent,
    Cancelled,
    Connected,
    Done,
    Error,
    Heartbeat,
    Notice,
    OrchestratorMessage,
    OrchestratorThought,
    PhaseComplete,
    PhaseStart,
    ReasoningCompleted,
    ReasoningDelta,
    ResponseCompleted,
    ResponseDelta,
    ResponseSnapshot,
    RoutingDecided,
    StreamEvent,
    ToolComplete,
    ToolRejected,
    ToolStart,
)
from chat.protocol.payloads import RouteData
from chat.protocol.terms import Ending
from chat.spans import MEASURED, spans_of

from .ending import PATHS, AnswerSoFar, End, SourceLink, end_of
from .gantt import Gantt, gantt_of
from .markdown.blocks import Blocks, render_all
from .markdown.parts import Element
from .partials import pattern
from .timeline import Step, Timeline, slug, stopped
from .wording import Elapsed, capitalized, counted, shortened, time_of

MAX_SOURCE_NUMBERS = 8  # sources that the closed line names
MAX_CITED_TITLE_CHARS = 60  # characters of a source's title in each link to it


@dataclass(frozen=True, slots=True)
class Activity:
    """The status line above an answer: what is happening now, or how many steps it took.

    `why` is set if an answer takes an unusual way.
    """

    text: str
    is_busy: bool = True
    why: str = ""


class AnswerView:
    """One run as the page shows it. Give it the run's events in order."""

    def __init__(self, workflow_id: str, *, started_at: datetime | None = None) -> None:
        self.workflow_id = workflow_id  # empty for a refusal: it has no run
        self.started_at = started_at
        self.run = f"run-{workflow_id}"
        self.message_id = ""
        self.conversation_id = ""
        self.number = 0  # of the question in its conversation; 0 if it isn't known
        self.rating: int | None = None
        self.activity = Activity("Connected")
        self.timeline = Timeline(self.run)
        self.end: End | None = None
        self.gantt: Gantt | None = None  # set at the end, if there is something to compare
        self._route: RouteData | None = None
        self._sources: dict[int, SourceLink] = {}
        self._oldest_cached_at: datetime | None = None
        self._is_stale = False
        self._measured: list[StreamEvent] = []
        self._text: list[str] = []
        self._blocks = Blocks(self.run, self.cite)
        # By agent: the reasoning that is being streamed, and the step that the agent's output
        # replaces. The second stays when the reasoning is complete.
        self._reasoning: dict[str, tuple[Step, Blocks]] = {}
        self._notes: dict[str, Step] = {}
        # The status line and the sources as the page shows them now. Events of many kinds change
        # these; they are sent again only if they differ from this.
        self._shown = self.surroundings

    @classmethod
    def of_record(
        cls,
        workflow_id: str,
        steps: Iterable[AnyEvent],
        text: str,
        ending: Ending | None,
        *,
        started_at: datetime | None = None,
        ended_at: datetime | None = None,
    ) -> "AnswerView":
        """Return the view of an answer from its row; without an ending it is still open."""
        view = cls(workflow_id, started_at=started_at)
        for event in steps:
            view.apply(event)
        view.restart(text)
        if ending:
            view.finish()
            view.end_with(ending, ended_at=ended_at)
        return view

    @property
    def elapsed(self) -> Elapsed:
        return Elapsed.since(self.started_at)

    @property
    def blocks(self) -> list[str]:
        return self._blocks.html()

    @property
    def sources(self) -> list[SourceLink]:
        """The sources of the answer by number; none before its first word."""
        return [self._sources[number] for number in sorted(self._sources)] if self._text else []

    @property
    def first_sources(self) -> list[SourceLink]:
        return self.sources[:MAX_SOURCE_NUMBERS]

    @property
    def sources_beyond(self) -> int:
        return max(0, len(self.sources) - MAX_SOURCE_NUMBERS)

    def render(self, event: AnyEvent | StreamEvent) -> str:
        """Return the out-of-band HTML that shows this event; empty if there is nothing to show."""
        match event:
            case ResponseDelta():
                return self.write(event.delta)
            case ReasoningDelta():
                return self.reason(event)
            case Notice() | Heartbeat():
                # These belong to the socket, not to the run. A thread may be rendering an event of
                # the run meanwhile, so leave the status line and the sources to that.
                return self.partial_of(event, **self.context_of(event))
            case _:
                return self.partial_of(event, **self.apply(event)) + self.changed_surroundings()

    # Answer and reasoning: no template render per delta, but for the first of each

    def write(self, delta: str) -> str:
        is_first = not self._text
        self._text.append(delta)
        html = out_of_band(self._blocks.feed(delta))
        if is_first:
            # The first word ends the wait in the status line and brings the sources. Later words
            # change neither, so they don't pay for the comparison.
            self.update_activity()
            html += self.changed_surroundings()
        return html

    def reason(self, event: ReasoningDelta) -> str:
        if streamed := self._reasoning.get(event.agent_id):
            return out_of_band(streamed[1].feed(event.delta))
        agent = self.timeline.agent(event.agent_id) if event.agent_id else None
        step = self.timeline.start_notes(event, agent)
        blocks = Blocks(step.id)
        blocks.feed(event.delta)
        step.blocks = blocks.html()
        self._reasoning[event.agent_id] = step, blocks
        self._notes[event.agent_id] = step
        self.update_activity()
        return self.partial_of(event, step=step) + self.changed_surroundings()

    def restart(self, text: str) -> None:
        """Begin the answer anew with this text."""
        self._text = [text] if text else []
        self._blocks = Blocks(self.run, self.cite)
        self._blocks.feed(text)

    def cite(self, number: int) -> str:
        """Return the link to a source; empty if there is no source with this number."""
        source = self._sources.get(number)
        if source is None:
            return ""
        title = escape(shortened(source.title, MAX_CITED_TITLE_CHARS))
        return pattern("chat/markdown.html#citation", "run", "number", "title") % {
            "run": self.run,
            "number": number,
            "title": title,
        }

    # The status line above the answer, and the sources below it

    @property
    def surroundings(self) -> tuple[Activity, list[SourceLink]]:
        return self.activity, self.sources

    def changed_surroundings(self) -> str:
        """Return the status line and the sources if they differ from what the page shows."""
        if not self.workflow_id:
            return ""
        (activity, sources), self._shown = self._shown, self.surroundings
        html = self.partial("activity") if activity != self.activity else ""
        return html + (self.partial("sources") if sources != self.sources else "")

    def update_activity(self) -> None:
        # Once the answer has ended, the line shows the number of steps and stays.
        if self.activity.is_busy:
            text = self.timeline.activity() or ("Answering" if self._text else self.activity.text)
            is_escalated = self._route is not None and self._route.escalated
            self.activity = Activity(text, why=self.takeover if is_escalated else "")

    @property
    def takeover(self) -> str:
        """Why the full team takes over from the light path, as a sentence."""
        reasons = self._route.reasons if self._route else []
        if not reasons:
            return "The full team takes over"
        return f"{capitalized(shortened(reasons[0]))}, so the full team takes over"

    # All other events

    def apply(self, event: AnyEvent | StreamEvent) -> dict[str, object]:
        """Take in an event; return what its partial needs to show it."""
        if isinstance(event, MEASURED):
            self._measured.append(event)
        context = self.context_of(event)
        self.update_activity()
        if isinstance(event, Connected | ResponseSnapshot):
            # Their partials contain the status line and the sources: don't send these again.
            self._shown = self.surroundings
        return context

    def context_of(self, event: AnyEvent | StreamEvent) -> dict[str, object]:
        match event:
            case Connected():
                self.message_id = str(event.data.message_id)
                self.conversation_id = str(event.data.conversation_id)
                return {}
            case RoutingDecided():
                return {"step": self.decide(event.data)}
            case ToolComplete():
                self.take_sources(event)
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
            case ReasoningCompleted():
                return self.complete_reasoning(event.agent_id)
            case ResponseSnapshot():
                self.restart(event.data.text)
                return {}
            case ResponseCompleted():
                return self.complete(event)
            case Cancelled():
                return self.finish()
            case Done():
                return self.finish() | self.end_with(self.ending_of(event))
            case Error():
                ended_at = time_of(event.timestamp)
                return self.finish() | self.end_with(self.ending_of(event), ended_at=ended_at)
            case Notice():
                return {"id": f"{self.run}-notice-{slug(event.data.code)}", "text": event.message}
            case Heartbeat() | ResponseDelta() | ReasoningDelta():
                return {}
            case _:
                # A kind that changes nothing else on the page is shown by its partial alone.
                return {"event": event}

    def decide(self, route: RouteData) -> Step:
        self._route = route
        phase = self.timeline.phase
        if route.escalated:
            # The light answer is taken back, and its sources with it: the team counts its own.
            self._sources.clear()
            self._oldest_cached_at, self._is_stale = None, False
        # An orchestrator.thought before this one has the reason of an escalation.
        reasons = "" if route.escalated else shortened(", ".join(route.reasons))
        return self.timeline.add("route", phase, "route", PATHS[route.path], detail=reasons)

    def take_sources(self, event: ToolComplete) -> None:
        data = event.data
        for source in data.sources:
            self._sources.setdefault(source.number, SourceLink.of(source))
        if data.cached:
            fetched_at = time_of(event.timestamp) - timedelta(seconds=data.age_s or 0)
            self._oldest_cached_at = min(self._oldest_cached_at or fetched_at, fetched_at)
            self._is_stale = self._is_stale or data.stale

    def speak(self, event: AgentMessage) -> dict[str, object]:
        """Add what an agent says to the others."""
        agent = self.timeline.agent(event.agent_id, event.author)
        step = self.timeline.add(f"speech-{event.seq}", agent, "speech", "")
        step.blocks = render_all(event.message, step.id)
        return {"step": step}

    def put_out(self, event: AgentOutput) -> dict[str, object]:
        """Show an agent's complete output in place of its reasoning."""
        step = self._notes.pop(event.agent_id, None)
        self._reasoning.pop(event.agent_id, None)
        is_new = step is None
        if step is None:
            agent = self.timeline.agent(event.agent_id, event.author)
            step = self.timeline.start_notes(event, agent)
        return {"step": self.timeline.complete_notes(step, event.message), "is_new": is_new}

    def complete_reasoning(self, agent_id: str) -> dict[str, object]:
        if agent_id not in self._reasoning:
            return {}
        step, blocks = self._reasoning.pop(agent_id)
        step.state = "done"
        # Return the blocks, not the step as a whole: a new <details> would be closed again.
        return {"step": step, "changed": out_of_band(blocks.finish())}

    def complete(self, event: ResponseCompleted) -> dict[str, object]:
        if event.message == "".join(self._text):
            return self.finish()
        # The answer was changed after it was streamed. The page must show what is stored.
        self.restart(event.message)
        self._blocks.finish()
        return {"replaced": True}

    def finish(self) -> dict[str, object]:
        """End the text; return the blocks that this changed."""
        return {"changed": out_of_band(self._blocks.finish())}

    def ending_of(self, event: Done | Error) -> Ending:
        """Return the ending as the row stores it, from the terminal event."""
        if isinstance(event, Error):
            return Ending(status="failed", error=event.error).with_figures(event.data)
        return Ending(**msgspec.structs.asdict(event.data))

    def end_with(self, ending: Ending, *, ended_at: datetime | None = None) -> dict[str, object]:
        """Show how the answer ended; return the steps that were cut off."""
        answer = AnswerSoFar(
            self.workflow_id,
            has_text=bool(self._text),
            route=self._route,
            oldest_cached_at=self._oldest_cached_at,
            is_stale=self._is_stale,
        )
        self.end = end_of(ending, answer, ended_at=ended_at)
        gantt = gantt_of(spans_of(self._measured), ending.timings.total_ms or 0)
        self.gantt = gantt if gantt.is_telling else None
        steps = len(self.timeline)
        self.activity = Activity(counted(steps, "step") if steps else "", is_busy=False)
        return {"unfinished": stopped(self.timeline.running())}

    # Templates

    def partial_of(self, event: AnyEvent | StreamEvent, /, **context: object) -> str:
        return self.partial(TYPE_OF[type(event)].replace(".", "_"), **context)

    def partial(self, name: str, **context: object) -> str:
        context = {"answer": self, "oob": True, **context}
        return render_to_string(f"chat/stream.html#{name}", context).strip()


def out_of_band(elements: list[Element]) -> str:
    return "".join(element_out_of_band(element) for element in elements)


def element_out_of_band(element: Element) -> str:
    name = "row" if element.tag == "tr" else "element"
    return pattern(f"chat/stream.html#{name}", "tag", "id", "slot", "attributes", "html") % {
        "tag": element.tag,
        "id": element.id,
        "slot": element.slot,
        "attributes": element.attributes,
        "html": element.inner,
    }
