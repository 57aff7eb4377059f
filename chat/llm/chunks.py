"""Decode what servers send: bytes into chunks."""

import msgspec
from msgspec import Struct

from .dialects import normal as dialects
from .errors import ModelError

MAX_EVENT_BYTES = 4 * 1024 * 1024  # Bytes of one server-sent event.


class Function(Struct):
    name: str | None = None
    arguments: str | None = None


class CallDelta(Struct):
    index: int = 0
    id: str | None = None
    function: Function = msgspec.field(default_factory=Function)


class Delta(Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[CallDelta] | None = None


class Choice(Struct):
    delta: Delta = msgspec.field(default_factory=Delta)
    finish_reason: str | None = None


class OutputDetails(Struct):
    reasoning_tokens: int | None = None


class ChunkUsage(Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    completion_tokens_details: OutputDetails | None = None


class Chunk(Struct):
    choices: list[Choice] = []
    usage: ChunkUsage | None = None
    error: msgspec.Raw | None = None


NOTHING = Chunk()
decode_chunk = msgspec.json.Decoder(Chunk).decode


class EventLines:
    """Split a byte stream of server-sent events into the data of each event.

    Only a line feed ends a line. `str.splitlines` also splits at characters such as U+2028, which
    JSON doesn't have to escape.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data of the events that `data` completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_EVENT_BYTES:
            raise ModelError("model_error", "The model server sent an event that is too large.")
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]


def normal(chunk: Chunk) -> dialects.Chunk:
    """Return what the chunk says in the normal form."""
    delta = chunk.choices[0].delta if chunk.choices else Delta()
    return dialects.Chunk(
        text=delta.content or delta.refusal or "",
        reasoning=delta.reasoning_content or delta.reasoning or "",
        calls=[
            dialects.CallDelta(
                index=call.index,
                id=call.id or "",
                name=call.function.name or "",
                arguments=call.function.arguments or "",
            )
            for call in delta.tool_calls or ()
        ],
        finish_reason=(chunk.choices and chunk.choices[0].finish_reason) or "",
        usage=counted(chunk.usage) if chunk.usage else None,
        is_refusal=bool(delta.refusal and not delta.content),
    )


def counted(usage: ChunkUsage) -> dialects.TokenCount:
    details = usage.completion_tokens_details
    return dialects.TokenCount(
        usage.prompt_tokens,
        usage.completion_tokens,
        reasoning=(details and details.reasoning_tokens) or 0,
    )
