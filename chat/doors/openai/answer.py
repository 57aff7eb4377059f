"""What the events of a run add to an answer, for readers from whom nothing can be taken back."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from msgspec import Struct

from chat.protocol.events import (
    AgentComplete,
    AgentOutput,
    AgentStart,
    AskOpened,
    ReasoningCompleted,
    ReasoningDelta,
    ResponseCompleted,
    ResponseDelta,
    ResponseSnapshot,
    Resumed,
    RoutingDecided,
    StreamEvent,
    ToolComplete,
)
from chat.protocol.payloads import SourceData
from chat.protocol.terms import AskData
from tooling.citations import citations_in, without_code
from tooling.forms import request_of

from .citations import Annotation, annotations_of
from .steps import line_of

RULE = "\n\n---\n\n"
WAITS = "A person must decide before this answer goes on:"


class Added(Struct, frozen=True):
    """A piece for the reader: of the answer, or of what was thought and done for it."""

    text: str
    is_answer: bool


@dataclass
class Sent:
    """The answer as the reader has it, and as it is.

    They differ when a light answer was taken back, or another worker has begun the answer anew.
    Then nothing is sent while the new text may still become what the reader has; when it is
    another one, it follows below a rule.
    """

    text: str = ""  # the answer so far
    shown: str = ""  # the newest part of what the reader has: all, or what is below the last rule
    before: int = 0  # characters that the reader has before that
    _more: list[str] = field(default_factory=list)  # of both, as long as they are the same

    def add(self, delta: str) -> str:
        """Return what is sent when the answer grows."""
        if self.text == self.shown or self._more:
            self._more.append(delta)
            return delta
        return self.become(self.text + delta)

    def become(self, text: str) -> str:
        """Return what is sent when the answer is this text."""
        self.settle()
        self.text = text
        if text.startswith(self.shown):
            rest = text[len(self.shown) :]
            self.shown = text
            return rest
        return "" if self.shown.startswith(text) else self.replace()

    def end_with(self, text: str) -> str:
        """Return what is sent when this is the whole answer."""
        rest = self.become(text)
        return rest if self.shown == self.text else rest + self.replace()

    def replace(self) -> str:
        """Show the answer below a rule, in place of what the reader has."""
        self.before += len(self.shown) + len(RULE)
        self.shown = self.text
        return RULE + self.text

    def settle(self) -> None:
        if self._more:
            self.text = self.shown = self.text + "".join(self._more)
            self._more.clear()


class Thoughts:
    """What agents think, and the steps as lines, as one text.

    Agents may think side by side. One of them has the floor; what the others think waits for it.
    """

    def __init__(self, *, with_steps: bool) -> None:
        self._with_steps = with_steps
        self._names: dict[str, str] = {}
        self._waiting: dict[str, list[str]] = {}
        self._have_thought: set[str] = set()
        self._floor: str | None = None
        self._speaker = ""  # whose words came last
        self._is_at_start = True  # of a line

    def line(self, event: StreamEvent) -> str:
        """Return the line of a step."""
        if isinstance(event, AgentStart):
            self._names[event.agent_id] = event.author
            self._have_thought.discard(event.agent_id)
        if isinstance(event, AgentOutput) and event.agent_id in self._have_thought:
            return ""  # It was read already.
        words = line_of(event) if self._with_steps else ""
        if not words:
            return ""
        self._speaker = event.agent_id if isinstance(event, AgentStart) else ""
        return self._on_a_line(words) + self._end_of_line()

    def think(self, event: ReasoningDelta) -> str:
        agent = event.agent_id
        self._have_thought.add(agent)
        if self._floor is None:
            self._floor = agent
        if agent != self._floor:
            self._waiting.setdefault(agent, []).append(event.delta)
            return ""
        return self._say(agent, event.delta)

    def begin_anew(self) -> None:
        """Forget what waits: another worker has its agents think again."""
        self._floor = None
        self._waiting.clear()

    def complete(self, agent: str) -> str:
        """Return what was waiting for this agent to end, if it had the floor."""
        if agent != self._floor:
            return ""
        self._floor = None
        said = self._end_of_line()
        for other in list(self._waiting):
            said += self._say(other, "".join(self._waiting.pop(other))) + self._end_of_line()
        return said

    def _say(self, agent: str, words: str) -> str:
        name = self._names.get(agent, "")
        is_new = agent != self._speaker
        self._speaker = agent
        if is_new and name and len(self._names) > 1:
            return self._on_a_line(f"{name}: {words}")
        return self._on_a_line(words) if is_new else self._noted(words)

    def _on_a_line(self, words: str) -> str:
        return self._end_of_line() + self._noted(words)

    def _end_of_line(self) -> str:
        return "" if self._is_at_start else self._noted("\n")

    def _noted(self, words: str) -> str:
        if words:
            self._is_at_start = words.endswith("\n")
        return words


class Answer:
    """The answer of one run, as its events tell it."""

    def __init__(self, *, with_steps: bool) -> None:
        self.sent = Sent()
        self.thoughts = Thoughts(with_steps=with_steps)
        self.sources: dict[int, SourceData] = {}
        self.asks: list[AskOpened] = []

    @property
    def text(self) -> str:
        """The answer so far, without what was taken back."""
        self.sent.settle()
        return self.sent.text

    def annotations(self, *, is_streamed: bool) -> list[Annotation]:
        """Return the citations of the whole answer, by their places in what the reader has."""
        offset = self.sent.before if is_streamed else 0
        return annotations_of(self.text, self.sources, offset=offset)

    def cited_lines(self) -> list[str]:
        """Return a line for each source that the answer cites, for readers without annotations."""
        marks = citations_in(without_code(self.text))
        cited = {number for mark in marks for number in mark.numbers}
        found = [self.sources[number] for number in sorted(cited & self.sources.keys())]
        return [f"[{each.number}] {each.title} {each.url}".rstrip() for each in found]

    def take(self, event: StreamEvent) -> Iterator[Added]:
        """Yield what an event adds."""
        match event:
            case ResponseDelta():
                piece, is_answer = self.sent.add(event.delta), True
            case ResponseSnapshot():
                piece, is_answer = self.sent.become(event.data.text), True
            case ResponseCompleted():
                piece, is_answer = self.sent.end_with(event.message), True
            case AskOpened():
                piece, is_answer = self.ask(event), True
            case ReasoningDelta():
                piece, is_answer = self.thoughts.think(event), False
            case ReasoningCompleted():
                piece, is_answer = self.thoughts.complete(event.agent_id), False
            case _:
                piece, is_answer = self.step(event), False
        if piece:
            yield Added(piece, is_answer)

    def step(self, event: StreamEvent) -> str:
        ended = ""
        match event:
            case RoutingDecided() if event.data.escalated:
                # The light answer was taken back, and its sources with it.
                self.sources.clear()
            case ToolComplete():
                for source in event.data.sources:
                    self.sources.setdefault(source.number, source)
            case Resumed():
                self.thoughts.begin_anew()
            case AgentComplete():
                ended = self.thoughts.complete(event.agent_id)
        return ended + self.thoughts.line(event)

    def ask(self, event: AskOpened) -> str:
        """Return how a reader is told what the answer waits for."""
        is_first = not self.asks
        self.asks.append(event)
        line = ask_line(event.data)
        if not is_first:
            return self.sent.add(f"\n{line}")
        above = "\n\n" if self.text else ""
        return self.sent.add(f"{above}{WAITS}\n{line}")


def ask_line(ask: AskData) -> str:
    """Return what a person is asked as an item of a list in Markdown.

    The words of a form are from outside, so they are code: nothing in them becomes a link.
    """
    if ask.kind == "form":
        asked = request_of(ask.tool, ask.message, ask.url).replace("`", "'")
        return f"- `{asked}`"
    return f"- {ask.message}"
