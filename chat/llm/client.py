"""Stream chat completions from an OpenAI-compatible server, with deadlines and readable errors.

Nothing else in the project talks to a model.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus
from typing import Any

import aiohttp
from aiohttp import ClientResponse

from chat.deadlines import Deadlines
from chat.protocol.terms import Effort
from tooling.sentences import sentence

from .attempts import Attempts
from .catalog import Catalog
from .connection import COMPLETIONS, Connection, start_of
from .dialects.answer import PartialAnswer
from .dialects.chunks import ChunkReader
from .dialects.framing import NotAnAnswer, TooLarge
from .dialects.normal import Chunk
from .errors import ChunkTimeout, CutOff, FirstChunkTimeout, Garbled, ModelError, NoAnswer
from .faults.complaints import Complaint, complaint_of
from .faults.verdicts import Kind, ServerError, error_of, log_fault, not_an_answer
from .messages import PULSE, ChatMessage, Piece, Remark
from .refusals.memory import Refusals
from .timer import ReadTimer
from .windows import Budget, Window

READ_BYTES = 32 * 1024  # A read of empty lines alone then takes 10 ms.
ERROR_TIMEOUT = 5.0  # Seconds for the body of an error. Its status is known already.
REST_TIMEOUT = 2.0  # Seconds that an answer which has ended waits for its usage.
EFFORTS: dict[Effort, str] = {"minimal": "low", "medium": "medium", "maximal": "high"}
UNREADABLE = sentence("The model server sent something unreadable in mid-answer.")
TOO_LARGE = sentence("The model server sent an event that is too large.")


class ModelClient:
    """The client of one model server. Create one per event loop, and close it at the end.

    `models` are the names that requests will use.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        deadlines: Deadlines,
        budget: Budget,
        models: Sequence[str] = (),
    ) -> None:
        self.connection = connection
        self.catalog = Catalog(connection, budget=budget, models=models)
        self.refusals = Refusals(connection.server)
        self._deadlines = deadlines
        # OpenAI's reasoning models reject the old name, and other servers don't know the new one.
        self._limit_name = (
            "max_completion_tokens" if connection.server == "api.openai.com" else "max_tokens"
        )

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        *,
        model: str,
        max_tokens: int,
        max_thinking: int | None = None,
        effort: Effort | None = None,
        is_aside: bool = False,
        tools: Sequence[dict[str, Any]] = (),
        may_call: bool = True,
        schema: dict[str, Any] | None = None,
        traceparent: str = "",
        may_retry: bool = True,
        budget: Budget | None = None,
    ) -> AsyncGenerator[Piece]:
        """Yield the answer as it arrives, then the tool calls, then Finished. Raise ModelError.

        A Pulse stands for bytes without content. `max_tokens` limits the text, and `max_thinking`
        the thinking, in addition to the settings. Set `is_aside` for calls that don't write the
        answer, so that a model thinks little about them. Unless it `may_call`, tools are declared
        for the calls in `messages` alone. `schema` is the JSON Schema of the answer, for servers
        that can enforce one. `traceparent` is sent as a header, so that the server's spans join the
        run's trace. `budget` is that of the model, if it has one of its own.

        Until the first piece, the request is sent again without what the server refuses and, if it
        `may_retry`, after a failure that may pass.
        """
        request = self.build_request(
            messages,
            model=model,
            max_tokens=max_tokens,
            max_thinking=max_thinking,
            effort=effort,
            is_aside=is_aside,
            tools=tools,
            may_call=may_call,
            schema=schema,
            budget=budget,
        )
        headers = {"traceparent": traceparent} if traceparent else {}
        names = [tool["function"]["name"] for tool in tools if "function" in tool]
        attempts = Attempts(
            self.refusals,
            request,
            due=asyncio.get_running_loop().time() + self._deadlines.first_chunk,
        )
        while True:
            answer = PartialAnswer(messages, tools=names)
            asked = self.connection.base_url
            try:
                batches = self.batches(answer, attempts, headers, max_tokens=max_tokens)
                async with aclosing(batches):
                    async for pieces in batches:
                        if pieces:
                            attempts.begin()
                        for piece in pieces or (PULSE,):
                            yield piece
                for piece in answer.finish(is_done=attempts.is_done):
                    attempts.begin()
                    yield piece
                return
            except ModelError as exc:
                wait = attempts.wait_after(exc)
                if wait and not may_retry:
                    wait = None
                is_over = wait is None and not attempts.has_begun
                if is_over and await self.has_moved(exc, asked, due=attempts.due):
                    wait = 0
                if wait is None:
                    log_fault(exc, **self.about(model))
                    for piece in answer.rest():
                        yield piece
                    raise
                if remark := attempts.remark:
                    yield Remark(remark)
                await asyncio.sleep(wait)

    def window(self, model: str, budget: Budget | None = None) -> Window:
        """Return what one call to the model may hold, within a budget of its own if it has one."""
        return self.catalog.window(model, budget)

    async def has_moved(self, failure: ModelError, asked: str, *, due: float) -> bool:
        """Return True if the server turns out, until `due`, to answer elsewhere than was asked."""
        if not (isinstance(failure, ServerError) and failure.kind is Kind.WRONG_PATH):
            return False
        # The catalog may have found it out while the request was on its way.
        if self.connection.base_url == asked:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self.catalog.refresh()
        return self.connection.base_url != asked

    async def aclose(self) -> None:
        await self.connection.aclose()

    def build_request(
        self,
        messages: Sequence[ChatMessage],
        *,
        model: str,
        max_tokens: int,
        max_thinking: int | None,
        effort: Effort | None,
        is_aside: bool,
        tools: Sequence[dict[str, Any]],
        may_call: bool,
        schema: dict[str, Any] | None,
        budget: Budget | None,
    ) -> dict[str, Any]:
        """Return the request as the API expects it."""
        refused = {change.part for change in self.refusals.remembered(model)}
        thinking_tokens = self.window(model, budget).thinking_tokens
        if max_thinking is not None:
            thinking_tokens = min(thinking_tokens, max_thinking)
        thinks = thinking_tokens > 0 and "reasoning_effort" not in refused
        if thinks and is_aside and effort is None:
            effort = "minimal"
        request: dict[str, Any] = {
            "model": model,
            "messages": [message.encoded() for message in messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            self._limit_name: max_tokens + (thinking_tokens if thinks else 0),
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

    async def batches(
        self,
        answer: PartialAnswer,
        attempts: Attempts,
        headers: Mapping[str, str],
        *,
        max_tokens: int,
    ) -> AsyncGenerator[list[Piece]]:
        """Yield the pieces of each read of one response; none for a read that completes none."""
        model = attempts.request["model"]
        loop = asyncio.get_running_loop()
        reader = ChunkReader()
        due: float | None = attempts.due  # None in mid-answer, where only silence counts.
        rest_due: float | None = None
        async with self.response(attempts.request, headers, attempts.due) as response:
            with ReadTimer(self._deadlines.chunk) as timer:
                data = b"-"
                while data and not reader.is_done and not answer.is_cut:
                    try:
                        data = await read(response, timer, due)
                    except TimeoutError as exc:
                        if not answer.has_ended:
                            raise (ChunkTimeout if due is None else FirstChunkTimeout) from exc
                        data = b""
                    pieces: list[Piece] = []
                    try:
                        for chunk in self.chunks(reader, data, model):
                            pieces += answer.add(chunk)
                            if answer.exceeds(max_tokens):
                                # The server ignores the limit and might never end.
                                answer.cut()
                                break
                    except ModelError:
                        # What came before it in the same read counts.
                        if pieces:
                            yield pieces
                        raise
                    if answer.has_ended:
                        # Only the usage may follow. A complete answer doesn't wait for it long.
                        due = rest_due = rest_due or loop.time() + REST_TIMEOUT
                    elif reader.has_begun:
                        due = rest_due = None
                    yield pieces
        if not reader.has_begun:
            raise NoAnswer
        attempts.is_done = reader.is_done

    def chunks(self, reader: ChunkReader, data: bytes, model: str) -> Iterator[Chunk]:
        """Yield the chunks that `data` completes; without data, the body has ended.

        Raise ModelError behind them if the server reports an error or sends no answer.
        """
        try:
            for chunk in reader.feed(data) if data else reader.close():
                if chunk.error is not None:
                    raise self.error(complaint_of(chunk.error), model)
                yield chunk
            if reader.has_failed:
                reader.close()
        except NotAnAnswer as exc:
            if reader.has_begun:
                raise Garbled(UNREADABLE) from exc
            raise not_an_answer(exc.beginning, **self.about(model)) from exc
        except TooLarge as exc:
            raise Garbled(TOO_LARGE) from exc

    @asynccontextmanager
    async def response(
        self, request: Mapping[str, Any], headers: Mapping[str, str], due: float
    ) -> AsyncIterator[ClientResponse]:
        """Open the response to a request. Close it on exit, so that the server stops writing.

        Raise ModelError if there is none, or if it breaks off.
        """
        model = request["model"]
        try:
            async with asyncio.timeout_at(due):
                response = await self.connection.open(COMPLETIONS, request, headers=headers)
                if response.status >= HTTPStatus.BAD_REQUEST:
                    raise self.error(await complaint_in(response), model)
        except TimeoutError as exc:
            raise FirstChunkTimeout from exc
        try:
            yield response
        except (aiohttp.ClientError, OSError) as exc:
            raise CutOff from exc
        finally:
            response.close()

    def error(self, complaint: Complaint, model: str) -> ServerError:
        return error_of(complaint, **self.about(model))

    def about(self, model: str) -> dict[str, Any]:
        """Return what errors may name, and what they must not."""
        connection = self.connection
        return {"server": connection.server, "model": model, "secrets": connection.secrets}


async def complaint_in(response: ClientResponse) -> Complaint:
    """Return what a response with an error status says. Close it."""
    try:
        body = await start_of(response, within=ERROR_TIMEOUT)
    except aiohttp.ClientError:
        body = b""  # The status says enough.
    finally:
        response.close()
    return complaint_of(body, status=response.status, headers=response.headers)


async def read(response: ClientResponse, timer: ReadTimer, due: float | None) -> bytes:
    """Return the next bytes, b"" at the end. Raise TimeoutError at `due`, or else by the timer."""
    if due is None:
        data = await timer.read(partial(response.content.read, READ_BYTES))
    else:
        # A timeout that has expired ends even a read that needn't wait.
        async with asyncio.timeout_at(due):
            await asyncio.sleep(0)
            data = await response.content.read(READ_BYTES)
    if len(data) == READ_BYTES:
        # There is more, so the read did not wait. Give way, or a flood would stop all other runs.
        await asyncio.sleep(0)
    return data
