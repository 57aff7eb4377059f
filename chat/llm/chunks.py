"""What servers send: the bytes of a stream as events, and events as pieces of an answer."""

import logging
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from chat.protocol.terms import Usage

from .errors import ALL_THINKING, EmptyAnswer, ModelError
from .messages import ChatMessage, Finished, Reasoning, Text, WantedCall, estimated_usage

logger = logging.getLogger(__name__)
MAX_EVENT_BYTES = 4 * 1024 * 1024  # bytes of one streamed event
MAX_ARGUMENT_CHARS = 256 * 1024  # characters of all tool calls of one answer
MAX_CALLS = 32  # of one answer; what a model wants beyond them is left out
MAX_ID_CHARS = 64  # characters of a call's
MAX_NAME_CHARS = 200  # characters of a tool's, which may be invented
CHARACTERS_PER_TOKEN = 16  # at the most, over a whole answer
MAX_TOKENS = 10_000_000  # of one call, that are believed; a column holds the sum of many


class Function(Struct):
    name: str | None = None
    arguments: str | None = None


class CallPart(Struct):
    index: int = 0
    id: str | None = None
    function: Function = msgspec.field(default_factory=Function)


class Delta(Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[CallPart] | None = None


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
    """Cuts a byte stream of server-sent events into their data.

    Only a line feed ends a line here: `str.splitlines` would also cut at characters that JSON leaves bare, such as U+2028.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_EVENT_BYTES:
            raise ModelError("model_error", "The model server sent an event that is too large.")
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]


class Gathered:
    """What one answer has come to so far."""

    def __init__(self) -> None:
        self._usage: Usage | None = None
        self._thinking_tokens = 0
        self._finish_reason: str | None = None
        self._written = 0  # characters
        self._pieces = 0
        self._is_refused = False
        self._calls = CallParts()

    def take(self, chunk: Chunk) -> list[Text | Reasoning]:
        """What there is to show of this chunk."""
        if chunk.usage is not None:
            self._usage = Usage(
                count(chunk.usage.prompt_tokens),
                count(chunk.usage.completion_tokens),
                model_calls=1,
            )
            details = chunk.usage.completion_tokens_details
            self._thinking_tokens = count((details and details.reasoning_tokens) or 0)
        shown: list[Text | Reasoning] = []
        for choice in chunk.choices:
            self._finish_reason = choice.finish_reason or self._finish_reason
            delta = choice.delta
            if thought := delta.reasoning_content or delta.reasoning:
                shown.append(Reasoning(thought))
            if text := delta.content or delta.refusal:
                self._written += len(text)
                self._pieces += 1
                self._is_refused = self._is_refused or not delta.content
                shown.append(Text(text))
            if delta.tool_calls:
                self._calls.add(delta.tool_calls)
        return shown

    def is_beyond(self, tokens: int) -> bool:
        """Whether its words are surely more than so many tokens: in number, as servers send whole ones, and in length, as some send less.

        Thinking does not count: not every server means it by its limit.
        """
        return self._pieces > tokens and self._written > tokens * CHARACTERS_PER_TOKEN

    def cut(self) -> None:
        """Let what came so far be all, as if the server had ended it there."""
        self._finish_reason = "length"

    def end(self, messages: Sequence[ChatMessage]) -> list[WantedCall | Finished]:
        """The tools that it wants called, and Finished; ModelError if this is no answer."""
        if self._finish_reason is None:
            raise ModelError(
                "model_error", "The model's answer was cut off. What came so far is kept."
            )
        if not self._written and not self._calls:
            raise EmptyAnswer(ALL_THINKING) if self._finish_reason == "length" else EmptyAnswer
        usage = self._usage or estimated_usage(messages, self._written)
        finished = Finished(
            usage,
            max(0, usage.output_tokens - self._thinking_tokens),
            is_cut=self._finish_reason == "length",
            is_refused=self._is_refused or self._finish_reason == "content_filter",
            wants_more=self._calls.is_over,
        )
        return [*self._calls.whole(), finished]


class CallParts:
    """The tool calls of one answer, which come in parts."""

    def __init__(self) -> None:
        self.is_over = False  # there were more than are taken
        self._parts: dict[
            tuple[int, int], tuple[str, str, list[str]]
        ] = {}  # by the server's index, and our count of calls at it
        self._counts: dict[int, int] = {}
        self._length = 0

    def __bool__(self) -> bool:
        return bool(self._parts)

    def add(self, parts: Sequence[CallPart]) -> None:
        for part in parts:
            place = self._place_of(part)
            if place not in self._parts and len(self._parts) == MAX_CALLS:
                self.is_over = True
                continue
            id_, name, arguments = self._parts.get(place, ("", "", []))
            arguments.append(part.function.arguments or "")
            self._length += len(arguments[-1])
            if self._length > MAX_ARGUMENT_CHARS:
                raise ModelError(
                    "model_error", "The model called tools with arguments that are too long."
                )
            self._parts[place] = (
                (part.id or id_)[:MAX_ID_CHARS],
                (part.function.name or name)[:MAX_NAME_CHARS],
                arguments,
            )

    def _place_of(self, part: CallPart) -> tuple[int, int]:
        """Where a part belongs: some servers give all calls one index, and only another id and name say that another call begins."""
        place = part.index, self._counts.get(part.index, 0)
        known, _, _ = self._parts.get(place, ("", "", []))
        if known and part.id and part.function.name and part.id[:MAX_ID_CHARS] != known:
            self._counts[part.index] = place[1] + 1
            return part.index, place[1] + 1
        return place

    def whole(self) -> list[WantedCall]:
        """Each call, with ids of our own where the server's do not tell them apart."""
        parts = [self._parts[index] for index in sorted(self._parts)]
        ids = [id_ for id_, _, _ in parts]
        if not all(ids) or len(set(ids)) < len(ids):
            ids = [f"call_{number}" for number in range(len(ids))]
        return [
            WantedCall(id_, name, "".join(arguments))
            for id_, (_, name, arguments) in zip(ids, parts, strict=True)
        ]


def count(tokens: int) -> int:
    """A server's count of tokens as it may be stored."""
    return min(max(0, tokens), MAX_TOKENS)
