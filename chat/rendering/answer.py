"""Events as HTML for the page: what a stream adds to it, and the same answer from history.

`AnswerView.render` returns out-of-band elements. Each has an id and replaces the element with that
id. A new one names its container in `data-slot`, so that a replay can't show anything twice.
Nothing here reads the database.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from django.template.loader import render_to_string
from django.utils.html import escape
from django.utils.translation import gettext, gettext_lazy, ngettext

from chat.protocol.events import (
    TYPE_OF,
    AgentMessage,
    AgentOutput,
    AnyEvent,
    AskOpened,
    Cancelled,
    Connected,
    Done,
    Error,
    Heartbeat,
    Notice,
    ReasoningCompleted,
    ReasoningDelta,
    ResponseCompleted,
    ResponseDelta,
    ResponseSnapshot,
    Resumed,
    StreamEvent,
)
from chat.protocol.terms import Ending
from chat.spans import spans_of
from tooling.sentences import localized

from .asks import AskView
from .earlier import Earlier
from .elements import out_of_band
from .ending import AnswerSoFar, End, SourceLink, end_of
from .gantt import Gantt, gantt_of
from .markdown.blocks import Blocks
from .markdown.parts import LONG_TEXT
from .partials import worded_pattern
from .steps import Steps
from .timeline import Timeline, slug, stopped, waiting
from .wording import Elapsed, capitalized, number, shortened, time_of

MAX_SOURCE_NUMBERS = 8  # sources that the closed line names
MAX_CITED_TITLE_CHARS = 60  # characters of a source's title in each link to it
# Until the new worker shows something.
TAKEN_OVER = gettext_lazy("The server was replaced; going on…")


@dataclass(frozen=True, slots=True)
class Activity:
    """The status line above an answer: what is happening now, or how many steps it took.

    `why` is set if an answer takes an unusual way.
    """

    text: str
    is_busy: bool = True
    why: str = ""


def is_cut(ending: Ending) -> bool:
    """Return True if the answer's text stopped where it was to go on."""
    return ending.status in ("cancelled", "failed")


def steps_words(count: int) -> str:
    if not count:
        return ""
    return ngettext("%(count)s step", "%(count)s steps", count) % {"count": number(count)}


class AnswerView:
    """One run as the page shows it. Give it the run's events in order.

    A run that goes on with paused ones is shown in their article: pass them as `earlier`.
    """

    def __init__(
        self,
        workflow_id: str,
        *,
        earlier: Earlier | None = None,
        started_at: datetime | None = None,
        model_asked: str = "",
    ) -> None:
        self.workflow_id = workflow_id  # empty for a refusal: it has no run
        self.model_asked = model_asked  # that the person chose
        self.earlier = earlier
        self.started_at = started_at
        self.run = f"run-{earlier.first_id if earlier else workflow_id}"
        self.message_id = ""
        self.conversation_id = ""
        self.number = 0  # of the question in its conversation; 0 if it isn't known
        self.rating: int | None = None
        self.activity = Activity(gettext("Connected"))
        self.asks: list[AskView] = []  # what the run asks, once it has paused
        self.end: End | None = None
        self.gantt: Gantt | None = None  # set at the end, if there is something to compare
        self._is_taken_over = False  # by another worker, which has not shown anything yet
        self._text: list[str] = []
        self._blocks = Blocks(self.run, self.cite)
        self.steps = Steps(self.run, earlier=earlier, started_at=started_at)
        self.update_activity()
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
        earlier: Earlier | None = None,
        asks: Sequence[AskView] = (),
        started_at: datetime | None = None,
        ended_at: datetime | None = None,
        model_asked: str = "",
    ) -> "AnswerView":
        """Return the view of an answer from its row; without an ending it is still open."""
        view = cls(workflow_id, earlier=earlier, started_at=started_at, model_asked=model_asked)
        view.asks = list(asks)
        for event in steps:
            view.apply(event)
        view.restart(text)
        if ending:
            view.finish(cut=is_cut(ending))
            view.end_with(ending, ended_at=ended_at)
        return view

    @property
    def elapsed(self) -> Elapsed:
        return Elapsed.since(self.started_at)

    @property
    def timeline(self) -> Timeline:
        return self.steps.timeline

    @property
    def open_asks(self) -> list[AskView]:
        return [ask for ask in self.asks if ask.is_open]

    @property
    def asks_me(self) -> bool:
        """Return True if the reader may reply. Before, others must have decided their part."""
        return all(ask.is_mine for ask in self.open_asks)

    @property
    def is_at_work(self) -> bool:
        """Return True while a team works and its answer has not begun: its steps are all there is.

        The page shows them open then (static/chat/work.js).
        """
        is_full = self.steps.route is not None and self.steps.route.path == "full"
        return is_full and self.end is None and not self._text

    @property
    def blocks(self) -> list[str]:
        return self._blocks.html()

    @property
    def sources(self) -> list[SourceLink]:
        """The sources of the answer by number; none before its first word."""
        found = self.steps.sources
        return [found[number] for number in sorted(found)] if self._text else []

    @property
    def first_sources(self) -> list[SourceLink]:
        return self.sources[:MAX_SOURCE_NUMBERS]

    @property
    def sources_beyond(self) -> int:
        return max(0, len(self.sources) - MAX_SOURCE_NUMBERS)

    def may_take_long(self, event: AnyEvent | StreamEvent) -> bool:
        """Return True if rendering the event may take more than 20 ms."""
        match event:
            case ResponseDelta():
                return self._blocks.may_take_long(event.delta)
            case ResponseCompleted():
                return self._blocks.may_take_long(event.message, is_end=True)
            case ResponseSnapshot():
                return len(event.data.text) > LONG_TEXT
            case Cancelled() | Done() | Error():
                return self._blocks.may_take_long("", is_end=True)
            case AgentMessage() | AgentOutput():
                return len(event.message) > LONG_TEXT
            case ReasoningDelta() | ReasoningCompleted():
                return self.steps.may_take_long(event)
            case _:
                return isinstance(event, Resumed)  # which renders all thinking again

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
        if is_first or self._is_taken_over:
            # The first word ends the wait in the status line and brings the sources. Later words
            # change neither, so they don't pay for the comparison.
            self._is_taken_over = False
            self.timeline.remark = ""
            self.update_activity()
            html += self.changed_surroundings()
        return html

    def reason(self, event: ReasoningDelta) -> str:
        if self.steps.is_reasoning(event.agent_id) and not self._is_taken_over:
            return out_of_band(self.steps.reason(event))
        self._is_taken_over = False
        step = self.steps.begin_reasoning(event)
        self.update_activity()
        return self.partial_of(event, step=step) + self.changed_surroundings()

    def restart(self, text: str) -> None:
        """Begin the answer anew with this text."""
        self._text = [text] if text else []
        self._blocks = Blocks(self.run, self.cite)
        self._blocks.feed(text)

    def cite(self, number: int) -> str:
        """Return the link to a source; empty if there is no source with this number."""
        source = self.steps.sources.get(number)
        if source is None:
            return ""
        title = escape(shortened(source.title, MAX_CITED_TITLE_CHARS))
        return worded_pattern("chat/markdown.html#citation", "run", "number", "title") % {
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
        if self._is_taken_over and self.activity.is_busy:
            self.activity = Activity(str(TAKEN_OVER))
        elif self.activity.is_busy:
            text = self.timeline.activity() or self.activity_between_steps
            is_escalated = self.steps.route is not None and self.steps.route.escalated
            self.activity = Activity(text, why=self.takeover if is_escalated else "")

    @property
    def activity_between_steps(self) -> str:
        if self._text:
            return gettext("Answering")
        return gettext("Working") if self.activity.text == str(TAKEN_OVER) else self.activity.text

    @property
    def takeover(self) -> str:
        """Why the full team takes over from the light path, as a sentence."""
        reasons = self.steps.route.reasons if self.steps.route else []
        if not reasons:
            return gettext("The full team takes over")
        return gettext("%(reason)s, so the full team takes over") % {
            "reason": capitalized(shortened(localized(reasons[0])))
        }

    # All other events

    def apply(self, event: AnyEvent | StreamEvent) -> dict[str, object]:
        """Take in an event; return what its partial needs to show it."""
        if not isinstance(event, Connected | Resumed | ResponseSnapshot):
            self._is_taken_over = False
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
            case Resumed():
                self.steps = self.steps.without_redone(event.data)
                self._is_taken_over = True
                return {}
            case AskOpened():
                self.asks.append(AskView(event.author, event.data))
                return {}
            case ResponseSnapshot():
                self.restart(event.data.text)
                return {}
            case ResponseCompleted():
                return self.complete(event)
            case Cancelled():
                return self.finish(cut=True)
            case Done():
                ending = self.ending_of(event)
                return self.finish(cut=is_cut(ending)) | self.end_with(ending)
            case Error():
                ended_at = time_of(event.timestamp)
                ending = self.ending_of(event)
                return self.finish(cut=True) | self.end_with(ending, ended_at=ended_at)
            case Notice():
                return {
                    "id": f"{self.run}-notice-{slug(event.data.code)}",
                    "text": localized(event.message),
                }
            case Heartbeat() | ResponseDelta():
                return {}
            case _:
                return self.steps.apply(event)

    def complete(self, event: ResponseCompleted) -> dict[str, object]:
        if event.message == "".join(self._text):
            return self.finish()
        # The answer was changed after it was streamed. The page must show what is stored.
        self.restart(event.message)
        self._blocks.finish()
        return {"replaced": True}

    def finish(self, *, cut: bool = False) -> dict[str, object]:
        """End the text; return the blocks that this changed."""
        return {"changed": out_of_band(self._blocks.finish(cut=cut))}

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
            route=self.steps.route,
            oldest_cached_at=self.steps.oldest_cached_at,
            is_stale=self.steps.is_stale,
            tools=frozenset(self.steps.tools),
            model_asked=self.model_asked,
            asks=self.asks,
            is_withdrawn=self.steps.is_withdrawn,
        )
        # The chart shows the newest run alone: the clocks of the runs before had other zeros.
        gantt = gantt_of(spans_of(self.steps.measured), ending.timings.total_ms or 0)
        self.gantt = gantt if gantt.is_telling else None
        whole = self.earlier.with_their_figures(ending) if self.earlier else ending
        self.end = end_of(whole, answer, ended_at=ended_at)
        words = steps_words(len(self.timeline))
        if ending.declined:
            words = gettext("The model was not asked")
        self.activity = Activity(words, is_busy=False)
        running = self.timeline.running()
        return {"unfinished": waiting(running) if ending.status == "paused" else stopped(running)}

    # Templates

    def partial_of(self, event: AnyEvent | StreamEvent, /, **context: object) -> str:
        return self.partial(TYPE_OF[type(event)].replace(".", "_"), **context)

    def partial(self, name: str, **context: object) -> str:
        context = {"answer": self, "oob": True, **context}
        return render_to_string(f"chat/stream.html#{name}", context).strip()
