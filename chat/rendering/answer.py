"""Events as HTML for the page: what a follower's stream adds to it, and the same answer as history.

`AnswerView.render` returns out-of-band elements. Each has an id and replaces the element with it; one that is new names its
container in `data-slot`, so that a replay cannot show anything twice. Nothing here reads the database.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import assert_never

from django.template.loader import render_to_string
from django.utils.html import escape

from chat.protocol.errors import ErrorInfo
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
    RouteData,
    RoutingDecided,
    StreamEvent,
    ToolComplete,
    ToolRejected,
    ToolStart,
    ending_events,
)
from chat.protocol.terms import Ending, Path, Status, Timings, Usage

from .ending import NOTHING_TO_REPEAT, OUTCOMES, PATHS, End, SourceLink, Trouble, trouble_of, why_of
from .markdown.blocks import Blocks, render_all
from .markdown.parts import Element
from .partials import pattern
from .timeline import Step, Timeline, cut_short, slug
from .wording import age, capital, counted, duration, shortened

NUMBERS = 8  # sources that the closed line names
CITED_TITLE = 60  # characters of a source's title in each link to it


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
        self._thoughts: dict[
            str, Step
        ] = {}  # by agent: its newest that is not followed by its words as a whole
        self._shown = self._surroundings

    @classmethod
    def of_record(
        cls,
        workflow_id: str,
        steps: Iterable[AnyEvent],
        text: str,
        ending: Ending | None,
        *,
        ended_at: datetime | None = None,
    ) -> "AnswerView":
        """The answer as its row tells it; still open if there is no ending."""
        view = cls(workflow_id)
        for event in steps:
            view._fold(event)
        view._restart(text)
        for last in ending_events(ending, text) if ending else ():
            view._fold(last)
        if ending:
            view._end(
                ending.status,
                ending.timings,
                ending.usage,
                ending.path,
                ending.error,
                ended_at=ended_at,
            )
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
        html = out_of_band(self._blocks.feed(delta))
        if is_first:
            self._look()
            return html + self._render_surroundings()
        return html

    def _think(self, event: ReasoningDelta) -> str:
        if thinking := self._thinking.get(event.agent_id):
            return out_of_band(thinking[1].feed(event.delta))
        step = self.timeline.start_notes(
            self.timeline.agent(event.agent_id) if event.agent_id else None
        )
        blocks = Blocks(step.id)
        blocks.feed(event.delta)
        step.blocks = blocks.html()
        self._thinking[event.agent_id] = step, blocks
        self._thoughts[event.agent_id] = step
        self._look()
        return self._partial(event, step=step) + self._render_surroundings()

    def _restart(self, text: str) -> None:
        self._text = [text] if text else []
        self._blocks = Blocks(self.run, self._cite)
        self._blocks.feed(text)

    def _cite(self, number: int) -> str:
        source = self._sources.get(number)
        if source is None:
            return ""
        title = escape(shortened(source.title, CITED_TITLE))
        return pattern("chat/markdown.html#citation", "run", "number", "title") % {
            "run": self.run,
            "number": number,
            "title": title,
        }

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
        return (
            f"{capital(shortened(reasons[0]))}, so the full team takes over"
            if reasons
            else "The full team takes over"
        )

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
                self.message_id, self.conversation_id = (
                    str(event.data.message_id),
                    str(event.data.conversation_id),
                )
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
                words = shortened(event.message)
                return {
                    "step": self.timeline.add(
                        f"words-{event.seq}", self.timeline.phase, "words", "", detail=words
                    )
                }
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
                return changed | self._end(
                    event.data.status, event.data.timings, self._usage, self._path, None
                )
            case Error():
                changed = self._finish()
                return changed | self._end(
                    "failed",
                    Timings(),
                    self._usage,
                    self._path,
                    event.error,
                    ended_at=moment(event.timestamp),
                )
            case Notice():
                return {"id": f"{self.run}-notice-{slug(event.data.code)}", "words": event.message}
            case Heartbeat() | ResponseDelta() | ReasoningDelta():
                return {}
            case StreamEvent():
                raise AssertionError(f"{type(event).__name__} is no kind of event")
        assert_never(event)

    def _decide(self, route: RouteData) -> Step:
        self._path, self._route = route.path, route
        if not route.escalated:
            reasons = ", ".join(route.reasons)
            return self.timeline.add(
                "route", self.timeline.phase, "route", PATHS[route.path], detail=shortened(reasons)
            )
        # What the light answer was made from is gone with it; the team counts its own sources.
        self._sources.clear()
        self._fetched_at, self._is_stale = None, False
        return self.timeline.add("route", self.timeline.phase, "route", self._takeover)

    def _take_result(self, event: ToolComplete) -> None:
        data = event.data
        for source in data.sources:
            self._sources.setdefault(source.number, SourceLink.of(source))
        if data.cached:
            fetched_at = moment(event.timestamp) - timedelta(seconds=data.age_s or 0)
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
        return {"step": step, "changed": out_of_band(blocks.finish())}

    def _finish(self) -> dict[str, object]:
        return {"changed": out_of_band(self._blocks.finish())}

    def _end(
        self,
        status: Status,
        timings: Timings,
        usage: Usage,
        path: Path | None,
        error: ErrorInfo | None,
        *,
        ended_at: datetime | None = None,
    ) -> dict[str, object]:
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
        trouble = (
            trouble_of(error, self.workflow_id, ended_at=ended_at)
            if error
            else Trouble("Stopped.")
            if status == "cancelled"
            else None
        )
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
        self.activity = Activity(
            counted(len(self.timeline), "step") if len(self.timeline) else "", busy=False
        )
        return {"unfinished": cut_short(self.timeline.running())}

    def _partial(self, event: AnyEvent | StreamEvent, **context: object) -> str:
        return self._partial_named(TYPE_OF[type(event)].replace(".", "_"), **context)

    def _partial_named(self, name: str, **context: object) -> str:
        return render_to_string(
            f"chat/stream.html#{name}", {"answer": self, "oob": True, **context}
        ).strip()


def moment(timestamp: str) -> datetime:
    """When an event was; now, where it does not say."""
    return datetime.fromisoformat(timestamp) if timestamp else datetime.now(UTC)


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
