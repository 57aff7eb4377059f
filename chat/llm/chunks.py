"""Decode what servers send: bytes into chunks, and chunks into the pieces of an answer."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec import Struct

from chat.protocol.terms import Usage

from .errors import ALL_THINKING, MORE_THINKING, CutOff, EmptyAnswer, ModelError
from .messages import ChatMessage, Finished, Reasoning, Text, WantedCall, estimated_usage

MAX_EVENT_BYTES = 4 * 1024 * 1024  # Bytes of one server-sent event.
MAX_ARGUMENT_CHARS = 256 * 1024  # Characters in the arguments of all tool calls of one answer.
MAX_CALLS = 32  # Tool calls of one answer. Further calls are dropped.
MAX_ID_CHARS = 64  # Characters of a call's id.
MAX_NAME_CHARS = 200  # Characters of a tool's name, which the model may have invented.
MAX_CHARS_PER_TOKEN = 16  # Average over a whole answer. Real answers stay far below it.
MAX_COUNTED_TOKENS = 10_000_000  # Tokens of one call: a column stores the sum of many calls.


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


class PartialAnswer:
    """One answer as far as the server has sent it."""

    def __init__(self) -> None:
        self._usage: Usage | None = None
        self._thinking_tokens = 0
        self._finish_reason: str | None = None
        self._chars = 0
        self._pieces = 0
        self._is_refused = False
        self._calls = PartialCalls()

    def add(self, chunk: Chunk) -> list[Text | Reasoning]:
        """Add a chunk and return the text in it. Tool calls are returned by `finish`."""
        if chunk.usage is not None:
            self.count(chunk.usage)
        pieces: list[Text | Reasoning] = []
        for choice in chunk.choices:
            self._finish_reason = choice.finish_reason or self._finish_reason
            delta = choice.delta
            if thought := delta.reasoning_content or delta.reasoning:
                pieces.append(Reasoning(thought))
            if text := delta.content or delta.refusal:
                self._chars += len(text)
                self._pieces += 1
                self._is_refused = self._is_refused or not delta.content
                pieces.append(Text(text))
            if delta.tool_calls:
                self._calls.add(delta.tool_calls)
        return pieces

    def count(self, usage: ChunkUsage) -> None:
        """Take over the server's own count of tokens."""
        details = usage.completion_tokens_details
        self._thinking_tokens = storable((details and details.reasoning_tokens) or 0)
        self._usage = Usage(
            input_tokens=storable(usage.prompt_tokens),
            output_tokens=storable(usage.completion_tokens),
            model_calls=1,
        )

    def exceeds(self, tokens: int) -> bool:
        """Return True if the text certainly has more than `tokens` tokens.

        Most servers send whole tokens, so count the pieces; some send less at a time, so the
        length must exceed the limit, too. Thinking isn't counted, because not every server applies
        its limit to it.
        """
        return self._pieces > tokens and self._chars > tokens * MAX_CHARS_PER_TOKEN

    def cut(self) -> None:
        """End the answer here, as if the server had reached the token limit."""
        self._finish_reason = "length"

    def finish(self, messages: Sequence[ChatMessage]) -> list[WantedCall | Finished]:
        """Return the tool calls, then Finished. Raise ModelError if the answer isn't complete."""
        if self._finish_reason is None:
            raise CutOff
        if not self._chars and not self._calls:
            if self._finish_reason == "length":
                raise EmptyAnswer(ALL_THINKING, self._usage, advice=MORE_THINKING)
            raise EmptyAnswer(usage=self._usage)
        usage = self._usage or estimated_usage(messages, self._chars)
        finished = Finished(
            usage,
            max(0, usage.output_tokens - self._thinking_tokens),
            is_cut=self._finish_reason == "length",
            is_refused=self._is_refused or self._finish_reason == "content_filter",
            wants_more=self._calls.has_dropped,
            reason=self._finish_reason[:MAX_NAME_CHARS],
        )
        return [*self._calls.finish(), finished]


@dataclass(slots=True)
class PartialCall:
    """A tool call whose arguments are still arriving."""

    index: int  # The server's number for it. Some servers give all calls the same one.
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    def add(self, delta: CallDelta) -> None:
        self.id = (delta.id or self.id)[:MAX_ID_CHARS]
        self.name = (delta.function.name or self.name)[:MAX_NAME_CHARS]
        self.arguments.append(delta.function.arguments or "")

    def is_continued_by(self, delta: CallDelta) -> bool:
        """Return False if a new id together with a name shows that another call begins."""
        if not (self.id and delta.id and delta.function.name):
            return True
        return delta.id[:MAX_ID_CHARS] == self.id


class PartialCalls:
    """The tool calls of one answer."""

    def __init__(self) -> None:
        self.has_dropped = False  # There were more than MAX_CALLS.
        self._calls: list[PartialCall] = []
        self._open: dict[int, PartialCall] = {}  # The latest call at each index.
        self._chars = 0

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, deltas: Sequence[CallDelta]) -> None:
        for delta in deltas:
            call = self.call_of(delta)
            if call is None:
                self.has_dropped = True
                continue
            call.add(delta)
            self._chars += len(call.arguments[-1])
            if self._chars > MAX_ARGUMENT_CHARS:
                raise ModelError(
                    "model_error", "The model called tools with arguments that are too long."
                )

    def call_of(self, delta: CallDelta) -> PartialCall | None:
        """Return the call that `delta` continues or begins; None if there are too many calls."""
        call = self._open.get(delta.index)
        if call and call.is_continued_by(delta):
            return call
        if len(self._calls) == MAX_CALLS:
            # Close the index, or the rest of this call would continue the one before it.
            self._open.pop(delta.index, None)
            return None
        call = self._open[delta.index] = PartialCall(delta.index)
        self._calls.append(call)
        return call

    def finish(self) -> list[WantedCall]:
        """Return the calls in the server's order. Number them if their ids aren't unique."""
        calls = sorted(self._calls, key=lambda call: call.index)
        ids = [call.id for call in calls]
        if not all(ids) or len(set(ids)) < len(ids):
            ids = [f"call_{number}" for number in range(len(ids))]
        return [
            WantedCall(id_, call.name, "".join(call.arguments))
            for id_, call in zip(ids, calls, strict=True)
        ]


def storable(tokens: int) -> int:
    """Return a server's count of tokens, limited to what a column can hold."""
    return min(max(0, tokens), MAX_COUNTED_TOKENS)
