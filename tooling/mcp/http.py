"""MCP over streamable HTTP: the SDK's transport, in bounds."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from urllib.parse import urlsplit

import httpx2
import msgspec
from mcp.client.streamable_http import MCP_SESSION_ID, streamable_http_client
from mcp_types import INTERNAL_ERROR

from tooling.proxies import is_loopback

from .connecting import (
    MAX_MESSAGE_BYTES,
    MAX_TOKENS,
    Ending,
    Inbox,
    Pace,
    Report,
    Tokens,
    TransportStreams,
)

# Seconds
CONNECT_TIMEOUT = 5.0
SEND_TIMEOUT = 10.0  # of what has no result
LEAVE_TIMEOUT = 1.0  # to end a session
BYTES_PER_SECOND = 2 * 2**20
LINES_PER_SECOND = 20_000
PART_BYTES = 8 * 2**10  # of a body: lines of one byte in 64 KB hold the loop for a while
REFUSED = {401: "it refuses the key", 403: "it does not allow this", 407: "the proxy refuses"}


class Unreadable(httpx2.StreamError):
    """Raised for a body that can't be read. The SDK turns it into an error of the call."""


class Asked(msgspec.Struct):
    """What decides how long a message may take."""

    id: int | str | None = None
    method: str = ""


class Bounded(httpx2.AsyncByteStream):
    """A body of bounded size, or the events of a stream at a bounded pace."""

    def __init__(self, stream: httpx2.AsyncByteStream, *, is_stream: bool) -> None:
        self._stream = stream
        self._most = float("inf") if is_stream else MAX_MESSAGE_BYTES
        self._pace, self._lines = Pace(BYTES_PER_SECOND), Pace(LINES_PER_SECOND)
        self._tokens = Tokens(are_events=is_stream)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._stream:
            size += len(piece)
            if size > self._most:
                raise Unreadable(f"more than {MAX_MESSAGE_BYTES // 2**20} MB")
            await asyncio.sleep(self._pace.delay(len(piece)))
            for start in range(0, len(piece), PART_BYTES):
                part = piece[start : start + PART_BYTES]
                if self._tokens.are_too_many(part):
                    raise Unreadable(f"more than {MAX_TOKENS} values")
                lines = part.count(b"\n") + part.count(b"\r")
                await asyncio.sleep(self._lines.delay(lines))
                yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


class Hooks:
    """What is done to each request and response of a connection."""

    def __init__(self, ending: Ending) -> None:
        self._ending = ending
        # The SDK connects again as soon as a server wishes.
        self._streams = Pace(1)

    async def request(self, request: httpx2.Request) -> None:
        """Bound the time of a request. Results may take as long as their call may."""
        read = None
        if request.method == "GET":
            await asyncio.sleep(self._streams.delay(1))
        elif request.method == "DELETE":
            read = LEAVE_TIMEOUT
        else:
            asked = msgspec.json.decode(request.content, type=Asked)
            if asked.id is None or not asked.method:
                read = SEND_TIMEOUT
        request.extensions["timeout"] = httpx2.Timeout(CONNECT_TIMEOUT, read=read).as_dict()

    async def response(self, response: httpx2.Response) -> None:
        """Bound the body, and say what a status means."""
        if response.headers.get("content-encoding", "identity") != "identity":
            raise Unreadable("it sends compressed bodies unasked")
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        kind = response.headers.get("content-type", "").lower()
        is_stream = response.status_code == 200 and kind.startswith("text/event-stream")
        response.stream = Bounded(response.stream, is_stream=is_stream)
        if response.status_code < 400 or response.request.method != "POST":
            return
        status = f"status {response.status_code}"
        if why := REFUSED.get(response.status_code):
            self._ending.tell(f"{why} ({status})")
        elif response.status_code == 404 and MCP_SESSION_ID in response.request.headers:
            self._ending.tell(f"it has lost the session ({status})")
        body = await read_error(response) if kind.startswith("application/json") else b""
        if b'"jsonrpc"' not in body:
            # Of a status the SDK says only that there was an error.
            error = {
                "code": INTERNAL_ERROR,
                "message": status,
                "data": {"status": response.status_code},
            }
            body = msgspec.json.encode({"jsonrpc": "2.0", "id": None, "error": error})
            response.headers = httpx2.Headers({"content-type": "application/json"})
        response.stream = httpx2.ByteStream(body)


async def read_error(response: httpx2.Response) -> bytes:
    """Return the body of a response, or nothing if it is too large or late."""
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    try:
        async with asyncio.timeout(SEND_TIMEOUT):
            return b"".join([piece async for piece in response.stream])
    except (Unreadable, TimeoutError):
        return b""
    finally:
        await response.stream.aclose()


@asynccontextmanager
async def address(
    url: str, headers: Mapping[str, str], *, ending: Ending, report: Report
) -> AsyncIterator[TransportStreams]:
    """Connect to a server, and yield the streams of its messages."""
    hooks = Hooks(ending)
    # Reading them takes 50 ms.
    trusted = await asyncio.to_thread(certificates)
    async with (
        httpx2.AsyncClient(
            # A compressed body could be larger than the bytes that `Bounded` counts.
            headers={"Accept-Encoding": "identity", **headers},
            event_hooks={"request": [hooks.request], "response": [hooks.response]},
            # The proxies of the environment. A server on this machine is not asked through one.
            trust_env=not is_loopback(urlsplit(url).hostname or ""),
            verify=trusted,
        ) as client,
        streamable_http_client(url, http_client=client) as (messages, sent),
    ):
        try:
            yield Inbox(messages, ending, report), sent
        finally:
            ending.close()


@cache
def certificates() -> ssl.SSLContext:
    """Return the authorities to trust: those of SSL_CERT_FILE, or of the system."""
    return ssl.create_default_context()
