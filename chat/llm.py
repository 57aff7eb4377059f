"""The only client for models: streamed chat completions of any OpenAI-compatible server, with deadlines and errors in words."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from math import inf
from typing import Any, Literal, Self, cast
from urllib.parse import urlsplit

import httpx2
import msgspec
import openai
from msgspec import Struct
from openai import AsyncAPIResponse, AsyncOpenAI, DefaultAioHttpClient

from tooling.untrusted import without_nul

from .protocol.errors import Code
from .protocol.terms import Effort, Usage

logger = logging.getLogger(__name__)

RETRIES = 2  # before the first chunk, never after it
BACKOFF = 0.25  # seconds before the first retry; doubles
MAX_RETRY_AFTER = 5.0  # seconds; a server that asks for more gets an error in words
MAX_EVENT_BYTES = 4 * 1024 * 1024  # bytes of one streamed event
MAX_ARGUMENT_CHARS = 256 * 1024  # characters of all tool calls of one answer
MAX_CALLS = 32  # of one answer; what a model wants beyond them is left out
MAX_ID_CHARS = 64  # characters of a call's
MAX_NAME_CHARS = 200  # characters of a tool's, which may be invented
# Parts of a request that a server may not know, each with what its refusal names; it is asked without them then. The least loss first.
EXTRAS = {
    "reasoning_effort": ("reasoning_effort", "think"),
    "response_format": ("response_format",),
    "tools": ("tools",),
}
ASKED_WITHOUT = (
    3600.0  # seconds after which a refused part is tried again: servers and models change
)
CHARACTERS_PER_TOKEN = 16  # at the most, over a whole answer
MAX_TOKENS = 10_000_000  # of one call, that are believed; a column holds the sum of many
BYTES_PER_TOKEN = 3  # at the least, as budgets reckon
NO_KEY = "none"  # servers without a key want some header all the same
ALL_THINKING = (
    "The model spent all its tokens on thinking and said nothing."
    " Ask for less reasoning effort, or set FLEET_THINKING_TOKENS higher."
)

EFFORTS: dict[Effort, str] = {"minimal": "low", "medium": "medium", "maximal": "high"}


class ModelError(Exception):
    """A model call that failed; the message tells a person what to do."""

    def __init__(self, code: Code, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.code: Code = code
        self.retryable = retryable


class EmptyAnswer(ModelError):
    """The model ended without a word."""

    def __init__(self, message: str = "The model gave an empty answer.") -> None:
        super().__init__("model_error", message)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model wants called, with its arguments as it wrote them."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a conversation with a model. `tool` messages answer the call with their id."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: Sequence[ToolCall] = ()
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
Piece = Text | Reasoning | ToolCall | Pulse | Finished


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


class _Usage(Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    completion_tokens_details: OutputDetails | None = None


class Chunk(Struct):
    choices: list[Choice] = []
    usage: _Usage | None = None
    error: msgspec.Raw | None = None


NOTHING = Chunk()
_decode_chunk = msgspec.json.Decoder(Chunk).decode


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds: until the first chunk, all retries included; and of silence between two reads after it."""

    first_chunk: float
    chunk: float


class ModelClient:
    """Talks to one model server. One per event loop; `aclose` when the loop ends.

    `thinking_tokens` are what a model may spend on hidden thinking, besides the words of each call; 0 if none thinks.
    """

    def __init__(
        self, *, base_url: str, api_key: str, deadlines: Deadlines, thinking_tokens: int = 0
    ) -> None:
        self._deadlines = deadlines
        self._thinking_tokens = thinking_tokens
        # Deadlines are ours, so the SDK's own are off; so are its retries, which do not know ours.
        self._client = AsyncOpenAI(
            base_url=base_url or None,
            api_key=api_key or NO_KEY,
            max_retries=0,
            timeout=None,
            http_client=DefaultAioHttpClient(
                timeout=None,
                limits=httpx2.Limits(max_connections=1000, max_keepalive_connections=100),
            ),
        )
        # The SDK imports its parts when they are first touched, for 0.3 s: now, and not while readers wait.
        self._create = self._client.chat.completions.with_streaming_response.create
        self._place = urlsplit(str(self._client.base_url)).netloc
        self._limit_name = (
            "max_completion_tokens" if self._place == "api.openai.com" else "max_tokens"
        )
        self._refused: dict[
            tuple[str, str], float
        ] = {}  # when the server refused which extra for which model

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        *,
        model: str,
        max_tokens: int,
        effort: Effort | None = None,
        is_aside: bool = False,
        tools: Sequence[dict[str, Any]] = (),
        schema: dict[str, Any] | None = None,
    ) -> AsyncGenerator[Piece]:
        """The answer piece by piece as the server sends it, then the tools it wants called, then Finished; Pulse in between.

        `max_tokens` are of words. `is_aside`: these are not the answer, so a model that thinks is to think little about them.
        `tools` are offered to the model; `schema` is the JSON Schema that the answer is to follow, where the server can
        enforce one. ModelError says what went wrong.
        """
        thinks = self._thinking_tokens > 0 and self._takes(model, "reasoning_effort")
        if thinks and is_aside and effort is None:
            effort = "minimal"
        request: dict[str, Any] = {
            "model": model,
            "messages": [message.encoded() for message in messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            self._limit_name: max_tokens + (self._thinking_tokens if thinks else 0),
        }
        if effort is not None:
            request["reasoning_effort"] = EFFORTS[effort]
        if tools:
            request["tools"] = list(tools)
        if schema is not None:
            request["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema},
            }
        answer = Gathered()
        with self._errors_in_words(model):
            async with aclosing(self._chunks(request)) as chunks:
                async for chunk in chunks:
                    if chunk.error is not None:
                        raise ModelError(
                            "model_error",
                            f"The model server at {self._place} reported an error in mid-answer.",
                        )
                    for piece in answer.take(chunk) or (PULSE,):
                        yield piece
                    if answer.is_beyond(max_tokens):
                        # The server does not mind the limit, and would not end.
                        answer.cut()
                        break
        for last in answer.end(messages):
            yield last

    async def aclose(self) -> None:
        await self._client.close()

    async def _chunks(self, request: dict[str, Any]) -> AsyncGenerator[Chunk]:
        """The decoded events of one answer, NOTHING for bytes that hold none; deadlines over the start and over each read."""
        first_due = asyncio.get_running_loop().time() + self._deadlines.first_chunk
        started = False
        async with self._opened(request, first_due) as response:
            lines = EventLines()
            async with aclosing(cast("AsyncGenerator[bytes]", response.iter_bytes())) as body:
                with Silence(self._deadlines.chunk) as silence:
                    while (
                        data := await self._read(body, silence, None if started else first_due)
                    ) is not None:
                        payloads = lines.feed(data)
                        if not payloads:
                            yield NOTHING
                        for payload in payloads:
                            if payload == b"[DONE]":
                                return
                            started = True
                            yield _decode_chunk(without_nul(payload))

    async def _read(
        self, body: AsyncGenerator[bytes], silence: "Silence", first_due: float | None
    ) -> bytes | None:
        """What comes next, None at the end. ModelError if it is not there by `first_due`, or after too long a silence."""
        try:
            if first_due is None:
                return await silence.read(body)
            async with asyncio.timeout_at(first_due):
                return await anext(body, None)
        except TimeoutError as exc:
            raise self._silent(started=first_due is None) from exc

    @asynccontextmanager
    async def _opened(
        self, request: dict[str, Any], due: float
    ) -> AsyncIterator[AsyncAPIResponse[Any]]:
        """The response of a request, tried again on failures that pass; closed on the way out, which ends the bill."""
        try:
            async with asyncio.timeout_at(due):
                response = await self._open_with_retries(request)
        except TimeoutError as exc:
            raise self._silent(started=False) from exc
        try:
            yield response
        finally:
            await response.close()

    async def _open_with_retries(self, request: dict[str, Any]) -> AsyncAPIResponse[Any]:
        request = {
            name: value for name, value in request.items() if self._takes(request["model"], name)
        }
        for attempt in range(RETRIES + 1):
            try:
                opening = self._create(**request)
                # Entered by hand: the response outlives this function and is closed by `_opened`.
                return cast("AsyncAPIResponse[Any]", await opening.__aenter__())
            except openai.APIError as exc:
                if extra := refused_extra(exc, request):
                    logger.warning(
                        "model=%s takes no %s: it is asked without for an hour",
                        request["model"],
                        extra,
                    )
                    self._refused[request["model"], extra] = time.monotonic()
                    return await self._open_with_retries(
                        {name: value for name, value in request.items() if name != extra}
                    )
                wait = seconds_before_retry(exc, attempt)
                if wait is None or attempt == RETRIES:
                    raise
                await asyncio.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _takes(self, model: str, extra: str) -> bool:
        """Whether this part of a request may be sent: it was not refused lately."""
        refused = self._refused.get((model, extra))
        return refused is None or time.monotonic() > refused + ASKED_WITHOUT

    def _silent(self, started: bool) -> ModelError:
        if started:
            return ModelError(
                "idle_timeout", "The model stopped in mid-answer. What came so far is kept."
            )
        return ModelError("first_chunk_timeout", "The model did not answer in time.")

    def _errors_in_words(self, model: str) -> "ErrorsInWords":
        return ErrorsInWords(self._place, model)


class ErrorsInWords:
    """Turns what the SDK, its transport and the decoder raise into ModelError."""

    def __init__(self, place: str, model: str) -> None:
        self._place = place
        self._model = model

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: object
    ) -> None:
        match exc:
            case openai.APIStatusError():
                raise self._of_status(exc) from exc
            case openai.APIConnectionError() | httpx2.ConnectError():
                raise ModelError(
                    "model_unavailable", f"The model at {self._place} cannot be reached."
                ) from exc
            case httpx2.HTTPError() | httpx2.StreamError():
                raise ModelError(
                    "model_error", "The model's answer was cut off. What came so far is kept."
                ) from exc
            case msgspec.DecodeError():
                raise ModelError(
                    "model_error",
                    f"The model server at {self._place} sent something that is not an answer.",
                ) from exc

    def _of_status(self, exc: openai.APIStatusError) -> ModelError:
        status = exc.status_code
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return ModelError(
                "model_error",
                f"The model server at {self._place} refused the key. Set OPENAI_API_KEY.",
                retryable=False,
            )
        if status == HTTPStatus.NOT_FOUND:
            message = (
                f'The model server at {self._place} does not know "{self._model}". Set FLEET_MODEL.'
            )
            return ModelError("model_error", message, retryable=False)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            seconds = retry_after(exc)
            again = f" Try again in {seconds:.0f} s." if seconds else " Try again in a moment."
            return ModelError("rate_limited", "The model is busy." + again)
        if is_too_long(exc):
            message = "This conversation is too long for the model. Start a new one, or ask something shorter."
            return ModelError("context_too_long", message, retryable=False)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return ModelError(
                "model_unavailable",
                f"The model server at {self._place} has a problem (status {status}).",
            )
        return ModelError(
            "model_error",
            f"The model server at {self._place} did not take the request (status {status}).",
            retryable=False,
        )


class Silence:
    """Ends a read that takes too long. Its one timer is set again when it runs out: one for each read costs more than the read."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._loop = asyncio.get_running_loop()
        self._reader: asyncio.Task[Any] | None = None
        self._since = inf  # when the read began that is under way
        self._is_broken = False

    def __enter__(self) -> Self:
        self._timer = self._loop.call_later(self._longest, self._look)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    async def read(self, body: AsyncGenerator[bytes]) -> bytes | None:
        """What comes next, None at the end; TimeoutError if it takes too long."""
        self._reader, self._since = asyncio.current_task(), self._loop.time()
        try:
            return await anext(body, None)
        except asyncio.CancelledError as exc:
            # Ours, unless somebody else wants an end, too.
            if self._is_broken and self._reader and not self._reader.uncancel():
                raise TimeoutError from exc
            raise
        finally:
            self._since = inf

    def _look(self) -> None:
        silent = max(0, self._loop.time() - self._since)
        if silent < self._longest:
            self._timer = self._loop.call_later(self._longest - silent, self._look)
        elif self._reader:
            self._is_broken = True
            self._reader.cancel()


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

    def end(self, messages: Sequence[ChatMessage]) -> list[ToolCall | Finished]:
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

    def whole(self) -> list[ToolCall]:
        """Each call, with ids of our own where the server's do not tell them apart."""
        parts = [self._parts[index] for index in sorted(self._parts)]
        ids = [id_ for id_, _, _ in parts]
        if not all(ids) or len(set(ids)) < len(ids):
            ids = [f"call_{number}" for number in range(len(ids))]
        return [
            ToolCall(id_, name, "".join(arguments))
            for id_, (_, name, arguments) in zip(ids, parts, strict=True)
        ]


def count(tokens: int) -> int:
    """A server's count of tokens as it may be stored."""
    return min(max(0, tokens), MAX_TOKENS)


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has, for budgets; servers differ, so this errs to the high side."""
    return len(text.encode()) // BYTES_PER_TOKEN + 4


def estimated_usage(messages: Sequence[ChatMessage], written: int) -> Usage:
    """For servers that do not count."""
    return Usage(sum(message.tokens for message in messages), written // 4 + 1, model_calls=1)


def refused_extra(exc: openai.APIError, request: dict[str, Any]) -> str | None:
    """The part of a request that the server says it cannot take, if the request makes sense without it."""
    if not isinstance(exc, openai.BadRequestError | openai.UnprocessableEntityError) or is_too_long(
        exc
    ):
        return None
    return next(
        (
            extra
            for extra, names in EXTRAS.items()
            if extra in request and any(name in exc.message for name in names)
        ),
        None,
    )


def seconds_before_retry(exc: openai.APIError, attempt: int) -> float | None:
    """How long to wait before another try, or None where none would help."""
    wait: float = BACKOFF * 2**attempt * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret
    if isinstance(exc, openai.APIConnectionError):
        return wait
    if isinstance(exc, openai.RateLimitError):
        asked = retry_after(exc)
        return (asked or wait) if (asked or 0) <= MAX_RETRY_AFTER else None
    if isinstance(exc, openai.InternalServerError):
        return wait
    return None


def retry_after(exc: openai.APIStatusError) -> float | None:
    value: str = exc.response.headers.get("retry-after", "")
    return float(value) if value.replace(".", "", 1).isdecimal() else None


def is_too_long(exc: openai.APIStatusError) -> bool:
    words = f"{exc.code or ''} {exc.type or ''} {exc.message}".lower()
    return exc.status_code in (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE) and (
        "context_length" in words
        or "exceed_context" in words
        or "context size" in words
        or "maximum context" in words
    )
