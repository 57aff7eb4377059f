"""Streams over HTTP for the readers of a storm: events as frames of a socket, and messages."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
from websockets.exceptions import WebSocketException

SILENCE_TIMEOUT = 4.0  # seconds without a byte until the connection counts as lost; heartbeat 1 s
CLEAN_END = "the stream came to a clean end without a terminal"
RUNS = "api/v1/runs"
MAX_LINE = 2**24  # bytes; the longest chunk of a model is 1 MB
NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5.0)


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
            while line := await content.readuntil(b"\n", max_size=MAX_LINE):
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


async def messages_of(content: aiohttp.StreamReader) -> AsyncIterator[tuple[str, bytes]]:
    """Yield the id and the data of each whole message, until the stream ends.

    Raise TimeoutError if it is silent for too long.
    """
    at, data = "", b""
    while True:
        async with asyncio.timeout(SILENCE_TIMEOUT):
            line = await content.readuntil(b"\n", max_size=MAX_LINE)
        if not line:
            return
        if line.startswith(b"id: "):
            at = line[4:-1].decode()
        elif line.startswith(b"data: "):
            data = line[6:-1]
        elif line == b"\n":
            if data:
                yield at, data
            at, data = "", b""
