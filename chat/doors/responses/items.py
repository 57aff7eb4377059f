"""The output of a response: the items that the events of its run make, one event at a time."""

from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from chat.doors.openai.answer import WAITS, ask_line
from chat.doors.openai.citations import annotations_of
from chat.doors.openai.steps import line_of
from chat.protocol.events import (
    AgentOutput,
    AgentStart,
    AskOpened,
    ReasoningCompleted,
    ReasoningDelta,
    ResponseCompleted,
    ResponseDelta,
    ResponseSnapshot,
    RoutingDecided,
    StreamEvent,
    ToolComplete,
    ToolStart,
)
from chat.protocol.payloads import SourceData

from .objects import (
    CitedUrl,
    FoundUrl,
    Item,
    ItemStatus,
    MessageItem,
    OutputText,
    ReasoningItem,
    SearchAction,
    SearchItem,
    SummaryText,
)

SEARCH = "web_search"
LINES = ""  # in place of an agent: the lines about steps


class Emit(Protocol):
    def __call__(self, kind: str, **fields: Any) -> None:
        """Tell the reader of an event of this type."""


class Reasoning:
    """The open item of reasoning: a part for each agent that thinks, and parts for lines."""

    def __init__(self, index: int, item: ReasoningItem, emit: Emit) -> None:
        self.index = index
        self.item = item
        self._emit = emit
        self._open: dict[str, tuple[int, list[str]]] = {}  # places and pieces of parts, by agent

    def add(self, agent: str, text: str, head: str = "") -> None:
        """Add to the agent's part; begin a part with `head` if it has none."""
        if agent == LINES and LINES in self._open and self._open[LINES][0] + 1 < self.size:
            # Lines stand behind what agents have thought meanwhile.
            self.close(LINES)
        if agent not in self._open:
            self._open[agent] = (self.size, [])
            self._tell("part.added", self.size, part=SummaryText())
            self.item.summary.append(SummaryText())
            text = head + text
        at, pieces = self._open[agent]
        pieces.append(text)
        self._tell("text.delta", at, delta=text)

    @property
    def size(self) -> int:
        return len(self.item.summary)

    def close(self, agent: str) -> None:
        if agent in self._open:
            at, pieces = self._open.pop(agent)
            part = self.item.summary[at]
            part.text = "".join(pieces)
            self._tell("text.done", at, text=part.text)
            self._tell("part.done", at, part=part)

    def close_all(self) -> None:
        for agent in list(self._open):
            self.close(agent)

    def _tell(self, what: str, at: int, **fields: Any) -> None:
        self._emit(
            f"response.reasoning_summary_{what}",
            item_id=self.item.id,
            output_index=self.index,
            summary_index=at,
            **fields,
        )


class Text:
    """The open message."""

    def __init__(self, index: int, item: MessageItem) -> None:
        self.index = index
        self.item = item
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

    def add(self, words: str) -> None:
        self._pieces.append(words)


class Items:
    """The items of one response.

    What is told follows from the events alone. All items that are told are also closed, and the
    reasoning is closed before anything of another item is told, because some clients know only one
    open item.
    """

    def __init__(self, tag: str, emit: Emit, *, shows_searches: bool, shows_steps: bool) -> None:
        """`tag` is in the ids of all items."""
        self.sources: dict[int, SourceData] = {}
        self._tag = tag
        self._emit = emit
        self._shows_searches = shows_searches
        self._shows_steps = shows_steps
        self._items: list[Item] = []
        self._has_asked = False
        self._taken_back: set[int] = set()  # the places of messages that another one replaces
        self._authors: dict[str, str] = {}  # of the team
        self._thinkers: set[str] = set()  # agents whose words were told as they came
        self._reasoning: Reasoning | None = None
        self._message: Text | None = None
        # The answer while it is only the beginning of what was told: another worker says it again.
        self._behind: str | None = None
        self._searches: dict[tuple[str, str], tuple[int, SearchItem]] = {}

    @property
    def output(self) -> list[Item]:
        """The items without those that were taken back."""
        return [item for at, item in enumerate(self._items) if at not in self._taken_back]

    @property
    def text(self) -> str:
        """What was told of the answer."""
        return self._message.text if self._message else ""

    def take(self, event: StreamEvent) -> None:
        match event:
            case ResponseDelta(delta=delta):
                if self._behind is None:
                    self._say(delta)
                else:
                    self._restate(self._behind + delta)
            case ResponseSnapshot(data=data):
                self._restate(data.text)
            case ResponseCompleted(message=message):
                self._complete(message)
            case AskOpened(data=data):
                self._ask(ask_line(data))
            case ReasoningDelta():
                self._think(event)
            case ReasoningCompleted(agent_id=agent):
                if self._reasoning and agent:
                    self._reasoning.close(agent)
            case ToolStart(data=data) if self._shows_searches and data.tool == SEARCH:
                self._search(event.agent_id, data.call_id, str(data.arguments.get("query", "")))
            case ToolComplete():
                self._finish_tool(event)
            case AgentOutput(agent_id=agent) if agent in self._thinkers:
                pass  # It repeats what was told as the agent wrote it.
            case _:
                self._note_names(event)
                self._add_line(event)

    def take_sources(self, events: Iterable[StreamEvent]) -> None:
        """Take only what the answer may cite."""
        for event in events:
            if isinstance(event, RoutingDecided):
                self._note_names(event)
            elif isinstance(event, ToolComplete):
                self._note_sources(event)

    def close(self, *, is_complete: bool) -> None:
        """Close all items that are open; the answer is complete, or was cut."""
        self._close_reasoning()
        for agent, call in list(self._searches):
            self._close_search(agent, call, "incomplete")
        self._close_message("completed" if is_complete else "incomplete")

    # --- The answer

    def _say(self, words: str) -> None:
        self._close_reasoning()
        if self._message is None:
            item = MessageItem(id=self._id("msg", MessageItem))
            self._message = Text(self._open(item), item)
            self._tell_text("response.content_part.added", part=OutputText())
            item.content = [OutputText()]
        if words:
            self._message.add(words)
            self._tell_text("response.output_text.delta", delta=words, logprobs=[])

    def _restate(self, text: str) -> None:
        """Tell what is missing of this text. If it doesn't continue what was told, begin anew.

        If what was told begins with it, wait: it may become the same.
        """
        told = self.text
        self._behind = text if text and text != told and told.startswith(text) else None
        if self._behind is None:
            if not text.startswith(told):
                self._take_back()
            if missing := text[len(self.text) :]:
                self._say(missing)

    def _complete(self, text: str) -> None:
        self._restate(text)
        if self._behind is not None:
            self._take_back()
        # An answer without words, too, is a message.
        self._say(text[len(self.text) :])

    def _ask(self, line: str) -> None:
        """Say what the answer waits for."""
        if not self._has_asked:
            self._say(f"\n\n{WAITS}" if self.text else WAITS)
            self._has_asked = True
        self._say(f"\n{line}")

    def _take_back(self) -> None:
        assert self._message
        self._taken_back.add(self._message.index)
        self._close_reasoning()
        self._close_message("incomplete")

    def _close_message(self, status: ItemStatus) -> None:
        self._behind = None
        if (message := self._message) is None:
            return
        part = message.item.content[0]
        part.text = message.text
        part.annotations = [
            CitedUrl(**msgspec.structs.asdict(found.url_citation))
            for found in annotations_of(part.text, self.sources)
        ]
        for at, annotation in enumerate(part.annotations):
            self._tell_text(
                "response.output_text.annotation.added",
                annotation_index=at,
                annotation=annotation,
            )
        self._tell_text("response.output_text.done", text=part.text, logprobs=[])
        self._tell_text("response.content_part.done", part=part)
        self._message = None
        self._done(message.index, message.item, status)

    def _tell_text(self, kind: str, **fields: Any) -> None:
        assert self._message
        index, item = self._message.index, self._message.item
        self._emit(kind, item_id=item.id, output_index=index, content_index=0, **fields)

    # --- Thinking, and steps as lines

    def _think(self, event: ReasoningDelta) -> None:
        self._thinkers.add(event.agent_id)
        author = self._authors.get(event.agent_id)
        # An agent without a name, too, has a part of its own.
        agent = event.agent_id or "?"
        self._open_reasoning().add(agent, event.delta, f"**{author}**\n\n" if author else "")

    def _add_line(self, event: StreamEvent) -> None:
        if self._shows_steps and (line := line_of(event)):
            self._open_reasoning().add(LINES, f"{line}\n")

    def _note_names(self, event: StreamEvent) -> None:
        if isinstance(event, AgentStart):
            self._authors[event.agent_id] = event.author
        elif isinstance(event, RoutingDecided) and event.data.escalated:
            # The light answer is taken back, and its sources with it: the team counts its own.
            self.sources.clear()

    def _open_reasoning(self) -> Reasoning:
        if self._reasoning is None:
            item = ReasoningItem(id=self._id("rs", ReasoningItem))
            self._reasoning = Reasoning(self._open(item), item, self._emit)
        return self._reasoning

    def _close_reasoning(self) -> None:
        if reasoning := self._reasoning:
            reasoning.close_all()
            self._reasoning = None
            self._done(reasoning.index, reasoning.item, "completed")

    # --- Searches

    def _search(self, agent: str, call: str, query: str) -> None:
        self._close_reasoning()
        self._close_search(agent, call, "incomplete")
        item = SearchItem(
            id=self._id("ws", SearchItem), action=SearchAction(query=query, queries=[query])
        )
        index = self._open(item)
        self._searches[agent, call] = index, item
        for stage in ("in_progress", "searching"):
            self._emit(f"response.web_search_call.{stage}", item_id=item.id, output_index=index)

    def _finish_tool(self, event: ToolComplete) -> None:
        data = event.data
        self._note_sources(event)
        if not self._shows_searches or data.tool != SEARCH:
            self._add_line(event)
            return
        key = event.agent_id, data.call_id
        if key not in self._searches:
            self._search(*key, "")
        _, item = self._searches[key]
        item.action.sources = [FoundUrl(each.url) for each in data.sources if each.url]
        status: ItemStatus = "completed" if data.ok else "failed"
        self._close_search(*key, "incomplete" if data.cut else status)

    def _note_sources(self, event: ToolComplete) -> None:
        for source in event.data.sources:
            self.sources.setdefault(source.number, source)

    def _close_search(self, agent: str, call: str, status: ItemStatus) -> None:
        if found := self._searches.pop((agent, call), None):
            self._close_reasoning()
            index, item = found
            if status == "completed":
                kind = "response.web_search_call.completed"
                self._emit(kind, item_id=item.id, output_index=index)
            self._done(index, item, status)

    # --- All items

    def _id(self, prefix: str, kind: type[Item]) -> str:
        number = sum(isinstance(item, kind) for item in self._items)
        return f"{prefix}_{self._tag}_{number}"

    def _open(self, item: Item) -> int:
        index = len(self._items)
        self._items.append(item)
        self._emit("response.output_item.added", output_index=index, item=item)
        return index

    def _done(self, index: int, item: Item, status: ItemStatus) -> None:
        item.status = status
        self._emit("response.output_item.done", output_index=index, item=item)
