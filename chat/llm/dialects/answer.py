"""One answer as far as its server has sent it: chunks become pieces, and an ending."""

from collections.abc import Collection, Iterator, Sequence
from typing import Literal

from chat.llm.errors import ALL_THINKING, MORE_THINKING, CutOff, EmptyAnswer, ModelError
from chat.llm.messages import (
    ChatMessage,
    Finished,
    Piece,
    Reasoning,
    Retraction,
    Text,
    estimated_usage,
)
from chat.protocol.terms import Usage
from tooling.sentences import sentence

from .calls import MAX_NAME_CHARS, PartialCalls
from .normal import Chunk, TokenCount
from .speech import Speech
from .usage import merged, storable

MAX_CHARS_PER_TOKEN = 16  # Average over a whole answer. Real answers stay far below it.
MAX_REASON_CHARS = 60  # of a server's reason to finish, in a message

ONLY_THINKING = sentence("The model was only thinking, and gave no answer.")
NO_CALLS = sentence("The model announced a tool call, but made none, and gave no answer.")
FILTERED = sentence("A content filter of the model server withheld the answer.")
REFUSED = sentence("The model refused to answer.")

type Ending = Literal["ended", "failed", "filtered", "refused", "cut", "calls"]
# Parts of the reasons that servers give. The first that is found counts: "unexpected_tool_call" is
# a failure. A reason without any of these ends a complete answer.
REASONS: tuple[tuple[Ending, tuple[str, ...]], ...] = (
    (
        "failed",
        (
            *("error", "abort", "fail", "insufficient", "malformed", "unexpected", "exception"),
            *("cancel", "timeout", "timed_out", "overload", "rate_limit", "unavailable"),
            *("crash", "interrupt", "invalid"),
        ),
    ),
    (
        "filtered",
        (
            *("filter", "safety", "recitation", "guardrail", "sensitive", "blocklist", "block"),
            *("prohibited", "spii", "policy", "moderat", "flagged", "risk"),
        ),
    ),
    ("refused", ("refus", "declin")),
    ("cut", ("length", "limit", "max_", "maxtokens", "truncat", "context_window", "incomplete")),
    ("calls", ("tool", "function")),
)


class PartialAnswer:
    """One answer as far as the server has sent it.

    `messages` are those it answers; `tools` are the names of the tools that were offered.
    """

    def __init__(self, messages: Sequence[ChatMessage], *, tools: Collection[str] = ()) -> None:
        self.is_cut = False  # by `cut`
        # The server has said how the answer ended, apart from any text of it. A reason beside text
        # proves nothing: some servers send one with each word.
        self.has_ended = False
        self._messages = messages
        self._tools = tools
        self._speech = Speech(tools)
        self._calls = PartialCalls(tools)
        self._count: TokenCount | None = None
        self._is_count_last = False  # No text came after it.
        self._finish_reason = ""
        self._texts: list[str] = []  # as the server sent them
        self._thoughts: list[str] = []
        self._chars = 0
        self._pieces = 0
        self._is_blank = True
        self._has_thought = False
        self._is_refused = False
        self._is_told = False  # by `rest`

    def add(self, chunk: Chunk) -> list[Text | Reasoning | Retraction]:
        """Add a chunk and return the text in it. Tool calls are returned by `finish`."""
        pieces: list[Text | Reasoning | Retraction] = []
        if chunk.reasoning and (thought := self.new_of(chunk, chunk.reasoning, self._thoughts)):
            self._has_thought = True
            self._is_count_last = False
            self._speech.hush()
            pieces.append(Reasoning(thought))
        if chunk.text and (text := self.new_of(chunk, chunk.text, self._texts)):
            self._is_count_last = False
            self._is_refused = self._is_refused or chunk.is_refusal
            told = self._speech.add(text)
            self.note(told)
            pieces += told
        if chunk.finish_reason:
            self._finish_reason = chunk.finish_reason
        if chunk.text or chunk.finish_reason:
            self.has_ended = not chunk.text
        if chunk.calls:
            if chunk.is_total and len(chunk.calls) >= len(self._calls):
                self._calls = PartialCalls(self._tools)
            self._calls.add(chunk.calls)
        if chunk.usage is not None:
            self.count(chunk.usage)
        return pieces

    def new_of(self, chunk: Chunk, text: str, earlier: list[str]) -> str:
        """Return the part of `text` that did not come before, and note it in `earlier`."""
        if chunk.is_total and earlier:
            before = "".join(earlier)
            # A server may leave something out when it repeats its answer, such as thinking.
            text = text[len(before) :] if text.startswith(before) else ""
            earlier[:] = [before]
        earlier.append(text)
        return text

    def note(self, told: Sequence[Text | Reasoning | Retraction]) -> None:
        """Note how much text was told."""
        for piece in told:
            if isinstance(piece, Text):
                self._chars += len(piece.text)
                self._pieces += 1
                self._is_blank = self._is_blank and piece.text.isspace()
            else:
                self._has_thought = True
                if isinstance(piece, Retraction):
                    self._chars, self._pieces, self._is_blank = 0, 0, True

    def count(self, count: TokenCount) -> None:
        """Take over the server's own count of tokens. The last one holds for the whole answer."""
        if count.input or count.output:
            self._count = merged(self._count, count)
            self._is_count_last = True

    def exceeds(self, tokens: int) -> bool:
        """Return True if the text certainly has more than `tokens` tokens.

        Most servers send whole tokens, so count the pieces; some send less at a time, so the
        length must exceed the limit, too. Thinking isn't counted, because not every server applies
        its limit to it.
        """
        # Space that is held back is text, too: a model may write nothing else for ever.
        held = len(self._speech.spaces)
        return self._pieces + held > tokens and self._chars + held > tokens * MAX_CHARS_PER_TOKEN

    def cut(self) -> None:
        """End the answer here, as if the server had reached the token limit."""
        self.is_cut = True
        self._finish_reason = "length"

    def rest(self) -> list[Text | Reasoning | Retraction]:
        """Return the text that was held back, once. No more of it may be added."""
        if self._is_told:
            return []
        self._is_told = True
        told = self._speech.finish()
        self.note(told)
        return told

    def finish(self, *, is_done: bool) -> Iterator[Piece]:
        """Yield the rest of the text, the tool calls, then Finished.

        Raise ModelError if the answer isn't complete. `is_done` tells that the server said so.
        """
        yield from self.rest()
        if not self._calls:
            # A server that reads calls may leave them in the text, too.
            self._calls.add(self._speech.calls)
        ending = ending_of(self._finish_reason)
        if ending == "failed":
            raise failure(self._finish_reason)
        if not self._finish_reason and not is_done and not self.seems_complete:
            raise CutOff
        if self._is_blank and not self._calls:
            raise self.empty_answer(ending)
        taken = {call.id for message in self._messages for call in message.tool_calls}
        yield from self._calls.finish(taken | {message.tool_call_id for message in self._messages})
        yield self.finished(ending)

    @property
    def seems_complete(self) -> bool:
        """Return True if the answer is complete although the server did not say so."""
        return self._is_count_last or self._calls.are_whole

    def empty_answer(self, ending: Ending) -> EmptyAnswer:
        usage = self.usage if self._count else None
        if ending == "filtered":
            return EmptyAnswer(FILTERED, usage, retryable=False)
        if ending == "refused":
            return EmptyAnswer(REFUSED, usage, retryable=False)
        if ending == "cut":
            # Not every server shows the thinking that used up the tokens.
            return EmptyAnswer(ALL_THINKING, usage, advice=MORE_THINKING)
        if self._has_thought:
            return EmptyAnswer(ONLY_THINKING, usage)
        return EmptyAnswer(NO_CALLS, usage) if ending == "calls" else EmptyAnswer(usage=usage)

    def finished(self, ending: Ending) -> Finished:
        usage = self.usage
        # Some servers count thinking as output, some beside it.
        hidden = usage.reasoning_tokens if usage.reasoning_tokens <= usage.output_tokens else 0
        return Finished(
            usage,
            usage.output_tokens - hidden,
            is_cut=ending == "cut",
            is_refused=self._is_refused or ending in ("refused", "filtered"),
            is_filtered=ending == "filtered",
            wants_more=self._calls.has_dropped,
            reason=self._finish_reason[:MAX_NAME_CHARS],
        )

    @property
    def usage(self) -> Usage:
        estimate = estimated_usage(self._messages, self._chars)
        count = self._count
        if count is None:
            return estimate
        is_counted = count.output > 0 or not self._chars
        return Usage(
            input_tokens=storable(count.input),
            output_tokens=storable(count.output) if is_counted else estimate.output_tokens,
            cached_tokens=storable(count.cached),
            reasoning_tokens=storable(count.reasoning),
            model_calls=1,
            estimated=not is_counted,
        )


def ending_of(reason: str) -> Ending:
    """Return how an answer ended for which its server gives this reason."""
    words = "_".join(reason.lower().split()).replace("-", "_")
    for ending, parts in REASONS:
        if any(part in words for part in parts):
            return ending
    return "ended"


def failure(reason: str) -> ModelError:
    named = "".join(char for char in reason if char.isalnum() or char in "_- .")[:MAX_REASON_CHARS]
    return ModelError(
        "model_error",
        f'The model server could not finish the answer ("{named}"). The text so far is kept.',
    )
