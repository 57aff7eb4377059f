"""What each model call costs, from its start."""

import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any

from chat.clock import Clock, Stopwatch
from chat.llm.errors import EmptyAnswer, ModelError
from chat.llm.messages import (
    ChatMessage,
    Finished,
    Piece,
    Reasoning,
    Retraction,
    Text,
    WantedCall,
    estimated_usage,
)
from chat.llm.models import Models
from chat.protocol.events import AgentComplete, PhaseComplete
from chat.protocol.payloads import ModelCall
from chat.protocol.terms import Usage

from .memory import Memory
from .steps import Chosen, Round, TurnEnd, decoded, kind_of


@dataclass(frozen=True, slots=True)
class KeptCall:
    """A model call that an earlier worker of the run made."""

    data: ModelCall

    @property
    def number(self) -> int:
        return self.data.number


class CallRecord:
    """A model call with its figures so far.

    Servers charge for what they have read and written when a call is cut. What they would charge
    is estimated until they report it.
    """

    def __init__(
        self,
        number: int,
        model: str,
        messages: Sequence[ChatMessage],
        watch: Stopwatch,
        *,
        traceparent: str = "",
    ) -> None:
        self.number = number
        self.traceparent = traceparent  # the header that the model server gets
        self.model = model
        self._messages = messages
        self._watch = watch
        self._first_chunk_ms: float | None = None
        self._written = 0  # characters
        self._reported: Usage | None = None  # by the server
        self._finish_reason = ""
        self._error = ""
        self._ended_ms: float | None = None
        self._is_cut = True

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Note when and how the call ends."""
        try:
            yield
            self._is_cut = False
        except ModelError as exc:
            self._is_cut, self._error = False, exc.code
            if isinstance(exc, EmptyAnswer):
                # The server counted what it thought, which no estimate could know.
                self._reported = exc.usage
            raise
        finally:
            self._ended_ms = self._watch.ms

    def hear(self, piece: Piece) -> None:
        """Note a piece of the model's answer."""
        if self._first_chunk_ms is None:
            self._first_chunk_ms = self._watch.ms
        # Checked for each delta, so without the slower patterns of `match`.
        if isinstance(piece, (Text, Reasoning)):
            self._written += len(piece.text)
        elif isinstance(piece, WantedCall):
            self._written += len(piece.arguments)
        elif isinstance(piece, Finished):
            self._finish_reason = piece.reason
            # The client's estimate leaves out thinking and tool calls.
            self._reported = None if piece.usage.estimated else piece.usage

    @property
    def usage(self) -> Usage:
        """The cost so far, by estimate if the server did not report it."""
        if self._reported:
            return self._reported
        if self._first_chunk_ms is None:
            return Usage(model_calls=1)
        return estimated_usage(self._messages, self._written)

    @property
    def data(self) -> ModelCall:
        """The call as events carry it. One that has not ended is cut."""
        usage = self.usage
        return ModelCall(
            number=self.number,
            model=self.model,
            started_ms=self._watch.started_ms,
            duration_ms=self._watch.ms if self._ended_ms is None else self._ended_ms,
            first_chunk_ms=self._first_chunk_ms,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            estimated=usage.estimated,
            cut=self._is_cut,
            finish_reason=self._finish_reason,
            error=self._error,
        )


async def text_of(pieces: AsyncGenerator[Piece], call: CallRecord) -> str:
    """Return the text that a model writes, and note its pieces in `call`."""
    words: list[str] = []
    async with aclosing(pieces):
        async for piece in pieces:
            call.hear(piece)
            if isinstance(piece, Text):
                words.append(piece.text)
            elif isinstance(piece, Retraction):
                words.clear()
    return "".join(words)


def beside(number: int, model: str, messages: Sequence[ChatMessage]) -> CallRecord:
    """Return the record of a call that belongs to no run."""
    return CallRecord(number, model, messages, Stopwatch(Clock(time.perf_counter())))


async def written_beside(
    models: Models,
    call: CallRecord,
    messages: Sequence[ChatMessage],
    *,
    max_tokens: int,
    max_thinking: int,
    schema: dict[str, Any] | None = None,
) -> str:
    """Return what a model writes for a call that belongs to no run, in one attempt.

    Raise ModelError if it fails.
    """
    pieces = models.stream(
        messages,
        model=call.model,
        max_tokens=max_tokens,
        max_thinking=max_thinking,
        is_aside=True,
        schema=schema,
        may_retry=False,
    )
    with call.timed():
        return await text_of(pieces, call)


def known_calls(memory: Memory) -> "list[CallRecord | KeptCall]":
    """Return the model calls of the run that earlier workers made, in their order.

    Those of the paused runs that it goes on with are theirs.
    """
    found: dict[int, ModelCall] = {}
    for event in memory.told[memory.inherited :]:
        if isinstance(event, AgentComplete | PhaseComplete):
            found |= {call.number: call for call in event.data.calls}
    for name, result in memory.kept.items():
        if not result.inherited:
            found |= {call.number: call for call in kept_calls(name, result.value)}
    return [KeptCall(found[number]) for number in sorted(found)]


def kept_calls(name: str, value: str) -> list[ModelCall]:
    """Return the model calls that a kept result has."""
    kind = kind_of(name)
    match decoded(value, kind) if kind else None:
        case Round(call=call):
            return [call]
        case Chosen(calls=calls) | TurnEnd(calls=calls):
            return calls
        case _:
            return []
