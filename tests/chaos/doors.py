"""Readers of a storm that come over HTTP: Server-Sent Events as frames, and chat completions."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

import aiohttp
from websockets.exceptions import WebSocketException

from .journal import Journal
from .plans import RunPlan
from .rows import Row

SILENCE_TIMEOUT = 4.0  # seconds without a byte until the connection counts as lost; heartbeat 1 s
CLEAN_END = "the stream came to a clean end without a terminal"
RUNS = "api/v1/runs"
AGAIN = ("shutting_down", "storage_unavailable")  # codes of refusals that are not of the run
MODELS = {"light": "fleet-light", "full": "fleet-full", "auto": "fleet"}
NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5.0)

End = Literal["clean", "cut", "left", "silent", "unreachable", "refused"]


class Lost(WebSocketException):
    """The stream has ended, as a socket would have."""


class EventStream:
    """A stream of events with the methods of a socket that readers use."""

    def __init__(self, address: str, headers: Mapping[str, str]) -> None:
        self._session = aiohttp.ClientSession(
            headers={**headers, "Accept": "text/event-stream"}, timeout=NO_TIMEOUT
        )
        self._url = f"{address}{RUNS}"
        self._response: aiohttp.ClientResponse | None = None
        self._refusal = ""
        self._seq = 0
        self.transport = self  # closing it is cutting it
        self.close_code: int | None = None

    async def send(self, request: str) -> None:
        self._seq = json.loads(request)["after"]
        headers = {"Content-Type": "application/json"}
        try:
            response = await self._session.post(self._url, data=request, headers=headers)
            if response.status != 200:
                error = (await response.json())["error"]
                self._refusal = self._aside("error", workflow_id="", error=error)
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise Lost(repr(exc)) from exc
        self._response = response

    async def recv(self) -> str:
        assert self._response
        if self._refusal:
            return self._refusal
        content = self._response.content
        try:
            while line := await content.readuntil(b"\n"):
                if line.startswith(b":"):
                    return self._aside("heartbeat")
                if line.startswith(b"id: "):
                    self._seq = int(line[4:])
                elif line.startswith(b"data: "):
                    return line[6:].decode()
        except (aiohttp.ClientError, OSError) as exc:
            raise Lost(repr(exc)) from exc
        raise Lost(CLEAN_END)

    def _aside(self, kind: str, **fields: Any) -> str:
        """Return what a socket would have sent in place of a comment or a status."""
        frame = {"type": kind, "seq": self._seq, "workflow_id": "", **fields}
        return json.dumps({**frame, "log_line": "", "ui_hint": None, "category": ""})

    async def close(self) -> None:
        self.abort()
        await self._session.close()

    def abort(self) -> None:
        if self._response:
            self._response.close()
        self._closing = asyncio.ensure_future(self._session.close())


@dataclass(slots=True)
class Got:
    """What one request of a caller got, and how it ended."""

    end: End = "cut"
    status: int = 0
    code: str = ""  # of the error that a status or the stream had
    text: str = ""
    finishes: int = 0  # chunks that say why the answer has ended, and errors
    is_closed: bool = False  # by [DONE]
    opened: float = field(default_factory=time.monotonic)


class Caller:
    """A program that asks for a chat completion, and again with the same key if it is cut."""

    name = "completions"

    def __init__(
        self,
        run: RunPlan,
        address: Callable[[], str],
        headers: Mapping[str, str],
        journal: Journal,
        rng: Random,
    ) -> None:
        self.responses: list[Got] = []
        self._run = run
        self._address = address
        self._headers = {**headers, "Idempotency-Key": key_of(run)}
        self._journal = journal
        self._rng = rng
        # After so many messages it leaves, and comes back.
        self._leaves = [rng.choice([1, 5, 40]) for _ in range(rng.choice([0, 0, 1, 3]))]

    async def follow(self) -> None:
        """Ask until there is an end that no request can change."""
        await asyncio.sleep(self._rng.choice([0, 0.3, 2]) * self._rng.random())
        while True:
            got = Got()
            self.responses.append(got)
            await self._call(got, self._leaves.pop(0) if self._leaves else None)
            if got.end == "clean" or (got.end == "refused" and got.code not in AGAIN):
                return
            await asyncio.sleep(self._rng.uniform(0.1, 0.6))

    async def _call(self, got: Got, most: int | None) -> None:
        body = {
            "model": MODELS[self._run.play.mode],
            "messages": [{"role": "user", "content": self._run.question}],
            "stream": True,
            "metadata": {"on_disconnect": "continue"},
        }
        url = f"{self._address()}v1/chat/completions"
        try:
            async with (
                aiohttp.ClientSession(headers=self._headers, timeout=NO_TIMEOUT) as session,
                session.post(url, json=body) as response,
            ):
                got.status = response.status
                if response.status != 200:
                    got.end, got.code = "refused", (await response.json())["error"]["code"]
                else:
                    await self._read(response.content, got, most)
        except (aiohttp.ClientError, OSError) as exc:
            got.end = "cut" if got.status else "unreachable"
            got.code = got.code or repr(exc)

    async def _read(self, content: aiohttp.StreamReader, got: Got, most: int | None) -> None:
        count = 0
        while True:
            try:
                async with asyncio.timeout(SILENCE_TIMEOUT):
                    line = await content.readuntil(b"\n")
            except TimeoutError:
                got.end = "silent"
                self._journal.count("client: gave up on a silent stream")
                return
            if not line:
                got.end = "clean"
                return
            if line.startswith(b"data: "):
                note(line[6:].strip(), got)
                count += 1
            if count == most:
                got.end = "left"
                self._journal.count("client: left a stream")
                return


def key_of(run: RunPlan) -> str:
    """Return the key by which all requests of this run are the same one."""
    return f"run {run.number} of the storm"


def note(data: bytes, got: Got) -> None:
    """Take a message of chat completions."""
    if data == b"[DONE]":
        got.is_closed = True
        return
    chunk = json.loads(data)
    if "error" in chunk:
        got.finishes += 1
        got.code = chunk["error"]["code"]
    for choice in chunk.get("choices", ()):
        got.text += choice["delta"].get("content") or ""
        got.finishes += choice["finish_reason"] is not None


# --- Rules


def caller_breaks(caller: Caller, row: Row, *, was_begun_again: bool) -> Iterator[str]:
    """Yield where a caller got no end, more than one, or another answer than the row has.

    What was said can't be taken back: an answer that is begun again stands behind what was sent.
    """
    for number, got in enumerate(caller.responses):
        if got.end == "clean" and (got.finishes != 1 or not got.is_closed):
            yield f"response {number} ended clean with {got.finishes} ends"
        elif got.finishes > 1:
            yield f"response {number} has {got.finishes} ends"
    if not caller.responses:
        return
    last = caller.responses[-1]
    if last.end not in ("clean", "refused"):
        yield f"it got no end: {last.end}"
    elif row.status == "failed":
        if not last.code:
            yield f"it got an answer, the row has {row.kind}"
    elif last.code:
        yield f"it got {last.code}, the row has {row.kind}"
    elif row.status == "paused":
        # Behind the answer so far it says what a person must decide.
        if not was_begun_again and not last.text.startswith(row.text):
            yield "its text is not that of the paused run"
    elif last.text != row.text and not (was_begun_again and last.text.endswith(row.text)):
        yield f"its text has {len(last.text)} characters, the row's {len(row.text)}"
