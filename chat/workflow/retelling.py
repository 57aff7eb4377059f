"""Tell the events of a run to readers who have seen some of them already.

A worker that goes on with a run plays its workflow again. What readers have is not told twice, and
words that they have read stay until there are as many new ones.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

from chat.protocol.events import (
    TYPE_OF,
    AgentComplete,
    AgentEvent,
    OrchestratorMessage,
    OrchestratorThought,
    PhaseComplete,
    PhaseStart,
    ReasoningCompleted,
    ReasoningDelta,
    ResponseDelta,
    ResponseSnapshot,
    RoutingDecided,
    StreamEvent,
    ToolComplete,
    ToolRejected,
    ToolStart,
)
from chat.protocol.payloads import SnapshotData

PATIENCE = 5.0  # seconds for which old words stay although fewer new ones are there


class Retelling:
    """What readers have of a run, and what the workflow says of it again."""

    def __init__(
        self, told: Sequence[StreamEvent], text: str, tell: Callable[[StreamEvent], object]
    ) -> None:
        self._tell = tell
        # By identity, the events that readers have and the workflow has not told again, in order.
        self._told: dict[Hashable, list[StreamEvent]] = defaultdict(list)
        for event in told:
            self._told[identity(event)].append(event)
        self._shown = text  # the answer as readers have it
        self._said = ""  # the answer as the workflow says it again
        self._has_caught_up = False
        self._new_words_at: float | None = None

    def tell(self, event: StreamEvent) -> StreamEvent | None:
        """Tell an event unless readers have it. Return the one that they have."""
        if isinstance(event, ResponseDelta):
            self._say(event)
        elif isinstance(event, ReasoningDelta):
            self._tell(event)
        elif earlier := self._had(event):
            if isinstance(event, ResponseSnapshot):
                if self._has_caught_up:
                    # Since then, readers got words that this takes back.
                    self._tell(event)
                    self._shown = event.data.text
                self.restart(event.data.text)
            return earlier.pop(0)
        else:
            if isinstance(event, ResponseSnapshot):
                self.restart(event.data.text)
                self._shown = event.data.text
            self._tell(event)
        return None

    def _had(self, event: StreamEvent) -> list[StreamEvent] | None:
        """Return the events that readers have in place of this one, if any are left."""
        known = identity(event)
        if earlier := self._told.get(known):
            return earlier
        if isinstance(event, AgentComplete | PhaseComplete | ToolComplete) and event.data.cut:
            # The run ends while a step that readers saw done is played again.
            return self._told.get((*known[:-1], False))
        return None

    def restart(self, text: str) -> None:
        """Begin the answer anew, but leave what readers have."""
        self._said, self._has_caught_up, self._new_words_at = text, False, None

    def repeat(self, words: str) -> None:
        """Take in words of the answer that were kept. They are shown with the next new ones."""
        self._said += words
        self._has_caught_up = False

    def settle(self) -> None:
        """Show the answer as it was said. It is complete."""
        if self._has_caught_up or self._said == self._shown:
            return
        if self._said.startswith(self._shown):
            self._tell(ResponseDelta(delta=self._said[len(self._shown) :]))
        else:
            self._tell(ResponseSnapshot(data=SnapshotData(self._said)))
        self._shown, self._has_caught_up = self._said, True

    def _say(self, event: ResponseDelta) -> None:
        if self._has_caught_up:
            self._tell(event)
            return
        self._said += event.delta
        now = time.monotonic()
        if self._new_words_at is None:
            self._new_words_at = now
        if len(self._said) >= len(self._shown) or now - self._new_words_at > PATIENCE:
            self.settle()
            self._has_caught_up = True


def identity(event: StreamEvent) -> tuple[Hashable, ...]:
    """Return what tells an event from the others of its run, whenever it is told."""
    kind = TYPE_OF[type(event)]
    match event:
        case PhaseStart(data=data):
            return kind, data.phase
        case PhaseComplete(data=data):
            return kind, data.phase, data.cut
        case AgentComplete(data=data):
            return kind, event.agent_id, data.cut
        case ToolComplete(data=data):
            return kind, event.agent_id, data.call_id, data.cut
        case ToolStart(data=data) | ToolRejected(data=data):
            return kind, event.agent_id, data.call_id
        case AgentEvent() | ReasoningCompleted():
            return kind, event.agent_id
        case OrchestratorMessage() | OrchestratorThought():
            return kind, event.message
        case RoutingDecided(data=data):
            return kind, data.escalated
        case ResponseSnapshot(data=data):
            return kind, data.text
        case _:
            return (kind,)
