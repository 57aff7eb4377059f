"""What is said to a model and what comes back, as values."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from chat.protocol.terms import Usage

logger = logging.getLogger(__name__)
BYTES_PER_TOKEN = 3  # at the least, as budgets reckon


@dataclass(frozen=True, slots=True)
class WantedCall:
    """A tool that the model wants called, with its arguments as it wrote them."""

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
        """About how many it has, for budgets."""
        return estimated_tokens(self.content) + sum(
            estimated_tokens(call.name + call.arguments) for call in self.tool_calls
        )

    def encoded(self) -> dict[str, Any]:
        """The message as the API takes it."""
        message: dict[str, Any] = {"role": self.role, "content": self.content}
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
    """A piece of the model's own thinking, where the server shows it."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a model's answer: why it ended there, and what it cost."""

    usage: Usage
    words: int  # tokens of what it said, without its hidden thinking
    is_cut: bool = False  # it would have said more, and was not allowed more tokens
    is_refused: bool = False
    wants_more: bool = False  # tools than MAX_CALLS


class Pulse:
    """Bytes of the server that say nothing by themselves: it is at work."""


PULSE = Pulse()
Piece = Text | Reasoning | WantedCall | Pulse | Finished


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has, for budgets; servers differ, so this errs to the high side."""
    return len(text.encode()) // BYTES_PER_TOKEN + 4


def estimated_usage(messages: Sequence[ChatMessage], written: int) -> Usage:
    """For servers that do not count."""
    return Usage(sum(message.tokens for message in messages), written // 4 + 1, model_calls=1)
