"""Stream chat completions from an OpenAI-compatible server, with deadlines and readable errors.

Nothing else in the project talks to a model.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from math import inf
from typing import Any, Self, cast
from urllib.parse import urlsplit

import httpx2
import openai
from openai import AsyncAPIResponse, AsyncOpenAI, DefaultAioHttpClient

from chat.protocol.terms import Effort
from tooling.untrusted import without_nul

from .chunks import NOTHING, Chunk, EventLines, Gathered, decode_chunk
from .errors import ErrorsInWords, ModelError, refused_extra, seconds_before_retry
from .messages import PULSE, ChatMessage, Piece

logger = logging.getLogger(__name__)

RETRIES = 2  # before the first chunk, never after it
ASKED_WITHOUT = (
    3600.0  # seconds after which a refused part is tried again: servers and models change
)
NO_KEY = "none"  # servers without a key want some header all the same

EFFORTS: dict[Effort, str] = {"minimal": "low", "medium": "medium", "maximal": "high"}


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
                            yield decode_chunk(without_nul(payload))

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
