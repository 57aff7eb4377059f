"""What a connection to a server has in both transports: why it ended, and bounds of what comes."""

import asyncio
import logging
import re
import time
from collections import deque
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

import anyio
import httpx2
from mcp.client._transport import ReadStream, TransportStreams  # these have no public name
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage
from mcp_types import (
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
)
from pydantic import ValidationError

from tooling.clusters import beginning
from tooling.untrusted import cut, one_line

logger = logging.getLogger(__name__)

# They log each unreadable message with a traceback, and the ids of sessions.
for noisy in ("mcp.client", "mcp.shared", "httpx2", "httpcore2"):
    logging.getLogger(noisy).setLevel(logging.CRITICAL)

MAX_MESSAGE_BYTES = 2**20
MAX_MESSAGES = 2000  # a second
MAX_TOKENS = 150_000  # of JSON in a message: reading a MB of brackets takes seconds
# Values in a message that the SDK compares with its types, some 15 microseconds each.
MAX_COMPARED = 2000
MAX_LISTED = 1000  # tools in one message that are looked at
MAX_BLOCKS = 100  # of a result
MAX_WARNINGS = 50  # about one server
LINES_PER_MINUTE = 60
MAX_HEARD = 200  # lines of one server that are remembered
MAX_LINE = 1000  # characters of a line of ours, with words of a server in it
MAX_WORDS = 200  # of a server's own, in sentences of ours
# Other notifications (progress, logs) are not shown.
HEARD = {
    "notifications/cancelled",
    "notifications/subscriptions/acknowledged",
    "notifications/tools/list_changed",
}

# A text ends with its line; one that ends with the piece may go on in the next. A blank line ends
# an event of a stream.
TOKEN = re.compile(
    rb'[\[{,]|"[^"\\\r\n]*+(?:\\[^\r\n][^"\\\r\n]*+)*+(?:"|(?P<open>\\?\Z))?'
    rb"|(?P<end>\n\n|\r\r|\r\n\r\n)"
)

__all__ = ["TransportStreams"]


class Unreachable(Exception):
    """Raised if a server can't be used now; its text goes on after "shop cannot be reached: "."""


class Ending:
    """Why a connection has ended: the first reason that is told. Empty while it is open."""

    def __init__(self, woken: asyncio.Event) -> None:
        self.reason = ""
        self._woken = woken
        self._is_closing = False

    def tell(self, reason: str) -> None:
        if not self._is_closing:
            self.reason = self.reason or reason
            self._woken.set()

    def close(self) -> None:
        """Take no more reasons: what happens now is our own doing."""
        self._is_closing = True


class Pace:
    """Says how long to wait before more of something is taken than `most` a second."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._since = 0.0
        self._taken = 0

    def delay(self, amount: int) -> float:
        """Count the amount, and return the seconds to wait after it."""
        now = time.monotonic()
        if now - self._since >= 1:
            self._since, self._taken = now, 0
        self._taken += amount
        return self._since + 1 - now if self._taken > self._most else 0


class Tokens:
    """Counts the tokens of JSON that comes in pieces, without reading it."""

    def __init__(self, *, are_events: bool = False) -> None:
        self._are_events = are_events
        self._count = 0
        self._rest = b""  # what the next piece may go on with

    def are_too_many(self, piece: bytes) -> bool:
        """Count those of the next piece of a message, or of a stream of events."""
        text = self._rest + piece
        self._count -= self._rest.startswith(b'"')  # which is counted
        self._rest = b""
        for found in TOKEN.finditer(text):
            is_end = self._are_events and found["end"]
            self._count = 0 if is_end else self._count + 1
            if self._count > MAX_TOKENS:
                return True
            if found["open"] is not None:
                self._rest = b'"' + found["open"]
        if not self._rest:
            self._rest = text[len(text.rstrip(b"\r\n")) :][-3:]
        return False


def has_too_many_tokens(line: bytes) -> bool:
    """Return True if a whole message has more tokens of JSON than are read."""
    # Counting single characters is quicker, and nearly always enough.
    most = sum(map(line.count, (b"[", b"{", b","))) + line.count(b'"') // 2
    return most > MAX_TOKENS and Tokens().are_too_many(line)


class Report:
    """What operators read of one server: the same words once, and a bounded part of its own.

    `hidden` takes its secrets out of a text.
    """

    def __init__(self, name: str, hidden: Callable[[str], str]) -> None:
        self.hidden = hidden
        self._name = name
        self._logged: set[str] = set()
        self._since = 0.0
        self._lines = 0
        self._heard: set[str] = set()
        self._held: deque[str] = deque(maxlen=LINES_PER_MINUTE)  # until it is open, or fails to
        self._is_open = False
        self._is_lost = False

    def is_open(self) -> None:
        """Forget what the server has said at its start: it was no reason to fail."""
        self._is_open, self._is_lost = True, False
        self._heard.clear()
        self._held.clear()

    def has_failed(self) -> None:
        """Log what the server said while it was being opened; hold back what its next start says.

        Of more lines than are logged in a minute, the last tell most.
        """
        for text in self._held:
            self.log(text)
        self._held.clear()
        self._is_open = False

    def is_lost(self) -> None:
        """Leave out what the server has said before: each new try says it again."""
        self._is_lost = True

    def once(self, text: str) -> None:
        # It may have words of the server.
        text = self.hidden(cut(one_line(beginning(text, MAX_LINE * 2)), MAX_LINE))
        if text not in self._logged and len(self._logged) < MAX_WARNINGS:
            self._logged.add(text)
            logger.warning("MCP server %s %s", self._name, text)

    def says(self, text: str) -> None:
        """Log a line that the server wrote for its operators, once it is known to matter."""
        if self._is_open:
            self.log(text)
        else:
            self._held.append(text)

    def log(self, text: str) -> None:
        if self._is_lost and text in self._heard:
            return
        if len(self._heard) < MAX_HEARD:
            self._heard.add(text)
        if time.monotonic() - self._since > 60:
            self._since, self._lines = time.monotonic(), 0
        self._lines += 1
        if self._lines <= LINES_PER_MINUTE:
            logger.info("MCP server %s says: %s", self._name, text)
        elif self._lines == LINES_PER_MINUTE + 1:
            logger.info("MCP server %s says more than is logged in a minute", self._name)


class Inbox:
    """The messages of a server that are of use, at a bounded pace.

    What its sender has to wait for stays in its pipe or its socket.
    """

    def __init__(
        self,
        stream: ReadStream[SessionMessage | Exception],
        ending: Ending,
        report: Report,
    ) -> None:
        self._stream = stream
        self._ending = ending
        self._report = report
        self._pace = Pace(MAX_MESSAGES)

    async def receive(self) -> SessionMessage | Exception:
        while True:
            try:
                item = await self._stream.receive()
            except anyio.EndOfStream:
                self._ending.tell("it closed the connection")
                raise
            if delay := self._pace.delay(1):
                self._report.once(f"sends more than {MAX_MESSAGES} messages a second: it is slowed")
                await asyncio.sleep(delay)
            if is_of_use(item):
                assert isinstance(item, SessionMessage)
                item.message = self.bounded(item.message)
                return item

    def bounded(self, message: JSONRPCMessage) -> JSONRPCMessage:
        """Return the message with what is needed of it; an error in place of one too large."""
        match message:
            case JSONRPCResponse(result=result):
                self.trim(result)
                # Not compared with any type: what the tool returns, and what is trimmed already.
                compared = [
                    value
                    for key, value in result.items()
                    if key not in ("structuredContent", "tools")
                ]
            case JSONRPCRequest(params=params) | JSONRPCNotification(params=params):
                compared = [params]
            case _:
                return message
        if has_at_most(MAX_COMPARED, compared):
            return message
        self._report.once("sends messages with too many values")
        if isinstance(message, JSONRPCResponse):
            error = ErrorData(code=PARSE_ERROR, message="unreadable")
            return JSONRPCError(jsonrpc="2.0", id=message.id, error=error)
        # As if it had none: the SDK refuses it, if it must have any.
        return message.model_copy(update={"params": None})

    def trim(self, result: dict[str, Any]) -> None:
        """Leave only what is needed of lists. The SDK refuses one of tools for one fault."""
        if isinstance(tools := result.get("tools"), list):
            trimmed = [trimmed_tool(tool) for tool in tools[:MAX_LISTED]]
            result["tools"] = [tool for tool in trimmed if tool]
            if None in trimmed:
                self._report.once("lists tools that cannot be read")
        if isinstance(blocks := result.get("content"), list) and len(blocks) > MAX_BLOCKS:
            left_out = f"({len(blocks) - MAX_BLOCKS} more parts are left out.)"
            result["content"] = [*blocks[:MAX_BLOCKS], {"type": "text", "text": left_out}]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


def trimmed_tool(tool: Any) -> dict[str, Any] | None:
    """Return what is needed of a tool; None if it isn't there."""
    match tool:
        case {"name": str(name), "inputSchema": dict(schema)}:
            words = {
                key: value
                for key in ("title", "description")
                if isinstance(value := tool.get(key), str)
            }
            return {"name": name, "inputSchema": {"type": "object", **schema}, **words}
    return None


def is_of_use(item: SessionMessage | Exception) -> bool:
    if isinstance(item, Exception):
        return False
    message = item.message
    return not isinstance(message, JSONRPCNotification) or message.method in HEARD


def has_at_most(most: int, value: object) -> bool:
    """Return True if the value, and what is in it, are no more than so many values."""
    waiting = [value]
    count = 0
    while waiting and count + len(waiting) <= most:
        each = waiting.pop()
        count += 1
        # The values of a large list are not copied.
        if isinstance(each, dict | list):
            if len(each) > most:
                return False
            waiting += each.values() if isinstance(each, dict) else each
    return not waiting


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Do the work, also if this task is cancelled meanwhile, by its scope or by others."""
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError as exc:
                cancelled = exc
    task.result()
    if cancelled:
        raise cancelled


def reason_of(exc: BaseException) -> str | None:
    """Return why a connection failed, for an operator; None if it is not known what happened."""
    match exc:
        case BaseExceptionGroup():
            reasons = [reason_of(each) for each in exc.exceptions]
            return next(filter(None, reasons), None) if all(reasons) else None
        case Unreachable():
            return str(exc)
        case MCPError():
            return f"it answers {words(exc.error.message)!r}"
        case httpx2.TimeoutException() | TimeoutError():
            return "it does not answer"
        case httpx2.ConnectError():
            return f"there is no connection to it ({words(str(exc))})"
        case httpx2.ProxyError():
            return "the proxy does not let it through"
        case httpx2.HTTPError() | httpx2.StreamError() | httpx2.InvalidURL() | OSError():
            return words(str(exc)) or type(exc).__name__
        case anyio.BrokenResourceError() | anyio.ClosedResourceError():
            # What came could not be passed on: the connection was being closed.
            return "it closed the connection"
        case ValidationError():
            return "it sends what is not of this protocol"
        case RuntimeError():
            # Of the SDK: no version of the protocol in common.
            return words(str(exc))
    return None


def words(text: str) -> str:
    """Return a server's own words on one line."""
    return cut(one_line(text[: MAX_WORDS * 4]), MAX_WORDS).rstrip(".")
