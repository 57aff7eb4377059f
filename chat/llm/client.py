"""Stream chat completions from an OpenAI-compatible server, with deadlines and readable errors.

Nothing else in the project talks to a model.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from math import inf
from typing import Any, Self, cast
from urllib.parse import urlsplit

import httpx2
import openai
from openai import AsyncAPIResponse, AsyncOpenAI, DefaultAioHttpClient

from chat.limits import Deadlines
from chat.protocol.terms import Effort
from tooling.untrusted import without_nul

from .chunks import NOTHING, Chunk, EventLines, decode_chunk, normal
from .dialects.answer import PartialAnswer
from .errors import (
    ChunkTimeout,
    ErrorChunk,
    FirstChunkTimeout,
    model_errors,
    refused_extra,
    seconds_before_retry,
)
from .messages import PULSE, ChatMessage, Piece

logger = logging.getLogger(__name__)

MAX_RETRIES = 2  # Before the first chunk. Later failures aren't retried: text was shown already.
REFUSAL_TTL = 3600.0  # Seconds a refusal of an extra is remembered: servers and models change.
UNAUTHORIZED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)  # the key is refused
NO_KEY = "none"  # The SDK insists on a key, also for servers without one.

EFFORTS: dict[Effort, str] = {"minimal": "low", "medium": "medium", "maximal": "high"}


class ModelClient:
    """The connection to one model server. Create one per event loop, and close it at the end.

    `thinking_tokens` is what each call may spend on hidden thinking in addition to its text;
    0 means that the models don't think.
    """

    def __init__(
        self, *, base_url: str, api_key: str, deadlines: Deadlines, thinking_tokens: int = 0
    ) -> None:
        self._deadlines = deadlines
        self._thinking_tokens = thinking_tokens
        # Switch off the SDK's timeouts and retries: its retries don't know our deadlines.
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
        # The SDK imports its parts when they are first used, which takes 0.3 s. Do it before
        # anyone waits for an answer.
        self._create = self._client.chat.completions.with_streaming_response.create
        self._server = urlsplit(str(self._client.base_url)).netloc
        # OpenAI's reasoning models reject the old name, and other servers don't know the new one.
        self._limit_name = (
            "max_completion_tokens" if self._server == "api.openai.com" else "max_tokens"
        )
        self._refused_at: dict[tuple[str, str], float] = {}  # By model and extra.

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        *,
        model: str,
        max_tokens: int,
        effort: Effort | None = None,
        is_aside: bool = False,
        tools: Sequence[dict[str, Any]] = (),
        may_call: bool = True,
        schema: dict[str, Any] | None = None,
        traceparent: str = "",
    ) -> AsyncGenerator[Piece]:
        """Yield the answer as it arrives, then the tool calls, then Finished. Raise ModelError.

        A Pulse stands for bytes without content. `max_tokens` limits the text, not the thinking.
        Set `is_aside` for calls that don't write the answer, so that a model thinks little about
        them. Unset `may_call` for a model that must not call `tools`, which are declared because
        the messages hold calls of them. `schema` is the JSON Schema of the answer, for servers
        that can enforce one. `traceparent` is sent as a header, so that the server's spans join
        the run's trace.
        """
        request = self.build_request(
            messages,
            model=model,
            max_tokens=max_tokens,
            effort=effort,
            is_aside=is_aside,
            tools=tools,
            may_call=may_call,
            schema=schema,
        )
        if traceparent:
            request["extra_headers"] = {"traceparent": traceparent}
        names = {tool["function"]["name"] for tool in tools if "function" in tool}
        answer = PartialAnswer(messages, tools=names)
        with model_errors(self._server, model):
            async with aclosing(self.chunks(request)) as chunks:
                async for chunk in chunks:
                    if chunk.error is not None:
                        raise ErrorChunk(self._server)
                    for piece in answer.add(normal(chunk)) or (PULSE,):
                        yield piece
                    if answer.exceeds(max_tokens):
                        # The server ignores the limit and might never end.
                        answer.cut()
                        break
        for last in answer.finish(is_done=False):
            yield last

    async def fault(self) -> str:
        """Return why the server can't be used, or an empty string. Don't ask a model.

        Any answer will do, because not every server lists its models, but not a refusal of the key.
        """
        try:
            await self._client.get("/models", cast_to=httpx2.Response)
        except openai.APIStatusError as exc:
            code = exc.status_code
            refused = code >= HTTPStatus.INTERNAL_SERVER_ERROR or code in UNAUTHORIZED
            return f"the model server answers with status {code}" if refused else ""
        except openai.APIError:
            return "the model server can't be reached"
        return ""

    async def aclose(self) -> None:
        await self._client.close()

    def build_request(
        self,
        messages: Sequence[ChatMessage],
        *,
        model: str,
        max_tokens: int,
        effort: Effort | None,
        is_aside: bool,
        tools: Sequence[dict[str, Any]],
        may_call: bool,
        schema: dict[str, Any] | None,
    ) -> dict[str, Any]:
        """Return the request as the API expects it."""
        thinks = self._thinking_tokens > 0 and self.accepts(model, "reasoning_effort")
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
            if not may_call:
                request["tool_choice"] = "none"
        if schema is not None:
            request["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema},
            }
        return request

    async def chunks(self, request: dict[str, Any]) -> AsyncGenerator[Chunk]:
        """Yield the chunks of one answer, and NOTHING for a read that completes no chunk."""
        first_due = asyncio.get_running_loop().time() + self._deadlines.first_chunk
        due: float | None = first_due  # None after the first chunk.
        lines = EventLines()
        async with (
            self.response(request, first_due) as response,
            aclosing(cast("AsyncGenerator[bytes]", response.iter_bytes())) as body,
        ):
            with ReadTimer(self._deadlines.chunk) as timer:
                while (data := await read(body, timer, due)) is not None:
                    events = lines.feed(data)
                    if not events:
                        yield NOTHING
                    for event in events:
                        if event == b"[DONE]":
                            return
                        due = None
                        yield decode_chunk(without_nul(event))

    @asynccontextmanager
    async def response(
        self, request: dict[str, Any], due: float
    ) -> AsyncIterator[AsyncAPIResponse[Any]]:
        """Open the response to `request`. Close it on exit, so that the server stops writing."""
        try:
            async with asyncio.timeout_at(due):
                response = await self.open_response(request)
        except TimeoutError as exc:
            raise FirstChunkTimeout from exc
        try:
            yield response
        finally:
            await response.close()

    async def open_response(self, request: dict[str, Any]) -> AsyncAPIResponse[Any]:
        """Send `request`, and again after a temporary failure or without a refused extra."""
        model = request["model"]
        request = {name: value for name, value in request.items() if self.accepts(model, name)}
        for attempt in range(MAX_RETRIES + 1):
            try:
                opening = self._create(**request)
                # Don't use `async with`: the response outlives this function. `response` closes it.
                return cast("AsyncAPIResponse[Any]", await opening.__aenter__())
            except openai.APIError as exc:
                if extra := refused_extra(exc, request):
                    logger.warning(
                        "model=%s takes no %s: it is asked without for an hour", model, extra
                    )
                    self._refused_at[model, extra] = time.monotonic()
                    del request[extra]
                    return await self.open_response(request)
                wait = seconds_before_retry(exc, attempt)
                if wait is None or attempt == MAX_RETRIES:
                    raise
                await asyncio.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def accepts(self, model: str, extra: str) -> bool:
        """Return False if this part of a request was refused within the last REFUSAL_TTL."""
        refused_at = self._refused_at.get((model, extra))
        return refused_at is None or time.monotonic() > refused_at + REFUSAL_TTL


async def read(body: AsyncGenerator[bytes], timer: "ReadTimer", due: float | None) -> bytes | None:
    """Return the next bytes, or None at the end. Before the first chunk, `due` is its deadline."""
    try:
        if due is None:
            return await timer.read(body)
        async with asyncio.timeout_at(due):
            return await anext(body, None)
    except TimeoutError as exc:
        raise (ChunkTimeout if due is None else FirstChunkTimeout) from exc


class ReadTimer:
    """Limit each read of a response to `timeout` seconds.

    All reads share one timer, which is set again only when it runs out: a timer for each read
    would cost more than the read itself.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[Any] | None = None
        self._began_at = inf  # Start of the current read. Between reads no time passes.
        self._has_expired = False

    def __enter__(self) -> Self:
        self._timer = self._loop.call_later(self._timeout, self.check)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    async def read(self, body: AsyncGenerator[bytes]) -> bytes | None:
        """Return the next bytes, or None at the end. Raise TimeoutError if they take too long."""
        self._task, self._began_at = asyncio.current_task(), self._loop.time()
        try:
            return await anext(body, None)
        except asyncio.CancelledError as exc:
            # `uncancel()` returns how many other cancels are pending. Ours alone becomes
            # TimeoutError; if the run is cancelled at the same moment, its cancel must win.
            if self._has_expired and self._task and not self._task.uncancel():
                raise TimeoutError from exc
            raise
        finally:
            self._began_at = inf

    def check(self) -> None:
        """Cancel a read that takes too long; otherwise set the timer for the rest of its time."""
        elapsed = max(0, self._loop.time() - self._began_at)
        if elapsed < self._timeout:
            self._timer = self._loop.call_later(self._timeout - elapsed, self.check)
        elif self._task:
            self._has_expired = True
            self._task.cancel()
