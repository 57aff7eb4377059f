"""The events of a run as a chat completion: in chunks, or whole."""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Struct, UnsetType

from chat.doors import sse
from chat.doors.errors import ErrorBody, object_of
from chat.doors.streams import Rendering
from chat.models import Run
from chat.protocol.errors import ErrorInfo
from chat.protocol.events import AskOpened, Done, Error, StreamEvent
from chat.protocol.terms import Path, Status, Usage
from chat.runs.replay import Entry

from .answer import Added, Answer
from .citations import Annotation

DONE = sse.message(b"[DONE]")
BEATS_BETWEEN_CHUNKS = 3  # some clients count only data as a sign of life
type FinishReason = Literal["stop"]


class PromptDetails(Struct, frozen=True):
    cached_tokens: int = 0


class CompletionDetails(Struct, frozen=True):
    reasoning_tokens: int = 0


class CompletionUsage(Struct, frozen=True):
    """The tokens of all model calls of the run, of all its agents."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails

    @classmethod
    def of(cls, usage: Usage) -> "CompletionUsage":
        return cls(
            usage.input_tokens,
            usage.output_tokens,
            usage.input_tokens + usage.output_tokens,
            PromptDetails(usage.cached_tokens),
            CompletionDetails(usage.reasoning_tokens),
        )


class Ask(Struct, frozen=True):
    """What a person must decide before a paused run goes on."""

    ask_id: UUID
    kind: str
    message: str


class FleetEnding(Struct, frozen=True, omit_defaults=True):
    """What the API of OpenAI has no field for. `run` is also the header Fleet-Run."""

    status: Status
    run: UUID
    conversation: UUID
    path: Path | None = None
    escalated: bool = False
    asks: list[Ask] = []


class Delta(Struct, frozen=True, omit_defaults=True):
    """What a chunk adds. The thinking has both names that clients know."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    annotations: list[Annotation] | UnsetType = UNSET


class ChunkChoice(Struct, frozen=True):
    delta: Delta
    finish_reason: FinishReason | None = None
    index: int = 0


class Chunk(Struct, frozen=True):
    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    usage: CompletionUsage | UnsetType = UNSET
    fleet: FleetEnding | UnsetType = UNSET


class AnswerMessage(Struct, frozen=True):
    content: str
    role: Literal["assistant"] = "assistant"
    refusal: None = None
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    annotations: list[Annotation] = []


class Choice(Struct, frozen=True):
    message: AnswerMessage
    finish_reason: FinishReason = "stop"
    index: int = 0
    logprobs: None = None


class Completion(Struct, frozen=True):
    """A whole answer."""

    id: str
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage
    fleet: FleetEnding
    object: Literal["chat.completion"] = "chat.completion"


class Chunks(Rendering):
    """The chunks of one run.

    The tokens are on the last chunk, or, with `include_usage`, on one of their own behind it. Never
    on both: clients add them up.
    """

    def __init__(self, run: Run, model: str, *, include_usage: bool, with_steps: bool) -> None:
        self.run = run
        self.model = model
        self.include_usage = include_usage
        self.answer = Answer(with_steps=with_steps)
        self._id, self._created = id_of(run), int(run.created_at.timestamp())
        self._has_role = False
        self._beats = count(1)

    def events(self, batch: Sequence[Entry]) -> bytes:
        pieces = []
        if not self._has_role:
            self._has_role = True
            pieces.append(self.delta(Delta(role="assistant", content="")))
        added = (piece for entry in batch for piece in self.answer.take(entry.event))
        pieces += [self.delta(delta_of(piece)) for piece in joined(added)]
        last = batch[-1].event
        if isinstance(last, Done):
            pieces += self.ending(last)
        elif isinstance(last, Error):
            pieces.append(self.refusal(last.error))
        return b"".join(pieces)

    def beat(self, silent_ms: int) -> bytes:
        is_due = next(self._beats) % BEATS_BETWEEN_CHUNKS == 0
        return sse.PING + (self.delta(Delta()) if is_due else b"")

    def refusal(self, error: ErrorInfo) -> bytes:
        """Return what ends a stream that failed: no finish_reason, or clients would take it."""
        return sse.message(msgspec.json.encode(ErrorBody(object_of(error)))) + DONE

    def ending(self, done: Done) -> Iterator[bytes]:
        usage = CompletionUsage.of(done.data.usage)
        if annotations := self.answer.annotations(is_streamed=True):
            yield self.delta(Delta(annotations=annotations))
        yield self.chunk(
            [ChunkChoice(Delta(), "stop")],
            usage=UNSET if self.include_usage else usage,
            fleet=fleet_of(self.run, done, self.answer.asks),
        )
        if self.include_usage:
            yield self.chunk([], usage=usage)
        yield DONE

    def delta(self, delta: Delta) -> bytes:
        return self.chunk([ChunkChoice(delta)])

    def chunk(
        self,
        choices: list[ChunkChoice],
        *,
        usage: CompletionUsage | UnsetType = UNSET,
        fleet: FleetEnding | UnsetType = UNSET,
    ) -> bytes:
        chunk = Chunk(
            self._id,
            self._created,
            self.model,
            choices,
            usage=usage,
            fleet=fleet,
        )
        return sse.message(msgspec.json.encode(chunk))


def completion_of(
    run: Run, model: str, events: Sequence[StreamEvent], *, with_steps: bool
) -> Completion:
    """Return the whole answer of a run that has not failed, from all its events."""
    answer = Answer(with_steps=with_steps)
    added = [piece for event in events for piece in answer.take(event)]
    thoughts = "".join(piece.text for piece in added if not piece.is_answer) or UNSET
    done = events[-1]
    assert isinstance(done, Done)
    message = AnswerMessage(
        answer.text,
        reasoning_content=thoughts,
        reasoning=thoughts,
        annotations=answer.annotations(is_streamed=False),
    )
    return Completion(
        id_of(run),
        int(run.created_at.timestamp()),
        model,
        [Choice(message)],
        CompletionUsage.of(done.data.usage),
        fleet_of(run, done, answer.asks),
    )


def joined(added: Iterator[Added]) -> list[Added]:
    """Return the pieces with neighbours of one kind as one."""
    found: list[Added] = []
    for piece in added:
        if found and found[-1].is_answer == piece.is_answer:
            found[-1] = Added(found[-1].text + piece.text, piece.is_answer)
        else:
            found.append(piece)
    return found


def delta_of(added: Added) -> Delta:
    if added.is_answer:
        return Delta(content=added.text)
    return Delta(reasoning_content=added.text, reasoning=added.text)


def fleet_of(run: Run, done: Done, asks: Sequence[AskOpened]) -> FleetEnding:
    assert done.data.status
    return FleetEnding(
        done.data.status,
        run.pk,
        run.conversation_id,
        done.data.path,
        escalated=done.data.escalated,
        asks=[Ask(ask.data.ask_id, ask.data.kind, ask.data.message) for ask in asks],
    )


def id_of(run: Run) -> str:
    return f"chatcmpl-{run.pk.hex}"
