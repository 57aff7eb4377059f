"""The only client for models: streamed chat completions of any OpenAI-compatible server, with deadlines and errors in words."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import httpx2
import msgspec
import openai
from msgspec import Struct
from openai import AsyncAPIResponse, AsyncOpenAI, DefaultAioHttpClient

from .protocol import Code, Effort, Usage

RETRIES = 2  # before the first chunk, never after it
BACKOFF = 0.25  # seconds before the first retry; doubles
LONGEST_RETRY_AFTER = 5.0  # seconds; a server that asks for more gets an error in words
LARGEST_EVENT = 4 * 1024 * 1024  # bytes of one streamed event
NO_KEY = "none"  # servers without a key want some header all the same

EFFORTS: dict[Effort, str] = {"minimal": "low", "medium": "medium", "maximal": "high"}


class ModelError(Exception):
    """A model call that failed; the message tells a person what to do."""

    def __init__(self, code: Code, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.code: Code = code
        self.retryable = retryable


@dataclass(frozen=True, slots=True)
class ChatMessage:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of the model's own thinking, where the server shows it."""

    text: str


Piece = Text | Reasoning | Usage


class _Delta(Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None


class _Choice(Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None


class _Usage(Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Chunk(Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: msgspec.Raw | None = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds: until the first chunk, all retries included; and of silence between two reads after it."""

    first_chunk: float
    chunk: float


class ModelClient:
    """Talks to one model server. One per event loop; `aclose` when the loop ends."""

    def __init__(self, *, base_url: str, api_key: str, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        # Deadlines are ours, so the SDK's own are off; so are its retries, which do not know ours.
        self._client = AsyncOpenAI(
            base_url=base_url or None,
            api_key=api_key or NO_KEY,
            max_retries=0,
            timeout=None,
            http_client=DefaultAioHttpClient(timeout=None, limits=httpx2.Limits(max_connections=1000, max_keepalive_connections=100)),
        )
        # The SDK imports its parts when they are first touched, for 0.3 s: now, and not while readers wait.
        self._create = self._client.chat.completions.with_streaming_response.create
        self._place = urlsplit(str(self._client.base_url)).netloc

    async def stream(
        self, messages: Sequence[ChatMessage], *, model: str, max_tokens: int, effort: Effort | None = None
    ) -> AsyncGenerator[Piece]:
        """The answer piece by piece as the server sends it, then its Usage. ModelError says what went wrong."""
        request: dict[str, Any] = {
            "model": model,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_completion_tokens" if self._place == "api.openai.com" else "max_tokens": max_tokens,
        }
        if effort is not None:
            request["reasoning_effort"] = EFFORTS[effort]
        usage = finished = None
        written = 0
        with self._errors_in_words(model):
            async with aclosing(self._chunks(request)) as chunks:
                async for chunk in chunks:
                    if chunk.error is not None:
                        raise ModelError("model_error", f"The model server at {self._place} reported an error in mid-answer.")
                    if chunk.usage is not None:
                        usage = Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens, model_calls=1)
                    for choice in chunk.choices:
                        finished = choice.finish_reason or finished
                        delta = choice.delta
                        if thought := delta.reasoning_content or delta.reasoning:
                            yield Reasoning(thought)
                        if text := delta.content or delta.refusal:
                            written += len(text)
                            yield Text(text)
        if finished is None:
            raise ModelError("model_error", "The model's answer was cut off. What came so far is kept.")
        if not written:
            raise ModelError("model_error", "The model gave an empty answer.")
        yield usage or estimated_usage(messages, written)

    async def aclose(self) -> None:
        await self._client.close()

    async def _chunks(self, request: dict[str, Any]) -> AsyncGenerator[_Chunk]:
        """The decoded events of one answer; a first-chunk deadline over the start, a silence deadline over each read."""
        loop = asyncio.get_running_loop()
        first_due = loop.time() + self._deadlines.first_chunk
        started = False
        async with self._opened(request, first_due) as response:
            lines = _EventLines()
            async with aclosing(cast("AsyncGenerator[bytes]", response.iter_bytes())) as body:
                while True:
                    due = loop.time() + self._deadlines.chunk if started else first_due
                    try:
                        async with asyncio.timeout_at(due):
                            data = await anext(body, None)
                    except TimeoutError as exc:
                        raise self._silent(started) from exc
                    if data is None:
                        return
                    for payload in lines.feed(data):
                        if payload == b"[DONE]":
                            return
                        started = True
                        yield _decode_chunk(payload)

    @asynccontextmanager
    async def _opened(self, request: dict[str, Any], due: float) -> AsyncIterator[AsyncAPIResponse[Any]]:
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
        for attempt in range(RETRIES + 1):
            try:
                opening = self._create(**request)
                # Entered by hand: the response outlives this function and is closed by `_opened`.
                return cast("AsyncAPIResponse[Any]", await opening.__aenter__())
            except openai.APIError as exc:
                wait = _seconds_before_retry(exc, attempt)
                if wait is None or attempt == RETRIES:
                    raise
                await asyncio.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _silent(self, started: bool) -> ModelError:
        if started:
            return ModelError("idle_timeout", "The model stopped in mid-answer. What came so far is kept.")
        return ModelError("first_chunk_timeout", "The model did not answer in time.")

    def _errors_in_words(self, model: str) -> "_ErrorsInWords":
        return _ErrorsInWords(self._place, model)


class _ErrorsInWords:
    """Turns what the SDK, its transport and the decoder raise into ModelError."""

    def __init__(self, place: str, model: str) -> None:
        self._place = place
        self._model = model

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, traceback: object) -> None:
        match exc:
            case openai.APIStatusError():
                raise self._of_status(exc) from exc
            case openai.APIConnectionError() | httpx2.ConnectError():
                raise ModelError("model_unavailable", f"The model at {self._place} cannot be reached.") from exc
            case httpx2.HTTPError() | httpx2.StreamError():
                raise ModelError("model_error", "The model's answer was cut off. What came so far is kept.") from exc
            case msgspec.DecodeError():
                raise ModelError("model_error", f"The model server at {self._place} sent something that is not an answer.") from exc

    def _of_status(self, exc: openai.APIStatusError) -> ModelError:
        status = exc.status_code
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return ModelError("model_error", f"The model server at {self._place} refused the key. Set OPENAI_API_KEY.", retryable=False)
        if status == HTTPStatus.NOT_FOUND:
            message = f'The model server at {self._place} does not know "{self._model}". Set FLEET_MODEL.'
            return ModelError("model_error", message, retryable=False)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            seconds = _retry_after(exc)
            again = f" Try again in {seconds:.0f} s." if seconds else " Try again in a moment."
            return ModelError("rate_limited", "The model is busy." + again)
        if _is_too_long(exc):
            message = "This conversation is too long for the model. Start a new one, or ask something shorter."
            return ModelError("context_too_long", message, retryable=False)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return ModelError("model_unavailable", f"The model server at {self._place} has a problem (status {status}).")
        return ModelError("model_error", f"The model server at {self._place} did not take the request (status {status}).", retryable=False)


class _EventLines:
    """Cuts a byte stream of server-sent events into their data.

    Only a line feed ends a line here: `str.splitlines` would also cut at characters that JSON leaves bare, such as U+2028.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LARGEST_EVENT:
            raise ModelError("model_error", "The model server sent an event that is too large.")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has, for budgets; servers differ, so this errs to the high side."""
    return len(text.encode()) // 3 + 4


def estimated_usage(messages: Sequence[ChatMessage], written: int) -> Usage:
    """For servers that do not count."""
    return Usage(sum(estimated_tokens(message.content) for message in messages), written // 4 + 1, model_calls=1)


def _seconds_before_retry(exc: openai.APIError, attempt: int) -> float | None:
    """How long to wait before another try, or None where none would help."""
    wait: float = BACKOFF * 2**attempt * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret
    if isinstance(exc, openai.APIConnectionError):
        return wait
    if isinstance(exc, openai.RateLimitError):
        asked = _retry_after(exc)
        return (asked or wait) if (asked or 0) <= LONGEST_RETRY_AFTER else None
    if isinstance(exc, openai.InternalServerError):
        return wait
    return None


def _retry_after(exc: openai.APIStatusError) -> float | None:
    value: str = exc.response.headers.get("retry-after", "")
    return float(value) if value.replace(".", "", 1).isdigit() else None


def _is_too_long(exc: openai.APIStatusError) -> bool:
    words = f"{exc.code or ''} {exc.type or ''} {exc.message}".lower()
    return exc.status_code in (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE) and (
        "context_length" in words or "exceed_context" in words or "context size" in words or "maximum context" in words
    )
