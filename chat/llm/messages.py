"""What goes to a model and what comes back from it, as values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from chat.protocol.terms import Usage

BYTES_PER_TOKEN = 3  # A low value, so that budgets err on the safe side.


@dataclass(frozen=True, slots=True)
class WantedCall:
    """A tool call that the model asks for, with its arguments as the model wrote them."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a conversation with a model. `tool` messages answer the call with their id."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: Sequence[WantedCall] = ()
    tool_call_id: str = ""

    @property
    def tokens(self) -> int:
        """An estimate of its size, for budgets."""
        return estimated_tokens(self.content) + sum(
            estimated_tokens(call.name + call.arguments) for call in self.tool_calls
        )

    def encoded(self) -> dict[str, Any]:
        """Return the message in the form that the API expects."""
        # Some servers refuse an empty text beside calls.
        content = self.content if self.content or not self.tool_calls else None
        message: dict[str, Any] = {"role": self.role, "content": content}
        if self.tool_calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in self.tool_calls
            ]
        if self.tool_call_id:
            message["tool_call_id"] = self.tool_call_id
        return message


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of the model's thinking. Only some servers send it."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a model's answer: how it ended, and what it cost."""

    usage: Usage
    words: int  # Output tokens without hidden thinking.
    is_cut: bool = False  # The answer reached its token limit.
    is_refused: bool = False  # The model or a content filter refused to answer.
    is_filtered: bool = False  # A content filter ended the answer.
    wants_more: bool = False  # The model asked for more than MAX_CALLS tools.
    reason: str = ""  # The server's reason to finish.


@dataclass(frozen=True, slots=True)
class Retraction:
    """All text so far was thinking: the server marked its end, but not its beginning."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What readers should know of the call, such as that the server still loads the model."""

    text: str


class Pulse:
    """A sign that the server is working: it sent bytes without content."""


PULSE = Pulse()
Piece = Text | Reasoning | Retraction | Remark | WantedCall | Pulse | Finished


def estimated_tokens(text: str) -> int:
    """Return about how many tokens a text has. Servers differ, so this is rather too high."""
    return len(text.encode()) // BYTES_PER_TOKEN + 4


def without_middle(text: str, fewer: int) -> str:
    """Return the text with `fewer` tokens less, apart from the mark of the cut."""
    content = text.encode()
    room = max(0, len(content) - BYTES_PER_TOKEN * fewer)
    head, tail = content[: room - room // 3], content[len(content) - room // 3 :]
    return f"{head.decode(errors='ignore')} […] {tail.decode(errors='ignore')}"


def estimated_usage(messages: Sequence[ChatMessage], written: int) -> Usage:
    """Return the usage of a call whose server doesn't report it; `written` are characters."""
    return Usage(
        input_tokens=sum(message.tokens for message in messages),
        output_tokens=written // 4 + 1,
        model_calls=1,
        estimated=True,
    )
