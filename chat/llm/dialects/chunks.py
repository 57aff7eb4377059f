"""Read the chunks of an answer from the bytes of its response body."""

import json
import re
from itertools import islice
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tooling.untrusted import without_nul

from .framing import EventReader, NotAnAnswer, TooLarge
from .halves import HalfCharacters, mended, without_halves
from .lenient import Seen, chunks_of
from .normal import CallDelta, Chunk, TokenCount
from .usage import MAX_DIGITS, merged, storable

# Reading more than this at once would block the event loop for too long.
MAX_DOCUMENTS = 2000  # in one array or on one line
MAX_ITEMS = 10_000  # objects, arrays and texts of one event
ITEM_MARKS = (b"{", b"[", b'"')
TEXTS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\Z)', re.DOTALL)
ANSWER_FIELDS = frozenset(
    ["choices", "candidates", "delta", "message", "output", "response", "usage", "done", "content"]
)


# What most chunks of most servers look like. These structs are strict and have only the fields
# that a chunk in mid-answer needs: all others are read by the rules of `lenient`, at several
# times the cost.
class Function(Struct, gc=False):
    arguments: str | None
    name: str | None = None


class Call(Struct, gc=False):
    function: Function
    index: int | None = None
    id: str | None = None

    def normal(self) -> CallDelta:
        function = self.function
        return CallDelta(self.index, self.id or "", function.name or "", function.arguments or "")


class Delta(Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Call] | None = None


class Choice(Struct, gc=False):
    delta: Delta
    index: int | None = None
    finish_reason: str | None = None


class Usage(Struct, gc=False):
    prompt_tokens: int
    completion_tokens: int

    def normal(self) -> TokenCount:
        return TokenCount(storable(self.prompt_tokens), storable(self.completion_tokens))


class Event(Struct, gc=False):
    choices: list[Choice]
    usage: Usage | None = None
    error: None = None


decode_event = msgspec.json.Decoder(Event).decode


class ChunkReader:
    """Reads the chunks of one answer from the bytes of its response body, however they are cut.

    `feed` and `close` return the chunks that are complete, without those that have nothing in
    them. They raise NotAnAnswer for markup, plain text or broken JSON, and TooLarge. If chunks
    came before that in the same bytes, they return the chunks, and the next call raises.
    """

    def __init__(self) -> None:
        self.has_begun = False  # The body has at least one chunk, perhaps with nothing in it.
        self._events = EventReader(self._take, self._complain)
        self._chunks: list[Chunk] = []
        self._failure: NotAnAnswer | TooLarge | None = None
        self._seen = Seen()
        self._halves = HalfCharacters()
        self._usage: TokenCount | None = None
        self._has_ended = False
        # These tell a message that repeats all the text so far from one with the next piece.
        self._first_text = ""
        self._text_chars = 0

    @property
    def is_done(self) -> bool:
        """Return True if the server sent [DONE]."""
        return self._events.is_done

    @property
    def has_failed(self) -> bool:
        """True if the next call raises."""
        return self._failure is not None

    def feed(self, data: bytes) -> list[Chunk]:
        """Return the chunks that `data` completes."""
        if self._failure:
            raise self._failure
        try:
            self._events.feed(data)
        except (NotAnAnswer, TooLarge) as exc:
            if not self._chunks:
                raise
            self._failure = exc
        chunks, self._chunks = self._chunks, []
        return chunks

    def close(self) -> list[Chunk]:
        """Return the chunks in the rest of the body, which has ended."""
        if self._failure:
            raise self._failure
        self._events.close()
        events = self._events
        if events.documents == 1 and not events.has_fields and not self._has_ended:
            # This was no stream.
            if not self.has_begun:
                raise NotAnAnswer(events.described())
            if not self._seen.is_partial:
                self.add(Chunk(finish_reason="stop"))
        if text := self._halves.rest("text"):
            self._chunks.append(Chunk(text))
        chunks, self._chunks = self._chunks, []
        return chunks

    def _take(self, data: bytes) -> bool:
        """Read the data of an event. Return False if it isn't complete JSON."""
        if len(data) > MAX_ITEMS and has_too_much(data):
            raise NotAnAnswer(self._events.described(data))
        if b"\\" in data:
            data = without_nul(data)
        try:
            try:
                event = decode_event(data)
            except (msgspec.DecodeError, UnicodeDecodeError):
                return self.take_leniently(data)
            return self.take_usual(event) or self.take_leniently(data)
        except RecursionError as exc:
            raise NotAnAnswer(self._events.described(data)) from exc

    def _complain(self, data: bytes) -> None:
        """Add an error, which is JSON or text."""
        try:
            values = decoded(without_nul(data))[0]
        except RecursionError:
            values = []
        error = values[0] if values else None
        self.add(Chunk(error=error or self._events.described(data)))

    def take_usual(self, event: Event) -> bool:
        """Add what the strict structs have read. Return False if the rules must read the event.

        They look for what the structs lack, for example the usage beside a finish_reason.
        """
        choices = event.choices
        if len(choices) != 1:
            return False
        choice = choices[0]
        if choice.finish_reason or not self._seen.keeps(choice.index):
            return False
        delta = choice.delta
        text = delta.content or ""
        reasoning = delta.reasoning_content or delta.reasoning or ""
        calls = [call.normal() for call in delta.tool_calls] if delta.tool_calls else ()
        if not (text or reasoning or calls):
            return False
        if event.usage and event.usage.prompt_tokens:
            # Servers that count in each chunk add the details to the last one.
            self._usage = event.usage.normal()
            chunk = Chunk(text, reasoning, calls, "", self._usage)
        else:
            chunk = Chunk(text, reasoning, calls)
        self._seen.has_deltas = self.has_begun = True
        self._chunks.append(self.mended(chunk) if self._halves else chunk)
        return True

    def take_leniently(self, data: bytes) -> bool:
        values, is_odd = decoded(data)
        for value in values:
            if not isinstance(value, dict | list):
                return False
            if isinstance(value, list) and len(value) > MAX_DOCUMENTS:
                raise TooLarge
            for chunk in chunks_of(value, self._seen):
                self.add(chunk, is_odd=is_odd)
            if not self.has_begun and isinstance(value, dict):
                self.has_begun = not ANSWER_FIELDS.isdisjoint(value)
        return bool(values)

    def add(self, chunk: Chunk, *, is_odd: bool = False) -> None:
        """Add a chunk after settling what depends on the chunks before it."""
        self.has_begun = True
        if chunk.error is not None or chunk.finish_reason:
            self._has_ended = True
        if is_odd or self._halves:
            chunk = self.mended(chunk)
        if chunk.is_total:
            chunk = self.compared(chunk)
        if chunk.usage is not None:
            usage = merged(self._usage, chunk.usage)
            if usage is not chunk.usage:
                chunk = replace(chunk, usage=usage)
            self._usage = usage
        self._chunks.append(chunk)

    def compared(self, chunk: Chunk) -> Chunk:
        """Return a message that came instead of a delta, with `is_total` only if that is true."""
        text = chunk.text
        is_total = self._seen.has_deltas or (
            self._text_chars > 0
            and len(text) >= self._text_chars
            and text.startswith(self._first_text)
        )
        self._first_text = self._first_text or text
        self._text_chars = len(text) if is_total else self._text_chars + len(text)
        return chunk if is_total else replace(chunk, is_total=False)

    def mended(self, chunk: Chunk) -> Chunk:
        """Return the chunk with all characters whole. Keep halves at its end for the next one."""
        join = self._halves.join
        text = join("text", chunk.text)
        if chunk.finish_reason:
            text += self._halves.rest("text")
        calls = [
            CallDelta(
                call.index,
                without_halves(call.id),
                without_halves(call.name),
                join(f"call {call.index}", call.arguments),
            )
            for call in chunk.calls
        ]
        return replace(
            chunk,
            text=text,
            reasoning=join("reasoning", chunk.reasoning),
            calls=calls or (),
            finish_reason=without_halves(chunk.finish_reason),
            error=mended(chunk.error),
        )


def decoded(data: bytes) -> tuple[list[Any], bool]:
    """Return the values in JSON, an empty list if it is none, and whether it isn't strict JSON.

    The standard library's decoder reads what servers send by mistake: control characters in
    strings, NaN, numbers without end, half characters, and several values without a line feed
    between them.
    """
    try:
        return [msgspec.json.decode(data)], False
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    text = data.decode(errors="surrogateescape").replace("\0", "").strip()
    values = []
    position = 0
    try:
        while position < len(text):
            value, position = decoder.raw_decode(text, position)
            values.append(value)
            if len(values) > MAX_DOCUMENTS:
                raise TooLarge
            while text[position : position + 1].isspace():
                position += 1
    except ValueError:
        return [], True
    return values, True


def has_too_much(data: bytes) -> bool:
    """Return True if JSON has more than MAX_ITEMS. Texts may have any number of these marks."""
    if sum(map(data.count, ITEM_MARKS)) <= MAX_ITEMS:
        return False
    if any(True for _ in islice(TEXTS.finditer(data), MAX_ITEMS, None)):
        return True
    return sum(map(TEXTS.sub(b'"', data).count, ITEM_MARKS)) > MAX_ITEMS


def bounded_int(digits: str) -> int | float:
    """Return a number. Long ones would take quadratic time, or raise."""
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


decoder = json.JSONDecoder(strict=False, parse_int=bounded_int)
