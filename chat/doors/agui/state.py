"""What a stream of AG-UI has opened, and the cursors that carry it.

AG-UI has a state: a text, a step or an agent that is open must be closed, and nothing may be opened
twice. The log may have lost what opened them, because deltas are left out for followers that join
late. So the id of each message is a cursor that carries the state behind it: a client that was cut
anywhere goes on exactly there.
"""

import re
from dataclasses import dataclass, field
from zlib import crc32

import msgspec
from msgspec import Struct

from chat.doors.errors import refused
from chat.protocol.requests import MAX_SEQ

# An id as clients may send it in a header.
SENT_ID = re.compile(r"(\d{1,10}) (\{[\x20-\x7e]*\})")


class Text(Struct, array_like=True):
    """The message with the answer: which one, and how much of it was sent."""

    id: int | str  # the seq of the event that began it, or the id that the client sent
    length: int = 0
    crc: int = 0
    is_open: bool = True

    def add(self, words: str) -> None:
        self.length += len(words)
        self.crc = crc_of(words, self.crc)

    def begins(self, text: str) -> bool:
        return len(text) >= self.length and crc_of(text[: self.length]) == self.crc


class Thought(Struct, array_like=True):
    """Reasoning of one agent: a span, and the message in it."""

    id: int
    has_message: bool = False


class ToolCall(Struct, array_like=True):
    """A tool call without a result. `told` counts what was sent of it: start, arguments, end."""

    id: int | str
    told: int = 0


class State(Struct, omit_defaults=True):
    """All that is open. Names are short, because each message carries them."""

    text: Text | None = msgspec.field(default=None, name="t")
    steps: list[str] = msgspec.field(default_factory=list, name="s")
    agents: dict[str, int] = msgspec.field(default_factory=dict, name="a")
    thoughts: dict[str, Thought] = msgspec.field(default_factory=dict, name="r")
    calls: dict[int, ToolCall] = msgspec.field(default_factory=dict, name="c")
    has_begun: bool = msgspec.field(default=False, name="b")
    has_ended: bool = msgspec.field(default=False, name="e")


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a stream: behind all messages of the event `after`, and perhaps some more."""

    after: int = 0
    state: State = field(default_factory=State)

    @property
    def id(self) -> str:
        return f"{self.after} {msgspec.json.encode(self.state).decode()}"

    @classmethod
    def of(cls, sent: str) -> "Cursor":
        """Return the cursor that a client sends back. Raise Refusal if it isn't one."""
        if not sent:
            return cls()
        found = SENT_ID.fullmatch(sent)
        try:
            if found and int(found[1]) <= MAX_SEQ:
                return cls(int(found[1]), msgspec.json.decode(found[2], type=State))
        except msgspec.MsgspecError:
            pass
        message = "Last-Event-ID is not the id of a message of this server."
        raise refused(400, "bad_request", message, param="Last-Event-ID")


def crc_of(text: str, crc: int = 0) -> int:
    return crc32(text.encode("utf-8", "surrogatepass"), crc)


def key_of(agent_id: str, call_id: str) -> int:
    """Return what the calls of a run are told apart by. Ids of model servers have any length."""
    return crc_of(f"{agent_id}/{call_id}")
